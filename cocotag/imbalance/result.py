"""Imbalance of the labels of a data set: AnnotationTable -> data frames. `cocotag.imbalance.write` writes them to files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cocotag.data.annotations import AnnotationTable
from cocotag.data.frequency import effective_number
from cocotag.errors import DataError
from cocotag.imbalance import measures as measure
from cocotag.pages.values import number, plain

SHOWN_ROWS = 20
"""Rows of the page's shorter tables; the CSV files have all rows."""


@dataclass(frozen=True)
class Imbalance:
    """The imbalance of one split, as measured by `imbalance`.

    Attributes:
        split: Its name, or an empty string.
        measures: Measures of the whole split; None if undefined.
        classes: One row per class, in index order; NaN if undefined.
        pairs: One row per pair of classes, see `cocotag.imbalance.measures.pairs`.
        labelsets: The most common labelsets: ``labels`` (a tuple of names) and ``images``.
        labels_per_image: Number of images with 0, 1, 2, ... labels.
    """

    split: str
    measures: dict[str, int | float | None]
    classes: pd.DataFrame
    pairs: pd.DataFrame
    labelsets: pd.DataFrame
    labels_per_image: list[int]

    def to_text(self) -> str:
        """One line for a terminal."""
        measures = self.measures
        return (
            f"{self.split or 'data set'}: {number(measures['images'])} images, {number(measures['classes_present'])} classes, "
            f"{number(measures['cardinality'])} labels per image, MeanIR {number(measures['mean_ir'])} "
            f"(1 is balanced), {number(measures['tail_classes'])} tail classes"
        )

    def to_json(self) -> dict[str, Any]:
        """The content of ``dataset.json``: the split's name and its measures."""
        return {"split": self.split, **plain(self.measures)}


def imbalance(table: AnnotationTable, *, split: str = "", input_features: int = 1) -> Imbalance:
    """Measure the imbalance of the image-level labels of a split.

    Unknown cells do not count: the frequency of a class is its positives over its known images. Images without labels
    count. A class that never occurs has an undefined IRLbl and is excluded from means over classes, but not from
    ``density``, ``tcs`` and ``gini``.

    Args:
        table: The split.
        split: Its name in the report.
        input_features: Number of input features for the complexity score TCS; images have no natural number of them.

    Raises:
        DataError: There are no images or no classes.
        ValueError: ``input_features`` is below 1.
    """
    if not len(table) or not len(table.vocabulary):
        raise DataError(
            f"There is nothing to measure: {len(table)} images and {len(table.vocabulary)} classes. Check the annotation file.",
            code="no_classes" if len(table) else "no_images",
        )
    if input_features < 1:
        raise ValueError(f"input_features is {input_features}; it must be at least 1.")
    targets = table.targets & table.known
    positives = targets.sum(axis=0)
    scumbles = measure.scumble(targets)
    sets, set_images = measure.labelsets(targets)
    classes = _classes(table, targets, scumbles)
    labels_per_image = np.bincount(targets.sum(axis=1))
    ratios = classes["irlbl"].dropna().to_numpy()
    total, count = int(positives.sum()), len(positives)
    pairs = measure.pairs(targets, table.known, table.vocabulary.names)
    diversity, diversity_of_possible = measure.diversity(len(sets), len(table), count)
    measures: dict[str, int | float | None] = {
        "images": len(table),
        "classes": count,
        "classes_present": int((positives > 0).sum()),
        "positives": total,
        "instances": int(classes["instances"].sum()),
        "unknown_cells": int((~table.known).sum()),
        "unlabelled_images": int(labels_per_image[0]),
        "cardinality": total / len(table),
        "density": total / len(table) / count,
        "max_labels_per_image": len(labels_per_image) - 1,
        "labelsets": len(sets),
        "single_labelsets": int((set_images == 1).sum()),
        "max_labelset_images": int(set_images[0]),
        "diversity": diversity,
        "diversity_of_possible": diversity_of_possible,
        "mean_ir": measure.mean_ir(positives),
        "mean_ir_without_most_common": measure.mean_ir(np.delete(positives, positives.argmax())),
        "max_ir": float(ratios.max()) if len(ratios) else None,
        "cvir": measure.variation(ratios),
        "scumble": float(scumbles.mean()),
        "scumble_cv": measure.variation(scumbles),
        "tcs": measure.tcs(input_features, count, len(sets)),
        "input_features": input_features,
        "gini": measure.gini(positives),
        **{f"{group}_classes": int((classes["group"] == group).sum()) for group in measure.GROUPS},
        "pairs": int((pairs["count"] > 0).sum()),
        "supported_pairs": int(pairs["supported"].sum()),
        "unseen_pairs": int((pairs["count"] == 0).sum()),
        "min_pair_images": measure.MIN_PAIR_IMAGES,
    }
    names = np.asarray(table.vocabulary.names, dtype=object)
    commonest = [tuple(names[row].tolist()) for row in sets[:SHOWN_ROWS]]
    return Imbalance(
        split=split,
        measures=measures,
        classes=classes,
        pairs=pairs,
        labelsets=pd.DataFrame({"labels": commonest, "images": set_images[:SHOWN_ROWS]}),
        labels_per_image=labels_per_image.tolist(),
    )


