"""Loaders and samplers of a training run's train and tune images."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable
from multiprocessing import parent_process
from multiprocessing.connection import wait
from typing import Any, cast

import cv2
import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from cocotag.data.annotations import AnnotationTable
from cocotag.data.frequency import repeat_factors
from cocotag.data.loading.dataset import Batch, EpochSampler, InOrder, Share, TaggedImages, to_batch
from cocotag.data.loading.image_cache import cached_paths
from cocotag.data.loading.transforms import Augmentation
from cocotag.data.splits import Splits
from cocotag.labels import Vocabulary
from cocotag.process.cores import usable_cores


class TaggingData(LightningDataModule):
    """Loaders of a run's train and tune images.

    Args:
        splits: The tables.
        image_size: Side of the square input, pixels.
        batch_size: Images per step, of all processes together.
        seed: Seed of the order and the augmentation.

    Attributes:
        train: Table of the train images.
        tune: Table of the tune images, which choose the checkpoint and the thresholds.
        without_images: Number of epochs, from the first on, for which no image is loaded.
    """

    def __init__(self, splits: Splits, *, image_size: int, batch_size: int, seed: int) -> None:
        super().__init__()
        self.splits = splits
        self.config = splits.config
        self.train, self.tune = splits.train, splits.tune
        self.image_size = image_size
        self.batch_size = batch_size
        self.seed = seed
        self.without_images = 0
        self._copies: NDArray[np.bytes_] | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes."""
        return self.splits.vocabulary

    def train_dataloader(self) -> DataLoader[Batch]:
        """The train images, augmented and shuffled in each epoch, without the last incomplete batch, for the batch norms."""
        sampler = self.train_sampler()
        return self._loader(self.train_images(self.without_images * sampler.draws), sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The tune images, not augmented: Lightning's validation chooses the checkpoint."""
        return self._loader(self.tune_images(self.without_images), sampler=InOrder(len(self.tune), self._share()))

    def train_images(self, without_image: int = 0) -> TaggedImages:
        """The train images; draws below ``without_image`` have no image."""
        return TaggedImages(
            self.train,
            image_size=self.image_size,
            augmentation=Augmentation(self.config.augment, size=self.image_size, min_crop=self.config.min_crop),
            seed=self.seed,
            cached=self._cached(self.train),
            views=self.config.augment_views,
            without_image=without_image,
        )

    def tune_images(self, without_image: int = 0) -> TaggedImages:
        """The tune images; epochs below ``without_image`` have no images."""
        return TaggedImages(self.tune, image_size=self.image_size, cached=self._cached(self.tune), without_image=without_image)

    def sweep(self, images: TaggedImages, items: Iterable[int]) -> DataLoader[Batch]:
        """A loader of the given items, once and in order."""
        return self._loader(images, sampler=items)

    def train_sampler(self) -> EpochSampler:
        """The sampler of an epoch; if several processes train together, it draws this process's part of every batch."""
        factors = None
        if self.config.repeat_below is not None:
            factors = repeat_factors(self.train.targets, self.train.known, self.config.repeat_below)
        sampler = EpochSampler(
            len(self.train), self.seed, factors=factors, views=self.config.augment_views, share=self._share()
        )
        if self.trainer is not None:  # after a resume the loaders read ahead before Lightning sets the epoch
            progress: Any = self.trainer.fit_loop.epoch_progress.current
            sampler.set_epoch(progress.processed)
        return sampler

    def _share(self) -> Share | None:
        if self.trainer is None or self.trainer.world_size == 1:
            return None
        return Share(self.trainer.global_rank, self.trainer.world_size, self.batch_size)

    def prepare_data(self) -> None:
        """Lightning's hook, called in one process: make copies of the images if the config asks for them."""
        if self.config.cache_images:
            self._cached_paths()

    def _cached(self, table: AnnotationTable) -> NDArray[np.bytes_] | None:
        """Paths of the copies of the train or tune images; None if there are no copies."""
        if not self.config.cache_images:
            return None
        paths = self._cached_paths()
        return paths[: len(self.train)] if table is self.train else paths[len(self.train) :]

    def _cached_paths(self) -> NDArray[np.bytes_]:
        if self._copies is None:
            paths = [*self.train.paths(), *self.tune.paths()]
            self._copies = cached_paths(paths, self.splits.folders, self.image_size)
        return self._copies

    def _loader(self, dataset: TaggedImages, **options: Any) -> DataLoader[Batch]:  # noqa: ANN401
        workers, share = self.config.workers, self._share()
        if workers is None:
            workers = min(8, usable_cores(), max(1, len(dataset) // self.batch_size))
        # A fork copies the state of OpenCV's thread pool without its threads, so a worker would wait forever. End the pool.
        cv2.setNumThreads(1)
        return DataLoader(
            cast(Dataset[Batch], dataset),  # items are stacked by to_batch
            batch_size=self.batch_size if share is None else share.part,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=to_batch,
            worker_init_fn=_begin_worker if workers else None,
            pin_memory=torch.cuda.is_available(),
            **options,
        )


def _begin_worker(worker: int) -> None:
    """Make a worker ignore Ctrl-C and end with the training process.

    Ctrl-C in a terminal reaches the workers too, but only the training process handles it, and may still need the current
    batch. Torch's own watchdog waits for a changed parent, which the children of a fork server never get.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    trainer = parent_process()
    if trainer is not None:
        threading.Thread(target=_end_after, args=(trainer.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
