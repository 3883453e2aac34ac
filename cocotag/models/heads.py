"""Feature map -> logits."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn


class LinearHead(nn.Module):
    """Average over the map, dropout, one linear layer.

    The linear layer starts with zero weights and the bias ``log(prior / (1 - prior))``, so that every first prediction is
    exactly ``prior``. Where few cells are positive, starting at 0.5 spends the first steps on learning that nothing is
    there, through gradients that upset the backbone; Lin et al. 2017, section 4.1, https://arxiv.org/abs/1708.02002.

    Args:
        channels: Channels of the feature map.
        classes: Logits.
        dropout: Probability of dropping a pooled feature in training.
        prior: First predicted probability, in (0, 1).
    """

    def __init__(self, channels: int, classes: int, *, dropout: float = 0.2, prior: float = 0.03) -> None:
        super().__init__()
        if not 0 < prior < 1:
            raise ValueError(f"prior is {prior}; it must lie between 0 and 1")
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.constant_(self.linear.bias, math.log(prior / (1 - prior)))

    def forward(self, features: Tensor) -> Tensor:
        """Feature map ``(N, channels, h, w)`` -> logits ``(N, classes)``."""
        pooled = torch.mean(features, dim=(2, 3))
        return cast(Tensor, self.linear(self.dropout(pooled)))
