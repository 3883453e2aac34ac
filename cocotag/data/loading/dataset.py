"""Table row -> (image, targets, known), and the samplers that order the rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler, default_collate

from cocotag.data.annotations import AnnotationTable
from cocotag.data.loading.transforms import Augmentation
from cocotag.errors import DataError, ImageError
from cocotag.photos.decode import decode, to_square


class Item(NamedTuple):
    """One item of a data set.

    Attributes:
        image: RGB uint8 ``(S, S, 3)``; ``(0, 0, 3)`` if no image is wanted.
        targets: Multi-hot, ``(C,)`` bool.
        known: False where the label is unknown, ``(C,)`` bool.
        number: The item's number, ``draw * rows + row``.
    """

    image: NDArray[np.uint8]
    targets: NDArray[np.bool_]
    known: NDArray[np.bool_]
    number: int


class Batch(NamedTuple):
    """Several items, stacked.

    Attributes:
        images: RGB uint8 ``(N, S, S, 3)``.
        targets: Multi-hot, ``(N, C)`` bool.
        known: False where the label is unknown, ``(N, C)`` bool.
        numbers: The items' numbers, ``(N,)`` int64.
    """

    images: Tensor
    targets: Tensor
    known: Tensor
    numbers: Tensor


def to_batch(items: Sequence[Item]) -> Batch:
    """Stack items to a batch."""
    return Batch(*default_collate([tuple(item) for item in items]))


NO_IMAGE = np.zeros((0, 0, 3), np.uint8)


class TaggedImages(Dataset[Item]):
    """The images of a table with their targets.

    Args:
        table: The rows.
        image_size: Side of the square input, pixels.
        augmentation: Augmentation for training; None preprocesses as evaluation and tagging do.
        seed: Seed of the augmentation.
        cached: Files to read instead of the table's, ``(N,)``, from `cached_paths`. If one is unreadable, the original image is
            read.
        views: Number of different augmentations per image, used in turn; None never repeats one.
        without_image: Draws below this number have no image, because the trainer has cached their features.
    """

    def __init__(
        self,
        table: AnnotationTable,
        *,
        image_size: int,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        cached: NDArray[np.bytes_] | None = None,
        views: int | None = None,
        without_image: int = 0,
    ) -> None:
        self.table = table
        self.image_size = image_size
        self.augmentation = augmentation
        self.seed = seed
        self.cached = cached
        self.views = views
        self.without_image = without_image
        self._folder = os.fspath(table.image_dir)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Item:
        """One item.

        Args:
            index: ``draw * len(self) + row``. An epoch may draw a row several times. Each draw has its own augmentation, which
                is the same in any worker and after a resume.

        Raises:
            DataError: The image cannot be read. It is never replaced by another.
        """
        draw, row = divmod(index, len(self))
        if draw < self.without_image:
            return Item(NO_IMAGE, self.table.targets[row], self.table.known[row], index)
        drawn_as = index if self.views is None else draw % self.views * len(self) + row
        seed = (self.seed * 1_000_003 + drawn_as) % 2**32
        augmentation = self.augmentation
        if augmentation is not None and augmentation.kind == "standard":
            drawn = augmentation.draw(seed, *self.table.sizes[row].tolist())  # first, so that only the crop is decoded
            rows = drawn.rows if drawn is not None else None
            image = self._read(row, min_side=augmentation.min_side(drawn), headroom=1, rows=rows)
            image = augmentation(image, seed, drawn)
        else:
            image = to_square(self._read(row, min_side=self.image_size), self.image_size)
            image = augmentation(image, seed) if augmentation is not None else image
        return Item(image, self.table.targets[row], self.table.known[row], index)

    def _read(self, row: int, **options: Any) -> NDArray[np.uint8]:  # noqa: ANN401 (decode's)
        if self.cached is not None:
            with suppress(ImageError):  # a copy may be deleted or damaged at any time
                return decode(os.fsdecode(self.cached[row]), **options)
        try:
            # Without pathlib, which interns the parts of every path: each worker would get its own copy of those memory pages.
            return decode(os.path.join(self._folder, str(self.table.file_names[row])), **options)  # noqa: PTH118
        except ImageError as error:
            raise DataError(
                f"{error} Remove it from the annotations. `cocotag check` lists all such images.", code="image_unreadable"
            ) from None


class EpochSampler(Sampler[int]):
    """All rows in a random order that depends on seed and epoch alone, as ``draw * rows + row``.

    Lightning calls `set_epoch`, also after a resume. If several processes train together, each gets its part of every batch.

    Args:
        rows: Number of rows.
        seed: Seed of the order.
        factors: Mean number of draws of each row per epoch, ``(rows,)``, from `repeat_factors`; None draws each row once. Every
            epoch has the same length, and draws each row its factor times, rounded down or up.
        views: Number of different augmentations per image, used in turn; the draws of a row go through all of them.
        share: The process that gets this order; None if only one trains.
    """

    def __init__(
        self,
        rows: int,
        seed: int,
        *,
        factors: NDArray[np.float64] | None = None,
        views: int | None = None,
        share: Share | None = None,
    ) -> None:
        self.rows = rows
        self.seed = seed
        self.share = share
        self.epoch = 0
        self.ends = np.cumsum(np.ones(rows) if factors is None else factors)
        self.drawn = round(float(self.ends[-1]))
        self.draws = 1 if factors is None else int(np.max(factors)) + 2  # upper bound of a row's draws per epoch
        # A row drawn once per epoch gets every k-th draw number: if k and `views` had a common factor, it would miss views.
        while factors is not None and views is not None and self.draws % views != 1 % views:
            self.draws += 1

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which determines the order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.drawn if self.share is None else self.drawn // self.share.batch * self.share.part

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.drawn, generator=generator).numpy()
        if self.draws == 1:
            chosen = self.epoch * self.rows + order
        else:
            # Systematic sampling: rows lie side by side, as long as their factors; a unit grid with a random start draws them.
            start = torch.rand((), generator=generator, dtype=torch.float64).item()
            ends = np.floor(self.ends * (self.drawn / self.ends[-1]) + start).astype(np.int64)
            times = np.diff(ends, prepend=0)
            times[-1] += self.drawn - times.sum()  # rounding of the last end may lose or gain a draw
            rows = np.repeat(np.arange(self.rows), times)
            nth = np.arange(self.drawn) - np.repeat(np.cumsum(times) - times, times)
            chosen = ((self.epoch * self.draws + nth) * self.rows + rows)[order]
        if self.share is not None:
            chosen = self.share.of(chosen)
        yield from chosen.tolist()


class InOrder(Sampler[int]):
    """All rows in order, as ``epoch * rows + row``; each of k processes gets every k-th row, so that no row comes twice.

    Args:
        rows: Number of rows.
        share: The process that gets these rows; None if only one trains.
    """

    def __init__(self, rows: int, share: Share | None = None) -> None:
        self.rows = rows
        self.share = share or Share(0, 1, 1)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(range(self.share.rank, self.rows, self.share.processes))

    def __iter__(self) -> Iterator[int]:
        yield from range(self.epoch * self.rows + self.share.rank, (self.epoch + 1) * self.rows, self.share.processes)


@dataclass(frozen=True)
class Share:
    """The part of one of several processes that train together.

    Attributes:
        rank: Rank of the process.
        processes: Number of processes.
        batch: Images per step of all processes together, a multiple of ``processes``.
    """

    rank: int
    processes: int
    batch: int

    @property
    def part(self) -> int:
        """Images per step of this process."""
        return self.batch // self.processes

    def of(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of every complete batch of an order."""
        batches = order[: len(order) // self.batch * self.batch].reshape(-1, self.processes, self.part)
        return batches[:, self.rank].reshape(-1)
