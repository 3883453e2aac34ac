"""The moving average of the weights, with Lightning's own callback."""

from __future__ import annotations

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


def ramped(decay: float, steps: int) -> float:
    """The decay after a number of steps: ``min(decay, (1 + steps) / (10 + steps))``, as in TensorFlow.

    Without a ramp, a run with fewer steps than ``1 / (1 - decay)`` would score its initial weights.
    """
    return min(decay, (1 + steps) / (10 + steps))


class MovingAverage(WeightAveraging):
    """Exponential moving average of weights and buffers, whose decay ramps up to ``decay``.

    The average is scored, kept and exported: Lightning's callback swaps it in for validation, and puts it in every
    checkpoint's ``state_dict``.

    Args:
        decay: Final decay, in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the average on the device where the weights will be; elsewhere it would be copied in every step."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    @torch.no_grad()
    def _average(self, averages: list[Tensor], values: list[Tensor], steps: Tensor | int) -> None:
        """Torch passes tensors of one dtype at a time. Unlike ``steps``, the callback's own count needs no wait for a GPU."""
        done = self._latest_update_step
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, 1 - ramped(self.decay, done))
        else:  # counters of batch norms
            torch._foreach_copy_(averages, values)
