"""How good a bundle is on labelled images: probabilities -> report.json, per_class.csv, summary.csv and report.html.

Knows no image and no network: it is handed the probabilities.
"""

from __future__ import annotations

import json
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
from cocotag.errors import BundleError, DataError, OutputError
from cocotag.files import write_text
from cocotag.labels import Vocabulary
from cocotag.metrics import TOP1, score
from cocotag.reports import plots
from cocotag.reports.page import percent, plain, render
from cocotag.thresholds import best_thresholds

SCHEMA_VERSION = 1
RESAMPLES = 1000
HEADLINES = {"map": "mAP", "macro_f1": "macro-F1", "micro_f1": "micro-F1", "cf1": "CF1", TOP1: "top-1"}
ENOUGH_SUPPORT = 10
"""Positives from which on a class's F1 is worth naming in a sentence."""
DRAWN_CLASSES = 200
"""Rows of the dot plot; with more classes, those of most support."""

FILES = ("report.json", "per_class.csv", "summary.csv", "report.html")
"""What `Evaluation.write` writes."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        per_class: A row for each class of the bundle in index order, the columns of ``per_class.csv``; NaN where undefined.
        summary: A row for each measure, with columns ``value, lo, hi, n_classes``; fractions, NaN where undefined.
        run: What was run: bundle, versions, times.
        data: What it was run on; ``images`` and ``optimistic`` are added.
        config: How it was measured, and where checkpoint and thresholds were chosen.
        warnings: What a reader should know first.
        optimistic: Something was chosen on these images, so the figures flatter.
    """

    per_class: pd.DataFrame
    summary: pd.DataFrame
    run: dict[str, Any]
    data: dict[str, Any]
    config: dict[str, Any]
    warnings: list[str]
    optimistic: bool

    def to_json(self) -> dict[str, Any]:
        """The content of ``report.json``: plain values, None where a figure is undefined."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "run": self.run,
            "data": self.data,
            "config": self.config,
            "summary": self.summary.to_dict("index"),
            "per_class": self.per_class,
            "warnings": self.warnings,
        }
        made: dict[str, Any] = plain(document)
        return made

    def to_text(self) -> str:
        """The headlines for a terminal, percent with one decimal and their 95% intervals."""
        lines = [f"{self.data['images']} images{', optimistic: something was chosen on them' if self.optimistic else ''}"]
        for metric, label in HEADLINES.items():
            if metric not in self.summary.index:
                continue
            row: dict[Any, Any] = self.summary.loc[metric].to_dict()
            figure, low, high = (percent(row[name]) for name in ("value", "lo", "hi"))
            lines.append(f"  {label:<9} {figure:>5}   ({low} to {high}), {row['n_classes']:.0f} classes")
        return "\n".join([*lines, *(f"  note: {warning}" for warning in self.warnings)])

    def write(self, out_dir: Path | str) -> None:
        """Write ``per_class.csv``, ``summary.csv``, ``report.html`` and, last, ``report.json``.

        Each file is written whole or not at all, and an older ``report.json`` goes first: where it is, the report is whole.

        Raises:
            OutputError: The folder cannot be written.
        """
        out_dir = Path(out_dir)
        summary = self.summary.reset_index().assign(optimistic=self.optimistic)
        texts = {
            "per_class.csv": self.per_class.to_csv(index=False, lineterminator="\n"),
            "summary.csv": summary.to_csv(index=False, lineterminator="\n"),
            "report.html": _page(self),
            "report.json": json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        }
        try:
            (out_dir / "report.json").unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{out_dir} cannot be written ({error.strerror}). Choose another place.") from None
        for name, text in texts.items():
            write_text(out_dir / name, text)


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
    seed: int = 0,
) -> Evaluation:
    """Measure a bundle's probabilities against the labels of a split.

    Classes are matched by name, as in training: `cocotag.data.sources.align`. A class that only the bundle has is unknown on
    every image here; one that only the data set has is left out; both are named in a warning. Tags are decided on
    probabilities rounded to float16, as in tagging; average precision ranks them as they are.

    Args:
        table: The labelled images.
        probs: The bundle's output for the rows of ``table``, ``(N, C)`` in 0..1.
        metadata: The bundle's: classes, thresholds, positives in training.
        run: What was run, for the report.
        data: What it was run on, for the report.
        warnings: What is to be said besides.
        optimistic: Checkpoint or thresholds were chosen on these images.
        aliases: What the table's classes are called in the bundle.
        seed: Of the bootstrap.

    Raises:
        BundleError: A probability is not in 0..1.
        DataError: No images, or no class in common.
        ValueError: ``probs`` has another shape.
    """
    probs, thresholds = np.asarray(probs), metadata.threshold_array()
    if probs.shape != (len(table), len(metadata.vocabulary)):
        raise ValueError(f"probs is {probs.shape}; {len(table)} images and {len(metadata.vocabulary)} classes are needed.")
    if not len(table):
        raise DataError("There are no images to evaluate on. Check the split.")
    bad = np.argwhere(~((probs >= 0) & (probs <= 1)))
    if len(bad):
        row, column = bad[0]
        where = f"{len(bad)} of {probs.size} (first: {probs[row, column]} on {table.file_names[row]})"
        raise BundleError(f"The bundle gives probabilities outside 0..1: {where}. Train or export it again.")
    table, notes = matched(table, metadata.vocabulary, aliases)
    targets, known = table.targets, table.known
    if optimistic:
        notes.insert(0, "Optimistic: checkpoint or thresholds were chosen on these images. Claim figures from other images.")

    predicted = probs.astype(np.float16) >= thresholds
    scores = score(probs, targets, known, thresholds, predicted=predicted, resamples=RESAMPLES, seed=seed)
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
        "intervals": f"95%, bootstrap over images, {RESAMPLES} draws",
        "seed": seed,
        "decided_on": "probabilities rounded to float16",
        "image_size": metadata.image_size,
        "tuned_on": metadata.tuned_on,
        "training": metadata.config,
    }
    return Evaluation(
        per_class=pd.concat([pd.DataFrame(classes), scores.per_class, pd.DataFrame(more)], axis=1),
        summary=scores.summary,
        run=dict(run),
        data={**data, "images": len(table), "optimistic": optimistic},
        config=config,
        warnings=[*notes, *warnings],
        optimistic=optimistic,
    )


def matched(table: AnnotationTable, vocabulary: Vocabulary, aliases: Aliases | None) -> tuple[AnnotationTable, list[str]]:
    """The table in the bundle's classes, and what did not fit.

    Raises:
        DataError: No class in common.
    """
    own, column = table.vocabulary, find_classes(vocabulary, table.vocabulary, aliases or Aliases())
    if (column < 0).all():
        raise DataError(
            f"The bundle's {len(vocabulary)} classes (first: {vocabulary.names[:1]}) and the data set's {len(own)} "
            f"(first: {own.names[:1]}) have no name in common. Evaluate on data with the same classes, or give --aliases."
        )
    notes = []
    if missing := [name for index, name in enumerate(vocabulary.names) if index not in column]:
        notes.append(f"The data set does not list {_some(missing)} of the bundle; not measured.")
    if extra := [name for name, index in zip(own.names, column, strict=True) if index < 0]:
        notes.append(f"The bundle does not know {_some(extra)} of the data set; left out of every figure.")
    moved = {vocabulary.names[i]: 0 for i, there in zip(column, own.ids, strict=True) if i >= 0 and vocabulary.ids[i] != there}
    if moved:
        notes.append(f"The data set gives {_some(list(moved))} another category id than the bundle; matched by name.")
    aligned = align(table, vocabulary, name="The data set", aliases=aliases)
    return aligned, notes


def _unmeasured(table: AnnotationTable, frame: pd.DataFrame) -> list[str]:
    """What the labels cannot tell, by the frame of every class."""
    names, everywhere = np.array(table.vocabulary.names), table.known.all(axis=0)
    positive, only = frame["support"].to_numpy() > 0, frame["status"].to_numpy() == "no_negatives"
    notes = []
    if only.any():
        notes.append(f"Only positives are known of {_some(names[only].tolist())}, so that no tag could be wrong; not measured.")
    if not (positive & ~only).any():
        notes.append("There is nothing to measure: no class has both positives and negatives on these images.")
    elif (never := everywhere & ~positive).any():
        notes.append(
            f"The data set lists {_some(names[never].tolist())} without a positive, so every such tag counts as wrong. If "
            "nobody looked for them on these images, take them off its list of categories."
        )
    return notes


def _some(names: Sequence[str], most: int = 10) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} class{'es' if len(names) > 1 else ''} ({', '.join(names[:most])}{rest})"


def _page(evaluation: Evaluation) -> str:
    """The page, from the frames alone."""
    frame = evaluation.per_class
    with_support = frame[frame["f1"].notna()].sort_values(["f1", "support"], ascending=[False, False], kind="stable")
    drawn = with_support[with_support["support"].rank(method="first", ascending=False) <= DRAWN_CLASSES]
    trusted = with_support[with_support["support"] >= ENOUGH_SUPPORT]
    gap = trusted["optimistic_best_f1"] - trusted["f1"]
    return render(
        "evaluation.html.j2",
        summary=plain(evaluation.summary.to_dict("index")),
        rows=plain(frame),
        classes=len(frame),
        supported=len(with_support),
        optimistic=evaluation.optimistic,
        warnings=evaluation.warnings,
        run=_pairs(evaluation.run),
        data=_pairs(evaluation.data),
        images=evaluation.data["images"],
        split=evaluation.data.get("split"),
        tuned_on=evaluation.config["tuned_on"],
        config=_pairs(evaluation.config),
        worst=plain(trusted.iloc[::-1][:3]),
        never=frame.loc[frame["status"] == "no_predictions", "name"].tolist(),
        widest_gap=plain(trusted.iloc[int(gap.argmax())].to_dict()) if (gap > 0).any() else None,
        enough_support=ENOUGH_SUPPORT,
        drawn=len(drawn),
        untrained=int((with_support["train_positives"] == 0).sum()),
        dot_plot=plots.dots(
            drawn["name"].tolist(),
            _percents(drawn["f1"]),
            _percents(drawn["f1_lo"]),
            _percents(drawn["f1_hi"]),
            counts=drawn["support"].tolist(),
            title="F1 of each class with its 95% interval, best first; at the right its positives here",
            x_label="F1, %",
        ),
        scatter_plot=plots.scatter(
            with_support["train_positives"].tolist(),
            _percents(with_support["f1"]),
            with_support["name"].tolist(),
            title="F1 of each class against its positives in training",
            x_label="positives in training, images (logarithmic)",
            y_label="F1, %",
            log_x=True,
        ),
    )


def _percents(fractions: pd.Series) -> list[float | None]:
    return [None if np.isnan(value) else round(100 * value, 1) for value in fractions.tolist()]


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values as text; what is nested is shown as JSON."""
    shown = plain(values)
    return [(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) for name, value in shown.items()]
