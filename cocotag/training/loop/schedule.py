"""Learning rates as functions of the step alone, so that a resumed run has the rates of an uninterrupted run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cocotag.config import StageConfig, parse_groups

WARM_UP = 0.3  # part of a stage in which the rate rises
START, END = 1 / 25, 1e-4  # first and last rate over the highest; the usual values of the published one-cycle policy


def one_cycle(position: float) -> float:
    """Rate over highest rate: up, then down, on half cosines. Smith and Topin 2018, https://arxiv.org/abs/1708.07120.

    Args:
        position: Finished part of the stage, 0 to 1.
    """
    if position < WARM_UP:
        low, high, part = START, 1.0, position / WARM_UP
    else:
        low, high, part = 1.0, END, min(1.0, (position - WARM_UP) / (1 - WARM_UP))
    return low + (high - low) * (1 - math.cos(math.pi * part)) / 2


def cosine(position: float) -> float:
    """Rate over highest rate: down to 0 on half a cosine. Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983.

    Args:
        position: Finished part of the stage, 0 to 1.
    """
    return (1 + math.cos(math.pi * min(1.0, position))) / 2


CURVES: dict[str, Callable[[float], float]] = {"one_cycle": one_cycle, "cosine": cosine, "constant": lambda _: 1.0}


@dataclass(frozen=True)
class Schedule:
    """Which layer groups are trained when, and at which rate.

    Attributes:
        stages: The stages in order.
        groups: Number of layer groups of the network.
        batches_per_epoch: Batches per epoch, of all devices together.
        accumulate: Batches per optimiser step; the last step of an epoch takes the rest.
    """

    stages: Sequence[StageConfig]
    groups: int
    batches_per_epoch: int
    accumulate: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps per epoch."""
        return -(-self.batches_per_epoch // self.accumulate)

    @property
    def epochs(self) -> int:
        """Epochs of all stages."""
        return sum(stage.epochs for stage in self.stages)

    def stage_at(self, epoch: int) -> int:
        """The number of an epoch's stage; after the end, the number of the last stage."""
        end = 0
        for number, stage in enumerate(self.stages):
            end += stage.epochs
            if epoch < end:
                return number
        return len(self.stages) - 1

    def trained(self, stage: int) -> list[int]:
        """The layer groups that a stage trains."""
        return parse_groups(self.stages[stage].train, self.groups)

    def rate(self, group: int, step: int) -> float:
        """Learning rate of a layer group at an optimiser step; 0 while it is frozen."""
        number = self.stage_at(step // self.steps_per_epoch)
        stage = self.stages[number]
        if group not in self.trained(number):
            return 0.0
        first = sum(earlier.epochs for earlier in self.stages[:number]) * self.steps_per_epoch
        position = (step - first) / max(1, stage.epochs * self.steps_per_epoch - 1)
        return stage.lr * stage.lr_decay ** (self.groups - 1 - group) * CURVES[stage.curve](position)
