"""Table row -> (image, targets, known), and the order in which rows come."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

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
        cached: Files to read in place of the table's, ``(N,)``, as `cached_paths` gives them. Where one turns out unreadable,
            the image itself is read.
    """

    def __init__(
        self,
        table: AnnotationTable,
        *,
        image_size: int,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        cached: NDArray[np.bytes_] | None = None,
    ) -> None:
        self.table = table
        self.image_size = image_size
        self.augmentation = augmentation
        self.seed = seed
        self.cached = cached
        self._folder = os.fspath(table.image_dir)

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
        seed = (self.seed * 1_000_003 + index) % 2**32
        augmentation = self.augmentation
        if augmentation is not None and augmentation.kind == "standard":
            drawn = augmentation.draw(seed, *self.table.sizes[row].tolist())  # first, so that no more is decoded than it needs
            rows = drawn.rows if drawn is not None else None
            image = self._read(row, min_side=augmentation.min_side(drawn), headroom=1, rows=rows)
            image = augmentation(image, seed, drawn)
        else:
            image = to_square(self._read(row, min_side=self.image_size), self.image_size)
            image = augmentation(image, seed) if augmentation is not None else image
        return image, self.table.targets[row], self.table.known[row]

    def _read(self, row: int, **options: Any) -> NDArray[np.uint8]:  # noqa: ANN401 (decode's)
        if self.cached is not None:
            with suppress(ImageError):  # a copy may be deleted or damaged at any time
                return decode(os.fsdecode(self.cached[row]), **options)
        try:
            # Not by pathlib, which enters the parts of every path in Python's table of strings: a page of its own a worker.
            return decode(os.path.join(self._folder, str(self.table.file_names[row])), **options)  # noqa: PTH118
        except ImageError as error:
            raise DataError(f"{error} Remove it from the annotations. `cocotag check` lists all such images.") from None


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
