"""What is made of how often each class occurs: first probabilities, weights of positives, effective numbers, repeat factors.

Training and the imbalance report share these functions. numpy only.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def shares(positives: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of positives of each class, ``(C,)``, in (0, 1): with one positive and one negative more than were counted.

    So a class that nobody looked for has 1/2, and one without a positive is not impossible (Laplace's rule of succession).
    """
    return np.asarray((positives + 1) / (known + 2))


def effective_number(counts: ArrayLike, beta: float) -> Floats:
    """Effective number of samples, ``(1 - beta^n) / (1 - beta)``: the n-th image of a kind adds less than the one before.

    Cui et al. 2019, https://arxiv.org/abs/1901.05555.

    Args:
        counts: Numbers of images, >= 0, any shape.
        beta: In [0, 1); the nearer to 1, the nearer to the count itself.

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

    ``inverse`` is negatives over positives. ``effective`` is the same ratio of their effective numbers, Cui et al. 2019,
    https://arxiv.org/abs/1901.05555. The paper weights each class by the inverse of its effective number; a class by itself
    has two such numbers, of its positives and of its negatives.

    Args:
        positives: Images of each class, ``(C,)``.
        known: Images on which the class was looked for, ``(C,)``.
        kind: ``none``, ``inverse`` or ``effective``.
        cap: Largest weight, >= 1.
        beta: Of ``effective``.

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
    """How often each image should come so that rare classes are seen more: repeat-factor sampling.

    A class on the share ``f`` of the images that are known for it asks for ``sqrt(below / f)``, at least 1; an image comes as
    often as the rarest of its classes asks. Gupta et al. 2019, section 4.1, https://arxiv.org/abs/1908.03195.

    Args:
        targets: Multi-hot, ``(N, C)``.
        known: False where nobody looked, ``(N, C)``.
        below: Share of images below which a class is rare, in (0, 1].

    Returns:
        Factors, ``(N,)``, >= 1.
    """
    positive = targets & known
    share = positive.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    asked = np.maximum(1.0, np.sqrt(below / np.maximum(share, 1e-12)))
    return np.asarray(np.where(positive, asked, 1.0).max(axis=1, initial=1.0))
