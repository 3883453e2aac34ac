"""Bootstrap draws of images with replacement, and intervals from the draws. Does not depend on the measures.

Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; Davison & Hinkley 1997, Bootstrap Methods and their
Application, 5.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
"""Default number of bootstrap draws."""

CHUNK_CELLS = 4_000_000  # weights in memory at once, float32: 16 MB, plus the same for the sorted copy

Floats = NDArray[np.float64]
Weights = NDArray[np.float32]


def draws(images: int, resamples: int, seed: int) -> Iterator[Weights]:
    """Yield how often each image is drawn, as ``(N, B)`` arrays of a bounded number ``B`` of draws."""
    rng = np.random.default_rng(seed)
    chunk = max(1, CHUNK_CELLS // images)
    for done in range(0, resamples, chunk):
        drawn = (rng.integers(images, size=images) for _ in range(min(chunk, resamples - done)))
        yield np.stack([np.bincount(rows, minlength=images) for rows in drawn], axis=1, dtype=np.float32)


def once(images: int) -> Weights:
    """Weights that count every image once, ``(N, 1)``."""
    return np.ones((images, 1), np.float32)


def percentiles(drawn: list[Floats], point: Floats) -> tuple[Floats, Floats]:
    """The 2.5th and 97.5th percentile of each column of ``(B, K)`` draws, NaN where the point ``(K,)`` is undefined."""
    bounds = np.full((2, len(point)), np.nan)
    for column in np.flatnonzero(~np.isnan(point)) if drawn else ():
        values = np.concatenate([draw[:, column] for draw in drawn])
        values = values[~np.isnan(values)]
        if len(values):
            bounds[:, column] = np.percentile(values, (2.5, 97.5))
    return bounds[0], bounds[1]


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """``part / whole``, NaN where ``whole`` is 0."""
    out: Floats = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=out, where=np.asarray(whole) != 0)
    return out
