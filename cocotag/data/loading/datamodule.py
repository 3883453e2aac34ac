"""Splits, loaders and samplers of a training run."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from cocotag.config import DataConfig, SourceConfig, root_of
from cocotag.cores import usable_cores
from cocotag.data.annotations import AnnotationTable, load_split
from cocotag.data.image_files import check_files
from cocotag.data.loading.dataset import EpochSampler, InOrder, Item, Share, TaggedImages, repeat_factors
from cocotag.data.loading.image_cache import cached_paths
from cocotag.data.loading.transforms import Augmentation
from cocotag.data.matching import load_aliases
from cocotag.data.sources import Joined, align, join_sources
from cocotag.data.split import stratified_holdout, stratified_sample
from cocotag.errors import DataError
from cocotag.labels import Vocabulary

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Images, targets, known, and which of the data set's items they are."""


class TaggingData(LightningDataModule):
    """Train and tune images of a run; the split that is only reported on never comes here.

    Args:
        config: The data part of a training config.
        image_size: Side of the square input, pixels.
        batch_size: Images a step.
        seed: Of the tune split, order and augmentation.

    Attributes:
        train: Table that is learned from.
        tune: Table that checkpoint and thresholds are chosen on.
        joined: What became of each source; None where one data set is learned from as it is.
        without_images: Epochs from the first on for which no image need be loaded.

    Raises:
        ConfigError: An alias file is not there or not one.
        DataError: A split is missing or unreadable. What else is wrong with it, `faults` says.
    """

    def __init__(self, config: DataConfig, *, image_size: int, batch_size: int, seed: int) -> None:
        super().__init__()
        self.config = config
        self.image_size = image_size
        self.batch_size = batch_size
        self.seed = seed
        self.root = root_of(config) or "."
        self.sources = config.sources or [SourceConfig(self.root, config.train_split)]
        self.joined: Joined | None = None
        self.without_images = 0
        self._copies: NDArray[np.bytes_] | None = None
        if config.sources or config.classes != "own":
            self.joined = join_sources(self.sources, config.classes)
        whole = self.joined.table if self.joined else load_split(self.root, config.train_split)
        self._train_split_sha256 = whole.names_sha256()
        strata = whole.targets & whole.known
        if self.joined is not None and len(self.sources) > 1:
            strata = np.hstack([strata, self.joined.members])  # each source keeps its share too: it knows what others do not
        if config.fraction < 1:
            kept = stratified_sample(strata, config.fraction, seed)
            whole, strata = whole.take(kept), strata[kept]
        if config.tune_split is None:
            held = stratified_holdout(strata, config.tune_fraction, seed)
            self.train, self.tune = whole.take(~held), whole.take(held)
        else:
            self.train, self.tune = whole, self.of_root(config.tune_split)

    def of_root(self, split: str) -> AnnotationTable:
        """A split to choose or to report on, in the classes that are learned.

        What the source of the same folder is found to know, this split knows as well; of a folder that is no source's, all
        that it lists.

        Raises:
            DataError: It is missing, not COCO's format, or has no class in common with what is learned.
        """
        table = load_split(self.root, split)
        if self.joined is None:
            return table
        name, here = f"{self.root}, split {split!r},", Path(self.root).resolve()
        for source, record in zip(self.sources, self.joined.records, strict=True):
            if Path(source.root).resolve() == here:
                aliases = load_aliases(source.aliases) if source.aliases else None
                return align(table, self.joined.table.vocabulary, name=name, aliases=aliases, looked_for=record.looked_for)
        return align(table, self.joined.table.vocabulary, name=name)

    def faults(self) -> list[str]:
        """Everything for which these data cannot be learned from, each with what to do; empty when there is nothing."""
        return list(self._faults())

    def _faults(self) -> Iterator[str]:
        config = self.config
        learned = " and ".join(f"split {source.split!r} of {source.root}" for source in self.sources)
        if not config.sources:
            learned = f"split {config.train_split!r}"
        tune_name = f"split {config.tune_split!r}" if config.tune_split else f"tune part of {learned}"
        if self.tune.vocabulary.ids != self.train.vocabulary.ids:
            yield f"The {tune_name} lists other categories than {learned}. Use one list for both."
            return
        for name, table in ((learned, self.train), (tune_name, self.tune)):
            if not table.positives.any():
                yield f"The {name} has {len(table)} images and no positive of any class, so nothing can be learned there."
        told = np.asarray(self.tune.known.all(axis=0) | (self.tune.known & ~self.tune.targets).any(axis=0))
        if self.tune.positives.any() and not (told & (self.tune.positives > 0)).any():
            yield (
                f"The {tune_name} has only positives of every class that it has any of, so nothing can be chosen on it. Give a "
                "data.tune_split in which somebody looked for the classes, or name them under known."
            )
        places = [(source.root, source.split) for source in self.sources]
        for table, where in (
            (self.train, places),
            (self.tune, [(self.root, config.tune_split)] if config.tune_split else places),
        ):
            try:
                check_files(table, where)
            except DataError as error:
                yield str(error)
        if len(self.train) < self.batch_size:
            yield f"There are {len(self.train)} images to train on, fewer than batch_size {self.batch_size}. Lower it."

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes."""
        return self.train.vocabulary

    def tuned_on(self) -> dict[str, Any]:
        """Which images choose, for the bundle: a later evaluation on them, or on all they were taken from, is optimistic."""
        records = self.joined.records if self.joined and self.config.sources else []
        names = [record.name for record in records] or [self.config.train_split]
        sources = [{"split": record.name, "images": record.images, "sha256": record.sha256} for record in records]
        return {
            "split": self.config.tune_split or f"{self.config.tune_fraction:g} of {' + '.join(names)}",
            "images": len(self.tune),
            "sha256": self.tune.names_sha256(),
            "train_split_sha256": self._train_split_sha256,
            **({"sources": sources} if sources else {}),
        }

    def train_dataloader(self) -> DataLoader[Item]:
        """Augmented, in an order of each epoch's own; the last incomplete batch is left out for the batch norms' sake."""
        sampler = self.train_sampler()
        return self._loader(self.train_images(self.without_images * sampler.draws), sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Item]:
        """The tune images, plainly: Lightning's validation is where we choose."""
        return self._loader(self.tune_images(self.without_images), sampler=InOrder(len(self.tune), self._share()))

    def train_images(self, without_image: int = 0) -> TaggedImages:
        """What is learned from; draws below ``without_image`` come without their image."""
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
        """What chooses; epochs below ``without_image`` come without the images."""
        return TaggedImages(self.tune, image_size=self.image_size, cached=self._cached(self.tune), without_image=without_image)

    def sweep(self, images: TaggedImages, items: Iterable[int]) -> DataLoader[Item]:
        """Some items of a data set, once and in order."""
        return self._loader(images, sampler=items)

    def train_sampler(self) -> EpochSampler:
        """The order of an epoch, of this process's part of every batch if several train together."""
        factors = None
        if self.config.repeat_below is not None:
            factors = repeat_factors(self.train.targets, self.train.known, self.config.repeat_below)
        sampler = EpochSampler(
            len(self.train), self.seed, factors=factors, views=self.config.augment_views, share=self._share()
        )
        if self.trainer is not None:  # of a resumed run the loaders begin to read ahead before Lightning sets the epoch
            progress: Any = self.trainer.fit_loop.epoch_progress.current
            sampler.set_epoch(progress.processed)
        return sampler

    def _share(self) -> Share | None:
        if self.trainer is None or self.trainer.world_size == 1:
            return None
        return Share(self.trainer.global_rank, self.trainer.world_size, self.batch_size)

    def prepare_data(self) -> None:
        """Lightning's hook, in one process: copies of the images are made here if the config wants them."""
        if self.config.cache_images:
            self._cached_paths()

    def _cached(self, table: AnnotationTable) -> NDArray[np.bytes_] | None:
        """The copies of the train or the tune images; None without them."""
        if not self.config.cache_images:
            return None
        paths = self._cached_paths()
        return paths[: len(self.train)] if table is self.train else paths[len(self.train) :]

    def _cached_paths(self) -> NDArray[np.bytes_]:
        if self._copies is None:
            roots = [self.root, *(source.root for source in self.sources)]
            self._copies = cached_paths([*self.train.paths(), *self.tune.paths()], roots, self.image_size)
        return self._copies

    def _loader(self, dataset: TaggedImages, **options: Any) -> DataLoader[Item]:  # noqa: ANN401
        workers, share = self.config.workers, self._share()
        if workers is None:
            workers = min(8, usable_cores(), max(1, len(dataset) // self.batch_size))
        # A forked worker waits for ever on the threads of OpenCV's pool, which stay behind in the parent: end the pool first.
        cv2.setNumThreads(1)
        return DataLoader(
            dataset,
            batch_size=self.batch_size if share is None else share.part,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_begin_worker if workers else None,
            pin_memory=torch.cuda.is_available(),
            **options,
        )


def _begin_worker(worker: int) -> None:
    """Ctrl-C in a terminal reaches the workers too; who trains decides what it means, and may still need the batch at hand.

    Nor does a worker outlive who trains. Torch's own watch looks for another parent, which a fork server's children never get.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    trains = parent_process()
    if trains is not None:
        threading.Thread(target=_end_after, args=(trains.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