def _classes(table: AnnotationTable, targets: measure.Bools, scumbles: measure.Floats) -> pd.DataFrame:
    positives, known = targets.sum(axis=0), table.known.sum(axis=0)
    ids = table.vocabulary.ids
    instances = np.where(targets, table.instances, 0).sum(axis=0, dtype=np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        frequency = positives / known
        negatives_per_positive = np.where(positives > 0, (known - positives) / positives, np.nan)
        instances_per_image = np.where(positives > 0, instances / positives, np.nan)
    return pd.DataFrame(
        {
            "class_id": measure.text(ids) if any(isinstance(entry, str) for entry in ids) else ids,
            "index": np.arange(len(positives)),
            "name": measure.text(table.vocabulary.names),
            "images": positives,
            "instances": instances,
            "irlbl": measure.irlbl(positives),
            "scumble": measure.scumble_of_classes(targets, scumbles),
            "group": measure.groups(positives),
            "supercategory": measure.text(table.vocabulary.supercategories),
            "known": known,
            "frequency": frequency,
            "negatives_per_positive": negatives_per_positive,
            "effective_number": effective_number(positives, measure.BETA),
            "weight": measure.class_weights(positives),
            "pos_weight": measure.effective_pos_weights(positives, known),
            "scumble_cv": measure.scumble_variation(targets, scumbles),
            "instances_per_image": instances_per_image,
        }
    )


def drift(imbalances: Sequence[Imbalance]) -> pd.DataFrame:
    """Compare the frequency of each class between splits of one data set.

    Returns:
        One row per class: ``class_id``, ``name``, ``frequency_SPLIT`` for every split, then for every split but the first
        ``difference_SPLIT`` (its frequency minus that of the first) and ``z_SPLIT`` (this difference in standard errors;
        beyond about 4 it is not chance: there are many classes).

    Raises:
        DataError: The splits have different classes.
    """
    main, names = imbalances[0].classes, split_names(imbalances)
    for name, other in zip(names, imbalances, strict=True):
        if not main[["class_id", "name"]].equals(other.classes[["class_id", "name"]]):
            raise DataError(
                f"Splits {names[0]!r} and {name!r} have different classes. Compare splits of one data set.",
                code="different_classes",
            )
    frame = main[["class_id", "name"]].copy()
    for name, other in zip(names, imbalances, strict=True):
        frame[f"frequency_{name}"] = other.classes["frequency"]
    for name, other in zip(names[1:], imbalances[1:], strict=True):
        frame[f"difference_{name}"] = other.classes["frequency"] - main["frequency"]
        counts = [frame_of[column].to_numpy() for frame_of in (main, other.classes) for column in ("images", "known")]
        frame[f"z_{name}"] = measure.difference_in_sigmas(*counts)
    return frame


def split_names(imbalances: Sequence[Imbalance]) -> list[str]:
    """A unique name for each split."""
    return distinct([entry.split or f"split {position}" for position, entry in enumerate(imbalances, start=1)])


def distinct(names: Sequence[str]) -> list[str]:
    """The names, each once: a repeated one gets its number."""
    return [f"{name} ({position})" if name in names[: position - 1] else name for position, name in enumerate(names, start=1)]
