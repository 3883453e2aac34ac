"""The losses: (logits, targets, known) -> scalar. Each is computed in float32 over the known cells only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def bce(logits: Tensor, targets: Tensor, known: Tensor, *, pos_weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy with logits, the mean over known cells.

    Args:
        logits: Scores before the sigmoid, ``(N, C)``.
        targets: Multi-hot, 0 or 1, ``(N, C)``.
        known: False where the label is unknown, ``(N, C)`` bool.
        pos_weight: Weight of each class's positives, ``(C,)``, > 0.

    Returns:
        Scalar float32, nats per known cell; 0 if no cell is known.

    Raises:
        ValueError: Shapes differ.
    """
    logits, targets, known = _checked(logits, targets, known)
    if pos_weight is not None and pos_weight.shape != logits.shape[1:]:
        raise ValueError(f"pos_weight has shape {tuple(pos_weight.shape)}; it must be {tuple(logits.shape[1:])}")
    cells = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=pos_weight, reduction="none")
    return _mean_known(cells, known)


def focal(logits: Tensor, targets: Tensor, known: Tensor, *, gamma: float = 2.0, alpha: float | None = 0.25) -> Tensor:
    """Focal loss, the mean over known cells: cells that are already predicted well count less.

    Lin et al. 2017, https://arxiv.org/abs/1708.02002. The paper divides the sum by the number of positives; a mean keeps
    the scale independent of that number.

    Args:
        logits: Scores before the sigmoid, ``(N, C)``.
        targets: Multi-hot, 0 or 1, ``(N, C)``.
        known: False where the label is unknown, ``(N, C)`` bool.
        gamma: Focusing exponent, >= 0; 0 turns focusing off.
        alpha: Weight of positives; negatives have ``1 - alpha``. None gives both weight 1.

    Returns:
        Scalar float32, weighted nats per known cell; 0 if no cell is known.

    Raises:
        ValueError: Shapes differ, or a parameter is out of range.
    """
    logits, targets, known = _checked(logits, targets, known)
    _require(gamma >= 0, "gamma", gamma, "at least 0")
    cells = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    # 1 - p of the true label, from the logits: exact even if the probability rounds to 1.
    missing = torch.sigmoid(torch.where(targets > 0.5, -logits, logits))
    cells = cells * missing.pow(gamma)
    if alpha is not None:
        _require(0 < alpha < 1, "alpha", alpha, "between 0 and 1")
        cells = cells * torch.where(targets > 0.5, alpha, 1 - alpha)
    return _mean_known(cells, known)


def soft_f1(logits: Tensor, targets: Tensor, known: Tensor, *, smoothing: float = 1.0) -> Tensor:
    """One minus the F1 of each class with probabilities instead of decisions, the mean over classes known in the batch.

    Bénédict et al. 2021, https://arxiv.org/abs/2108.10566 (macro, over the batch). It approximates F1 well only on large
    batches: with few images most classes have no positive.

    Args:
        logits: Scores before the sigmoid, ``(N, C)``.
        targets: Multi-hot, 0 or 1, ``(N, C)``.
        known: False where the label is unknown, ``(N, C)`` bool.
        smoothing: Added to numerator and denominator, > 0, so that a class without positives still learns low scores.

    Returns:
        Scalar float32 in [0, 1]; 0 if no cell is known.

    Raises:
        ValueError: Shapes differ, or a parameter is out of range.
    """
    logits, targets, known = _checked(logits, targets, known)
    _require(smoothing > 0, "smoothing", smoothing, "above 0")
    seen = known.float()
    probs = torch.sigmoid(logits) * seen
    targets = targets * seen
    twice_tp = 2 * (probs * targets).sum(dim=0)
    f1 = (twice_tp + smoothing) / (probs.sum(dim=0) + targets.sum(dim=0) + smoothing)
    return _mean_known(1 - f1, known.any(dim=0))


