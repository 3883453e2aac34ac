"""What decoders are given: a file that is read as far as needed, and the part of its image that a caller needs."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

HEAD = 2**14
"""Bytes that are read of each file first: enough to see what it is, and for the descriptions in most."""

Rows = Callable[[int, int], int]
"""Width and height of an image -> number of rows that are needed from its top."""

_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Wanted:
    """The part of an image that is needed; a decoder that cannot do less returns all of it.

    Attributes:
        min_side: Least number of pixels on the shorter side; None for full size.
        rows: Number of rows that are needed, from the top; None for all.
        orientation: EXIF's number, 1 to 8, for an image without one of its own.
        side: The side to which the image will be shrunk, pixels; None if that is not known. A stored preview that is smaller
            does not stand for the image.
    """

    min_side: int | None = None
    rows: Rows | None = None
    orientation: int = 1
    side: int | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """A smaller version of a picture, as a file of its own.

    Attributes:
        data: The file.
        orientation: EXIF's number, 1 to 8; it applies if the file itself has none.
    """

    data: bytes
    orientation: int = 1


class Source:
    """The bytes of an open file.

    Attributes:
        size: Bytes of the file.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._begin = b""
        self.size = size

    @classmethod
    def of(cls, data: bytes) -> Source:
        """A source of bytes in memory."""
        return cls(io.BytesIO(data), len(data))

    def begin(self, length: int = HEAD) -> bytes:
        """At least the first ``length`` bytes, or all of a shorter file; what was read before is not read again."""
        if (missing := min(length, self.size) - len(self._begin)) > 0:
            self._begin += self.read(len(self._begin), missing)
        return self._begin

    def read(self, start: int, length: int) -> bytes:
        """Part of the file; shorter at its end."""
        if start + length <= len(self._begin):
            return self._begin[start : start + length]
        self._file.seek(start)
        return self._file.read(length)

    def all(self) -> bytes:
        """The whole file, read in one piece: joining two would cost more than reading the beginning again."""
        if self._begin and len(self._begin) >= self.size:
            return self._begin
        self._file.seek(0)
        return self._file.read()


def same_aspect(small: tuple[int, int], large: tuple[int, int]) -> bool:
    """Whether two sizes (width, height) have the same aspect ratio, within 1 % and the rounding of the small one's sides.

    >>> same_aspect((320, 240), (4032, 3024)), same_aspect((1620, 1080), (6000, 4000)), same_aspect((640, 480), (6000, 4000))
    (True, True, False)
    """
    (width, height), (full_width, full_height) = small, large
    if not min(width, height, full_width, full_height):
        return False
    expected = width * full_height / full_width
    return abs(height - expected) <= max(_TOLERANCE * expected, 1)
