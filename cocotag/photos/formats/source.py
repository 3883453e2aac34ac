"""A file that is read as far as needed: its beginning, then what a decoder asks for."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO

HEAD = 2**14
"""Bytes that are read of each file first: enough to see what it is, and for the descriptions in most."""


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
        """The whole file."""
        self._file.seek(len(self._begin))
        return self._begin + self._file.read()
