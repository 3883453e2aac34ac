"""Every image file of a data set read once and measured. Knows no labels and no torch.

A file is known by its inode, so one that is listed twice, or reached by links from two splits, is still read once.
Nothing outside the data folder is read, whichever way leads there.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cocotag.cores import usable_cores
from cocotag.errors import ImageError
from cocotag.photos.decode import MAX_BYTES, decode, to_square
from cocotag.photos.formats import jpeg

FED_SIDE = 224
"""Side that the pictures are measured at, pixels: what a network is fed by default."""

MAX_OTHERS = 20_000
"""So many images of other splits are decoded for comparison, a minute's work on two cores. Of the splits beyond that,
only the files that have the size in bytes of one of this split are read, which finds copies."""

OUTSIDE = "outside"
"""The fault of a file that is reached by leaving the data folder; it is not looked at."""

_Key = tuple[int, int]
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True, slots=True, eq=False)
class OtherSplit:
    """The images of another split, for comparison.

    Attributes:
        file_names: ``M`` of them.
        digests: Of the pixels; or of the files, if those alone were compared. ``M`` of them, empty where there is none.
        by_bytes: Whether those are of the files.
        there: How many of the files are there.
    """

    file_names: list[str]
    digests: list[bytes]
    by_bytes: bool
    there: int


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What the image files of a split come to, ``N`` rows.

    Attributes:
        faults: Why the image cannot be used: an `ImageError.reason`, or `OUTSIDE`; None where it can.
        sizes: Width and height in pixels as the file is stored, ``(N, 2)`` int32; 0 where the image cannot be used.
        luma: Mean, 1st and 99th percentile of the brightness (Rec. 601, 0..255), ``(N, 3)`` float32, NaN likewise.
        channels: Mean red, green and blue, 0..255, ``(N, 3)`` float32, NaN likewise.
        levels: Pixels of each level over all usable rows, ``(3, 256)`` int64. Like the two before, of the picture that
            the network gets: `FED_SIDE` square.
        pixels: Digest of the decoded picture, equal for equal pixels; empty where the image cannot be used.
        contents: Digest of the file, likewise.
        others: The other splits by name.
    """

    faults: list[str | None]
    sizes: NDArray[np.int32]
    luma: NDArray[np.float32]
    channels: NDArray[np.float32]
    levels: NDArray[np.int64]
    pixels: list[bytes]
    contents: list[bytes]
    others: dict[str, OtherSplit]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Rows whose image could be read, ``(N,)``."""
        return np.array([fault is None for fault in self.faults], bool)


class _Place(NamedTuple):
    """A file before it is read: why it will not be, or how to know it again and its size in bytes."""

    fault: str | None
    key: _Key = (0, 0)
    size: int = 0


class _Look(NamedTuple):
    """A file once it was read."""

    fault: str | None
    content: bytes = b""
    pixels: bytes = b""
    size: tuple[int, int] = (0, 0)
    luma: tuple[float, float, float] = (np.nan,) * 3
    channels: tuple[float, float, float] = (np.nan,) * 3


def survey(
    root: Path,
    image_dir: Path,
    file_names: Sequence[str],
    refused: NDArray[np.bool_],
    others: Mapping[str, tuple[Path, Sequence[str]]],
    *,
    progress: bool = True,
) -> Survey:
    """Read and measure the images of a split, and read those of other splits for comparison.

    Files are read in threads (reading and decoding release the GIL); one image per thread is held. Ctrl-C drops what is
    waiting.

    Args:
        root: The data set. What lies in it, or in the folder that ``image_dir`` may be a link to, is inside.
        image_dir: The folder of the images.
        file_names: ``N`` names in that folder.
        refused: Names that lead out of it, which are not looked up, ``(N,)``.
        others: Split -> its image folder and file names.
        progress: Show a bar on stderr, if that is a terminal.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one image per thread is faster than many threads per image
    pool = ThreadPoolExecutor(thread_name_prefix="cocotag-check")
    bar = tqdm(desc="check", unit="image", smoothing=0.1, disable=None if progress else True, total=len(file_names))
    try:
        with bar:
            return _survey(pool, bar, root, image_dir, file_names, refused, others)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(threads)


def _survey(
    pool: ThreadPoolExecutor,
    bar: tqdm[NoReturn],
    root: Path,
    image_dir: Path,
    file_names: Sequence[str],
    refused: NDArray[np.bool_],
    others: Mapping[str, tuple[Path, Sequence[str]]],
) -> Survey:
    locate = _locator([root, image_dir, *(folder for folder, _ in others.values())])
    paths = [None if out else image_dir / name for name, out in zip(file_names, refused.tolist(), strict=True)]
    places = list(_each(pool, locate, paths))
    elsewhere: dict[str, tuple[list[Path], list[_Place], bool, int]] = {}
    budget, sizes = MAX_OTHERS, {place.size for place in places}
    for split, (folder, names) in others.items():
        by_bytes = len(names) > budget
        budget -= 0 if by_bytes else len(names)
        theirs = [folder / name for name in names]
        found = list(_each(pool, locate, theirs))
        there = sum(place.fault is None for place in found)
        if by_bytes:
            found = [place if place.size in sizes else _Place("another size") for place in found]
        elsewhere[split] = theirs, found, by_bytes, there

    wanted: dict[_Key, Path] = {}
    rows_of: Counter[_Key] = Counter()  # the network is fed a file as often as it is listed
    for path, place in zip(paths, places, strict=True):
        if place.fault is None and path is not None:
            wanted.setdefault(place.key, path)
            rows_of[place.key] += 1
    plain: dict[_Key, Path] = {}
    for theirs, found, by_bytes, _ in elsewhere.values():
        for path, place in zip(theirs, found, strict=True):
            if place.fault is None and place.key not in wanted and place.key not in plain:
                (plain if by_bytes else wanted)[place.key] = path

    bar.reset(total=len(wanted) + len(plain))
    levels = np.zeros((3, 256), np.int64)
    looks: dict[_Key, _Look] = {}
    for key, (look, histogram) in zip(wanted, _each(pool, _look, wanted.values()), strict=True):
        looks[key] = look
        levels += histogram * rows_of[key]
        bar.update()
    for key, look in zip(plain, _each(pool, _read_only, plain.values()), strict=True):
        looks[key] = look
        bar.update()

    mine = [looks[place.key] if place.fault is None else _Look(place.fault) for place in places]
    return Survey(
        faults=[look.fault for look in mine],
        sizes=np.array([look.size for look in mine], np.int32).reshape(-1, 2),
        luma=np.array([look.luma for look in mine], np.float32).reshape(-1, 3),
        channels=np.array([look.channels for look in mine], np.float32).reshape(-1, 3),
        levels=levels,
        pixels=[look.pixels for look in mine],
        contents=[look.content if look.fault is None else b"" for look in mine],
        others={
            split: OtherSplit(list(others[split][1]), [_digest(looks, place, by_bytes) for place in found], by_bytes, there)
            for split, (_, found, by_bytes, there) in elsewhere.items()
        },
    )


