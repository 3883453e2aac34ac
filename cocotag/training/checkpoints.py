"""Checkpoints of a run: which one to resume from, and how they are written."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from tqdm import tqdm

from cocotag.errors import BundleError, OutputError
from cocotag.export.checkpoint import checkpoint_facts
from cocotag.files import atomic_path, has_locks
from cocotag.training.loop.runtime import first_process


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Lock a run's directory for this run. The operating system releases the lock, however the processes end.

    Unfinished files of a killed process are removed.

    Raises:
        OutputError: Another process trains there, or the folder cannot be written or has no file locks.
    """
    if not first_process():
        yield
        return
    lock = FileLock(directory / ".lock", timeout=0)
    try:
        lock.acquire()
    except OSError as error:  # Timeout is one
        if not has_locks(directory, "flock"):
            raise OutputError(
                f"{directory} cannot be locked: its file system has no file locks. Train on a local disk: --out DIR.",
                code="no_locks",
            ) from None
        if not isinstance(error, Timeout):
            raise OutputError(
                f"{directory} cannot be written ({error.strerror}). Check its permissions.", code="folder_not_writable"
            ) from None
        raise OutputError(
            f"Another cocotag train is running in {directory}. Wait for it, or stop it first.", code="run_in_use"
        ) from None
    try:
        for folder in (directory, directory / "checkpoints"):
            for unfinished in folder.glob(".*.part"):  # as atomic_path calls them
                unfinished.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def last_checkpoint(directory: Path) -> Path:
    """The path of the last checkpoint in a run's directory; the file may not exist."""
    return directory / "checkpoints" / "last.ckpt"


def resumable(directory: Path) -> Path | None:
    """The checkpoint to resume from: the last, or the one before if the last is damaged; None before the first.

    Raises:
        BundleError: Both are damaged.
    """
    last, previous = last_checkpoint(directory), directory / "checkpoints" / "previous.ckpt"
    if not last.is_file():
        return previous if previous.is_file() else None
    try:
        checkpoint_facts(last)
    except BundleError as error:
        if not previous.is_file():
            raise
        checkpoint_facts(previous)
        tqdm.write(f"warning: {error} Resuming from {previous.name}, one epoch earlier.", file=sys.stderr)
        return previous
    return last


class KeepPrevious(Callback):
    """Keeps the last checkpoint as ``previous.ckpt`` while the next is written, in case writing fails.

    Args:
        checkpoints: Folder of the checkpoints.
        damaged: Whether the last checkpoint is damaged, so that it must not replace the previous one.
    """

    def __init__(self, checkpoints: Path, *, damaged: bool = False) -> None:
        self.checkpoints = checkpoints
        self.damaged = damaged

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ANN401 (Lightning's hook)
        """Copy the last checkpoint. Lightning runs checkpoint callbacks after all others."""
        last = self.checkpoints / "last.ckpt"
        if trainer.is_global_zero and last.is_file() and not self.damaged:
            with atomic_path(self.checkpoints / "previous.ckpt") as temporary:
                shutil.copyfile(last, temporary)
        self.damaged = False  # a new one is written now


class OneCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint for one file, whose score survives moving the run's directory.

    Args:
        path: The file.
        monitor: The measure that picks the best epoch; None keeps every epoch's.
        mode: ``max`` or ``min``.
    """

    def __init__(self, path: Path, monitor: str | None = None, mode: str = "min") -> None:
        super().__init__(
            path.parent,
            filename=path.stem,
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    @property
    def state_key(self) -> str:
        """A key of its own; Lightning's is the same for two callbacks that monitor nothing."""
        return f"{type(self).__qualname__} {self.filename}"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the score. Lightning would forget it after the folder was moved, and overwrite a better file."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        paths = {key: here(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        scores = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": scores, "dirpath": self.dirpath})


class WholeFiles(TorchCheckpointIO):
    """Checkpoints are written whole or not at all.

    Lightning writes to the system's temporary folder first. That may be small, and from another disk the file is copied, not
    renamed, so it can be truncated.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ANN401
        """Write a checkpoint.

        Raises:
            OutputError: The folder cannot be written, or the disk is full.
        """
        content = io.BytesIO()  # torch's writer would hide the system's reason
        torch.save(checkpoint, content)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())  # so that after a power failure no name lacks its content
