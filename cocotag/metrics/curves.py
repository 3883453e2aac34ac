"""The curves of one class: precision over recall, F1 over threshold, score histograms by truth, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cocotag.metrics.bootstrap import Floats
from cocotag.metrics.calibration import CalibrationBins
from cocotag.metrics.measures import Bools, checked_decisions, judged_classes

POINTS = 100
"""Most points of a curve: more could not be told apart in a small chart."""
HISTOGRAM_BINS = 20


@dataclass(frozen=True, eq=False)
class ClassCurves:
    """The curves of one class over its known images; an undefined curve has no points.

    Both curves are step functions: the value at a point holds back to the point before it. Long curves are thinned to at most
    `POINTS` points.

    Attributes:
        recall: Rising, from 0 to 1, ``(K,)``: the values at which recall steps, tied scores taken together.
        precision: Precision at these values of recall, ``(K,)``; the first repeats the second.
        threshold: Rising, from 0 to 1, ``(L,)``: the scores that occur, or a selection of them.
        f1: F1 of the decisions ``prob >= threshold``, ``(L,)``. The highest F1 of any threshold is always included.
        edges: Edges of the histogram bins, 0 to 1, ``(21,)``.
        positives: Images with the class in each bin ``[a, b)``, ``(20,)``; the last bin includes 1.
        negatives: Images without the class in each bin, ``(20,)``.
        bins: Calibration bins.
    """

    recall: Floats
    precision: Floats
    threshold: Floats
    f1: Floats
    edges: Floats
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]
    bins: CalibrationBins


def class_curves(probs: ArrayLike, targets: ArrayLike, known: ArrayLike) -> list[ClassCurves]:
    """The curves of every class, in index order.

    Precision, recall and F1 are undefined without positives. If only positives of a class are known, calibration is undefined
    as well.

    Args:
        probs: Probabilities in 0..1, ``(N, C)``.
        targets: Multi-hot, ``(N, C)`` bool.
        known: False where the label is unknown, ``(N, C)`` bool.

    Raises:
        ValueError: Shapes differ, the arrays are empty, or a probability is outside 0..1.
    """
    probs, targets, known = np.asarray(probs), np.asarray(targets, bool), np.asarray(known, bool)
    checked_decisions(probs, targets, known, np.zeros(probs.shape[1:]), None)
    if ((probs < 0) | (probs > 1)).any():
        raise ValueError(f"probs ranges from {probs.min()} to {probs.max()}; all values must be in 0..1.")
    judged = judged_classes(targets, known)
    columns = zip(probs.T.astype(np.float64), targets.T, known.T, judged, strict=True)
    return [_curves(scores[rows], labels[rows], bool(defined)) for scores, labels, rows, defined in columns]


def _curves(scores: Floats, labels: Bools, judged: bool) -> ClassCurves:
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    positives, negatives = (np.histogram(part, edges)[0] for part in (scores[labels], scores[~labels]))
    recall = precision = threshold = f1 = np.empty(0)
    if labels.any() and judged:
        levels, tp, predicted = _steps(scores, labels)
        recall, precision = _precision_recall(tp, predicted)
        threshold, f1 = _f1_over_threshold(levels, 2 * tp / (predicted + tp[-1]))
    rows = slice(None) if judged else slice(0)
    return ClassCurves(
        recall, precision, threshold, f1, edges, positives, negatives, CalibrationBins.of(scores[rows], labels[rows])
    )


def _steps(scores: Floats, labels: Bools) -> tuple[Floats, NDArray[Any], NDArray[Any]]:
    """The distinct scores in falling order, and the true positives and predictions with each as threshold: ``(M,)`` each."""
    order = np.argsort(-scores, kind="stable")
    falling, hits = scores[order], labels[order].cumsum()
    ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    return falling[ends], hits[ends], ends + 1


def _precision_recall(tp: NDArray[Any], predicted: NDArray[Any]) -> tuple[Floats, Floats]:
    steps = np.flatnonzero(np.diff(tp, prepend=0))
    recall, precision = tp[steps] / tp[-1], tp[steps] / predicted[steps]
    if len(recall) > POINTS - 1:
        kept = np.searchsorted(recall, np.linspace(recall[0], 1, POINTS - 1))
        kept = np.unique(np.minimum(kept, len(recall) - 1))
        recall, precision = recall[kept], precision[kept]
    return np.append(0.0, recall), np.append(precision[0], precision)


def _f1_over_threshold(levels: Floats, f1: Floats) -> tuple[Floats, Floats]:
    """Thresholds and F1 to draw, from the distinct scores in falling order and the F1 with each as threshold, ``(M,)`` each."""
    rising, values = levels[::-1], f1[::-1]
    threshold = rising
    if len(rising) > POINTS - 2:
        # Even steps show the shape; the best threshold and the lowest and highest score are kept exactly.
        best = levels[f1.argmax()]
        threshold = np.unique(np.append(np.linspace(0, 1, POINTS - 3), [rising[0], best, rising[-1]]))
    threshold = np.union1d(threshold, [0.0, 1.0])
    return threshold, np.append(values, 0.0)[np.searchsorted(rising, threshold)]
