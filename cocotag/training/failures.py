"""What can go wrong while Lightning trains, said in one line each: what, the values, what is kept, what to do."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from lightning import Trainer
from lightning.pytorch.trainer.states import TrainerStatus

from cocotag.config import TrainConfig
from cocotag.data.loading.datamodule import TaggingData
from cocotag.errors import CocotagError, ConfigError, DataError, Interrupted, OutputError
from cocotag.training.logging.loggers import NO_SPACE
from cocotag.training.loop.interrupt import StopOnInterrupt
from cocotag.training.loop.module import NotFinite

_CONNECTION = ("Connection closed", "Connection reset", "Timed out waiting", "gloo", "NCCL")


@contextmanager
def told_plainly(
    trainer: Trainer, config: TrainConfig, data: TaggingData, interrupt: StopOnInterrupt, kept: Callable[[], str]
) -> Iterator[None]:
    """Around ``Trainer.fit``: its many exceptions become ours.

    Args:
        trainer: That trains.
        config: Of the run.
        data: That it learns from.
        interrupt: Its callback.
        kept: Says what is left of the run, and how to go on.

    Raises:
        CocotagError: In place of whatever was raised, where a user can do something about it.
    """
    try:
        yield
    except NotFinite as error:
        rows = sorted({item % len(data.train) for item in error.items})
        names = ", ".join(str(data.train.file_names[row]) for row in rows) or "not known"
        raise CocotagError(
            f"The loss is {error.value} in epoch {error.epoch}, at batch {error.batch}. {kept()} With the same settings it "
            f"would come again: lower stages.lr, or take precision float32. The batch: {names}"
        ) from None
    except DataError as error:  # from a loader's worker it comes wrapped in that process's stack trace
        text = str(error).strip().splitlines()[-1]
        raise DataError(text.removeprefix("cocotag.errors.DataError: ")) from None
    except OutputError as error:
        raise OutputError(f"{error} {kept()}") from None
    except OSError as error:  # from a logger
        if error.errno not in NO_SPACE:
            raise
        where = error.filename or trainer.default_root_dir
        raise OutputError(f"{where} cannot be written ({error.strerror}). Free some space. {kept()}") from None
    except torch.OutOfMemoryError:
        raise ConfigError(
            f"batch_size {config.batch_size} does not fit in the device's memory. Lower it or model.image_size."
        ) from None
    except SystemExit:  # Lightning's answer to Ctrl-C and to SIGTERM
        if trainer.state.status != TrainerStatus.INTERRUPTED:
            raise
        _let_workers_end()
        raise Interrupted(f"Stopped. {kept()}") from None
    except RuntimeError as error:
        said = str(error)
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            reason = said.strip().splitlines()[0][:200]
            raise ConfigError(f"compile is true, but the network cannot be compiled here ({reason}). Leave it false.") from None
        if trainer.world_size > 1 and any(word in said for word in _CONNECTION):
            raise CocotagError(
                f"Another of the {trainer.world_size} processes that train together has ended; what it said stands above or on "
                f"its machine. {kept()}"
            ) from None
        if not said.startswith("DataLoader worker"):
            raise
        if interrupt.pressed or trainer.received_sigterm:  # which a batch system sends to the workers too
            _let_workers_end()
            raise Interrupted(f"Stopped. {kept()}") from None
        raise CocotagError(
            f"A process that loads images was ended from outside: {said.rstrip('. ')}. If memory ran out, free some. {kept()}"
        ) from None


def _let_workers_end() -> None:
    """Leave off watching the processes of loaders.

    Of a run that was told to stop they were told too, and torch's watch would raise wherever the program is by then, even while
    it exits.
    """
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
