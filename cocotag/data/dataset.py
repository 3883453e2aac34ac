"""Table row -> (image, targets, known), and the order in which rows come."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from cocotag.data.annotations import AnnotationTable
from cocotag.data.transforms import Augmentation
from cocotag.errors import DataError, ImageError
from cocotag.images import decode, to_square

Item = tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]


class TaggedImages(Dataset[Item]):
    """The images of a table with what is known of them.

    Args:
        table: The rows.
        image_size: Side of the square input, pixels.
        augmentation: For training; None gives what evaluation and tagging see.
        seed: Of the augmentation.
    """

    def __init__(
        self, table: AnnotationTable, *, image_size: int, augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        self.table = table
        self.image_size = image_size
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Item:
        """One item.

        Args:
            index: ``epoch * len(self) + row``, so that every epoch augments anew, the same in any worker and after a resume.

        Returns:
            Image uint8 ``(S, S, 3)`` RGB, targets bool ``(C,)``, known bool ``(C,)``.

        Raises:
            DataError: The image cannot be read. It is never replaced by another.
        """
        row = index % len(self)
        path = self.table.path(row)
        try:
            image = decode(path, min_side=self.augmentation.min_side if self.augmentation else self.image_size)
        except ImageError as error:
            raise DataError(f"{error} Remove it from the annotations, or run: cocotag check ROOT --split SPLIT") from None
        if self.augmentation is None or self.augmentation.kind != "standard":
            image = to_square(image, self.image_size)
        if self.augmentation is not None:
            image = self.augmentation(image, seed=(self.seed * 1_000_003 + index) % 2**32)
        return image, self.table.targets[row], self.table.known[row]


class EpochSampler(Sampler[int]):
    """All rows in a random order that depends on seed and epoch alone, as ``epoch * rows + row``.

    Lightning calls `set_epoch`, also after a resume.

    Args:
        rows: How many.
        seed: Of the order.
    """

    def __init__(self, rows: int, seed: int) -> None:
        self.rows = rows
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        yield from (self.epoch * self.rows + torch.randperm(self.rows, generator=generator)).tolist()
