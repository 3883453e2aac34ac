"""Whether probabilities mean what they say: Brier score, expected calibration error, and bins to draw.

The expected calibration error cuts 0..1 into ten bins of equal width, ``(a, b]`` and the first with its 0, and means the
distance between mean probability and observed frequency over them, each weighed by what falls in it: Naeini, Cooper &
Hauskrecht 2015, https://doi.org/10.1609/aaai.v29i1.9602, on probabilities of the positive, one class a binary question. It
grows with bins that hold little, so a rare class looks worse than it is. Brier 1950: the mean squared difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cocotag.metrics.bootstrap import Floats, Weights, ratio

BINS = 10
_Z = 1.959963984540054  # 95%, two sides
_CLASSES_AT_ONCE = 8  # of which the bins are laid out side by side for one product

Bools = NDArray[np.bool_]


def bin_index(probs: NDArray[Any]) -> NDArray[np.intp]:
    """The bin of each probability, 0 to 9; any shape."""
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    return np.searchsorted(inner, probs.astype(np.float64), side="left")


@dataclass(frozen=True, eq=False)
class Calibration:
    """All that the measures need under any weights.

    A class with a known score outside 0..1 has no probabilities, and so none of them.
    """

    gaps: Floats  # probability less truth, (N, C), 0 where unknown
    bins: NDArray[np.intp]  # (N, C)
    known: Bools  # (N, C)
    defined: Bools  # (C,)

    @classmethod
    def of(cls, probs: NDArray[np.floating], targets: Bools, known: Bools) -> Calibration:
        """From ``(N, C)`` each."""
        defined: Bools = np.asarray((~known | ((probs >= 0) & (probs <= 1))).all(axis=0))
        gaps = np.where(known & defined, probs.astype(np.float64) - targets, 0.0)
        return cls(gaps, bin_index(probs), known, defined)

    def class_brier(self) -> Floats:
        """Per class, ``(C,)``."""
        return np.where(self.defined, ratio((self.gaps**2).sum(axis=0), self.known.sum(axis=0)), np.nan)

    def class_ece(self, weights: Weights) -> Floats:
        """Per class under weights ``(N, B)``: ``(B, C)``."""
        turned = weights.T.astype(np.float64)
        total = turned @ self.known.astype(np.float64)
        gaps = np.empty(total.shape)
        spread = np.zeros((len(weights), _CLASSES_AT_ONCE * BINS))
        rows = np.arange(len(weights))[:, None]
        for start in range(0, total.shape[1], _CLASSES_AT_ONCE):
            part = slice(start, start + _CLASSES_AT_ONCE)
            bins = self.bins[:, part]
            places = rows, bins + BINS * np.arange(bins.shape[1])
            spread[places] = self.gaps[:, part]
            sums = np.abs(turned @ spread).reshape(len(turned), -1, BINS)
            gaps[:, part] = sums[:, : bins.shape[1]].sum(axis=2)
            spread[places] = 0
        return np.where(self.defined, ratio(gaps, total), np.nan)

    def of_images(self, classes: Bools) -> Floats:
        """What the measures over all cells of some classes ``(C,)`` are made of, for each image: ``(N, 12)``.

        Known cells, their squared differences, and their differences in each of the ten bins. NaN if a class is undefined.
        """
        known, gaps = self.known[:, classes], self.gaps[:, classes]
        places = self.bins[:, classes] + BINS * np.arange(len(known))[:, None]
        binned = np.bincount(places.ravel(), weights=gaps.ravel(), minlength=BINS * len(known)).reshape(-1, BINS)
        columns = np.column_stack([known.sum(axis=1), (gaps**2).sum(axis=1), binned])
        return columns if self.defined[classes].all() else np.full(columns.shape, np.nan)

    @staticmethod
    def over_all(sums: Floats) -> tuple[Floats, Floats]:
        """Brier score and calibration error, ``(B,)`` each, from the weighted sums ``(B, 12)`` of `of_images`."""
        return ratio(sums[:, 1], sums[:, 0]), ratio(np.abs(sums[:, 2:]).sum(axis=1), sums[:, 0])


@dataclass(frozen=True, eq=False)
class CalibrationBins:
    """The bins of one class that hold something, from the lowest on; ``(K,)`` each.

    Attributes:
        predicted: Mean probability.
        observed: Share of positives.
        lo: Wilson's 95% interval of that share: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953.
        hi: Its upper end.
        counts: Images.
    """

    predicted: Floats
    observed: Floats
    lo: Floats
    hi: Floats
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, probs: NDArray[np.floating], targets: Bools) -> CalibrationBins:
        """From the known rows of one column of each."""
        bins = bin_index(probs)
        counts = np.bincount(bins, minlength=BINS)
        hits = np.bincount(bins, weights=targets, minlength=BINS)
        sums = np.bincount(bins, weights=probs.astype(np.float64), minlength=BINS)
        held = counts > 0
        lo, hi = wilson(hits[held], counts[held])
        return cls(sums[held] / counts[held], hits[held] / counts[held], lo, hi, counts[held].astype(np.int64))


def wilson(hits: NDArray[Any], counts: NDArray[Any]) -> tuple[Floats, Floats]:
    """Wilson's 95% interval of the share ``hits / counts``, for counts above 0."""
    share = hits / counts
    middle = share + _Z**2 / (2 * counts)
    half = _Z * np.sqrt(share * (1 - share) / counts + _Z**2 / (4 * counts**2))
    scale = 1 + _Z**2 / counts
    # Rounding can leave the end of an interval a hair inside its own share.
    return np.minimum(np.clip((middle - half) / scale, 0, 1), share), np.maximum(np.clip((middle + half) / scale, 0, 1), share)
