"""The loss of a run: the loss in the config, with the class frequencies of the training data."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cocotag.config import LossConfig
from cocotag.data.frequency import pos_weights, shares
from cocotag.errors import ConfigError
from cocotag.losses import LOSSES


class Loss(nn.Module):
    """The loss that the config names.

    Logit adjustment adds each class's log odds in the training data to its logits: a fixed bias instead of a learned one.
    Menon et al. 2021, https://arxiv.org/abs/2007.07314; here applied to each class separately.

    Args:
        config: Name and parameters of the loss.
        positives: Training images of each class, ``(C,)``.
        known: Training images on which the class was looked for, ``(C,)``.

    Raises:
        ConfigError: The table has no loss of this name.
    """

    def __init__(self, config: LossConfig, positives: NDArray[np.int64], known: NDArray[np.int64]) -> None:
        super().__init__()
        if config.name not in LOSSES:
            raise ConfigError(f"loss.name is {config.name!r}, it must be one of {', '.join(LOSSES)}.", code="loss_unknown")
        self.config = config
        self._row = LOSSES[config.name]
        self._options = {name: getattr(config, name) for name in self._row.parameters}
        weights = pos_weights(positives, known, kind=config.pos_weight, cap=config.pos_weight_cap, beta=config.pos_weight_beta)
        self.pos_weight: Tensor | None
        self.register_buffer("pos_weight", _tensor(weights), persistent=False)
        self.log_odds: Tensor | None
        odds = None
        if config.logit_adjustment:
            share = shares(positives, known)
            odds = config.logit_adjustment * np.log(share / (1 - share))
        self.register_buffer("log_odds", _tensor(odds), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """The loss of a batch: logits, multi-hot targets and known mask, each ``(N, C)`` -> scalar."""
        if self.log_odds is not None:
            logits = logits.float() + self.log_odds
        weights = {"pos_weight": self.pos_weight} if self._row.weighs_positives else {}
        return self._row.loss(logits, targets, known, **self._options, **weights)


def _tensor(values: NDArray[np.float64] | None) -> Tensor | None:
    return None if values is None else torch.tensor(values, dtype=torch.float32)
