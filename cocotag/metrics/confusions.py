"""Co-occurring errors: which wrong tag replaces a missed class on the same image. Works on decisions, not on probabilities."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from cocotag.metrics.bootstrap import ratio


def co_errors(predicted: ArrayLike, targets: ArrayLike, known: ArrayLike) -> pd.DataFrame:
    """Pairs of classes where one is missed and the other is a false positive on the same image, most frequent first.

    A multi-label tagger does not choose between classes: it may miss a cow and see a horse for independent reasons. Each pair
    is therefore compared with chance. ``expected`` assumes that every image on which ``said`` is known to be absent is equally
    likely to be tagged with it. ``lift`` is how many times more often the pair occurs than expected.

    Args:
        predicted: Decisions, ``(N, C)`` bool.
        targets: Multi-hot, ``(N, C)`` bool.
        known: False where the label is unknown, ``(N, C)`` bool; an unknown cell is never an error.

    Returns:
        One row per pair that occurs, with columns ``missed, said`` (class indices), ``images`` (with both errors), ``of``
        (images where ``missed`` is missed), ``share`` (``images / of``), ``expected``, ``lift`` (``images / expected``).

    Raises:
        ValueError: Shapes differ.
    """
    predicted, targets, known = (np.asarray(part, bool) for part in (predicted, targets, known))
    if predicted.ndim != 2 or not predicted.shape == targets.shape == known.shape:
        shapes = f"predicted {predicted.shape}, targets {targets.shape}, known {known.shape}"
        raise ValueError(f"{shapes}: all three must have the same shape (N, C).")
    missed = (targets & ~predicted & known).astype(np.float32)  # whole numbers below 16 million: float32 sums are exact
    absent = (~targets & known).astype(np.float32)
    said = absent * predicted
    images = missed.T @ said
    expected = (missed.T @ absent).astype(np.float64) * np.nan_to_num(
        ratio(said.sum(axis=0, dtype=np.float64), absent.sum(axis=0, dtype=np.float64))
    )
    a, b = np.nonzero(images)
    of = missed.sum(axis=0, dtype=np.float64)[a]
    frame = pd.DataFrame(
        {
            "missed": a,
            "said": b,
            "images": images[a, b].astype(np.int64),
            "of": of.astype(np.int64),
            "share": images[a, b] / of,
            "expected": expected[a, b],
            "lift": images[a, b] / expected[a, b],
        }
    )
    return frame.sort_values(["images", "lift"], ascending=False, kind="stable", ignore_index=True)
