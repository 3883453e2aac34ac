"""Quantities that follow from class frequencies: initial probabilities, positive weights, effective numbers, repeat factors.

Training and the imbalance report share these functions, which need only numpy.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def shares(positives: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of positives of each class, ``(C,)``, in (0, 1), with one more positive and one more negative than counted.

    This is Laplace's rule of succession: a class without known labels has 1/2, a class without positives is not impossible.
    """
    return np.asarray((positives + 1) / (known + 2))


def effective_number(counts: ArrayLike, beta: float) -> Floats:
    """Effective number of samples, ``(1 - beta^n) / (1 - beta)``: each further image of a class adds less than the one before.

    Cui et al. 2019, https://arxiv.org/abs/1901.05555.

    Args:
        counts: Numbers of images, >= 0, any shape.
        beta: In [0, 1); the closer to 1, the closer the result is to the count.

    Returns:
        The same shape.
    """
    counts = np.asarray(counts, np.float64)
    if beta == 0:
        return np.asarray(np.minimum(counts, 1.0))
    return np.asarray(-np.expm1(counts * math.log(beta)) / (1 - beta))


def pos_weights(
    positives: Counts,
    known: Counts,
    *,
    kind: Literal["none", "inverse", "effective"],
    cap: float = 10.0,
    beta: float = 0.999,
) -> Floats | None:
    """Weight of each class's positives, between 1 and a cap.

    ``inverse`` is negatives over positives. ``effective`` is the ratio of their effective numbers, Cui et al. 2019,
    https://arxiv.org/abs/1901.05555. The paper weights each class by the inverse of its effective number; a multi-label class
    has two such numbers, one of its positives and one of its negatives.

    Args:
        positives: Number of positives of each class, ``(C,)``.
        known: Number of images with a known label for each class, ``(C,)``.
        kind: ``none``, ``inverse`` or ``effective``.
        cap: Largest weight, >= 1.
        beta: As for `effective_number`; only for ``effective``.

    Returns:
        Weights ``(C,)``; None for ``none``.

    Raises:
        ValueError: Another kind.
    """
    counts = np.maximum(np.stack([known - positives, positives]), 1).astype(np.float64)
    if kind == "none":
        return None
    if kind == "effective":
        counts = effective_number(counts, beta)
    elif kind != "inverse":
        raise ValueError(f"kind is {kind!r}; it must be none, inverse or effective")
    return np.asarray(np.clip(counts[0] / counts[1], 1.0, cap))


def repeat_factors(targets: NDArray[np.bool_], known: NDArray[np.bool_], below: float) -> NDArray[np.float64]:
    """Mean number of draws of each image per epoch, so that training sees rare classes more often: repeat-factor sampling.

    A class with the share ``f`` of positives among its known labels has the factor ``sqrt(below / f)``, at least 1. An image
    has the factor of its rarest class. Gupta et al. 2019, section 4.1, https://arxiv.org/abs/1908.03195.

    Args:
        targets: Multi-hot, ``(N, C)``.
        known: False where the label is unknown, ``(N, C)``.
        below: Share of images below which a class is rare, in (0, 1].

    Returns:
        Factors, ``(N,)``, >= 1.
    """
    positive = targets & known
    share = positive.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    factors = np.maximum(1.0, np.sqrt(below / np.maximum(share, 1e-12)))
    return np.asarray(np.where(positive, factors, 1.0).max(axis=1, initial=1.0))
