"""Thumbnails of photographs, written by several threads and only if a photograph is new or changed. Does not depend on tags.

The key of a thumbnail has 64 bits: a hash of the photograph's path (40 bits) and of path, size and modification time (24
bits). The first 40 bits find the existing thumbnail of a photograph that is offline, such as on a disk that is not plugged
in. Among a million photographs, two have the same key in one of 40 million galleries. Two have the same first 40 bits in one
of three galleries: offline, these have no thumbnail.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from cocotag.errors import ImageError
from cocotag.photos.decode import decode
from cocotag.photos.thumbnails import shrink
from cocotag.process.cores import usable_cores
from cocotag.tagging.gallery.place import output_errors, thumb_keys, thumb_name

SIDE, QUALITY = 288, 70
"""Pixels of the longer side and JPEG quality: sharp on a card 180 px wide at 1.6 device pixels per px, about 12 kB each."""

_RECIPE = f"2 {SIDE} {QUALITY}".encode()  # if it changes, all thumbnails are made again
_MAX_THREADS = 8
_STATE_BITS = 24  # bits of a key that depend on size and modification time


class Thumbnails:
    """A folder of thumbnails.

    Attributes:
        made: Number of new thumbnails.
        kept: Number of existing thumbnails in use.
        unread: Number of these whose photograph cannot be read now.
        failed: Number of photographs that cannot be read now and have no thumbnail.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        threads = min(usable_cores(), _MAX_THREADS)
        self.at_once = 4 * threads  # photographs in progress at the same time
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cocotag-thumbnail")
        self._in_progress: dict[int, Future[None]] = {}
        self._before: NDArray[np.uint64] | None = None
        self.made = self.kept = self.unread = self.failed = 0

    def start(self, path: Path) -> Thumbnail:
        """Start to make the thumbnail of a photograph, if it does not exist."""
        key, photo_exists = _key(path)
        if not photo_exists:
            return Thumbnail(key, photo_exists=False)
        work = self._in_progress.get(key)  # if a file comes twice
        file = self._folder / thumb_name(key)
        if work is None and not file.exists():
            work = self._in_progress[key] = self._pool.submit(_make, path, file)
        return Thumbnail(key, work)

    def end(self, thumbnail: Thumbnail) -> int:
        """Wait for a thumbnail.

        Returns:
            Its key; if the photograph cannot be read now, the key of its existing thumbnail; 0 without a thumbnail.

        Raises:
            OutputError: The thumbnail cannot be written.
        """
        self._in_progress.pop(thumbnail.key, None)
        readable = thumbnail.photo_exists
        try:
            if thumbnail.work is not None:
                thumbnail.work.result()
        except ImageError:
            readable = False
        if not readable:
            key = self._existing(thumbnail.key)
            self.kept += key != 0
            self.unread += key != 0
            self.failed += key == 0
            return key
        if thumbnail.work is None:
            self.kept += 1
        else:
            self.made += 1
        return thumbnail.key

    def _existing(self, key: int) -> int:
        """Key of the existing thumbnail of a photograph that cannot be read now; 0 if there is none or more than one."""
        if self._before is None:
            self._before = np.sort(np.fromiter(thumb_keys(self._folder), np.uint64))
        first = key >> _STATE_BITS << _STATE_BITS
        start, end = np.searchsorted(self._before, np.array([first, first + (1 << _STATE_BITS) - 1], np.uint64))
        return int(self._before[start]) if end - start == 1 else 0

    def close(self) -> None:
        """Wait for the thumbnails in progress and cancel the others."""
        self._pool.shutdown(cancel_futures=True)


class Thumbnail:
    """A thumbnail that exists, is in progress, or whose photograph does not exist."""

    __slots__ = ("key", "photo_exists", "work")

    def __init__(self, key: int, work: Future[None] | None = None, *, photo_exists: bool = True) -> None:
        self.key = key
        self.work = work
        self.photo_exists = photo_exists


def _key(path: Path) -> tuple[int, bool]:
    """The key of a thumbnail, and whether the photograph exists; if not, the last bits are 0."""
    name = os.fsencode(os.path.abspath(path))  # noqa: PTH100 (keeps links)
    first = _hash(name, 8) >> _STATE_BITS << _STATE_BITS
    try:
        status = os.stat(name)  # noqa: PTH116 (bytes)
    except (OSError, ValueError):  # ValueError: a NUL in a name
        return first, False
    identity = b"%s\0%d\0%d\0%s" % (name, status.st_size, status.st_mtime_ns, _RECIPE)
    return first | _hash(identity, _STATE_BITS // 8), True


def _hash(value: bytes, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(value, digest_size=size).digest())


def _make(path: Path, file: Path) -> None:
    # The reduced decode keeps the shorter side at SIDE or more, so that the picture is never enlarged again.
    picture = shrink(decode(path, min_side=SIDE, headroom=1, previews=True), SIDE)
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=QUALITY, colorspace="RGB", colorsubsampling="420")
    with output_errors(file):
        file.parent.mkdir(exist_ok=True)
        part = file.with_name(f"{file.name}.part")
        part.write_bytes(jpeg)
        part.replace(file)
