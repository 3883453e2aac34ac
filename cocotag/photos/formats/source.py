"""A file that is read as far as needed: its beginning, then what a decoder asks for."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

HEAD = 2**16
"""Bytes that are read of each file: the headers of most photographs."""


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
        self.size = size

    @classmethod
    def of(cls, data: bytes) -> Source:
        """A source of bytes in memory."""
        return cls(io.BytesIO(data), len(data))

    @cached_property
    def head(self) -> bytes:
        """The first `HEAD` bytes."""
        return self.read(0, HEAD)

    def read(self, start: int, length: int) -> bytes:
        """Part of the file; shorter at its end."""
        self._file.seek(start)
        return self._file.read(length)

    def all(self) -> bytes:
        """The whole file."""
        self._file.seek(len(self.head))
        return self.head + self._file.read()
