"""The moving average of a run's weights, by Lightning's own callback."""

from __future__ import annotations

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


def ramped(decay: float, steps: int) -> float:
    """The decay after so many steps: ``min(decay, (1 + steps) / (10 + steps))``, as in TensorFlow.

    Without a ramp a run of fewer steps than ``1 / (1 - decay)`` would score the weights that it began with.
    """
    return min(decay, (1 + steps) / (10 + steps))


class MovingAverage(WeightAveraging):
    """Exponential moving average of weights and buffers, whose decay ramps up to ``decay``.

    It is what is scored, kept and exported: Lightning's callback exchanges it for the weights while validation runs, and puts
    it in every checkpoint's ``state_dict``.

    Args:
        decay: In the long run, in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Where the weights will be: they are not there yet, and an average elsewhere would be fetched and sent every step."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    @torch.no_grad()
    def _average(self, averages: list[Tensor], values: list[Tensor], steps: Tensor | int) -> None:
        """Torch calls it with tensors of one kind at a time; the callback's own count of steps needs no wait for a GPU."""
        done = self._latest_update_step
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, 1 - ramped(self.decay, done))
        else:  # batches that a batch norm has seen
            torch._foreach_copy_(averages, values)
