"""Photographs -> small JPEG files, made in threads, each once for every state of its photograph. Knows no tags."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg

from cocotag.cores import usable_cores
from cocotag.errors import ImageError
from cocotag.images import decode
from cocotag.reports.thumbnails import shrink
from cocotag.tagging.gallery.place import output_errors

SIDE, QUALITY = 288, 70
"""Pixels of the longer side and JPEG quality: sharp on a card 180 px wide where a point has 1.6 pixels, about 12 kB each."""

_RECIPE = f"1 {SIDE} {QUALITY}".encode()  # with another, all are made anew
_MAX_THREADS = 8


class Thumbnails:
    """A folder of thumbnails.

    Attributes:
        made: Thumbnails that were made.
        kept: Those that were there.
        failed: Photographs that could not be read any more.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        threads = min(usable_cores(), _MAX_THREADS)
        self.at_once = 4 * threads  # photographs that may be under way
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cocotag-thumbnail")
        self._under_way: dict[int, Future[None]] = {}
        self.made = self.kept = self.failed = 0

    def start(self, path: Path) -> Thumbnail:
        """Have the thumbnail of a photograph made, if it is not there."""
        key = _key(path)
        if not key:
            return Thumbnail(0)
        work = self._under_way.get(key)  # of a file that comes twice
        file = self._folder / thumb_name(key)
        if work is None and not file.exists():
            work = self._under_way[key] = self._pool.submit(_make, path, file)
        return Thumbnail(key, work)

    def end(self, thumbnail: Thumbnail) -> int:
        """Wait for a thumbnail.

        Returns:
            Its key; 0 where the photograph could not be read.

        Raises:
            OutputError: It cannot be written.
        """
        self._under_way.pop(thumbnail.key, None)
        try:
            if thumbnail.work is not None:
                thumbnail.work.result()
        except ImageError:
            self.failed += 1
            return 0
        if not thumbnail.key:
            self.failed += 1
        elif thumbnail.work is None:
            self.kept += 1
        else:
            self.made += 1
        return thumbnail.key

    def close(self) -> None:
        """Wait for what is under way, and begin nothing more."""
        self._pool.shutdown(cancel_futures=True)


class Thumbnail:
    """One that is there, or under way."""

    __slots__ = ("key", "work")

    def __init__(self, key: int, work: Future[None] | None = None) -> None:
        self.key = key
        self.work = work


def thumb_name(key: int) -> str:
    """The file of a thumbnail, in one of 256 folders."""
    digits = f"{key:016x}"
    return f"{digits[:2]}/{digits}.jpg"


def _key(path: Path) -> int:
    """64 bits of a hash of what a photograph is known by: among a million, two agree once in 40 million galleries. 0: gone."""
    name = os.fsencode(os.path.abspath(path))  # noqa: PTH100 (links stay what they are)
    try:
        status = os.stat(name)  # noqa: PTH116 (bytes)
    except (OSError, ValueError):  # ValueError: a NUL in a name
        return 0
    known_by = b"%s\0%d\0%d\0%s" % (name, status.st_size, status.st_mtime_ns, _RECIPE)
    return int.from_bytes(hashlib.blake2b(known_by, digest_size=8).digest())


def _make(path: Path, file: Path) -> None:
    # The shorter side keeps at least what the longer is shrunk to, so the reduced decode never has to be blown up again.
    picture = shrink(decode(path, min_side=SIDE, headroom=1), SIDE)
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=QUALITY, colorspace="RGB", colorsubsampling="420")
    with output_errors(file):
        file.parent.mkdir(exist_ok=True)
        part = file.with_name(f"{file.name}.part")
        part.write_bytes(jpeg)
        part.replace(file)
