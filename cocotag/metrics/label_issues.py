"""How likely each label is wrong, from a tagger's scores. Works on arrays; does not depend on images or files.

Two kinds of error are considered: a label that is missing although the object is present, and a label that was added although
it is absent. The probability that a cell of class c with score logit x is *labelled* has a floor and a ceiling:

    P(labelled) = (1 - r) q + k o (1 - q),    logit q = a x + b + d_c,

with o the odds of the class's frequency (`cocotag.metrics.recalibration` describes q). r is the share of confident objects
that are not labelled. k is the share of labels on images that look as if the object were absent. Both are fitted by EM to all
classes together.

Not all of r and k is label noise: the tagger may be wrong on some images, however sure it is, or blind to some objects.
Errors of both kinds are therefore assumed to be equally common, and their common share is the smaller of r and k. Bayes' rule
then gives the chance of each cell, so that cells of both kinds and of all classes can be compared: all scores of a rare class
are low, so a low score on a label of it says less than on a label of a common class.

The model of noisy labels is that of Lawrence & Schölkopf 2001, Estimating a Kernel Fisher Discriminant in the Presence of Label
Noise. scripts/measure/measure_label_issues.py compares the ranking with cleanlab's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cocotag.metrics.bootstrap import Floats
from cocotag.metrics.recalibration import Recalibration, fit, histogram, logit, sigmoid

PRIOR_SHARE = 0.02
"""Share of wrong labels of each kind before the labels are seen."""
PRIOR_POSITIVES = 20.0
"""Number of positives that this prior is worth."""

_ROUNDS = 30  # of the EM
_CLOSE = 1e-5  # a change of the shares below which it has converged


def label_error_chances(probs: ArrayLike, targets: ArrayLike, known: ArrayLike) -> Floats:
    """The chance of each label to be wrong: a missing label where the target is False, a wrong label where it is True.

    A class of which only positives are known tells nothing and has chance 0, and so has an unknown cell. Chances are estimates
    under the assumptions above; their order is more reliable than their values.

    Args:
        probs: Probabilities in 0..1, ``(N, C)``, from a tagger that was not trained on these labels.
        targets: Multi-hot, ``(N, C)`` bool.
        known: False where the label is unknown, ``(N, C)`` bool.

    Returns:
        Chances in 0..1, ``(N, C)`` float64.

    Raises:
        ValueError: Shapes differ, or a probability is outside 0..1.
    """
    probs, targets, known = np.asarray(probs), np.asarray(targets, bool), np.asarray(known, bool)
    if probs.ndim != 2 or not probs.shape == targets.shape == known.shape:
        shapes = f"probs {probs.shape}, targets {targets.shape}, known {known.shape}"
        raise ValueError(f"{shapes}: all three must have the same shape (N, C).")
    if not ((probs >= 0) & (probs <= 1)).all():
        raise ValueError("probs has values outside 0..1 or NaN.")
    known = known & (known & ~targets).any(axis=0)
    if not (known & targets).any():
        return np.zeros(probs.shape)
    x = logit(probs)
    up, down = histogram(x, known & targets), histogram(x, known & ~targets)
    positives, cells = up.sum(axis=1), (up + down).sum(axis=1)
    frequency = (positives + 0.5) / (cells + 1)
    odds = frequency / (1 - frequency)
    model, unlabelled, added = _fit_with_noise(up, down, odds)
    labelled = _labelled(sigmoid(model.logits(x)), unlabelled, added, odds)
    share = min(unlabelled, added)
    ratio = labelled / (1 - labelled)
    chances = share / (1 - share) * np.where(targets, odds / ratio, ratio)
    return np.where(known, np.minimum(chances, 1), 0)


def _fit_with_noise(up: Floats, down: Floats, odds: Floats) -> tuple[Recalibration, float, float]:
    """The model of q, r and k, from labelled and unlabelled cells by bin ``(C, BINS)`` and odds ``(C,)``."""
    unlabelled = added = PRIOR_SHARE
    present, missing = up, np.zeros_like(down)
    model = fit(present, up + down)
    by_class = odds[:, None]
    for _ in range(_ROUNDS):
        q = sigmoid(model.by_bin())
        labelled = _labelled(q, unlabelled, added, by_class)
        present, missing = up * (1 - unlabelled) * q / labelled, down * unlabelled * q / (1 - labelled)
        prior = PRIOR_SHARE * PRIOR_POSITIVES
        before = unlabelled, added
        unlabelled = float((missing.sum() + prior) / ((present + missing).sum() + PRIOR_POSITIVES))
        added = float(((up - present).sum() + prior) / (up.sum() + PRIOR_POSITIVES))
        if abs(unlabelled - before[0]) + abs(added - before[1]) < _CLOSE:
            break
        model = fit(present + missing, up + down, model, steps=4)
    return model, unlabelled, added


def _labelled(q: Floats, unlabelled: float, added: float, odds: Floats) -> Floats:
    """Probability of a label where the object is present with probability q."""
    return np.asarray((1 - unlabelled) * q + np.minimum(added * odds, 0.5) * (1 - q))
