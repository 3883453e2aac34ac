"""Evaluation of a bundle on labelled images: probabilities -> data frames. `cocotag.evaluation.write` writes them to files.

Does not run the network: the caller gives the probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cocotag.bundle import BundleMetadata
from cocotag.data.annotations import AnnotationTable
from cocotag.data.matching import Aliases, find_classes
from cocotag.data.sources import align
from cocotag.errors import BundleError, DataError
from cocotag.evaluation.compare import Comparison, compare
from cocotag.evaluation.label_issues import label_issues
from cocotag.evaluation.mistakes import confident_mistakes
from cocotag.evaluation.predictions import Predictions
from cocotag.evaluation.slices import Slicing, slices
from cocotag.evaluation.stored import SCHEMA_VERSION
from cocotag.labels import Vocabulary
from cocotag.metrics import TOP1, ClassCurves, class_curves, co_errors, score
from cocotag.metrics.intervals import GROUPS
from cocotag.pages.values import percent, plain
from cocotag.thresholds import best_thresholds

TOP_CO_ERRORS = 100
"""Pairs in report.json; ``co_errors.csv`` has all pairs."""
HEADLINES = {"map": "mAP", "macro_f1": "macro-F1", "micro_f1": "micro-F1", "cf1": "CF1", TOP1: "top-1"}
"""The main measures and their labels."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The evaluation of a bundle, computed by `evaluate`.

    Attributes:
        per_class: One row per class of the bundle in index order, the columns of ``per_class.csv``; NaN if undefined.
        summary: One row per measure, with columns ``value, lo, hi, n_classes``; fractions, NaN if undefined.
        run: The bundle, versions and times.
        data: The evaluated data, with ``images`` and ``optimistic`` added.
        config: The settings of the evaluation, and the images that chose checkpoint and thresholds.
        warnings: Warnings for the reader.
        optimistic: Whether the checkpoint or thresholds were chosen on these images, so that the results are optimistic.
        slices: One row per slice of the images, see `cocotag.evaluation.slices.slices`.
        co_errors: One row per pair of a missed class and a wrongly predicted one, most common first:
            ``missed_index, said_index, missed, said`` and the columns of `cocotag.metrics.co_errors`.
        mistakes: The most confident mistakes, see `cocotag.evaluation.mistakes.confident_mistakes`.
        label_issues: The labels that may be wrong, see `cocotag.evaluation.label_issues.label_issues`.
        curves: The curves of each class, for the plots on the page.
        predictions: Probabilities, decisions and labels of every image.
        image_dir: Folder of the images for the thumbnails; None for a page without thumbnails.
        comparison: The comparison with a baseline; None without a baseline.
    """

    per_class: pd.DataFrame
    summary: pd.DataFrame
    run: dict[str, Any]
    data: dict[str, Any]
    config: dict[str, Any]
    warnings: list[str]
    optimistic: bool
    slices: pd.DataFrame
    co_errors: pd.DataFrame
    mistakes: pd.DataFrame
    label_issues: pd.DataFrame
    curves: list[ClassCurves]
    predictions: Predictions
    image_dir: Path | None
    comparison: Comparison | None

    def to_json(self) -> dict[str, Any]:
        """The content of ``report.json``: plain values, None if undefined."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "run": self.run,
            "data": self.data,
            "config": self.config,
            "summary": self.summary.to_dict("index"),
            "per_class": self.per_class,
            "warnings": self.warnings,
            "slices": self.slices,
            "co_errors": self.co_errors[:TOP_CO_ERRORS],
        }
        if self.comparison is not None:
            document["baseline"] = self.comparison.to_json()
        values: dict[str, Any] = plain(document)
        return values

    @property
    def expected(self) -> str:
        """What mAP is to be expected on many images, in words; empty if it is undefined or within half a point of that here."""
        here, there = (self.summary["value"].get(name, np.nan) for name in ("map", "map_expected"))
        if np.isnan(there) or abs(here - there) < 0.005:
            return ""
        return f"about {round(100 * there)} is to be expected on many images"

    def to_text(self) -> str:
        """The main measures for a terminal, in percent with one decimal, with their 95% intervals."""
        optimism = ", optimistic: checkpoint or thresholds were chosen on them" if self.optimistic else ""
        lines = [f"{self.data['images']} images{optimism}"]
        for metric, label in HEADLINES.items():
            if metric not in self.summary.index:
                continue
            row: dict[Any, Any] = self.summary.loc[metric].to_dict()
            value, low, high = (percent(row[name]) for name in ("value", "lo", "hi"))
            more = f"; {self.expected}" if metric == "map" and self.expected else ""
            lines.append(f"  {label:<9} {value:>5}   ({low} to {high}), {row['n_classes']:.0f} classes{more}")
        return "\n".join([*lines, *(f"  note: {warning}" for warning in self.warnings)])


