"""F1 on slices of the images, by brightness, number of labels or object size.

Does not depend on pixels or on a page: the caller gives one number per image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cocotag.metrics.bootstrap import ratio
from cocotag.metrics.intervals import GROUPS, jackknife, leaving_out

MIN_IMAGES = 20
"""Minimum number of images in a slice: with fewer, the interval is too wide to be useful."""
QUARTERS = 4
MIN_CLASSES = 5
"""Number of classes common to all slices below which macro-F1 is undefined, since so few classes are not representative."""

COLUMNS = (
    *("by", "slice", "lo", "hi", "images", "labels_per_image", "n_classes", "micro_f1", "micro_f1_lo", "micro_f1_hi"),
    *("macro_f1", "macro_f1_lo", "macro_f1_hi", "precision", "recall", "false_tags_per_image", "missed_tags_per_image"),
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Slicing:
    """The values by which images are sliced.

    Attributes:
        values: One value per image, ``(N,)``; an image with NaN is in no slice.
        natural: Each whole number is a slice, with the rare large ones in one slice; otherwise quantiles are the slices.
        unit: 1, or 100 to name slices in percent.
    """

    values: ArrayLike
    natural: bool = False
    unit: float = 1.0


def slices(
    predicted: Bools,
    targets: Bools,
    known: Bools,
    by: Mapping[str, Slicing],
    *,
    leave_out: int = GROUPS,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure the decisions on each slice of the images, with 95% intervals over its images.

    ``micro_f1``, ``precision`` and ``recall`` are taken over all decisions on the slice. ``macro_f1`` is the mean over the
    ``n_classes`` classes with a positive in *every* slice of the same kind (ignoring slices without any positives), so that
    slices of a kind compare the same classes; it is undefined with fewer than `MIN_CLASSES` classes. Average precision is
    left out: it rises with the share of positives, which differs between slices. The intervals are the jackknife's, as in the
    summary of `cocotag.metrics.score`.

    Args:
        predicted: The decisions, ``(N, C)``.
        targets: Multi-hot, ``(N, C)``.
        known: The mask of known labels, ``(N, C)``.
        by: Name of a kind of slices -> its values.
        leave_out: Groups of images that the jackknife leaves out, one at a time; with 0, the intervals are NaN.
        seed: Seed of the groups.

    Returns:
        One row per slice, columns `COLUMNS`; ``lo`` and ``hi`` are the smallest and largest value in it. A kind without two
        slices of `MIN_IMAGES` images has no rows.
    """
    cells = [(part & known).astype(np.float32) for part in (targets & predicted, ~targets & predicted, targets & ~predicted)]
    rows: list[dict[str, object]] = []
    for name, slicing in by.items():
        values = np.asarray(slicing.values, np.float64)
        groups = _natural(values) if slicing.natural else _quantiles(values)
        if len(groups) < 2:
            continue
        support = [(cells[0][group] + cells[2][group]).sum(axis=0) for group in groups]
        filled = [counts > 0 for counts in support if counts.any()]
        common = np.logical_and.reduce(filled) if filled else np.zeros(targets.shape[1], bool)
        common &= common.sum() >= MIN_CLASSES
        texts = _texts(values, groups, slicing)
        for group, text in zip(groups, texts, strict=True):
            measured = _measure([part[group] for part in cells], common, leave_out, seed)
            rows.append({"by": name, "slice": text, "lo": values[group].min(), "hi": values[group].max(), **measured})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _quantiles(values: Floats) -> list[NDArray[np.intp]]:
    """Quarters, or fewer parts if a quarter would be too small; equal values stay together."""
    rows = np.flatnonzero(~np.isnan(values))
    parts = min(QUARTERS, len(rows) // MIN_IMAGES)
    if parts < 2:
        return []
    edges = np.unique(np.quantile(values[rows], np.linspace(0, 1, parts + 1)[1:-1]))
    return _groups(rows, np.searchsorted(edges, values[rows], side="left"))


def _natural(values: Floats) -> list[NDArray[np.intp]]:
    """One slice per whole number in rising order; from the first slice that would be too small, the rest is one slice."""
    rows = np.flatnonzero(~np.isnan(values))
    part = np.zeros(len(rows), np.intp)
    numbers, counts = np.unique(values[rows], return_counts=True)
    current, filled = 0, 0
    for number, count in zip(numbers, counts, strict=True):
        if filled >= MIN_IMAGES and counts[numbers >= number].sum() >= MIN_IMAGES:
            current, filled = current + 1, 0
        part[values[rows] == number] = current
        filled += count
        if current == 2 * QUARTERS - 1:
            part[values[rows] >= number] = current
            break
    return _groups(rows, part)


def _groups(rows: NDArray[np.intp], part: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    return [rows[part == number] for number in np.unique(part)]


def _texts(values: Floats, groups: list[NDArray[np.intp]], slicing: Slicing) -> list[str]:
    """Names such as '3', '4 or more', '12 to 40'; those of quantiles have just enough digits to differ."""
    ends = [(values[group].min() * slicing.unit, values[group].max() * slicing.unit) for group in groups]
    last = len(ends) - 1
    if slicing.natural:
        return [
            f"{low:.0f}" if low == high else f"{low:.0f} or more" if index == last else f"{low:.0f} to {high:.0f}"
            for index, (low, high) in enumerate(ends)
        ]
    for digits in range(6):
        shown = [(f"{low:.{digits}f}", f"{high:.{digits}f}") for low, high in ends]
        if len(set(shown)) == len(shown) and all(float(a) < float(b) for a, b in shown):
            break
    sign = "%" if slicing.unit == 100 else ""
    return [f"{low} to {high}{sign}" for low, high in shown]


def _measure(cells: list[NDArray[np.float32]], common: Bools, leave_out: int, seed: int) -> dict[str, float | int]:
    """All measures of one slice, from its ``(n, C)`` true positives, false positives and false negatives."""
    images = len(cells[0])
    totals = [part.sum(axis=0, dtype=np.float64)[None] for part in cells]
    tp, fp, fn = (float(part.sum()) for part in totals)
    point = _f1(totals, common)[0]
    bounds = np.full((2, 2), np.nan)
    if leave_out:
        weights = leaving_out(images, leave_out, seed)
        left_out = _f1([(weights.T @ part).astype(np.float64) for part in cells], common)
        bounds = np.clip(jackknife(point, left_out), 0, 1)
    return {
        "images": images,
        "labels_per_image": (tp + fn) / images,
        "n_classes": int(common.sum()),
        "micro_f1": point[0],
        "micro_f1_lo": bounds[0, 0],
        "micro_f1_hi": bounds[1, 0],
        "macro_f1": point[1],
        "macro_f1_lo": bounds[0, 1],
        "macro_f1_hi": bounds[1, 1],
        "precision": tp / (tp + fp) if tp + fp else np.nan,
        "recall": tp / (tp + fn) if tp + fn else np.nan,
        "false_tags_per_image": fp / images,
        "missed_tags_per_image": fn / images,
    }


def _f1(totals: list[Floats], common: Bools) -> Floats:
    """Micro-F1 and macro-F1 under ``B`` weightings, from counts ``(B, C)``: ``(B, 2)``, NaN without positives."""
    tp, fp, fn = totals
    found = (tp + fn).sum(axis=1) > 0
    micro = np.where(found, ratio(2 * tp.sum(axis=1), (2 * tp + fp + fn).sum(axis=1)), np.nan)
    has = (tp + fn > 0) & common
    macro = ratio(np.where(has, ratio(2 * tp, 2 * tp + fp + fn), 0).sum(axis=1), has.sum(axis=1))
    return np.stack([micro, macro], axis=1)
