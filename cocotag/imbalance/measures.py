"""Measures of imbalance on multi-hot labels, in numpy. Knows no files and no page.

IRLbl, MeanIR and CVIR: Charte et al. 2015, https://doi.org/10.1016/j.neucom.2014.08.091. SCUMBLE: Charte et al. 2019,
https://arxiv.org/abs/1802.05033. TCS: Charte et al. 2016, "On the impact of dataset complexity and sampling strategy in
multilabel classifiers performance", HAIS. Diversity: Zhang and Zhou 2014, https://doi.org/10.1109/TKDE.2013.39. Where these
leave a choice, it is that of the R package mldr, except that a class that never occurs has no IRLbl instead of 0, and that
every standard deviation is the sample's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cocotag.config import LossConfig

GROUPS = ("head", "medium", "tail", "absent")
BETA = 0.9999
"""Of the effective number of samples: a class gains little beyond about 1 / (1 - BETA) images."""
MIN_PAIR_IMAGES = 5
"""Fewer images with both do not show that two classes attract each other."""
ROUNDING = 1e-13
"""SCUMBLE of labels that are equally common is 0; what floating point leaves of it is below this."""

Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def ratio(part: float, whole: float) -> float | None:
    """Divide, or None where nothing is to be divided by."""
    return float(part) / float(whole) if whole else None


def _divide(part: Floats | float, whole: Floats | Counts) -> Floats:
    """Divide element by element; NaN where there is nothing to divide by."""
    found: Floats = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole != 0)
    return found


def irlbl(positives: Counts) -> Floats:
    """Imbalance ratio per label: images of the most common class over images of this one, ``(C,)``.

    NaN for a class that never occurs. The most common class has 1.
    """
    return _divide(positives.max(initial=0), positives)


def mean_ir(positives: Counts) -> float | None:
    """Mean of IRLbl over the classes that occur; None if none does."""
    ratios = irlbl(positives[positives > 0])
    return float(ratios.mean()) if len(ratios) else None


def variation(values: Floats) -> float | None:
    """Coefficient of variation: sample standard deviation over the mean; None for fewer than two values or a mean of 0."""
    return ratio(values.std(ddof=1), values.mean()) if len(values) > 1 else None


def scumble(targets: Bools) -> Floats:
    """How far each image mixes common with rare labels, ``(N,)`` in [0, 1): 1 - geometric / arithmetic mean of its IRLbl.

    Both means are over the labels of the image. One label, or none, gives 0.
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
    """How many of the label combinations that could be are there: of the images, and of what is possible.

    The first is the normalised label diversity of Zhang and Zhou 2014: different labelsets over images, 1 where no two
    images have the same. The second divides by the most that could be, which is 2^classes where that is less than the
    images; so do the tables of the KDIS repository of multi-label data sets.
    """
    possible = min(images, 2**classes)
    return distinct_labelsets / images, distinct_labelsets / possible


def lorenz(positives: Counts) -> tuple[Floats, Floats]:
    """Lorenz curve: share of the classes, rarest first, against the share of all labels that they have; ``(C + 1,)`` each.

    Empty where there are no labels at all.
    """
    if not positives.sum():
        return np.empty(0), np.empty(0)
    held = np.concatenate([[0], np.sort(positives).cumsum()])
    return np.linspace(0, 1, len(held)), held / held[-1]


def gini(positives: Counts) -> float | None:
    """Gini coefficient of the images per class: 0 if all classes have as many, near 1 if one has nearly all."""
    ranks = np.arange(1, len(positives) + 1)
    return ratio(((2 * ranks - len(positives) - 1) * np.sort(positives)).sum(), len(positives) * positives.sum())


def groups(positives: Counts) -> list[str]:
    """Head, medium or tail by how many images a class has against the mean of the classes that occur.

    At least twice the mean is ``head``, at most half of it ``tail``, between them ``medium``, no image at all ``absent``.
    The rule has no absolute count, so it fits small and large sets, and a balanced one has neither head nor tail.
    """
    total, present = int(positives.sum()), int((positives > 0).sum())
    rules = [positives == 0, positives * present >= 2 * total, 2 * positives * present <= total]
    return [str(group) for group in np.select(rules, ["absent", "head", "tail"], "medium")]