def evaluate(
    table: AnnotationTable,
    probs: ArrayLike,
    metadata: BundleMetadata,
    *,
    run: Mapping[str, Any],
    data: Mapping[str, Any],
    warnings: Sequence[str] = (),
    optimistic: bool = False,
    aliases: Aliases | None = None,
    brightness: ArrayLike | None = None,
    baseline: Predictions | None = None,
    names: tuple[str, str] = ("baseline", "this"),
    seed: int = 0,
) -> Evaluation:
    """Evaluate a bundle's probabilities on the labels of a split.

    Classes are matched by name, as in training: `cocotag.data.sources.align`. A class that only the bundle has is unknown on
    every image; a class that only the data set has is excluded. A warning names both. Tags are decided on probabilities
    rounded to float16, as in tagging; average precision uses the unrounded ones.

    Args:
        table: The labelled images.
        probs: The bundle's output for the rows of ``table``, ``(N, C)`` in 0..1.
        metadata: The bundle's metadata: classes, thresholds, positives in training.
        run: The bundle, versions and times, for the report.
        data: The evaluated data, for the report.
        warnings: Additional warnings.
        optimistic: Whether the checkpoint or thresholds were chosen on these images.
        aliases: The bundle's names of the table's classes.
        brightness: Brightness of the square input of each image, ``(N,)``, 0..255, for slices.
        baseline: Another tagger's predictions on the same images, to compare with.
        names: Names of the baseline and this bundle.
        seed: Seed of the bootstrap.

    Raises:
        BundleError: A probability is not in 0..1.
        DataError: There are no images, no common class, or the baseline has other images, classes or labels.
        ValueError: ``probs`` has another shape.
    """
    aligned, notes = matched(table, metadata.vocabulary, aliases)
    return evaluate_aligned(
        aligned,
        probs,
        metadata,
        notes,
        run=run,
        data=data,
        warnings=warnings,
        optimistic=optimistic,
        brightness=brightness,
        baseline=baseline,
        names=names,
        seed=seed,
    )


def evaluate_aligned(
    table: AnnotationTable,
    probs: ArrayLike,
    metadata: BundleMetadata,
    notes: Sequence[str] = (),
    *,
    run: Mapping[str, Any],
    data: Mapping[str, Any],
    warnings: Sequence[str] = (),
    optimistic: bool = False,
    brightness: ArrayLike | None = None,
    baseline: Predictions | None = None,
    names: tuple[str, str] = ("baseline", "this"),
    seed: int = 0,
) -> Evaluation:
    """Evaluate as `evaluate` does, for a table and notes from `matched`."""
    probs, thresholds = np.asarray(probs), metadata.threshold_array()
    if probs.shape != (len(table), len(metadata.vocabulary)):
        expected = f"{len(table)} images and {len(metadata.vocabulary)} classes"
        raise ValueError(f"probs is {probs.shape}; it must have {expected}.")
    if not len(table):
        raise DataError("There are no images to evaluate on. Check the split.", code="no_images")
    bad = np.argwhere(~((probs >= 0) & (probs <= 1)))
    if len(bad):
        row, column = bad[0]
        where = f"{len(bad)} of {probs.size} (first: {probs[row, column]} on {table.file_names[row]})"
        raise BundleError(
            f"The bundle's probabilities are outside 0..1: {where}. Train or export it again.", code="probs_out_of_range"
        )
    notes = list(notes)
    targets, known = table.targets, table.known
    if optimistic:
        notes.insert(0, "Optimistic: checkpoint or thresholds were chosen on these images. Report results on other images.")

    predicted = probs.astype(np.float16) >= thresholds
    scores = score(probs, targets, known, thresholds, predicted=predicted, seed=seed)
    best_threshold, best_f1 = best_thresholds(probs, targets, known)
    best_threshold[scores.per_class["f1"].isna()] = best_f1[scores.per_class["f1"].isna()] = np.nan
    notes += _unmeasured(table, scores.per_class)
    classes = {
        "class_id": metadata.vocabulary.ids,
        "index": range(len(metadata.vocabulary)),
        "name": metadata.vocabulary.names,
        "supercategory": metadata.vocabulary.supercategories,
    }
    more = {"train_positives": metadata.positives, "optimistic_best_f1": best_f1, "optimistic_best_threshold": best_threshold}
    config = {
        "intervals": f"95%: Wilson's per class, the jackknife over {GROUPS} groups of images in the summary",
        "seed": seed,
        "decided_on": "probabilities rounded to float16",
        "image_size": metadata.image_size,
        "tuned_on": metadata.tuned_on,
        "training": metadata.config,
    }
    predictions = Predictions(
        table.file_names, tuple(metadata.vocabulary.names), probs.astype(np.float32), predicted, targets, known
    )
    measured = known & (scores.per_class["status"] != "no_negatives").to_numpy()
    return Evaluation(
        per_class=pd.concat([pd.DataFrame(classes), scores.per_class, pd.DataFrame(more)], axis=1),
        summary=scores.summary,
        run=dict(run),
        data={**data, "images": len(table), "optimistic": optimistic},
        config=config,
        warnings=[*notes, *warnings],
        optimistic=optimistic,
        slices=slices(predicted, targets, measured, _slicings(table, measured, brightness), seed=seed),
        co_errors=_named(co_errors(predicted, targets, measured), metadata.vocabulary.names),
        mistakes=confident_mistakes(probs, predicted, targets, known, thresholds),
        label_issues=label_issues(predictions),
        curves=class_curves(probs, targets, measured),
        predictions=predictions,
        image_dir=table.image_dir,
        comparison=None if baseline is None else compare(baseline, predictions, names=names, seed=seed),
    )


