"""Measures of imbalance on multi-hot labels, in numpy. Does not depend on files or on a page.

IRLbl, MeanIR and CVIR: Charte et al. 2015, https://doi.org/10.1016/j.neucom.2014.08.091. SCUMBLE: Charte et al. 2019,
https://arxiv.org/abs/1802.05033. TCS: Charte et al. 2016, "On the impact of dataset complexity and sampling strategy in
multilabel classifiers performance", HAIS. Diversity: Zhang and Zhou 2014, https://doi.org/10.1109/TKDE.2013.39. Where these
papers leave a choice, it is that of the R package mldr, with two exceptions: the IRLbl of a class that never occurs is
undefined instead of 0, and every standard deviation is the sample standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cocotag.config import LossConfig
from cocotag.data.frequency import effective_number, pos_weights

GROUPS = ("head", "medium", "tail", "absent")
BETA = 0.9999
"""Beta of the effective number of samples: a class gains little beyond about 1 / (1 - BETA) images."""
MIN_PAIR_IMAGES = 5
"""Images that two classes must share before their lift and Jaccard index are more than chance."""
ROUNDING = 1e-13
"""SCUMBLE of equally common labels is 0; its rounding error is below this."""

Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def ratio(part: float, whole: float) -> float | None:
    """``part / whole``, or None if ``whole`` is 0."""
    return float(part) / float(whole) if whole else None


def _divide(part: Floats | float, whole: Floats | Counts) -> Floats:
    """``part / whole`` per element; NaN where ``whole`` is 0."""
    found: Floats = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole != 0)
    return found


def irlbl(positives: Counts) -> Floats:
    """Imbalance ratio per label: images of the most common class over images of each class, ``(C,)``.

    It is 1 for the most common class and NaN for a class that never occurs.
    """
    return _divide(positives.max(initial=0), positives)


def mean_ir(positives: Counts) -> float | None:
    """Mean of IRLbl over the classes that occur; None if no class occurs."""
    ratios = irlbl(positives[positives > 0])
    return float(ratios.mean()) if len(ratios) else None


def variation(values: Floats) -> float | None:
    """Coefficient of variation: sample standard deviation over the mean; None for fewer than two values or a mean of 0."""
    return ratio(values.std(ddof=1), values.mean()) if len(values) > 1 else None


def scumble(targets: Bools) -> Floats:
    """SCUMBLE of each image, ``(N,)`` in [0, 1): 1 - geometric / arithmetic mean of the IRLbl of its labels.

    It measures how far an image mixes common with rare labels. An image with one label or without labels has 0.
    """
    ratios = np.nan_to_num(irlbl(targets.sum(axis=0)), nan=1.0)
    labels = np.maximum(targets.sum(axis=1), 1)
    geometric = np.exp(targets @ np.log(ratios) / labels)
    arithmetic = targets @ ratios / labels
    found = np.nan_to_num(1 - _divide(geometric, arithmetic), nan=0.0)
    return np.where(found < ROUNDING, 0.0, found)


def scumble_of_classes(targets: Bools, per_image: Floats) -> Floats:
    """Mean SCUMBLE of the images that have the class, ``(C,)``; NaN for a class that never occurs."""
    return _divide(per_image @ targets, targets.sum(axis=0))


def scumble_variation(targets: Bools, per_image: Floats) -> Floats:
    """Coefficient of variation of SCUMBLE over the images of each class, ``(C,)``.

    NaN where it is undefined: fewer than two images, or a mean of 0.
    """
    found = (variation(per_image[column]) for column in targets.T)
    return np.array([np.nan if value is None else value for value in found], np.float64)


def diversity(distinct_labelsets: int, images: int, classes: int) -> tuple[float, float]:
    """Label diversity: different labelsets over the images, and over the possible labelsets.

    The first is the normalised label diversity of Zhang and Zhou 2014: it is 1 if every image has a different labelset. The
    second divides by the largest possible number of labelsets, min(images, 2^classes), as the tables of the KDIS repository
    of multi-label data sets do.
    """
    possible = min(images, 2**classes)
    return distinct_labelsets / images, distinct_labelsets / possible


def lorenz(positives: Counts) -> tuple[Floats, Floats]:
    """Lorenz curve: cumulative share of the classes, rarest first, and of all labels; ``(C + 1,)`` each.

    Both are empty if there are no labels.
    """
    if not positives.sum():
        return np.empty(0), np.empty(0)
    labels = np.concatenate([[0], np.sort(positives).cumsum()])
    return np.linspace(0, 1, len(labels)), labels / labels[-1]


def gini(positives: Counts) -> float | None:
    """Gini coefficient of the images per class: 0 if all classes have the same number, near 1 if one class has nearly all."""
    ranks = np.arange(1, len(positives) + 1)
    return ratio(((2 * ranks - len(positives) - 1) * np.sort(positives)).sum(), len(positives) * positives.sum())


def groups(positives: Counts) -> list[str]:
    """Frequency group of each class, by its images relative to the mean over the classes that occur.

    At least twice the mean is ``head``, at most half of it ``tail``, in between ``medium``, and without images ``absent``.
    The rule has no absolute count, so it suits small and large data sets; a balanced one has no head and no tail.
    """
    total, present = int(positives.sum()), int((positives > 0).sum())
    rules = [positives == 0, positives * present >= 2 * total, 2 * positives * present <= total]
    return [str(group) for group in np.select(rules, ["absent", "head", "tail"], "medium")]


def class_weights(positives: Counts) -> Floats:
    """Loss weights inverse to the effective number, with mean 1 over the classes that occur, ``(C,)``; NaN for the others."""
    weights = _divide(1.0, effective_number(positives, BETA))
    return weights / np.nanmean(weights) if np.isfinite(weights).any() else weights


def effective_pos_weights(positives: Counts, known: Counts, config: LossConfig | None = None) -> Floats:
    """Weights of positives that `cocotag train` uses with ``loss.pos_weight: effective``, ``(C,)``; NaN for an absent class."""
    config = config or LossConfig()
    weights = pos_weights(positives, known, kind="effective", cap=config.pos_weight_cap, beta=config.pos_weight_beta)
    return np.where(positives > 0, cast(Floats, weights), np.nan)


def labelsets(targets: Bools) -> tuple[Bools, Counts]:
    """The different labelsets, ``(S, C)``, and the number of images with each, ``(S,)``, most common first.

    The empty labelset counts, as in the mldr package.
    """
    _, first, counts = np.unique(np.packbits(targets, axis=1), axis=0, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    return targets[first[order]], counts[order].astype(np.int64)


def tcs(input_features: int, classes: int, distinct_labelsets: int) -> float:
    """Theoretical complexity score: ln(features x classes x different labelsets)."""
    return math.log(input_features * classes * distinct_labelsets)


def pairs(targets: Bools, known: Bools, names: Sequence[str]) -> pd.DataFrame:
    """Co-occurrence of classes: one row per pair that occurs, or that independence would put on at least one image.

    Each pair is counted on the images where both classes are known. Columns: ``a`` and ``b`` (names), ``count`` (images with
    both), ``lift`` (count over expected), ``jaccard`` (both over either), ``expected`` (images with both if the classes were
    independent), ``p_b_given_a``, ``p_a_given_b``, ``supported`` (on at least `MIN_PAIR_IMAGES` images; with fewer, lift and
    Jaccard may be chance). Sorted by ``count``, then ``expected``, largest first.

    Args:
        targets: Known positives, ``(N, C)``.
        known: The mask, ``(N, C)``.
        names: Names of the classes, ``(C,)``.
    """
    first, second = np.triu_indices(len(names), k=1)
    both = _matches(targets, targets)[first, second]
    if known.all():
        positives = targets.sum(axis=0).astype(np.float64)
        images, of_a, of_b = np.full(len(first), float(len(targets))), positives[first], positives[second]
    else:
        images, where_known = _matches(known, known)[first, second], _matches(targets, known)
        of_a, of_b = where_known[first, second], where_known[second, first]
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = of_a * of_b / images
        kept = (both > 0) | (expected >= 1)  # filter before names are looked up: with many classes, most pairs go
        parts = (part[kept] for part in (first, second, both, of_a, of_b, expected))
        first, second, both, of_a, of_b, expected = parts
        frame = pd.DataFrame(
            {
                "a": text(names[index] for index in first.tolist()),
                "b": text(names[index] for index in second.tolist()),
                "count": both.astype(np.int64),
                "lift": both / expected,
                "jaccard": both / (of_a + of_b - both),
                "expected": expected,
                "p_b_given_a": both / of_a,
                "p_a_given_b": both / of_b,
                "supported": both >= MIN_PAIR_IMAGES,
            }
        )
    return frame.sort_values(["count", "expected"], ascending=False, kind="stable").reset_index(drop=True)


def _matches(one: Bools, other: Bools) -> Floats:
    """Rows in which both columns are true, for every pair of a column of ``one`` and a column of ``other``."""
    kind: type[np.float32 | np.float64] = np.float32 if len(one) < 2**24 else np.float64  # for BLAS; exact up to 2^24 rows
    found: Floats = np.asarray(np.matmul(one.T.astype(kind), other.astype(kind)), np.float64)
    return found


def text(values: Iterable[object]) -> pd.Series[Any]:
    """A column of Python strings. pandas' own string type, if pyarrow is installed, refuses invalid Unicode."""
    return pd.Series(list(values), dtype=object)


def difference_in_sigmas(positives: Counts, known: Counts, other_positives: Counts, other_known: Counts) -> Floats:
    """Two-proportion z of each class, ``(C,)``: the other split's frequency minus this one's, in standard errors.

    NaN where the class is on no image or on every image.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (positives + other_positives) / (known + other_known)
        error = np.sqrt(pooled * (1 - pooled) * (1 / known + 1 / other_known))
        sigmas: Floats = (other_positives / other_known - positives / known) / error
    return np.where(error > 0, sigmas, np.nan)
