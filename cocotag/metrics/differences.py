"""Paired comparison of two taggers on the same images: differences of their measures, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cocotag.metrics.bootstrap import RESAMPLES, Floats, Weights, draws, once, percentiles, ratio
from cocotag.metrics.intervals import GROUPS, jackknife, leaving_out
from cocotag.metrics.measures import Bools, Measures, Prepared, checked_decisions, measure
from cocotag.metrics.names import WITHOUT_INTERVAL

_OF_CLASSES = ("f1", "ap")


@dataclass(frozen=True, eq=False)
class Differences:
    """Measures of the second tagger minus those of the first. NaN where a measure is undefined.

    Attributes:
        summary: One row per row of the summary of `score`, with columns ``value, lo, hi``.
        per_class: One row per class in index order, with columns ``f1_first, f1_second, f1, f1_lo, f1_hi, ap_first,
            ap_second, ap, ap_lo, ap_hi, f1_p``; ``f1`` and ``ap`` are second minus first. ``f1_p`` is the probability of an F1
            difference at least this large between equal taggers.
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
    are the percentiles of the draws, widened to contain the value: unlike the values themselves, their difference has no bias
    that would have to be mirrored. ``map_expected`` has the jackknife's interval, as in `score`.

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

    def columns(name: str) -> tuple[Floats, Floats, Floats]:
        value = after[name][0] - before[name][0]
        low, high = percentiles(gaps[name], value)
        return value, np.minimum(low, value), np.maximum(high, value)

    rows = sides[0][0].summary
    value, low, high = columns("summary")
    expected = rows.index("map_expected")
    value[expected] = _expected_gap(sides, once(len(targets)))[0]
    if resamples:
        left_out = _expected_gap(sides, leaving_out(len(targets), GROUPS, seed))
        (low[expected],), (high[expected],) = jackknife(value[[expected]], left_out[:, None])
    for name in WITHOUT_INTERVAL:
        low[rows.index(name)] = high[rows.index(name)] = np.nan
    frame: dict[str, Floats] = {}
    for name in _OF_CLASSES:
        frame |= {f"{name}_first": before[name][0], f"{name}_second": after[name][0]}
        frame |= dict(zip((name, f"{name}_lo", f"{name}_hi"), columns(name), strict=True))
    frame["f1_p"] = _probability(frame["f1"], gaps["f1"])
    return Differences(
        summary=pd.DataFrame({"value": value, "lo": low, "hi": high}, index=pd.Index(rows, name="metric")),
        per_class=pd.DataFrame(frame, index=pd.RangeIndex(len(known.T), name="index")),
    )


def _expected_gap(sides: tuple[list[Prepared], list[Prepared]], weights: Weights) -> Floats:
    """The difference of ``map_expected`` under weights of 0 or 1, ``(B,)``."""
    first, second = (np.mean([run.expected_map(weights) for run in side], axis=0) for side in sides)
    return np.asarray(second - first)


def _probability(value: Floats, drawn: list[Floats]) -> Floats:
    """Two-sided probability of differences ``(K,)`` if the truth were 0: normal, with the spread of the draws."""
    if not drawn:
        return np.full(value.shape, np.nan)
    every = np.ma.masked_invalid(np.concatenate(drawn))
    z = np.abs(ratio(value, every.std(axis=0).filled(0)))
    return np.array([math.erfc(one / math.sqrt(2)) for one in z.tolist()])


def significant(probabilities: ArrayLike, share: float = 0.1) -> Bools:
    """Which of several differences are real, of which at most this share is expected to be chance; NaN is none of them.

    Benjamini & Hochberg 1995, https://doi.org/10.1111/j.2517-6161.1995.tb02031.x.

    >>> significant([0.001, 0.04, 0.2, 0.9]).tolist()
    [True, True, False, False]
    """
    probabilities = np.asarray(probabilities, np.float64)
    judged = np.flatnonzero(~np.isnan(probabilities))
    rising = judged[np.argsort(probabilities[judged], kind="stable")]
    passed = np.flatnonzero(probabilities[rising] <= share * np.arange(1, len(rising) + 1) / max(len(rising), 1))
    found = np.zeros(probabilities.shape, bool)
    found[rising[: passed[-1] + 1 if len(passed) else 0]] = True
    return found


def _average(runs: list[Measures]) -> dict[str, Floats]:
    """The compared measures, averaged over runs."""
    return {name: np.mean([getattr(run, name) for run in runs], axis=0) for name in ("summary", *_OF_CLASSES)}
