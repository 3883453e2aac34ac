"""Splits, loaders and samplers of a training run."""

from __future__ import annotations

import os
import signal
from typing import Any

import cv2
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from cocotag.config import DataConfig
from cocotag.data.annotations import AnnotationTable, load_split
from cocotag.data.dataset import EpochSampler, Item, TaggedImages
from cocotag.data.split import stratified_holdout
from cocotag.data.transforms import Augmentation
from cocotag.errors import DataError
from cocotag.labels import Vocabulary

Batch = tuple[Tensor, Tensor, Tensor]


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

    Raises:
        DataError: A split is missing or cannot be learned from.
    """

    def __init__(self, config: DataConfig, *, image_size: int, batch_size: int, seed: int) -> None:
        super().__init__()
        self.config = config
        self.image_size = image_size
        self.batch_size = batch_size
        self.seed = seed
        root = config.root or "."
        whole = load_split(root, config.train_split)
        self._train_split_sha256 = whole.names_sha256()
        if config.tune_split is None:
            held = stratified_holdout(whole.targets, config.tune_fraction, seed)
            self.train, self.tune = whole.take(~held), whole.take(held)
        else:
            self.train, self.tune = whole, load_split(root, config.tune_split)
        self._check()

    def _check(self) -> None:
        config = self.config
        tune_name = f"split {config.tune_split!r}" if config.tune_split else f"tune part of split {config.train_split!r}"
        if self.tune.vocabulary.ids != self.train.vocabulary.ids:
            raise DataError(f"The {tune_name} lists other categories than split {config.train_split!r}. Use one list for both.")
        for name, table in ((f"split {config.train_split!r}", self.train), (tune_name, self.tune)):
            if not table.positives.any():
                raise DataError(
                    f"The {name} has {len(table)} images and no positive of any class, so nothing can be learned there."
                )
        check_files(self.train, str(config.root), config.train_split)
        check_files(self.tune, str(config.root), config.tune_split or config.train_split)
        if len(self.train) < self.batch_size:
            raise DataError(
                f"There are {len(self.train)} images to train on, fewer than batch_size {self.batch_size}. Lower it."
            )

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes."""
        return self.train.vocabulary

    def tuned_on(self) -> dict[str, Any]:
        """Which images choose, for the bundle: a later evaluation on them, or on all they were taken from, is optimistic."""
        return {
            "split": self.config.tune_split or f"{self.config.tune_fraction:g} of {self.config.train_split}",
            "images": len(self.tune),
            "sha256": self.tune.names_sha256(),
            "train_split_sha256": self._train_split_sha256,
        }

    def train_dataloader(self) -> DataLoader[Item]:
        """Augmented, in an order of each epoch's own; the last incomplete batch is left out for the batch norms' sake."""
        augmentation = Augmentation(self.config.augment, size=self.image_size, min_crop=self.config.min_crop)
        dataset = TaggedImages(self.train, image_size=self.image_size, augmentation=augmentation, seed=self.seed)
        return self._loader(dataset, sampler=EpochSampler(len(dataset), self.seed), drop_last=True)

    def val_dataloader(self) -> DataLoader[Item]:
        """The tune images, plainly: Lightning's validation is where we choose."""
        return self._loader(TaggedImages(self.tune, image_size=self.image_size), shuffle=False)

    def _loader(self, dataset: TaggedImages, **options: Any) -> DataLoader[Item]:  # noqa: ANN401
        workers = self.config.workers
        if workers is None:
            workers = min(8, os.cpu_count() or 1, max(1, len(dataset) // self.batch_size))
        # A forked worker waits for ever on the threads of OpenCV's pool, which stay behind in the parent: end the pool first.
        cv2.setNumThreads(1)
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_ignore_interrupt if workers else None,
            pin_memory=torch.cuda.is_available(),
            **options,
        )


def _ignore_interrupt(worker: int) -> None:
    """Ctrl-C in a terminal reaches the workers too; who trains decides what it means, and may still need the batch at hand."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def check_files(table: AnnotationTable, root: str, split: str) -> None:
    """See that the images of a table are there, before the first is wanted.

    Raises:
        DataError: How many are not, and the first.
    """
    # One listing a folder, not one look a file: COCO's folder holds 118,287.
    folders = {path.parent for path in table.paths()}
    there = {entry.path for folder in folders if folder.is_dir() for entry in os.scandir(folder)}
    missing = [path for path in table.paths() if str(path) not in there]
    if missing:
        raise DataError(
            f"The annotations of split {split!r} name {len(missing)} files that are not in {table.image_dir} "
            f"(first: {missing[0].name}). Check the folder, or run: cocotag check {root} --split {split}"
        )
