"""Learning rates as functions of the step alone, so that a resumed run has the rates of an uninterrupted one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cocotag.config import StageConfig, parse_groups

WARM_UP = 0.3  # share of a stage in which the rate rises
START, END = 1 / 25, 1e-4  # of the highest rate; the published one-cycle's usual ends


def one_cycle(position: float) -> float:
    """Rate over highest rate: up and down again on half cosines, as in Smith and Topin 2018, https://arxiv.org/abs/1708.07120.

    Args:
        position: Part of the stage that is done, 0 to 1.
    """
    if position < WARM_UP:
        low, high, part = START, 1.0, position / WARM_UP
    else:
        low, high, part = 1.0, END, min(1.0, (position - WARM_UP) / (1 - WARM_UP))
    return low + (high - low) * (1 - math.cos(math.pi * part)) / 2


def cosine(position: float) -> float:
    """Rate over highest rate: down to nothing on half a cosine; Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983.

    Args:
        position: Part of the stage that is done, 0 to 1.
    """
    return (1 + math.cos(math.pi * min(1.0, position))) / 2


CURVES: dict[str, Callable[[float], float]] = {"one_cycle": one_cycle, "cosine": cosine, "constant": lambda _: 1.0}


@dataclass(frozen=True)
class Schedule:
    """What learns when, and how fast.

    Attributes:
        stages: In order.
        groups: Layer groups of the network.
        batches_per_epoch: Batches, of all devices together.
        accumulate: Batches an optimiser step; the last step of an epoch takes what is left.
    """

    stages: Sequence[StageConfig]
    groups: int
    batches_per_epoch: int
    accumulate: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps."""
        return -(-self.batches_per_epoch // self.accumulate)

    @property
    def epochs(self) -> int:
        """Of all stages."""
        return sum(stage.epochs for stage in self.stages)

    def stage_at(self, epoch: int) -> int:
        """Number of the stage that an epoch belongs to; the last one's for any epoch after."""
        end = 0
        for number, stage in enumerate(self.stages):
            end += stage.epochs
            if epoch < end:
                return number
        return len(self.stages) - 1

    def trained(self, stage: int) -> list[int]:
        """Layer groups that learn in a stage."""
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
