"""Platt scaling of scores with an offset per class, by empirical Bayes. Numpy only; does not depend on bundles.

The scores of one class may be too high or too low against those of the others, for example because the loss weights positives.
With few positives the class alone does not determine by how much. The model is

    logit P(present) = a x + b + d_c,    d_c ~ N(0, tau^2),

with x the logit of the score. a, b and tau are fitted to all classes, so that a class with few positives stays close to the
others, and one with many follows its own labels. Platt 1999, Probabilistic Outputs for Support Vector Machines; Efron & Morris
1975, https://doi.org/10.1080/01621459.1975.10479864, for the shrinkage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cocotag.metrics.bootstrap import Floats

EXTREME = 17.0
"""Largest logit: that of the smallest float16 above 0, in which scores are compared."""

_BIN = 0.1  # logits
_BINS = round(2 * EXTREME / _BIN) + 1
CENTRES: Floats = np.arange(_BINS, dtype=np.float64) * _BIN - EXTREME
"""Logits at the centres of the bins of `histogram`, ``(BINS,)``."""

_LEAST_SLOPE, _LEAST_SPREAD = 0.05, 1e-3
_CLOSE = 1e-5  # a change below which an iteration has converged

FOLDS = 10
"""Parts of the images in `held_out_loss`, each scored by the model of the others."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Recalibration:
    """A fitted model.

    Attributes:
        slope: ``a``, above 0.
        common: ``b``.
        shift: ``d_c`` of each class, ``(C,)``.
        spread: ``tau``, logits.
    """

    slope: float
    common: float
    shift: Floats
    spread: float

    def logits(self, x: Floats) -> Floats:
        """Recalibrated logits of the logits ``(N, C)``."""
        return np.asarray(self.slope * x + self.common + self.shift)

    def by_bin(self) -> Floats:
        """Recalibrated logits of `CENTRES` for each class, ``(C, BINS)``."""
        return np.asarray(self.slope * CENTRES + self.common + self.shift[:, None])


@dataclass(frozen=True)
class HeldOutLoss:
    """Log loss on images that the model was not fitted to, nats per known label.

    Attributes:
        before: Of the scores as they are.
        after: Of the recalibrated scores.
        error: Standard error of the difference, over images.
    """

    before: float
    after: float
    error: float


def logit(probs: ArrayLike) -> Floats:
    """Logits of scores in 0..1, at most `EXTREME` in size."""
    probs = np.asarray(probs, np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.log(probs) - np.log1p(-probs), -EXTREME, EXTREME))


def sigmoid(logits: Floats) -> Floats:
    """The inverse of `logit`."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-logits)))


def histogram(x: Floats, mask: Bools) -> Floats:
    """Number of masked cells of each class by logit: logits and mask ``(N, C)`` -> ``(C, BINS)``."""
    bins = np.rint((x + EXTREME) / _BIN).astype(np.int64)
    columns = zip(bins.T, mask.T, strict=True)
    return np.array([np.bincount(one[use], minlength=_BINS) for one, use in columns], np.float64).reshape(-1, _BINS)


def fit(present: Floats, cells: Floats, start: Recalibration | None = None, *, steps: int = 60) -> Recalibration:
    """Fit the model by EM with Laplace's approximation.

    Args:
        present: Positives of each class in each bin of `histogram`, ``(C, BINS)``; expected numbers are allowed.
        cells: All cells of each class in each bin, ``(C, BINS)``. A class without cells keeps the common offset.
        start: A model to start from.
        steps: Most iterations.
    """
    model = start or Recalibration(1.0, 0.0, np.zeros(len(cells)), 1.0)
    usable = cells.any(axis=1)
    for _ in range(steps if usable.any() else 0):
        shift, variance = _shifts(model, present, cells)
        mean = float(shift[usable].mean())  # moved to the common offset: EM alone would move it there very slowly
        shift = np.where(usable, shift - mean, 0)
        slope, common = _line(Recalibration(model.slope, model.common + mean, shift, model.spread), present, cells)
        spread = max(float(np.sqrt(np.mean(shift[usable] ** 2 + variance[usable]))), _LEAST_SPREAD)
        change = max(abs(slope - model.slope), abs(common - model.common), abs(spread - model.spread))
        model = Recalibration(slope, common, shift, spread)
        if change < _CLOSE:
            break
    return model


def _shifts(model: Recalibration, present: Floats, cells: Floats) -> tuple[Floats, Floats]:
    """Mode and variance of each class's shift, given the line, by Newton's method; ``(C,)`` each."""
    shift, line, precision = model.shift, model.slope * CENTRES + model.common, model.spread**-2
    for _ in range(8):
        chance = sigmoid(line + shift[:, None])
        gradient = (present - cells * chance).sum(axis=1) - shift * precision
        curvature = (cells * chance * (1 - chance)).sum(axis=1) + precision
        step = np.clip(gradient / curvature, -2, 2)
        shift = shift + step
        if np.abs(step).max() < _CLOSE:
            break
    return shift, 1 / curvature


def _line(model: Recalibration, present: Floats, cells: Floats) -> tuple[float, float]:
    """Slope and common offset, given the shifts: one step of Newton's method, shortened if it is long."""
    chance = sigmoid(model.by_bin())
    error, weight = present - cells * chance, cells * chance * (1 - chance)
    gradient = np.array([(error * CENTRES).sum(), error.sum()])
    mixed = (weight * CENTRES).sum()
    curvature: NDArray[Any] = np.array([[(weight * CENTRES**2).sum(), mixed], [mixed, weight.sum()]]) + 1e-6 * np.eye(2)
    step = np.linalg.solve(curvature, gradient)
    step *= min(1, 0.5 / max(float(np.abs(step).max()), 1e-9))
    return max(model.slope + float(step[0]), _LEAST_SLOPE), model.common + float(step[1])


def held_out_loss(x: Floats, targets: Bools, known: Bools) -> HeldOutLoss:
    """Cross-validated log loss with and without recalibration; deterministic.

    Args:
        x: Logits, as from `logit`, ``(N, C)``; at least `FOLDS` images.
        targets: Multi-hot, ``(N, C)`` bool.
        known: False where the label is unknown, ``(N, C)`` bool. At least one cell is known.
    """
    fold = np.random.default_rng(0).permutation(len(x)) % FOLDS
    before, after = log_loss(x, targets), np.empty(x.shape)
    for number in range(FOLDS):
        held_out = fold == number
        model = fit_labels(x[~held_out], targets[~held_out], known[~held_out])
        after[held_out] = log_loss(model.logits(x[held_out]), targets[held_out])
    labels = known.sum(axis=1)
    falls = ((before - after) * known).sum(axis=1)
    rest = falls - labels * falls.sum() / labels.sum()  # a mean per label, so its error is that of a ratio
    error = np.sqrt(len(x) / (len(x) - 1) * (rest**2).sum()) / labels.sum()
    return HeldOutLoss(float(before[known].mean()), float(after[known].mean()), float(error))


def fit_labels(x: Floats, targets: Bools, known: Bools) -> Recalibration:
    """The model fitted to logits, targets and the mask of known labels, ``(N, C)`` each."""
    return fit(histogram(x, known & targets), histogram(x, known))


def log_loss(x: Floats, targets: Bools) -> Floats:
    """Log loss of each cell, nats: logits and targets ``(N, C)`` -> ``(N, C)``."""
    return np.asarray(np.logaddexp(0, np.where(targets, -x, x)))
