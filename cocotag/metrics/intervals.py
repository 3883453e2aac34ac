"""95% intervals in closed form: of shares of counted cells, and of a mean over images by the jackknife.

Unlike a bootstrap, these hold for a class with one positive, and never have no width. Does not depend on the measures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cocotag.metrics.bootstrap import Floats, Weights, ratio

Z = 1.959964
"""The 97.5th percentile of the normal distribution."""

GROUPS = 150
"""Default number of groups of images that the jackknife leaves out, one at a time."""

Ends = tuple[Floats, Floats]


def wilson(share: ArrayLike, number: ArrayLike) -> Ends:
    """Wilson's interval of a share.

    Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953.

    >>> low, high = wilson([1.0, 0.5], [1, 40])
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.207, 0.352], [1.0, 0.648])

    Args:
        share: The observed share, 0..1, ``(K,)``.
        number: How many were observed, ``(K,)``; 0 gives NaN.
    """
    share, number = np.asarray(share, np.float64), np.asarray(number, np.float64)
    spread = ratio(np.full(number.shape, Z * Z), number)
    middle = (share + spread / 2) / (1 + spread)
    half = np.sqrt(share * (1 - share) * ratio(np.ones(number.shape), number) * Z * Z + spread * spread / 4) / (1 + spread)
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def f1_interval(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike) -> Ends:
    """The interval of F1: Wilson's of the Jaccard share J = TP / (TP + FP + FN), carried over by F1 = 2J / (1 + J).

    Lam et al. 2023, https://arxiv.org/abs/2309.14621.

    Args:
        tp: True positives, ``(K,)``.
        fp: False positives, ``(K,)``.
        fn: Missed positives, ``(K,)``.
    """
    tp, cells = np.asarray(tp, np.float64), np.asarray(tp) + np.asarray(fp) + np.asarray(fn)
    low, high = wilson(np.nan_to_num(ratio(tp, cells)), cells)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def leaving_out(images: int, groups: int, seed: int) -> Weights:
    """Weights that leave out each of some random groups of images, at most one per image, ``(N, G)``: 1 kept, 0 left out."""
    groups = min(groups, images)
    group = np.random.default_rng(seed).permutation(images) % groups
    return np.asarray(group[:, None] != np.arange(groups), np.float32)


def jackknife(point: ArrayLike, left_out: Floats) -> Ends:
    """The interval of a measure from its values without each group of images, by Student's t.

    Tukey 1958; Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 11.

    Args:
        point: Measures of all images, ``(K,)``.
        left_out: Their values without each group, ``(G, K)``; NaN where undefined.

    Returns:
        Both ends, NaN where the measure is undefined, or defined without fewer than two of the groups.
    """
    point, defined = np.asarray(point, np.float64), ~np.isnan(left_out)
    groups = defined.sum(axis=0)
    mean = ratio(np.where(defined, left_out, 0).sum(axis=0), groups)
    squares = np.where(defined, left_out - mean, 0) ** 2
    error = np.where(groups > 1, np.sqrt((groups - 1) * ratio(squares.sum(axis=0), groups)), np.nan)
    half = _student(max(1, len(left_out) - 1)) * error
    return np.asarray(point - half), np.asarray(point + half)


def _student(degrees: int) -> float:
    """The 97.5th percentile of Student's t: Cornish and Fisher's series, within 0.2 % from 5 degrees on."""
    z, n = Z, float(degrees)
    terms = [
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    ]
    return z + sum(term / n**power for power, term in enumerate(terms, 1))
