"""Read and measure every image file of a data set once. Does not depend on labels or torch.

Files are identified by inode, so a file that is listed twice, or linked from two splits, is still read once. Files outside the
data folder are never read, whatever path or link leads there.
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

from cocotag.errors import ImageError
from cocotag.photos.decode import MAX_BYTES, decode, to_square
from cocotag.photos.formats import jpeg
from cocotag.process.cores import usable_cores
from cocotag.process.restarts import decoding

FED_SIDE = 224
"""Side at which images are measured, pixels: the default input size of a network."""

MAX_OTHERS = 20_000
"""Most images of other splits to decode for comparison, about a minute on two cores. Of splits beyond this number only files
with the same size in bytes as a file of this split are read, which finds identical files."""

OUTSIDE = "outside"
"""The fault of a file outside the data folder; it is not read."""

_Key = tuple[int, int]
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True, slots=True, eq=False)
class OtherSplit:
    """The images of another split, for comparison.

    Attributes:
        file_names: The ``M`` file names.
        digests: ``M`` digests of the pixels, or of the files if only those were compared; empty if the image cannot be used.
        by_bytes: Whether the digests are of the files.
        there: Number of files that exist.
    """

    file_names: list[str]
    digests: list[bytes]
    by_bytes: bool
    there: int


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """Measurements of the image files of a split, ``N`` rows.

    Attributes:
        faults: Why the image cannot be used: an `ImageError.reason`, or `OUTSIDE`; None if it can be used.
        sizes: Width and height in pixels as the file is stored, ``(N, 2)`` int32; 0 if the image cannot be used.
        luma: Mean, 1st and 99th percentile of the luma (Rec. 601, 0..255), ``(N, 3)`` float32; NaN if it cannot be used.
        channels: Mean red, green and blue, 0..255, ``(N, 3)`` float32; NaN if it cannot be used.
        levels: Number of pixels of each level over all usable rows, ``(3, 256)`` int64. Like `luma` and `channels` it is
            measured on the network's input, a square with side `FED_SIDE`.
        pixels: Digest of the decoded image, equal for equal pixels; empty if the image cannot be used.
        contents: Digest of the file; empty if the image cannot be used.
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
        """Mask of rows whose image can be used, ``(N,)``."""
        return np.array([fault is None for fault in self.faults], bool)


class _Located(NamedTuple):
    """A file before it is read: why it will not be read, or its identity and its size in bytes."""

    fault: str | None
    key: _Key = (0, 0)
    size: int = 0


class _Measured(NamedTuple):
    """The measurements of one file."""

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

    Files are read in threads, because reading and decoding release the GIL. Memory holds one image per thread. Ctrl-C drops
    the waiting files.

    Args:
        root: The data set. Files in it, or in the target of the link that ``image_dir`` may be, count as inside.
        image_dir: The folder of the images.
        file_names: The ``N`` names in that folder.
        refused: Mask of names that lead out of it, which are not read, ``(N,)``.
        others: Split -> its image folder and file names.
        progress: Show a progress bar on stderr if that is a terminal.
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
    files = list(_each(pool, locate, paths))
    elsewhere: dict[str, tuple[list[Path], list[_Located], bool, int]] = {}
    budget, sizes = MAX_OTHERS, {file.size for file in files}
    for split, (folder, names) in others.items():
        by_bytes = len(names) > budget
        budget -= 0 if by_bytes else len(names)
        theirs = [folder / name for name in names]
        found = list(_each(pool, locate, theirs))
        there = sum(file.fault is None for file in found)
        if by_bytes:
            found = [file if file.size in sizes else _Located("another size") for file in found]
        elsewhere[split] = theirs, found, by_bytes, there

    to_decode: dict[_Key, Path] = {}
    rows_of: Counter[_Key] = Counter()  # a file is a network input as often as it is listed
    for path, file in zip(paths, files, strict=True):
        if file.fault is None and path is not None:
            to_decode.setdefault(file.key, path)
            rows_of[file.key] += 1
    to_hash: dict[_Key, Path] = {}
    for theirs, found, by_bytes, _ in elsewhere.values():
        for path, file in zip(theirs, found, strict=True):
            if file.fault is None and file.key not in to_decode and file.key not in to_hash:
                (to_hash if by_bytes else to_decode)[file.key] = path

    bar.reset(total=len(to_decode) + len(to_hash))
    levels = np.zeros((3, 256), np.int64)
    measured: dict[_Key, _Measured] = {}
    for key, (one, histogram) in zip(to_decode, _each(pool, _measure, to_decode.values()), strict=True):
        measured[key] = one
        levels += histogram * rows_of[key]
        bar.update()
    for key, one in zip(to_hash, _each(pool, _hash, to_hash.values()), strict=True):
        measured[key] = one
        bar.update()

    rows = [measured[file.key] if file.fault is None else _Measured(file.fault) for file in files]
    return Survey(
        faults=[row.fault for row in rows],
        sizes=np.array([row.size for row in rows], np.int32).reshape(-1, 2),
        luma=np.array([row.luma for row in rows], np.float32).reshape(-1, 3),
        channels=np.array([row.channels for row in rows], np.float32).reshape(-1, 3),
        levels=levels,
        pixels=[row.pixels for row in rows],
        contents=[row.content if row.fault is None else b"" for row in rows],
        others={
            split: OtherSplit(list(others[split][1]), [_digest(measured, file, by_bytes) for file in found], by_bytes, there)
            for split, (_, found, by_bytes, there) in elsewhere.items()
        },
    )


