"""All measures of one set of probabilities under any weights of its images.

The arrays are prepared once; the measures are then computed for every bootstrap draw. Does not depend on intervals or data
frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cocotag.metrics.bootstrap import Floats, Weights, ratio
from cocotag.metrics.calibration import Calibration
from cocotag.metrics.names import SUMMARY, TOP1, TOP_K
from cocotag.metrics.ranking import Ranking, coverage_depth, hits_in_top, misordered_pairs

Bools = NDArray[np.bool_]


def checked_decisions(
    probs: NDArray[Any], targets: Bools, known: Bools, thresholds: NDArray[Any], predicted: ArrayLike | None
) -> Bools:
    """The decisions, ``(N, C)``, once the input has been checked.

    Raises:
        ValueError: Shapes differ, the arrays are empty, or a probability is not finite.
    """
    if probs.ndim != 2 or not probs.shape == targets.shape == known.shape or thresholds.shape != probs.shape[1:]:
        shapes = f"probs {probs.shape}, targets {targets.shape}, known {known.shape}, thresholds {thresholds.shape}"
        raise ValueError(f"{shapes}: the first three must have the same shape (N, C), the thresholds (C,).")
    if probs.size == 0:
        raise ValueError(f"probs is {probs.shape}: there is nothing to measure.")
    if not np.isfinite(probs).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(probs))} of {probs.size} probabilities are not finite.")
    decisions = np.asarray(probs >= thresholds if predicted is None else predicted, bool)
    if decisions.shape != probs.shape:
        raise ValueError(f"predicted is {decisions.shape}, probs is {probs.shape}: the shapes must be equal.")
    return decisions


def judged_classes(targets: Bools, known: Bools) -> Bools:
    """Which classes can be judged, ``(C,)``: all but those with unknown images of which only positives are known."""
    return np.asarray(known.all(axis=0) | ~(known & targets).any(axis=0) | (known & ~targets).any(axis=0))


@dataclass(frozen=True, eq=False)
class Prepared:
    """The arrays that are the same for every draw."""

    cells: dict[str, NDArray[np.float32]]  # tp, fp, fn, tn: (N, C); in each known cell exactly one of them is 1
    judged: Bools  # per class, False where only positives are known
    means: dict[str, tuple[Floats, Floats]]  # means over images: numerators and denominators, (N,) each
    pooled: Floats  # (N, 12), from `Calibration.of_images`
    calibration: Calibration
    rankings: list[Ranking]

    @property
    def summary(self) -> tuple[str, ...]:
        """Names of the rows of the summary."""
        return (*SUMMARY, TOP1) if TOP1 in self.means else SUMMARY

    @classmethod
    def of(cls, probs: NDArray[np.floating], targets: Bools, known: Bools, decisions: Bools) -> Prepared:
        """Prepare checked arrays of shape ``(N, C)`` each."""
        tp, fp, fn, tn = targets & decisions, ~targets & decisions, targets & ~decisions, ~targets & ~decisions
        cells = {n: (v & known).astype(np.float32) for n, v in (("tp", tp), ("fp", fp), ("fn", fn), ("tn", tn))}
        judged = judged_classes(targets, known)
        calibration = Calibration.of(probs, targets, known)
        return cls(
            cells,
            judged,
            _means(probs, targets, known, decisions, judged),
            calibration.of_images(judged),
            calibration,
            [Ranking.of(probs[:, c], targets[:, c], known[:, c]) for c in range(probs.shape[1])],
        )

    def expected_map(self, weights: Weights) -> Floats:
        """The mean of `Ranking.expected_precision` over classes with positives, under weights of 0 or 1, ``(B,)``."""
        values = np.stack([ranking.expected_precision(weights) for ranking in self.rankings], axis=1)
        has = ~np.isnan(values) & self.judged
        return ratio(np.where(has, values, 0).sum(axis=1), has.sum(axis=1))


def _means(
    probs: NDArray[np.floating], targets: Bools, known: Bools, decisions: Bools, judged: Bools
) -> dict[str, tuple[Floats, Floats]]:
    """The measures that are means over images: the value per image, 0 where undefined, and whether it is defined."""
    measured = known & judged
    hits = (targets & decisions & measured).sum(axis=1)
    misses = ((targets ^ decisions) & measured).sum(axis=1)
    labels = (targets & measured).sum(axis=1)
    has_known = measured.any(axis=1)
    f1 = ratio(2 * hits, 2 * hits + misses)
    top, depth = hits_in_top(probs, targets, measured, k=TOP_K)
    values = {
        "samples_f1": np.where(has_known, np.nan_to_num(f1, nan=1.0), np.nan),
        "samples_f1_zero0": np.where(has_known, np.nan_to_num(f1), np.nan),
        "subset_accuracy": np.where(has_known, misses == 0, np.nan),
        f"precision_at_{TOP_K}": ratio(top, depth),
        f"recall_at_{TOP_K}": ratio(top, labels),
        "coverage": coverage_depth(probs, targets, measured),
        "ranking_loss": misordered_pairs(probs, targets, measured),
    }
    if known.all() and (targets.sum(axis=1) == 1).all():
        values[TOP1] = (probs.argmax(axis=1) == targets.argmax(axis=1)).astype(np.float64)
    return {name: (np.nan_to_num(value), (~np.isnan(value)).astype(np.float64)) for name, value in values.items()}


@dataclass(frozen=True, eq=False)
class Measures:
    """Measures under ``B`` weightings: per class ``(B, C)``, the summary ``(B, rows of the summary)``."""

    tp: Floats
    fp: Floats
    fn: Floats
    tn: Floats
    precision: Floats
    recall: Floats
    f1: Floats
    ap: Floats
    ece: Floats
    summary: Floats


def measure(data: Prepared, weights: Weights) -> Measures:
    """All measures under weights ``(N, B)``, which are whole numbers; float32 sums are exact up to 16 million images."""
    tp, fp, fn, tn = ((weights.T @ data.cells[name]).astype(np.float64) for name in ("tp", "fp", "fn", "tn"))
    support, cells = tp + fn, tp + fp + fn + tn
    has, seen = (support > 0) & data.judged, (cells > 0) & data.judged
    precision, recall = np.where(data.judged, ratio(tp, tp + fp), np.nan), ratio(tp, support)
    f1 = np.where(has, ratio(2 * tp, 2 * tp + fp + fn), np.nan)
    ap = np.stack([ranking.average_precision(weights) for ranking in data.rankings], axis=1)
    ap[:, ~data.judged] = np.nan
    ece = np.where(data.judged, data.calibration.class_ece(weights), np.nan)

    def mean(values: Floats) -> Floats:
        return ratio(np.where(has, values, 0).sum(axis=1), has.sum(axis=1))

    def mean_zero0(values: Floats) -> Floats:
        return ratio(np.where(has, values, 0).sum(axis=1), seen.sum(axis=1))

    total_tp, total_fp, total_fn, total = (part[:, data.judged].sum(axis=1) for part in (tp, fp, fn, cells))
    total_support = total_tp + total_fn
    micro_precision, micro_recall = ratio(total_tp, total_tp + total_fp), ratio(total_tp, total_support)
    precision_zero0 = np.nan_to_num(precision)  # as in CP: a class that is never predicted counts 0
    transposed = weights.T.astype(np.float64)
    brier, ece_overall = data.calibration.over_all(transposed @ data.pooled)
    values = {
        "map": mean(ap),
        "map_expected": np.full(len(ap), np.nan),  # not for images that are drawn twice: see `Prepared.expected_map`
        "macro_f1": mean(f1),
        "micro_f1": np.where(total_support > 0, ratio(2 * total_tp, 2 * total_tp + total_fp + total_fn), np.nan),
        "weighted_f1": ratio(np.where(has, support * f1, 0).sum(axis=1), total_support),
        "cf1": _harmonic(mean(precision_zero0), mean(recall)),
        "of1": _harmonic(np.nan_to_num(micro_precision), micro_recall),
        "hamming_loss": ratio(total_fp + total_fn, total),
        "macro_precision": mean(precision_zero0),
        "macro_recall": mean(recall),
        "micro_precision": micro_precision,
        "micro_recall": micro_recall,
        "cell_accuracy": ratio(total - total_fp - total_fn, total),
        "brier": brier,
        "ece": ece_overall,
        "macro_ece": mean(ece),
        "map_zero0": mean_zero0(ap),
        "macro_f1_zero0": mean_zero0(f1),
        "macro_precision_zero0": mean_zero0(precision_zero0),
        "macro_recall_zero0": mean_zero0(recall),
        "cf1_zero0": _harmonic(mean_zero0(precision_zero0), mean_zero0(recall)),
    }
    names = list(data.means)
    sums = transposed @ np.column_stack([part for name in names for part in data.means[name]])
    values |= {name: ratio(sums[:, 2 * i], sums[:, 2 * i + 1]) for i, name in enumerate(names)}
    summary = np.stack([values[name] for name in data.summary], axis=1)
    return Measures(tp, fp, fn, tn, precision, recall, f1, ap, ece, summary)


def _harmonic(a: Floats, b: Floats) -> Floats:
    """Harmonic mean; 0 where both are 0, NaN where one of them is NaN."""
    harmonic: Floats = np.where(a + b == 0, 0.0, ratio(2 * a * b, a + b))
    return harmonic
