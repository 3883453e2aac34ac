"""Ranking measures: of images within a class (average precision) and of classes within an image. Independent of thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cocotag.metrics.bootstrap import Floats, Weights, ratio

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Ranking:
    """The images of one class, sorted once, so that average precision is fast under any weights.

    Precision matters only where recall steps, that is at the end of a group of tied scores that contains a positive. The
    images in falling order of score are therefore cut into segments that end there. Images after the last segment are dropped.
    """

    rows: NDArray[np.intp]  # images in falling order of score
    starts: NDArray[np.intp]  # where the segments start in ``rows``
    positive_rows: NDArray[np.intp]  # the positives among ``rows``, in the same order
    positive_starts: NDArray[np.intp]  # where the segments start in ``positive_rows``

    @classmethod
    def of(cls, probs: NDArray[np.floating], targets: Bools, known: Bools) -> Ranking:
        """Sort the images of one class; ``(N,)`` each."""
        rows = np.flatnonzero(known)
        rows = rows[np.argsort(-probs[rows], kind="stable")]
        scores, hits = probs[rows], np.flatnonzero(targets[rows])
        last = np.searchsorted(-scores, -scores[hits], side="right")  # one past the end of each positive's tied group
        ends, positive_starts = np.unique(last, return_index=True)
        starts = np.concatenate([[0], ends[:-1]]).astype(np.intp) if len(ends) else ends.astype(np.intp)
        return cls(rows[: ends[-1] if len(ends) else 0], starts, rows[hits], positive_starts)

    def average_precision(self, weights: Weights) -> Floats:
        """Average precision under weights ``(N, B)``: ``(B,)``, NaN where no positive has weight."""
        if not len(self.starts):
            return np.full(weights.shape[1], np.nan)
        gained, found, seen = self._steps(weights)
        return ratio((gained * found / np.maximum(seen, 1)).sum(axis=0), found[-1])

    def expected_precision(self, weights: Weights) -> Floats:
        """Average precision in which no positive counts itself, under weights of 0 or 1: ``(B,)``, NaN without positives.

        With F positives among the S images that score at least as high as a positive, its precision is F / S, in which it
        counts itself: with few positives this is too high. The other images give (F - 1) / (S - 1), which does not depend on
        that and so estimates the precision on further images. A positive above all other images counts 1.
        """
        if not len(self.starts):
            return np.full(weights.shape[1], np.nan)
        gained, found, seen = self._steps(weights)
        others = np.where(seen > 1, (found - 1) / np.maximum(seen - 1, 1), 1.0)
        return ratio((gained * others).sum(axis=0), found[-1])

    def _steps(self, weights: Weights) -> tuple[Floats, Floats, Floats]:
        """At the end of each segment the positives in it, the positives so far and the images so far, ``(segments, B)``."""
        seen = np.add.reduceat(weights[self.rows], self.starts, axis=0).cumsum(axis=0)
        gained = np.add.reduceat(weights[self.positive_rows], self.positive_starts, axis=0).astype(np.float64)
        return gained, gained.cumsum(axis=0), seen.astype(np.float64)


def hits_in_top(probs: NDArray[np.floating], targets: Bools, known: Bools, *, k: int) -> tuple[Floats, Floats]:
    """How many of the ``k`` most likely known classes of each image are its labels, and how many classes were considered.

    Classes that tie for the last ranks share them equally: the average over random tie-breaking.

    Returns:
        Hits ``(N,)``, and the smaller of ``k`` and the number of known classes, ``(N,)``.
    """
    k = min(k, probs.shape[1])
    scores = np.where(known, probs.astype(np.float64), -np.inf)
    last = np.partition(scores, scores.shape[1] - k, axis=1)[:, [scores.shape[1] - k]]
    above, tied = known & (scores > last), known & (scores == last)
    depth = np.minimum(k, known.sum(axis=1)).astype(np.float64)
    share = np.nan_to_num(ratio(depth - above.sum(axis=1), tied.sum(axis=1)))
    return (targets & above).sum(axis=1) + (targets & tied).sum(axis=1) * share, depth


def coverage_depth(probs: NDArray[np.floating], targets: Bools, known: Bools) -> Floats:
    """How many known classes of each image score at least as high as its lowest label: ``(N,)``, NaN without a known label.

    The mean equals scikit-learn's ``coverage_error``, except that images without a label count 0 there. Tsoumakas, Katakis &
    Vlahavas 2010, Mining Multi-label Data, https://doi.org/10.1007/978-0-387-09823-4_34.
    """
    labels = targets & known
    lowest = np.where(labels, probs, np.inf).min(axis=1, keepdims=True)
    return np.where(labels.any(axis=1), ((probs >= lowest) & known).sum(axis=1), np.nan)


def misordered_pairs(probs: NDArray[np.floating], targets: Bools, known: Bools) -> Floats:
    """The share of pairs of a label and an absent class, per image, in which the label does not score higher.

    The mean equals scikit-learn's ``label_ranking_loss``, except that images without such a pair count 0 there. Tsoumakas et
    al. 2010, as for `coverage_depth`.

    Returns:
        ``(N,)``, NaN for an image without a known label or without a class known to be absent.
    """
    order = np.lexsort((targets, -probs), axis=1)  # among equal scores the absent class comes first: a tie is an error
    labels = np.take_along_axis(targets & known, order, axis=1)
    absent = np.take_along_axis(~targets & known, order, axis=1)
    wrong = (absent.cumsum(axis=1) * labels).sum(axis=1)
    return ratio(wrong, labels.sum(axis=1) * absent.sum(axis=1))