def asymmetric(
    logits: Tensor,
    targets: Tensor,
    known: Tensor,
    *,
    gamma_pos: float = 0.0,
    gamma_neg: float = 4.0,
    shift: float = 0.05,
) -> Tensor:
    """Asymmetric loss, the mean over known cells.

    Negatives below probability ``shift`` cost nothing; the rest are focused by ``gamma_neg``. Ben-Baruch et al. 2021,
    https://arxiv.org/abs/2009.14119. The paper sums; a mean keeps the scale independent of batch size and of the number of
    known cells. As in the paper, no gradient passes through the focusing weight.

    Args:
        logits: Scores before the sigmoid, ``(N, C)``.
        targets: Multi-hot, 0 or 1, ``(N, C)``.
        known: False where the label is unknown, ``(N, C)`` bool.
        gamma_pos: Focusing exponent for positives, >= 0.
        gamma_neg: Focusing exponent for negatives, >= 0.
        shift: Probability margin, in [0, 1).

    Returns:
        Scalar float32, weighted nats per known cell; 0 if no cell is known.

    Raises:
        ValueError: Shapes differ, or a parameter is out of range.
    """
    logits, targets, known = _checked(logits, targets, known)
    _require(gamma_pos >= 0, "gamma_pos", gamma_pos, "at least 0")
    _require(gamma_neg >= 0, "gamma_neg", gamma_neg, "at least 0")
    _require(0 <= shift < 1, "shift", shift, "at least 0 and below 1")
    positive = targets > 0.5
    probs = torch.sigmoid(logits)
    shifted = (probs - shift).clamp(min=0)
    # softplus(-x) is -log(sigmoid(x)) without loss of precision; so is log1p for the shifted negative.
    cells = torch.where(positive, F.softplus(-logits), -torch.log1p(-shifted.clamp(max=1 - 1e-7)))
    with torch.no_grad():
        weight = torch.where(positive, (1 - probs).pow(gamma_pos), shifted.pow(gamma_neg))
    return _mean_known(cells * weight, known)


def cross_entropy(logits: Tensor, targets: Tensor, known: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy over exclusive classes, the mean over images that have a tag.

    Classes that are unknown for an image are left out of its softmax.

    Args:
        logits: Scores before the softmax, ``(N, C)``.
        targets: Exactly one positive per image, ``(N, C)``. Several share the probability; an image without one is ignored.
        known: False where the label is unknown, ``(N, C)`` bool.
        smoothing: Part of the target that is spread evenly over the image's known classes, in [0, 1); Szegedy et al. 2015,
            section 7, https://arxiv.org/abs/1512.00567.

    Returns:
        Scalar float32, nats per image; 0 if no image has a tag.

    Raises:
        ValueError: Shapes differ, or a parameter is out of range.
    """
    logits, targets, known = _checked(logits, targets, known)
    _require(0 <= smoothing < 1, "smoothing", smoothing, "at least 0 and below 1")
    targets = torch.where(known, targets, 0.0)
    positives = targets.sum(dim=1)
    seen = torch.where(positives > 0, known.sum(dim=1), 0)
    wanted = (1 - smoothing) * targets / positives.clamp(min=1)[:, None] + smoothing * known / seen.clamp(min=1)[:, None]
    # A finite number instead of minus infinity: a row without known cells would be NaN, and so would its gradient.
    log_probs = F.log_softmax(torch.where(known, logits, torch.finfo(logits.dtype).min), dim=1)
    rows = -torch.where(known, wanted * log_probs, 0.0).sum(dim=1)
    return _mean_known(rows, positives > 0)


@dataclass(frozen=True)
class LossRow:
    """One loss of the table.

    Attributes:
        loss: ``loss(logits, targets, known, **parameters) -> scalar``.
        parameters: Its parameters that are fields of `cocotag.config.LossConfig` under the same name.
        weighs_positives: Whether it takes ``pos_weight``, ``(C,)``, which is computed from the training data.
    """

    loss: Callable[..., Tensor]
    parameters: tuple[str, ...] = ()
    weighs_positives: bool = False


LOSSES: dict[str, LossRow] = {
    "bce": LossRow(bce, weighs_positives=True),
    "focal": LossRow(focal, ("gamma", "alpha")),
    "soft_f1": LossRow(soft_f1),
    "asymmetric": LossRow(asymmetric, ("gamma_pos", "gamma_neg", "shift")),
    "cross_entropy": LossRow(cross_entropy, ("smoothing",)),
}
"""The table of losses. To add one, write its function and its row here, and add its name and parameters to ``config.py``."""


def _checked(logits: Tensor, targets: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if not logits.shape == targets.shape == known.shape or logits.ndim != 2:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (logits, targets, known))
        raise ValueError(f"logits, targets and known have shapes {shapes}; all must have the same shape (N, C)")
    return logits.float(), targets.float(), known.bool()


def _mean_known(cells: Tensor, known: Tensor) -> Tensor:
    # torch.where, not a product: 0 * inf in an unknown cell would be NaN.
    return torch.where(known, cells, 0.0).sum() / known.sum().clamp(min=1)


def _require(holds: bool, name: str, value: float, limits: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value}; it must be {limits}")