def _slicings(table: AnnotationTable, measured: Bools, brightness: ArrayLike | None) -> dict[str, Slicing]:
    """The kinds of slices."""
    labels = (table.targets & measured).sum(axis=1)
    # An image without objects has no largest object, and does not count as an image of small objects.
    largest = np.where(table.targets.any(axis=1) & (table.largest > 0), table.largest.astype(np.float64), np.nan)
    found = {"labels": Slicing(labels, natural=True), "largest object": Slicing(largest, unit=100)}
    return found if brightness is None else {"brightness": Slicing(brightness), **found}


def _named(pairs: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Pairs of class indices with the classes' names."""
    texts = np.array(names, dtype=object)
    missed, said = pairs["missed"].to_numpy(), pairs["said"].to_numpy()
    named = pd.DataFrame({"missed_index": missed, "said_index": said, "missed": texts[missed], "said": texts[said]})
    return pd.concat([named, pairs.drop(columns=["missed", "said"]).reset_index(drop=True)], axis=1)


def matched(table: AnnotationTable, vocabulary: Vocabulary, aliases: Aliases | None) -> tuple[AnnotationTable, list[str]]:
    """The table with the bundle's classes, and notes about classes that differ.

    Raises:
        DataError: There is no common class.
    """
    own, column = table.vocabulary, find_classes(vocabulary, table.vocabulary, aliases or Aliases())
    if (column < 0).all():
        raise DataError(
            f"The bundle's {len(vocabulary)} classes (first: {vocabulary.names[:1]}) and the data set's {len(own)} "
            f"(first: {own.names[:1]}) have no name in common. Evaluate on data with the same classes, or give --aliases.",
            code="no_common_class",
        )
    notes = []
    if missing := [name for index, name in enumerate(vocabulary.names) if index not in column]:
        notes.append(f"The data set does not list {_some(missing)} of the bundle, which cannot be measured.")
    if extra := [name for name, index in zip(own.names, column, strict=True) if index < 0]:
        notes.append(f"The bundle does not have {_some(extra)} of the data set, which are excluded from all measures.")
    moved = {vocabulary.names[i]: 0 for i, id_ in zip(column, own.ids, strict=True) if i >= 0 and vocabulary.ids[i] != id_}
    if moved:
        notes.append(f"The data set and the bundle have different category ids for {_some(list(moved))}; matched by name.")
    aligned = align(table, vocabulary, name="The data set", aliases=aliases)
    return aligned, notes


def _unmeasured(table: AnnotationTable, frame: pd.DataFrame) -> list[str]:
    """Notes about classes that the labels cannot measure."""
    names, everywhere = np.array(table.vocabulary.names), table.known.all(axis=0)
    positive, only = frame["support"].to_numpy() > 0, frame["status"].to_numpy() == "no_negatives"
    notes = []
    if only.any():
        notes.append(f"Only positives are known for {_some(names[only].tolist())}, so no tag could be wrong; not measured.")
    if not (positive & ~only).any():
        notes.append("There is nothing to measure: no class has both positives and negatives on these images.")
    elif (never := everywhere & ~positive).any():
        notes.append(
            f"The data set lists {_some(names[never].tolist())} without positives, so each such tag counts as wrong. If these "
            "classes were not annotated on these images, remove them from its list of categories."
        )
    return notes


def _some(names: Sequence[str], most: int = 10) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} class{'es' if len(names) > 1 else ''} ({', '.join(names[:most])}{rest})"
