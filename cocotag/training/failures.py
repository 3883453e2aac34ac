"""Errors while Lightning trains, as one line each: what happened, the values, what is kept, what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from lightning import Trainer
from lightning.pytorch.trainer.states import TrainerStatus

from cocotag.config import TrainConfig
from cocotag.data.loading.datamodule import TaggingData
from cocotag.errors import CocotagError, ConfigError, DataError, Interrupted, OutputError
from cocotag.path_text import show
from cocotag.photos.trial import crash
from cocotag.process.restarts import attempts, watched
from cocotag.training.logging.loggers import NO_SPACE
from cocotag.training.loop.interrupt import StopOnInterrupt, let_workers_end
from cocotag.training.loop.module import NotFinite

_CONNECTION = ("Connection closed", "Connection reset", "Timed out waiting", "gloo", "NCCL")


@contextmanager
def plain_errors(
    trainer: Trainer, config: TrainConfig, data: TaggingData, interrupt: StopOnInterrupt, kept: Callable[[], str]
) -> Iterator[None]:
    """Turn the exceptions of ``Trainer.fit`` into errors of one line.

    Args:
        trainer: The trainer.
        config: Config of the run.
        data: Data of the run.
        interrupt: The callback that notes Ctrl-C.
        kept: Gives a sentence about what is kept and how to resume.

    Raises:
        CocotagError: Instead of an exception that a user can do something about.
    """
    try:
        yield
    except NotFinite as error:
        rows = sorted({item % len(data.train) for item in error.items})
        names = ", ".join(str(data.train.file_names[row]) for row in rows) or "not known"
        raise CocotagError(
            f"The loss is {error.value} in epoch {error.epoch}, at batch {error.batch}. {kept()} The same settings would fail "
            f"again: lower stages.lr, or use precision float32. The batch: {names}",
            code="loss_not_finite",
        ) from None
    except DataError as error:  # from a loader's worker torch makes it again from that process's stack trace, without its code
        text = str(error).strip().splitlines()[-1]
        code = "image_unreadable" if error.code == DataError.code else error.code  # the one fault of a worker
        raise DataError(text.removeprefix("cocotag.errors.DataError: "), code=code) from None
    except OutputError as error:
        raise OutputError(f"{error} {kept()}", code=error.code) from None
    except OSError as error:  # from a logger
        if error.errno not in NO_SPACE:
            raise
        where = error.filename or trainer.default_root_dir
        raise OutputError(
            f"{where} cannot be written ({error.strerror}). Free some space. {kept()}", code="disk_full"
        ) from None
    except torch.OutOfMemoryError:
        raise ConfigError(
            f"batch_size {config.batch_size} does not fit in the device's memory. Lower it or model.image_size.",
            code="out_of_memory",
        ) from None
    except SystemExit:  # Lightning's answer to Ctrl-C and to SIGTERM
        if trainer.state.status != TrainerStatus.INTERRUPTED:
            raise
        let_workers_end()
        raise Interrupted(f"Stopped. {kept()}", code="interrupted") from None
    except RuntimeError as error:
        said = str(error)
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            reason = said.strip().splitlines()[0][:200]
            raise ConfigError(
                f"compile is true, but the network cannot be compiled here ({reason}). Leave it false.", code="not_compilable"
            ) from None
        for image, how in _crashed_decoders():
            raise DataError(
                f"{show(image)}: its decoder crashed ({how}). Remove it from the annotations. {kept()}", code="decoder_crashed"
            ) from None
        if trainer.world_size > 1 and any(word in said for word in _CONNECTION):
            raise CocotagError(
                f"Another of the {trainer.world_size} training processes has ended. Its message is above, or on its machine. "
                f"{kept()}",
                code="process_lost",
            ) from None
        if not said.startswith("DataLoader worker"):
            raise
        if interrupt.pressed or trainer.received_sigterm:  # a batch system sends SIGTERM to the workers too
            let_workers_end()
            raise Interrupted(f"Stopped. {kept()}", code="interrupted") from None
        raise CocotagError(
            f"A process that loads images was killed: {said.rstrip('. ')}. If memory ran out, free some. {kept()}",
            code="loader_killed",
        ) from None


def _crashed_decoders() -> Iterator[tuple[str, str]]:
    """Yield each image that ended a worker's process, with the name of the signal."""
    folder = watched()
    for attempt in [] if folder is None else attempts(folder):
        if how := crash(attempt):
            yield attempt.path, how
