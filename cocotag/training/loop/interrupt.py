"""Ctrl-C while training: the step is finished, then the run stops where it can be gone on with."""

from __future__ import annotations

from typing import Any

from lightning import Callback, Trainer

from cocotag.interrupt import NotedInterrupt
from cocotag.training.loop.runtime import say


class StopOnInterrupt(NotedInterrupt, Callback):
    """Turns Ctrl-C into a stop between two batches; a second Ctrl-C does not wait.

    An interrupt in the middle of a step can end in a place where it is swallowed (a finaliser, a callback from C) or where a
    file is being written. So the handler only notes it, and the next batch does not begin. Used as a context manager around
    ``Trainer.fit``.
    """

    def __init__(self) -> None:
        super().__init__(say, "this step")

    def _stop(self, trainer: Trainer, *_: Any, **__: Any) -> None:  # noqa: ANN401 (Lightning's hooks)
        # Several processes stop at the same step: one that went on would wait for the others' gradients for ever.
        if self.pressed if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(self.pressed, all=False):
            raise KeyboardInterrupt

    on_train_batch_start = _stop

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Once a step is enough for several processes, who have to agree."""
        if trainer.world_size == 1:
            self._stop(trainer)

    on_train_start = _stop

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Several processes may have different numbers of batches here; they wait for the next epoch."""
        if trainer.world_size == 1:
            self._stop(trainer)
