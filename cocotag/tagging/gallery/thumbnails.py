"""Photographs -> small JPEG files, made in threads, each once for every state of its photograph. Knows no tags.

A thumbnail's key has 64 bits: 40 of the photograph's path, and 24 of path, size and modification time. So the one from before
is found again where the photograph is out of reach, on a disk that is not plugged in. Among a million photographs, two
have one key once in 40 million galleries, and two have the same 40 bits in one gallery of three: these get none from before.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from cocotag.cores import usable_cores
from cocotag.errors import ImageError
from cocotag.photos.decode import decode
from cocotag.photos.thumbnails import shrink
from cocotag.tagging.gallery.place import output_errors, thumb_keys, thumb_name

SIDE, QUALITY = 288, 70
"""Pixels of the longer side and JPEG quality: sharp on a card 180 px wide where a point has 1.6 pixels, about 12 kB each."""

_RECIPE = f"2 {SIDE} {QUALITY}".encode()  # with another, all are made anew
_MAX_THREADS = 8
_STATE_BITS = 24  # of a key


class Thumbnails:
    """A folder of thumbnails.

    Attributes:
        made: Thumbnails that were made.
        kept: Those that were there.
        unread: Of these, those whose photograph cannot be read now.
        failed: Photographs that cannot be read now and have none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        threads = min(usable_cores(), _MAX_THREADS)
        self.at_once = 4 * threads  # photographs that may be under way
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cocotag-thumbnail")
        self._under_way: dict[int, Future[None]] = {}
        self._before: NDArray[np.uint64] | None = None
        self.made = self.kept = self.unread = self.failed = 0

    def start(self, path: Path) -> Thumbnail:
        """Have the thumbnail of a photograph made, if it is not there."""
        key, is_there = _key(path)
        if not is_there:
            return Thumbnail(key, is_there=False)
        work = self._under_way.get(key)  # of a file that comes twice
        file = self._folder / thumb_name(key)
        if work is None and not file.exists():
            work = self._under_way[key] = self._pool.submit(_make, path, file)
        return Thumbnail(key, work)

    def end(self, thumbnail: Thumbnail) -> int:
        """Wait for a thumbnail.

        Returns:
            Its key, that of one from before where the photograph cannot be read now; 0 if there is none.

        Raises:
            OutputError: It cannot be written.
        """
        self._under_way.pop(thumbnail.key, None)
        is_there = thumbnail.is_there
        try:
            if thumbnail.work is not None:
                thumbnail.work.result()
        except ImageError:
            is_there = False
        if not is_there:
            key = self._from_before(thumbnail.key)
            self.kept += key != 0
            self.unread += key != 0
            self.failed += key == 0
            return key
        if thumbnail.work is None:
            self.kept += 1
        else:
            self.made += 1
        return thumbnail.key

    def _from_before(self, key: int) -> int:
        """The one that is there of a photograph that cannot be read now; 0 if there is none, or it is not certain which."""
        if self._before is None:
            self._before = np.sort(np.fromiter(thumb_keys(self._folder), np.uint64))
        first = key >> _STATE_BITS << _STATE_BITS
        start, end = np.searchsorted(self._before, np.array([first, first + (1 << _STATE_BITS) - 1], np.uint64))
        return int(self._before[start]) if end - start == 1 else 0

    def close(self) -> None:
        """Wait for what is under way, and begin nothing more."""
        self._pool.shutdown(cancel_futures=True)


class Thumbnail:
    """One that is there, or under way; or that of a photograph that is not there."""

    __slots__ = ("is_there", "key", "work")

    def __init__(self, key: int, work: Future[None] | None = None, *, is_there: bool = True) -> None:
        self.key = key
        self.work = work
        self.is_there = is_there


def _key(path: Path) -> tuple[int, bool]:
    """What a thumbnail is called by, and whether the photograph is there; if not, the last bits say nothing."""
    name = os.fsencode(os.path.abspath(path))  # noqa: PTH100 (links stay what they are)
    first = _hash(name, 8) >> _STATE_BITS << _STATE_BITS
    try:
        status = os.stat(name)  # noqa: PTH116 (bytes)
    except (OSError, ValueError):  # ValueError: a NUL in a name
        return first, False
    known_by = b"%s\0%d\0%d\0%s" % (name, status.st_size, status.st_mtime_ns, _RECIPE)
    return first | _hash(known_by, _STATE_BITS // 8), True


def _hash(value: bytes, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(value, digest_size=size).digest())


def _make(path: Path, file: Path) -> None:
    # The shorter side keeps at least what the longer is shrunk to, so the reduced decode never has to be blown up again.
    picture = shrink(decode(path, min_side=SIDE, headroom=1), SIDE)
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=QUALITY, colorspace="RGB", colorsubsampling="420")
    with output_errors(file):
        file.parent.mkdir(exist_ok=True)
        part = file.with_name(f"{file.name}.part")
        part.write_bytes(jpeg)
        part.replace(file)
