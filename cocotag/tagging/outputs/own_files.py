"""Small files that cocotag writes among the user's own, and recognises later. Does not depend on their contents.

A file is cocotag's if the hash of its name and content is in a list in the same folder, ``.cocotag-txt``; so a file that the
user has changed is no longer cocotag's. The hash is added to the list before the file is written, so that the files of a killed
run are recognised. The list moves with the folder. If the user deletes it, all files count as the user's own.
"""

from __future__ import annotations

import hashlib
import os
import re
from array import array
from contextlib import suppress
from pathlib import Path

import numpy as np

from cocotag.errors import OutputError
from cocotag.files import atomic_path

LIST = ".cocotag-txt"

_HEADER = b"# Written by cocotag. It recognises its own .txt files in this folder by these hashes and keeps all others.\n"
_ENTRY = re.compile(rb"[0-9a-f]{16}\n")
_MAX_BYTES = 2**20
"""A larger file is not cocotag's."""


class NotOursError(Exception):
    """A file of this name exists that cocotag did not write."""


class OwnFiles:
    """The files in one folder that cocotag wrote.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        """Read the list of a folder, if there is one."""
        self.path = path
        self._own = np.unique(np.asarray(self._read_list(), np.uint64))
        self._obsolete = array("Q")
        self._list: int | None = None

    def write(self, name: str, content: bytes) -> bool:
        """Write a file atomically.

        Returns:
            Whether it was written; False if a file with the same content exists, no matter who wrote it.

        Raises:
            NotOursError: Another file exists that cocotag did not write.
            OutputError: The file cannot be written.
            OSError: The existing file cannot be read, or the list cannot be written.
        """
        existing = self._content(name)
        if existing == content:
            return False
        if existing is not None and not self._is_ours(name, existing):
            raise NotOursError(name)
        self._remember(_hash(name, content))
        with atomic_path(self.path / name) as temporary:
            temporary.write_bytes(content)
        if existing is not None:
            self._obsolete.append(_hash(name, existing))
        return True

    def remove(self, name: str) -> bool:
        """Remove a file if cocotag wrote it.

        Returns:
            Whether it was removed.

        Raises:
            OSError: The file cannot be read or removed.
        """
        try:
            existing = self._content(name)
        except NotOursError:
            return False
        if existing is None or not self._is_ours(name, existing):
            return False
        (self.path / name).unlink()
        self._obsolete.append(_hash(name, existing))
        return True

    def close(self) -> None:
        """Remove the hashes of replaced and removed files from the list. If that fails, the extra entries do no harm."""
        if self._list is not None:
            os.close(self._list)
            self._list = None
        if self._obsolete:
            current = np.unique(np.asarray(self._read_list(), np.uint64))  # not `_own`: another process may have added to it
            kept = current[~np.isin(current, np.asarray(self._obsolete, np.uint64))]
            with suppress(OutputError), atomic_path(self.path / LIST) as temporary, temporary.open("wb") as stream:
                stream.write(_HEADER)
                stream.writelines(_entry(value) for value in kept.tolist())
            self._obsolete = array("Q")

    def _content(self, name: str) -> bytes | None:
        """The content of a file; None if it does not exist."""
        path = self.path / name
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise NotOursError(name)
        try:
            with path.open("rb") as stream:
                content = stream.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        if len(content) > _MAX_BYTES:
            raise NotOursError(name)
        return content

    def _is_ours(self, name: str, content: bytes) -> bool:
        value = np.uint64(_hash(name, content))
        index = np.searchsorted(self._own, value)
        return bool(index < len(self._own) and self._own[index] == value)

    def _read_list(self) -> array[int]:
        values = array("Q")
        with suppress(OSError), (self.path / LIST).open("rb") as stream:  # without a list no file is cocotag's
            values.extend(int(line, 16) for line in stream if _ENTRY.fullmatch(line))
        return values

    def _remember(self, value: int) -> None:
        if self._list is None:
            self._list = os.open(self.path / LIST, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            # A line break first: a killed run may have left an unfinished line.
            os.write(self._list, b"\n" if os.fstat(self._list).st_size else _HEADER)
        os.write(self._list, _entry(value))


def _hash(name: str, content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(name) + b"\0" + content, digest_size=8).digest())


def _entry(value: int) -> bytes:
    return b"%016x\n" % value