def effective_number(positives: Counts) -> Floats:
    """Effective number of samples, (1 - BETA^n) / (1 - BETA), ``(C,)``: Cui et al. 2019, https://arxiv.org/abs/1901.05555."""
    effective: Floats = -np.expm1(positives * math.log(BETA)) / (1 - BETA)
    return effective


def class_weights(positives: Counts) -> Floats:
    """Loss weights inverse to the effective number, with mean 1 over the classes that occur, ``(C,)``; NaN for the others."""
    weights = _divide(1.0, effective_number(positives))
    return weights / np.nanmean(weights) if np.isfinite(weights).any() else weights


def pos_weights(positives: Counts, known: Counts, config: LossConfig | None = None) -> Floats:
    """Weights of positives that `cocotag train` uses with ``loss.pos_weight: effective``, ``(C,)``; NaN for an absent class.

    Effective number of negatives over effective number of positives, both with the config's own beta, between 1 and its cap.
    """
    config = config or LossConfig()
    counts = np.maximum(np.stack([known - positives, positives]), 1)
    negative, positive = -np.expm1(counts * math.log(config.pos_weight_beta))
    return np.where(positives > 0, np.clip(negative / positive, 1.0, config.pos_weight_cap), np.nan)


def labelsets(targets: Bools) -> tuple[Bools, Counts]:
    """The different combinations of labels, ``(S, C)``, and on how many images each is, ``(S,)``, commonest first.

    The empty combination counts as one, as it does in the mldr package.
    """
    _, first, counts = np.unique(np.packbits(targets, axis=1), axis=0, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    return targets[first[order]], counts[order].astype(np.int64)


def tcs(input_features: int, classes: int, distinct_labelsets: int) -> float:
    """Theoretical complexity score: ln(features x classes x different labelsets)."""
    return math.log(input_features * classes * distinct_labelsets)


def pairs(targets: Bools, known: Bools, names: Sequence[str]) -> pd.DataFrame:
    """Which classes come together: a row for each pair that was seen, or expected on at least one image if independent.

    Each pair is counted on the images where both classes are known. Columns: ``a`` and ``b`` (names), ``count`` (images with
    both), ``lift`` (count over expected), ``jaccard`` (both over either), ``expected``, ``p_b_given_a``, ``p_a_given_b``,
    ``supported`` (on at least `MIN_PAIR_IMAGES`: below, lift and Jaccard may be chance). Commonest first, then by ``expected``.

    Args:
        targets: Known positives, ``(N, C)``.
        known: ``(N, C)``.
        names: Of the classes, ``(C,)``.
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
        kept = (both > 0) | (expected >= 1)  # before the names are laid out: most pairs of many classes go
        parts = (part[kept] for part in (first, second, both, of_a, of_b, expected))
        first, second, both, of_a, of_b, expected = parts
        frame = pd.DataFrame(
            {
                "a": text(names[place] for place in first.tolist()),
                "b": text(names[place] for place in second.tolist()),
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
    """On how many rows two columns are both true, for every column of the one and of the other."""
    kind: type[np.float32 | np.float64] = np.float32 if len(one) < 2**24 else np.float64  # BLAS multiplies, exactly so far
    found: Floats = np.asarray(np.matmul(one.T.astype(kind), other.astype(kind)), np.float64)
    return found


def text(values: Iterable[object]) -> pd.Series[Any]:
    """A column of names as Python strings. pandas' own kind, if pyarrow is there, refuses what is not valid Unicode."""
    return pd.Series(list(values), dtype=object)


def difference_in_sigmas(positives: Counts, known: Counts, other_positives: Counts, other_known: Counts) -> Floats:
    """Two-proportion z of each class, ``(C,)``: how far the other split's frequency lies above this one's, in standard errors.

    NaN where the class is on no image or on all of them.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (positives + other_positives) / (known + other_known)
        error = np.sqrt(pooled * (1 - pooled) * (1 / known + 1 / other_known))
        sigmas: Floats = (other_positives / other_known - positives / known) / error
    return np.where(error > 0, sigmas, np.nan)
