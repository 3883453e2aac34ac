"""The loss that a config names, with what it needs to know of the training data's frequencies."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cocotag.config import LossConfig
from cocotag.errors import ConfigError
from cocotag.losses import LOSSES


class Loss(nn.Module):
    """The loss that a config names.

    Logit adjustment adds each class's log odds in the training data to its logits, Menon et al. 2021,
    https://arxiv.org/abs/2007.07314, here for each class for itself: a bias that is given rather than learned.

    Args:
        config: Its name and parameters.
        positives: Images of each class in training, ``(C,)``.
        known: Images on which somebody looked for it, ``(C,)``.

    Raises:
        ConfigError: There is no loss of this name.
    """

    def __init__(self, config: LossConfig, positives: NDArray[np.int64], known: NDArray[np.int64]) -> None:
        super().__init__()
        if config.name not in LOSSES:
            raise ConfigError(f"loss.name is {config.name!r}, it must be one of {', '.join(LOSSES)}.")
        self.config = config
        self._row = LOSSES[config.name]
        self._parameters = {name: getattr(config, name) for name in self._row.parameters}
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
        if self.log_odds is not None:
            logits = logits.float() + self.log_odds
        weights = {"pos_weight": self.pos_weight} if self._row.weighs_positives else {}
        return self._row.loss(logits, targets, known, **self._parameters, **weights)


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
