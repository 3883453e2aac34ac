"""From which probability on a tag is given. Knows no model and no file.

Choose on data that no claimed figure is taken on. Tags are decided on scores rounded to float16, so the scores are rounded
first, and a threshold lies midway between two of them: it does not sit on a score that another machine rounds otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNINFORMED = 0.5
"""The threshold where the data cannot tell: no positives or no negatives at all, or one score for everything."""

_LEVELS = int(np.float16(1).view(np.uint16)) + 1  # float16 values in 0..1; their bits, read as whole numbers, rise with them

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Thresholds:
    """What `choose_thresholds` found.

    Attributes:
        values: Per class, to be met with ``>=``, ``(C,)`` float32.
        overall: The one threshold for all classes, towards which they were drawn.
    """

    values: NDArray[np.float32]
    overall: float


def choose_thresholds(probs: ArrayLike, targets: ArrayLike, known: ArrayLike, *, prior_strength: float = 5.0) -> Thresholds:
    """Choose a threshold for each class, drawn towards a common one where positives are few.

    The common threshold maximises micro-F1, a class's own one its F1. The own one of a rare class is mostly luck (the
    winner's curse in Lipton et al. 2014, https://arxiv.org/abs/1402.1892), so each class gets the mean of both in logits,
    its own with weight ``support / (support + prior_strength)``; without support, or where nothing but positives is known,
    the common one. A threshold above or below all scores is never chosen: there is no evidence beyond them.

    Args:
        probs: Probabilities in 0..1, ``(N, C)``.
        targets: Multi-hot, ``(N, C)`` bool.
        known: False where nobody looked, ``(N, C)`` bool.
        prior_strength: Positives at which both count alike, >= 0. About 5 held up best for tune splits of 32 to 2,000 images,
            with well and with badly calibrated scores.

    Raises:
        ValueError: Shapes differ, a probability outside 0..1, or a negative ``prior_strength``.
    """
    if not prior_strength >= 0:
        raise ValueError(f"prior_strength is {prior_strength}; it must be 0 or more.")
    positives, negatives = _histograms(probs, targets, known)
    positives[~negatives.any(axis=1)] = 0  # nothing could be wrong there, so the lowest threshold would always be best
    overall = _best_within(positives.sum(axis=0), negatives.sum(axis=0), near=UNINFORMED)
    own = np.array([_best_within(up, down, near=overall) for up, down in zip(positives, negatives, strict=True)])
    support = positives.sum(axis=1)
    weight = support / np.maximum(support + prior_strength, 1e-9)
    values = _sigmoid(weight * _logit(own) + (1 - weight) * _logit(overall))
    return Thresholds(values.astype(np.float32), overall)


def best_thresholds(probs: ArrayLike, targets: ArrayLike, known: ArrayLike) -> tuple[Floats, Floats]:
    """The best F1 that any threshold gives each class on these very data, and that threshold: a bound, not a claim.

    Returns:
        Thresholds and F1, each ``(C,)``, NaN for a class without support. Among equals the highest threshold.

    Raises:
        ValueError: As `choose_thresholds`.
    """
    thresholds, best = np.full((2, np.shape(probs)[1]), np.nan)
    for index, (up, down) in enumerate(zip(*_histograms(probs, targets, known), strict=True)):
        if up.any():
            candidates, f1 = _candidates(up, down)
            last = np.flatnonzero(f1 == f1.max())[-1]
            thresholds[index], best[index] = candidates[last], f1[last]
    return thresholds, best


def _histograms(probs: ArrayLike, targets: ArrayLike, known: ArrayLike) -> tuple[Counts, Counts]:
    """Positives and negatives of each class at each float16 value in 0..1: ``(C, 15361)`` twice."""
    probs, targets, known = np.asarray(probs), np.asarray(targets, bool), np.asarray(known, bool)
    if probs.ndim != 2 or not probs.shape == targets.shape == known.shape:
        raise ValueError(f"probs {probs.shape}, targets {targets.shape}, known {known.shape}: (N, C) three times is needed.")
    if not ((probs >= 0) & (probs <= 1)).all():
        raise ValueError("probs holds values outside 0..1 or NaN.")
    levels = (probs.astype(np.float16) + np.float16(0)).view(np.uint16)  # + 0 makes -0.0 into 0.0

    def count(mask: NDArray[np.bool_]) -> Counts:
        columns = zip(levels.T, mask.T, strict=True)
        return np.array([np.bincount(level[use], minlength=_LEVELS) for level, use in columns], np.int64).reshape(-1, _LEVELS)

    return count(known & targets), count(known & ~targets)


def _candidates(positives: Counts, negatives: Counts) -> tuple[Floats, Floats]:
    """The thresholds that tell apart scores that occur, rising, and the F1 of each: ``(K,)`` twice.

    They lie midway between neighbouring scores, but the first is the lowest score: it tags everything.
    """
    occurring = np.flatnonzero(positives + negatives)
    scores = occurring.astype(np.uint16).view(np.float16).astype(np.float64)
    tp = positives[occurring][::-1].cumsum()[::-1]
    fp = negatives[occurring][::-1].cumsum()[::-1]
    thresholds = np.concatenate([scores[:1], (scores[1:] + scores[:-1]) / 2])
    return thresholds, 2 * tp / np.maximum(tp + fp + positives.sum(), 1)  # TP + FN is the support


def _best_within(positives: Counts, negatives: Counts, *, near: float) -> float:
    """The threshold of highest F1 between two scores, among equals the one nearest ``near`` in logits; else ``near``."""
    thresholds, f1 = (part[1:] for part in _candidates(positives, negatives))
    if not len(f1) or not positives.any():
        return near
    equals = thresholds[f1 == f1.max()]
    return float(equals[np.abs(_logit(equals) - _logit(near)).argmin()])


def _logit(probability: Floats | float) -> Floats:
    return np.asarray(np.log(probability) - np.log1p(-np.asarray(probability)))


def _sigmoid(logit: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logit)))
