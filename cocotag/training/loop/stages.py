"""Which layers learn: stage -> requires_grad and batch-norm mode. Idempotent; knows no trainer."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import nn


def apply_freezing(groups: Sequence[nn.Module], trained: Collection[int], *, keep_norms: bool = True) -> None:
    """Let some layer groups learn and hold the others still.

    A frozen group gets no gradient, and its batch norms and dropout are in evaluation mode: statistics gathered on ImageNet
    or in an earlier stage are kept, not replaced by those of a few batches. Every group is set, so calling it twice is
    calling it once; call it again after every ``.train()``, which puts all modules in training mode.

    Args:
        groups: Layer groups from the input to the head, without overlap.
        trained: Numbers of those that learn.
        keep_norms: Whether batch norms of the others keep their statistics; else those are gathered anew, as in training.
    """
    for number, group in enumerate(groups):
        learns = number in trained
        group.requires_grad_(learns)
        group.train(learns)
        if not keep_norms:
            for module in group.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.train()