def _digest(looks: dict[_Key, _Look], place: _Place, by_bytes: bool) -> bytes:
    if place.fault is not None or looks[place.key].fault is not None:
        return b""
    return looks[place.key].content if by_bytes else looks[place.key].pixels


def _each(pool: ThreadPoolExecutor, function: Callable[[_In], _Out], inputs: Iterable[_In]) -> Iterator[_Out]:
    """`Executor.map` that submits only a little ahead, so that Ctrl-C need not wait for all the rest."""
    waiting: deque[Future[_Out]] = deque()
    queue = iter(inputs)
    ahead = 4 * usable_cores() + 16
    while True:
        waiting.extend(pool.submit(function, one) for one in islice(queue, ahead - len(waiting)))
        if not waiting:
            return
        yield waiting.popleft().result()


def _locator(folders: Iterable[Path]) -> Callable[[Path | None], _Place]:
    """A function that looks a path up without reading it.

    A folder of the data set may itself be a link (to a larger disk, say): that is its owner's choice. A file, or a folder
    below, whose real place is in none of them is refused.
    """
    allowed = {os.path.realpath(folder) for folder in folders}

    def within(real: str) -> bool:
        return any(real == folder or real.startswith(folder.rstrip(os.sep) + os.sep) for folder in allowed)

    @cache
    def folder_within(folder: Path) -> bool:
        return within(os.path.realpath(folder))

    def locate(path: Path | None) -> _Place:
        if path is None:
            return _Place(OUTSIDE)
        try:
            link = stat.S_ISLNK(path.lstat().st_mode)
            if not folder_within(path.parent) or (link and not within(os.path.realpath(path))):
                return _Place(OUTSIDE)
            status = path.stat() if link else path.lstat()
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
            return _Place("missing")
        except OSError:  # a name that is too long, a loop of links, a folder without permission
            return _Place("unreadable")
        if not stat.S_ISREG(status.st_mode):
            return _Place("not_a_file")  # opening a pipe would wait for ever
        if status.st_size == 0 or status.st_size > MAX_BYTES:
            return _Place("too_large" if status.st_size else "empty")
        return _Place(None, (status.st_dev, status.st_ino), status.st_size)

    return locate


def _read_only(path: Path) -> _Look:
    try:
        return _Look(None, content=hashlib.blake2b(path.read_bytes(), digest_size=16).digest())
    except OSError:
        return _Look("unreadable")


def _look(path: Path) -> tuple[_Look, NDArray[np.int64]]:
    """Read, decode and measure one file; also its pixels of each level, ``(3, 256)``."""
    nothing = np.zeros((3, 256), np.int64)
    try:
        data = path.read_bytes()
        picture = decode(data, min_side=FED_SIDE)
    except OSError:
        return _Look("unreadable"), nothing
    except ImageError as error:
        return _Look(error.reason), nothing
    digest = hashlib.blake2b(repr(picture.shape).encode(), digest_size=16)
    digest.update(picture.data)
    square = to_square(picture, FED_SIDE)
    levels = np.stack([_histogram(square, channel) for channel in range(3)])
    grey = _histogram(np.asarray(cv2.cvtColor(square, cv2.COLOR_RGB2GRAY), np.uint8), 0)
    below = np.cumsum(grey) / grey.sum()
    scale = np.arange(256)
    red, green, blue = (levels @ scale / levels.sum(axis=1)).tolist()
    look = _Look(
        fault=None,
        content=hashlib.blake2b(data, digest_size=16).digest(),
        pixels=digest.digest(),
        size=_stored_size(data, picture),
        luma=(float(grey @ scale / grey.sum()), float(np.searchsorted(below, 0.01)), float(np.searchsorted(below, 0.99))),
        channels=(red, green, blue),
    )
    return look, levels


def _histogram(image: NDArray[np.uint8], channel: int) -> NDArray[np.int64]:
    return cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel().astype(np.int64)


def _stored_size(data: bytes, picture: NDArray[np.uint8]) -> tuple[int, int]:
    """Width and height; of a JPEG from its header, since it may have been decoded smaller."""
    if data.startswith(jpeg.START):
        header = jpeg.read_header(data)
        return header.width, header.height
    height, width = picture.shape[:2]
    return width, height
