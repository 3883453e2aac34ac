"""Freezing: sets ``requires_grad`` and the mode of batch norms by layer group. Idempotent."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import nn


def apply_freezing(groups: Sequence[nn.Module], trained: Collection[int], *, keep_norms: bool = True) -> None:
    """Train some layer groups and freeze the others.

    A frozen group gets no gradient, and its batch norms and dropout are in evaluation mode. So statistics from ImageNet or an
    earlier stage are kept instead of being replaced by those of a few batches. Every group is set, so calling it twice is the
    same as calling it once. Call it again after every ``.train()``, which puts all modules in training mode.

    Args:
        groups: Layer groups from the input to the head, without overlap.
        trained: Numbers of the groups to train.
        keep_norms: Whether frozen batch norms keep their statistics; else they gather new ones, as in training.
    """
    for number, group in enumerate(groups):
        is_trained = number in trained
        group.requires_grad_(is_trained)
        group.train(is_trained)
        if not keep_norms:
            for module in group.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.train()
