"""Features of a frozen backbone, computed once and used in every epoch.

While the first stages of a run train only the head, an augmented image always has the same features. So if augmentations repeat
(`DataConfig.augment_views`), the features of every view are computed before the first epoch, and later epochs load no image.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from tqdm import tqdm

from cocotag.config import TrainConfig
from cocotag.data.loading.datamodule import TaggingData
from cocotag.models.network import TaggerNetwork
from cocotag.training.loop.interrupt import StopOnInterrupt
from cocotag.training.loop.runtime import precision, say
from cocotag.training.loop.schedule import Schedule

if TYPE_CHECKING:
    from cocotag.training.loop.module import TaggerModule

SHARE_OF_MEMORY = 4  # at most a quarter of the machine's memory


class FeatureCache:
    """The input of the head for every view of the train images, and for the tune images.

    Args:
        train_rows: Number of train images.
        views: Views per train image.
        tune_rows: Number of tune images.
    """

    def __init__(self, train_rows: int, views: int, tune_rows: int) -> None:
        self.rows = {"train": train_rows, "tune": tune_rows}
        self.views = {"train": views, "tune": 1}
        self._kept: dict[str, Tensor] = {}

    def put(self, part: str, items: Tensor, reduced: Tensor) -> None:
        """Store the features of some items, numbered as in `TaggedImages`."""
        places = self._places(part, items)
        if part not in self._kept:
            size = (self.rows[part] * self.views[part], *reduced.shape[1:])
            self._kept[part] = torch.empty(size, dtype=reduced.dtype)
        self._kept[part][places] = reduced.cpu()

    def get(self, part: str, items: Tensor, device: torch.device) -> Tensor:
        """The input of the head for these items, ``(N, ...)``."""
        return self._kept[part][self._places(part, items)].to(device)

    def _places(self, part: str, items: Tensor) -> Tensor:
        """The row of each item: view by view, and within a view row by row."""
        return items.cpu() % (self.rows[part] * self.views[part])


class KeepFeatures(Callback):
    """Computes the features before the first epoch that needs them, and drops them after the last.

    Args:
        epochs: Number of epochs, from the first on, that train only the head on stored features.
        config: Config of the run.
        interrupt: Notes Ctrl-C, which ends the computation.
    """

    def __init__(self, epochs: int, config: TrainConfig, interrupt: StopOnInterrupt) -> None:
        self.epochs = epochs
        self.interrupt = interrupt
        self.views = views_of(config) or 1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Runs before the module's own hook, which puts the network back in training mode."""
        module: Any = pl_module
        if trainer.current_epoch >= self.epochs:
            module.features = None
        elif module.features is None:
            module.features = self._compute(trainer, module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Free the features, which can take several GB."""
        cast(Any, pl_module).features = None

    @torch.no_grad()
    def _compute(self, trainer: Trainer, module: TaggerModule) -> FeatureCache:
        data: TaggingData = trainer.datamodule  # type: ignore[attr-defined]
        cache = FeatureCache(len(data.train), self.views, len(data.tune))
        sweeps = [("train", data.train_images(), self.views * len(data.train)), ("tune", data.tune_images(), len(data.tune))]
        module.eval()
        total = sum(items for _, _, items in sweeps)
        with (
            tqdm(
                total=total, unit="image", desc="features", disable=None, dynamic_ncols=True, leave=False, file=sys.stderr
            ) as bar,
            trainer.precision_plugin.forward_context(),
        ):
            for part, images, items in sweeps:
                for batch in data.sweep(images, range(items)):
                    if self.interrupt.pressed:
                        raise KeyboardInterrupt
                    reduced = module.network.forward_reduced(batch.images.to(module.device))
                    cache.put(part, batch.numbers, reduced)
                    bar.update(len(reduced))
        return cache


def views_of(config: TrainConfig) -> int | None:
    """The number of augmentations per image; None if they never repeat."""
    return 1 if config.data.augment == "none" else config.data.augment_views


def kept_epochs(config: TrainConfig, schedule: Schedule, network: TaggerNetwork, images: int, processes: int) -> int:
    """The number of epochs, from the first on, for which stored features pay off; 0 if they do not.

    Args:
        config: Config of the run.
        schedule: Schedule of the run.
        network: Network of the run.
        images: Number of train images.
        processes: Number of processes; with several, each sees different images in every epoch.
    """
    epochs = 0
    for number, stage in enumerate(schedule.stages):
        if schedule.trained(number) != [schedule.groups - 1] or not stage.keep_norms:
            break
        epochs += stage.epochs
    views = views_of(config)
    if views is None or epochs <= views or processes > 1:
        return 0
    with torch.no_grad(), evaluating(network):
        size = config.model.image_size
        one = network.forward_reduced(torch.zeros(1, size, size, 3, dtype=torch.uint8))
    bytes_each = one.numel() * (4 if precision(config) == "32-true" else 2)
    wanted, most = images * views * bytes_each, _memory() // SHARE_OF_MEMORY
    if wanted > most:
        say(
            f"Features of {images} images in {views} views need {wanted / 1e9:.1f} GB, more than a quarter of the memory "
            f"({most / 1e9:.1f} GB). They are computed in every epoch. To make them fit, lower data.augment_views."
        )
        return 0
    return epochs


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode, and afterwards back in its former mode."""
    before = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(before)


def _memory() -> int:
    """Memory of the machine or the container, bytes; 8 GB if it is unknown."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        limit = "max"
    return min(_physical(), int(limit)) if limit.isdigit() else _physical()


def _physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 * 10**9
