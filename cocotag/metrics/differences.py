"""Paired comparison of two taggers on the same images: differences of their measures, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cocotag.metrics.bootstrap import RESAMPLES, Floats, Weights, draws, mirrored, once
from cocotag.metrics.measures import Bools, Measures, Prepared, checked_decisions, measure
from cocotag.metrics.names import NOT_FRACTIONS

_OF_CLASSES = ("f1", "ap")


@dataclass(frozen=True, eq=False)
class Differences:
    """Measures of the second tagger minus those of the first. NaN where a measure is undefined.

    Attributes:
        summary: One row per row of the summary of `score`, with columns ``value, lo, hi``.
        per_class: One row per class in index order, with columns ``f1_first, f1_second, f1, f1_lo, f1_hi, ap_first,
            ap_second, ap, ap_lo, ap_hi``; ``f1`` and ``ap`` are second minus first.
    """

    summary: pd.DataFrame
    per_class: pd.DataFrame


def difference(
    first: Sequence[tuple[NDArray[Any], Bools]],
    second: Sequence[tuple[NDArray[Any], Bools]],
    targets: ArrayLike,
    known: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Differences:
    """Measures of the second tagger minus those of the first on the same images, with 95% bootstrap intervals over images.

    Both taggers are measured on every draw of images, so the difficulty of a draw cancels out (paired bootstrap). Intervals
    are computed as in the summary of `score`, for classes too, and always contain the value. Two fractions differ by at most
    1.

    Args:
        first: Probabilities and decisions, each ``(N, C)``, of one or several runs of a recipe; their measures are averaged.
        second: The same for the second tagger.
        targets: Multi-hot, ``(N, C)`` bool.
        known: False where the label is unknown, ``(N, C)`` bool.
        resamples: Number of bootstrap draws; 0 leaves the intervals NaN.
        seed: Seed of the draws.

    Raises:
        ValueError: As `score`.
    """
    targets, known = np.asarray(targets, bool), np.asarray(known, bool)

    def prepared(runs: Sequence[tuple[NDArray[Any], Bools]]) -> list[Prepared]:
        thresholds = np.zeros(targets.shape[1:])  # not used: the decisions are given
        return [Prepared.of(p, targets, known, checked_decisions(p, targets, known, thresholds, d)) for p, d in runs]

    sides = prepared(first), prepared(second)

    def both(weights: Weights) -> tuple[dict[str, Floats], dict[str, Floats]]:
        one, other = (_average([measure(run, weights) for run in side]) for side in sides)
        return one, other

    before, after = both(once(len(targets)))
    gaps: dict[str, list[Floats]] = {name: [] for name in before}
    for weights in draws(len(targets), resamples, seed):
        one, other = both(weights)
        for name, drawn in gaps.items():
            drawn.append(other[name] - one[name])

    def columns(name: str, most: Floats | float = 1.0) -> tuple[Floats, Floats, Floats]:
        value = after[name][0] - before[name][0]
        low, high = mirrored(gaps[name], value)
        return value, np.clip(np.minimum(low, value), -most, most), np.clip(np.maximum(high, value), -most, most)

    rows = sides[0][0].summary
    value, low, high = columns("summary", np.where([name in NOT_FRACTIONS for name in rows], len(known.T), 1.0))
    frame: dict[str, Floats] = {}
    for name in _OF_CLASSES:
        frame |= {f"{name}_first": before[name][0], f"{name}_second": after[name][0]}
        frame |= dict(zip((name, f"{name}_lo", f"{name}_hi"), columns(name), strict=True))
    return Differences(
        summary=pd.DataFrame({"value": value, "lo": low, "hi": high}, index=pd.Index(rows, name="metric")),
        per_class=pd.DataFrame(frame, index=pd.RangeIndex(len(known.T), name="index")),
    )


def _average(runs: list[Measures]) -> dict[str, Floats]:
    """The compared measures, averaged over runs."""
    return {name: np.mean([getattr(run, name) for run in runs], axis=0) for name in ("summary", *_OF_CLASSES)}
