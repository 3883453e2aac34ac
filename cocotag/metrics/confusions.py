"""What is said instead when a class is missed: pairs of errors on the same image. Knows no probability."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from cocotag.metrics.bootstrap import ratio


def co_errors(predicted: ArrayLike, targets: ArrayLike, known: ArrayLike) -> pd.DataFrame:
    """Pairs of classes of which one is missed where the other is wrongly said, commonest first.

    A multi-label tagger confuses no class with another by itself: it may miss a cow and see a horse for reasons of their
    own. So each pair is held against what chance would give: ``expected`` takes each image on which ``said`` is known to be
    absent for as likely as the next to be tagged with it, and ``lift`` is how many times as often it is where ``missed`` is
    missed.

    Args:
        predicted: Decisions, ``(N, C)`` bool.
        targets: Multi-hot, ``(N, C)`` bool.
        known: False where nobody looked, ``(N, C)`` bool; such a cell is no error.

    Returns:
        A row for each pair that occurs, with columns ``missed, said`` (class indices), ``images`` (with both errors), ``of``
        (images where ``missed`` is missed), ``share`` (``images / of``), ``expected``, ``lift`` (``images / expected``).

    Raises:
        ValueError: Shapes differ.
    """
    predicted, targets, known = (np.asarray(part, bool) for part in (predicted, targets, known))
    if predicted.ndim != 2 or not predicted.shape == targets.shape == known.shape:
        shapes = f"predicted {predicted.shape}, targets {targets.shape}, known {known.shape}"
        raise ValueError(f"{shapes}: (N, C) three times is needed.")
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
