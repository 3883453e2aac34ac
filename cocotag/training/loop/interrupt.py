"""Ctrl-C while training: the step is finished, then the run stops where it can be resumed."""

from __future__ import annotations

import signal
import threading
from typing import Any

from lightning import Callback, Trainer

from cocotag.process.interrupt import NotedInterrupt
from cocotag.training.loop.runtime import say


class StopOnInterrupt(NotedInterrupt, Callback):
    """Turns Ctrl-C into a stop between two batches; a second Ctrl-C does not wait.

    An exception in the middle of a step could be swallowed (by a finaliser, or a callback from C) or interrupt the writing of
    a file. So the handler only notes the signal, and the next batch does not start. Used as a context manager around
    ``Trainer.fit``.
    """

    def __init__(self) -> None:
        super().__init__(say, "this step")

    def _stop(self, trainer: Trainer, *_: Any, **__: Any) -> None:  # noqa: ANN401 (Lightning's hooks)
        # Several processes stop at the same step: a process that continued would wait forever for the others' gradients.
        if self.pressed if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(self.pressed, all=False):
            let_workers_end()
            raise KeyboardInterrupt

    on_train_batch_start = _stop

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Several processes have to agree, so they check only once per step."""
        if trainer.world_size == 1:
            self._stop(trainer)

    on_train_start = _stop

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Several processes may have different numbers of batches here, so they wait for the next epoch."""
        if trainer.world_size == 1:
            self._stop(trainer)


def let_workers_end() -> None:
    """Stop watching the loader processes.

    When a run is told to stop, so are they, and torch's signal handler would raise wherever the program is by then, even while
    it exits.
    """
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