def _digest(measured: dict[_Key, _Measured], file: _Located, by_bytes: bool) -> bytes:
    if file.fault is not None or measured[file.key].fault is not None:
        return b""
    return measured[file.key].content if by_bytes else measured[file.key].pixels


def _each(pool: ThreadPoolExecutor, function: Callable[[_In], _Out], inputs: Iterable[_In]) -> Iterator[_Out]:
    """`Executor.map` that submits only a few inputs ahead, so that Ctrl-C does not wait for all the rest."""
    waiting: deque[Future[_Out]] = deque()
    queue = iter(inputs)
    ahead = 4 * usable_cores() + 16
    while True:
        waiting.extend(pool.submit(function, one) for one in islice(queue, ahead - len(waiting)))
        if not waiting:
            return
        yield waiting.popleft().result()


def _locator(folders: Iterable[Path]) -> Callable[[Path | None], _Located]:
    """A function that looks up a path without reading the file.

    A folder of the data set may itself be a link, to a larger disk, say: this is the user's choice. A file, or a folder below,
    whose real path is in none of these folders is refused.
    """
    allowed = {os.path.realpath(folder) for folder in folders}

    def within(real: str) -> bool:
        return any(real == folder or real.startswith(folder.rstrip(os.sep) + os.sep) for folder in allowed)

    @cache
    def folder_within(folder: Path) -> bool:
        return within(os.path.realpath(folder))

    def locate(path: Path | None) -> _Located:
        if path is None:
            return _Located(OUTSIDE)
        try:
            link = stat.S_ISLNK(path.lstat().st_mode)
            if not folder_within(path.parent) or (link and not within(os.path.realpath(path))):
                return _Located(OUTSIDE)
            status = path.stat() if link else path.lstat()
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
            return _Located("missing")
        except OSError:  # a name that is too long, a loop of links, a folder without permission
            return _Located("unreadable")
        if not stat.S_ISREG(status.st_mode):
            return _Located("not_a_file")  # opening a pipe would block forever
        if status.st_size == 0 or status.st_size > MAX_BYTES:
            return _Located("too_large" if status.st_size else "empty")
        return _Located(None, (status.st_dev, status.st_ino), status.st_size)

    return locate


def _hash(path: Path) -> _Measured:
    """Hash one file without decoding it."""
    try:
        return _Measured(None, content=hashlib.blake2b(path.read_bytes(), digest_size=16).digest())
    except OSError:
        return _Measured("unreadable")


def _measure(path: Path) -> tuple[_Measured, NDArray[np.int64]]:
    """Read, decode and measure one file; also return its number of pixels of each level, ``(3, 256)``."""
    nothing = np.zeros((3, 256), np.int64)
    try:
        data = path.read_bytes()
        with decoding(path, min_side=FED_SIDE):
            image = decode(data, min_side=FED_SIDE)
    except OSError:
        return _Measured("unreadable"), nothing
    except ImageError as error:
        return _Measured(error.reason), nothing
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(image.data)
    square = to_square(image, FED_SIDE)
    levels = np.stack([_histogram(square, channel) for channel in range(3)])
    grey = _histogram(np.asarray(cv2.cvtColor(square, cv2.COLOR_RGB2GRAY), np.uint8), 0)
    cumulative = np.cumsum(grey) / grey.sum()
    scale = np.arange(256)
    red, green, blue = (levels @ scale / levels.sum(axis=1)).tolist()
    measured = _Measured(
        fault=None,
        content=hashlib.blake2b(data, digest_size=16).digest(),
        pixels=digest.digest(),
        size=_stored_size(data, image),
        luma=(
            float(grey @ scale / grey.sum()),
            float(np.searchsorted(cumulative, 0.01)),
            float(np.searchsorted(cumulative, 0.99)),
        ),
        channels=(red, green, blue),
    )
    return measured, levels


def _histogram(image: NDArray[np.uint8], channel: int) -> NDArray[np.int64]:
    return cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel().astype(np.int64)


def _stored_size(data: bytes, image: NDArray[np.uint8]) -> tuple[int, int]:
    """Width and height; for a JPEG from its header, because it may have been decoded at a reduced scale."""
    if data.startswith(jpeg.START):
        header = jpeg.read_header(data)
        return header.width, header.height
    height, width = image.shape[:2]
    return width, height
