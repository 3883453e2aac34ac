"""A run's checkpoints: which one to go on from, and whether the data are still those that it was made on."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from tqdm import tqdm

from cocotag.config import TrainConfig
from cocotag.data.datamodule import TaggingData
from cocotag.errors import BundleError, DataError
from cocotag.export import checkpoint_facts
from cocotag.files import atomic_path


def facts_of(config: TrainConfig, data: TaggingData) -> dict[str, Any]:
    """What a bundle needs to know of training, as plain values."""
    return {
        "config": config.to_json(),
        "vocabulary": data.vocabulary.to_json(),
        "positives": data.train.positives.tolist(),
        "train_images": len(data.train),
        "tuned_on": data.tuned_on(),
    }


def check_same(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse data that are not those of the run: other images would be held out, and some of them were learned from.

    Raises:
        DataError: Saying what differs.
    """
    if [category["name"] for category in before["vocabulary"]] != [category["name"] for category in now["vocabulary"]]:
        what = f"their {len(now['vocabulary'])} classes are not the {len(before['vocabulary'])} of the run, in its order"
    elif any(before["tuned_on"].get(key) != now["tuned_on"].get(key) for key in ("sha256", "train_split_sha256")):
        images = [part["train_images"] + part["tuned_on"]["images"] for part in (now, before)]
        what = f"their {images[0]} images are not the run's {images[1]}"
    elif before["positives"] != now["positives"]:
        what = "the labels of some classes are others"
    else:
        return
    raise DataError(f"The data have changed since the run learned from them: {what}. Put them back, or start a new run.")


def last_checkpoint(directory: Path) -> Path:
    """Of a run's directory, whether it is there or not."""
    return directory / "checkpoints" / "last.ckpt"


def resumable(directory: Path) -> Path | None:
    """The checkpoint to go on from: the last, or the one before where that is damaged; None before the first.

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
        tqdm.write(f"warning: {error} Going on from {previous.name}, an epoch earlier.", file=sys.stderr)
        return previous
    return last


class KeepPrevious(Callback):
    """Keeps the last checkpoint as ``previous.ckpt`` while the next is written, in case that is cut short.

    Args:
        checkpoints: Their folder.
    """

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ANN401 (Lightning's hook)
        """Lightning lets checkpoints come after all other callbacks."""
        last = self.checkpoints / "last.ckpt"
        if last.is_file():
            with atomic_path(self.checkpoints / "previous.ckpt") as temporary:
                shutil.copyfile(last, temporary)
