"""Calibration of probabilities: Brier score, expected calibration error (ECE), and the bins of reliability diagrams.

The ECE divides 0..1 into ten bins of equal width, ``(a, b]``; the first bin includes 0. It is the mean over bins of the
distance between mean probability and observed frequency, weighted by the number of cells in the bin. Naeini, Cooper &
Hauskrecht 2015, https://doi.org/10.1609/aaai.v29i1.9602; here each class is a binary problem, and the bins are over the
probability of the positive. Bins with few cells inflate the ECE, so a rare class looks worse than it is.

The Brier score (Brier 1950) is the mean squared difference between probability and truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cocotag.metrics.bootstrap import Floats, Weights, ratio

BINS = 10
_Z = 1.959963984540054  # 95%, two-sided
_CLASSES_AT_ONCE = 8  # classes whose bins are laid out side by side for one matrix product

Bools = NDArray[np.bool_]


def bin_index(probs: NDArray[Any]) -> NDArray[np.intp]:
    """The bin of each probability, 0 to 9; any shape of input."""
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    return np.searchsorted(inner, probs.astype(np.float64), side="left")


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the calibration measures need under any weights of the images.

    If a known score of a class is outside 0..1, the scores are not probabilities, and its measures are undefined.
    """

    gaps: Floats  # probability minus truth, (N, C), 0 where unknown
    bins: NDArray[np.intp]  # (N, C)
    known: Bools  # (N, C)
    defined: Bools  # (C,)

    @classmethod
    def of(cls, probs: NDArray[np.floating], targets: Bools, known: Bools) -> Calibration:
        """Prepare arrays of shape ``(N, C)`` each."""
        defined: Bools = np.asarray((~known | ((probs >= 0) & (probs <= 1))).all(axis=0))
        gaps = np.where(known & defined, probs.astype(np.float64) - targets, 0.0)
        return cls(gaps, bin_index(probs), known, defined)

    def class_brier(self) -> Floats:
        """Brier score per class, ``(C,)``."""
        return np.where(self.defined, ratio((self.gaps**2).sum(axis=0), self.known.sum(axis=0)), np.nan)

    def class_ece(self, weights: Weights) -> Floats:
        """ECE per class under weights ``(N, B)``: ``(B, C)``."""
        transposed = weights.T.astype(np.float64)
        total = transposed @ self.known.astype(np.float64)
        gaps = np.empty(total.shape)
        spread = np.zeros((len(weights), _CLASSES_AT_ONCE * BINS))
        rows = np.arange(len(weights))[:, None]
        for start in range(0, total.shape[1], _CLASSES_AT_ONCE):
            part = slice(start, start + _CLASSES_AT_ONCE)
            bins = self.bins[:, part]
            cells = rows, bins + BINS * np.arange(bins.shape[1])
            spread[cells] = self.gaps[:, part]
            sums = np.abs(transposed @ spread).reshape(len(transposed), -1, BINS)
            gaps[:, part] = sums[:, : bins.shape[1]].sum(axis=2)
            spread[cells] = 0
        return np.where(self.defined, ratio(gaps, total), np.nan)

    def of_images(self, classes: Bools) -> Floats:
        """The sums per image from which the measures over all cells of some classes ``(C,)`` follow: ``(N, 12)``.

        The columns are the known cells, their squared differences, and their differences in each of the ten bins. All are NaN
        if one of the classes is undefined.
        """
        known, gaps = self.known[:, classes], self.gaps[:, classes]
        cells = self.bins[:, classes] + BINS * np.arange(len(known))[:, None]
        binned = np.bincount(cells.ravel(), weights=gaps.ravel(), minlength=BINS * len(known)).reshape(-1, BINS)
        columns = np.column_stack([known.sum(axis=1), (gaps**2).sum(axis=1), binned])
        return columns if self.defined[classes].all() else np.full(columns.shape, np.nan)

    @staticmethod
    def over_all(sums: Floats) -> tuple[Floats, Floats]:
        """Brier score and ECE over all cells, ``(B,)`` each, from the weighted sums ``(B, 12)`` of `of_images`."""
        return ratio(sums[:, 1], sums[:, 0]), ratio(np.abs(sums[:, 2:]).sum(axis=1), sums[:, 0])


@dataclass(frozen=True, eq=False)
class CalibrationBins:
    """The non-empty calibration bins of one class, in rising order; ``(K,)`` each.

    Attributes:
        predicted: Mean probability.
        observed: Share of positives.
        lo: Lower end of Wilson's 95% interval of that share: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953.
        hi: Upper end of that interval.
        counts: Number of images.
    """

    predicted: Floats
    observed: Floats
    lo: Floats
    hi: Floats
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, probs: NDArray[np.floating], targets: Bools) -> CalibrationBins:
        """Bin the known rows of one class."""
        bins = bin_index(probs)
        counts = np.bincount(bins, minlength=BINS)
        hits = np.bincount(bins, weights=targets, minlength=BINS)
        sums = np.bincount(bins, weights=probs.astype(np.float64), minlength=BINS)
        filled = counts > 0
        lo, hi = wilson(hits[filled], counts[filled])
        return cls(sums[filled] / counts[filled], hits[filled] / counts[filled], lo, hi, counts[filled].astype(np.int64))


def wilson(hits: NDArray[Any], counts: NDArray[Any]) -> tuple[Floats, Floats]:
    """Wilson's 95% interval of the share ``hits / counts``, for counts above 0."""
    share = hits / counts
    middle = share + _Z**2 / (2 * counts)
    half = _Z * np.sqrt(share * (1 - share) / counts + _Z**2 / (4 * counts**2))
    scale = 1 + _Z**2 / counts
    # Rounding can put an end of the interval slightly inside the share itself.
    return np.minimum(np.clip((middle - half) / scale, 0, 1), share), np.maximum(np.clip((middle + half) / scale, 0, 1), share)
