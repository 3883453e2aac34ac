"""How unbalanced the labels of a data set are: AnnotationTable -> dataset.json, classes.csv, pairs.csv and a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cocotag.data.annotations import AnnotationTable
from cocotag.errors import DataError
from cocotag.files import atomic_path
from cocotag.imbalance import measures as measure
from cocotag.imbalance.brightness import Brightness
from cocotag.imbalance.integrity import Integrity
from cocotag.imbalance.page import SHOWN_ROWS, draw_page
from cocotag.pages.values import number, plain

FILES = ("dataset.json", "classes.csv", "pairs.csv", "drift.csv", "imbalance.html")
"""What `write` writes, ``drift.csv`` only for several splits."""


@dataclass(frozen=True)
class Imbalance:
    """What `imbalance` found in one split.

    Attributes:
        split: Its name, empty if it has none.
        measures: Plain numbers of the whole split; None where one is undefined.
        classes: One row a class, in index order; NaN where a figure is undefined.
        pairs: One row a pair of classes, see `cocotag.imbalance.measures.pairs`.
        labelsets: The commonest combinations of labels: ``labels`` (names, a tuple) and ``images``.
        labels_per_image: How many images have 0, 1, 2, ... labels.
    """

    split: str
    measures: dict[str, int | float | None]
    classes: pd.DataFrame
    pairs: pd.DataFrame
    labelsets: pd.DataFrame
    labels_per_image: list[int]

    def to_text(self) -> str:
        """The headlines for a terminal."""
        measures = self.measures
        return (
            f"{self.split or 'data set'}: {number(measures['images'])} images, {number(measures['classes_present'])} classes, "
            f"{number(measures['cardinality'])} labels per image, MeanIR {number(measures['mean_ir'])} "
            f"(1 is balanced), {number(measures['tail_classes'])} classes in the tail"
        )

    def to_json(self) -> dict[str, Any]:
        """The content of ``dataset.json``: the split's name and its measures."""
        return {"split": self.split, **plain(self.measures)}


def imbalance(table: AnnotationTable, *, split: str = "", input_features: int = 1) -> Imbalance:
    """Measure how unbalanced the image-level labels of a split are.

    An unknown cell is neither positive nor negative: a class's frequency is its positives over its known images. An image
    without labels counts. A class that never occurs has no IRLbl and is left out of means over classes, but not of
    ``density``, ``tcs`` and ``gini``.

    Args:
        table: The split.
        split: What to call it.
        input_features: Features that the complexity score TCS counts; images have no natural number of them.

    Raises:
        DataError: No images or no classes.
        ValueError: ``input_features`` is below 1.
    """
    if not len(table) or not len(table.vocabulary):
        raise DataError(f"{len(table)} images and {len(table.vocabulary)} classes: nothing to measure. Check the file.")
    if input_features < 1:
        raise ValueError(f"input_features is {input_features}; at least 1 is needed.")
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
            "class_id": measure.text(ids) if any(isinstance(one, str) for one in ids) else ids,
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
            "effective_number": measure.effective_number(positives),
            "weight": measure.class_weights(positives),
            "pos_weight": measure.pos_weights(positives, known),
            "scumble_cv": measure.scumble_variation(targets, scumbles),
            "instances_per_image": instances_per_image,
        }
    )


def drift(imbalances: Sequence[Imbalance]) -> pd.DataFrame:
    """Compare the frequency of each class between splits of one data set.

    Returns:
        One row a class: ``class_id``, ``name``, ``frequency_SPLIT`` for every split, then for every split but the first
        ``difference_SPLIT`` (its frequency less the first's) and ``z_SPLIT`` (that difference in standard errors: beyond
        about 3 it is not chance).

    Raises:
        DataError: The splits have different classes.
    """
    main, names = imbalances[0].classes, split_names(imbalances)
    for name, other in zip(names, imbalances, strict=True):
        if not main[["class_id", "name"]].equals(other.classes[["class_id", "name"]]):
            raise DataError(f"Splits {names[0]!r} and {name!r} have different classes. Compare splits of one data set.")
    frame = main[["class_id", "name"]].copy()
    for name, other in zip(names, imbalances, strict=True):
        frame[f"frequency_{name}"] = other.classes["frequency"]
    for name, other in zip(names[1:], imbalances[1:], strict=True):
        frame[f"difference_{name}"] = other.classes["frequency"] - main["frequency"]
        counts = [frame_of[column].to_numpy() for frame_of in (main, other.classes) for column in ("images", "known")]
        frame[f"z_{name}"] = measure.difference_in_sigmas(*counts)
    return frame


def split_names(imbalances: Sequence[Imbalance]) -> list[str]:
    """A different name for each split, whatever they are called."""
    names: list[str] = []
    for place, entry in enumerate(imbalances, start=1):
        name = entry.split or f"split {place}"
        names.append(f"{name} ({place})" if name in names else name)
    return names


def write(
    imbalances: Sequence[Imbalance],
    out_dir: Path | str,
    *,
    brightness: Brightness | None = None,
    integrity: Integrity | None = None,
) -> None:
    """Write ``classes.csv``, ``pairs.csv``, ``imbalance.html`` and, last, ``dataset.json``.

    The first split is the main one. With several there is ``drift.csv`` too, and ``dataset.json`` has the measures of each
    under ``splits``. Nothing takes its place before all is written, and whoever finds ``dataset.json`` finds the other files
    complete and of the same run.

    Args:
        imbalances: At least one.
        out_dir: Made if it is not there; files of an earlier report in it are replaced.
        brightness: What the photographs of the main split look like; None if nobody looked.
        integrity: What `cocotag check` finds in the main split; None if nobody looked.

    Raises:
        DataError: The splits have different classes.
        OutputError: The folder cannot be written.
    """
    out_dir, main, names = Path(out_dir), imbalances[0], split_names(imbalances)
    document = main.to_json()
    files = {"classes.csv": _csv(main.classes), "pairs.csv": _csv(main.pairs)}
    drifts = drift(imbalances) if len(imbalances) > 1 else None
    if drifts is not None:
        document["splits"] = [entry.to_json() for entry in imbalances]
        files["drift.csv"] = _csv(drifts)
    if brightness is not None:
        document["brightness"] = plain(brightness.to_json())
    if integrity is not None:
        document["integrity"] = plain(integrity.to_json())
    files["imbalance.html"] = draw_page(imbalances, names, drifts, brightness, integrity)
    with ExitStack() as stack:  # what is entered first is put in its place last
        put(stack, out_dir / "dataset.json", json.dumps(document, indent=2, allow_nan=False) + "\n")
        for name, text in files.items():
            put(stack, out_dir / name, text)
        for earlier in ("dataset.json", "drift.csv"):
            (out_dir / earlier).unlink(missing_ok=True)


def put(stack: ExitStack, path: Path, text: str) -> None:
    """Write a text beside ``path``; it takes that place when the stack ends well."""
    stack.enter_context(atomic_path(path)).write_text(text, encoding="utf-8", newline="")


def _csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, lineterminator="\n").encode("utf-8", "replace").decode("utf-8")
