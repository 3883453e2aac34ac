"""The loss that a config names, with what it needs to know of the training data's frequencies."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cocotag import losses
from cocotag.config import LossConfig


class Loss(nn.Module):
    """The loss that a config names.

    Logit adjustment adds each class's log odds in the training data to its logits, Menon et al. 2021,
    https://arxiv.org/abs/2007.07314, here for each class for itself: a bias that is given rather than learned.

    Args:
        config: Its name and parameters.
        positives: Images of each class in training, ``(C,)``.
        known: Images on which somebody looked for it, ``(C,)``.
    """

    def __init__(self, config: LossConfig, positives: NDArray[np.int64], known: NDArray[np.int64]) -> None:
        super().__init__()
        self.config = config
        self.pos_weight: Tensor | None
        self.register_buffer("pos_weight", _tensor(pos_weights(config, positives, known)), persistent=False)
        self.log_odds: Tensor | None
        odds = None
        if config.logit_adjustment:
            share = shares(positives, known)
            odds = config.logit_adjustment * np.log(share / (1 - share))
        self.register_buffer("log_odds", _tensor(odds), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Logits, multi-hot targets and known mask, each ``(N, C)`` -> scalar."""
        config = self.config
        if self.log_odds is not None:
            logits = logits.float() + self.log_odds
        cells = (logits, targets, known)
        if config.name == "bce":
            return losses.bce(*cells, pos_weight=self.pos_weight)
        if config.name == "focal":
            return losses.focal(*cells, gamma=config.gamma, alpha=config.alpha)
        if config.name == "cross_entropy":
            return losses.cross_entropy(*cells, smoothing=config.smoothing)
        if config.name == "soft_f1":
            return losses.soft_f1(*cells)
        return losses.asymmetric(*cells, gamma_pos=config.gamma_pos, gamma_neg=config.gamma_neg, shift=config.shift)


def shares(positives: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of positives of each class, ``(C,)``, in (0, 1): with one positive and one negative more than were counted.

    So a class that nobody looked for has 1/2, and one without a positive is not impossible (Laplace's rule of succession).
    """
    return np.asarray((positives + 1) / (known + 2))


def pos_weights(config: LossConfig, positives: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Weight of each class's positives, ``(C,)``, between 1 and the config's cap; None where the config wants none.

    ``inverse`` is negatives over positives. ``effective`` is the same of their effective numbers ``(1 - b^n) / (1 - b)``: the
    n-th image of a kind adds less than the one before; Cui et al. 2019, https://arxiv.org/abs/1901.05555. There each class is
    weighted by the inverse of its effective number; a class for itself has two, its positives and its negatives.
    """
    if config.pos_weight == "none":
        return None
    counts = np.maximum(np.stack([known - positives, positives]), 1).astype(np.float64)
    if config.pos_weight == "effective":
        beta = config.pos_weight_beta
        counts = (1 - beta**counts) / (1 - beta)
    return np.asarray(np.clip(counts[0] / counts[1], 1.0, config.pos_weight_cap))


def _tensor(values: NDArray[np.float64] | None) -> Tensor | None:
    return None if values is None else torch.tensor(values, dtype=torch.float32)
