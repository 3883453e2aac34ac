"""Small files that cocotag writes among people's own, and knows again. Knows nothing of what is in them.

A file is cocotag's if the hash of its name and content is in a list in the same folder, ``.cocotag-txt``; so one that somebody
has changed is not cocotag's any more. A hash is in the list before its file is there, so that a killed run knows its own
again. The list goes where the folder goes; whoever deletes it keeps the files as their own.
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

_HEADER = b"# Made by cocotag: by these hashes it knows the .txt files that it wrote here, and leaves others alone.\n"
_ENTRY = re.compile(rb"[0-9a-f]{16}\n")
_MAX_BYTES = 2**20
"""What is larger is not cocotag's."""


class NotOursError(Exception):
    """There is a file of this name that cocotag did not write."""


class OwnFiles:
    """The files of cocotag's in one folder.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        """Read the list of a folder, if there is one."""
        self.path = path
        self._known = np.unique(np.asarray(self._read_list(), np.uint64))
        self._gone = array("Q")
        self._list: int | None = None

    def write(self, name: str, content: bytes) -> bool:
        """Write a file, whole or not at all.

        Returns:
            Whether it was written; False if it is there already, letter for letter, whoever wrote it.

        Raises:
            NotOursError: There is another that cocotag did not write.
            OutputError: It cannot be written.
            OSError: What is there cannot be read, or the list not be written.
        """
        there = self._content(name)
        if there == content:
            return False
        if there is not None and not self._is_ours(name, there):
            raise NotOursError(name)
        self._remember(_hash(name, content))
        with atomic_path(self.path / name) as temporary:
            temporary.write_bytes(content)
        if there is not None:
            self._gone.append(_hash(name, there))
        return True

    def remove(self, name: str) -> bool:
        """Remove a file if it is cocotag's; whether it was.

        Raises:
            OSError: It cannot be read or removed.
        """
        try:
            there = self._content(name)
        except NotOursError:
            return False
        if there is None or not self._is_ours(name, there):
            return False
        (self.path / name).unlink()
        self._gone.append(_hash(name, there))
        return True

    def close(self) -> None:
        """Strike from the list what has been replaced or removed; if that cannot be, entries too many do no harm."""
        if self._list is not None:
            os.close(self._list)
            self._list = None
        if self._gone:
            now = np.unique(np.asarray(self._read_list(), np.uint64))  # not `_known`: others may have added to it
            kept = now[~np.isin(now, np.asarray(self._gone, np.uint64))]
            with suppress(OutputError), atomic_path(self.path / LIST) as temporary, temporary.open("wb") as stream:
                stream.write(_HEADER)
                stream.writelines(_entry(value) for value in kept.tolist())
            self._gone = array("Q")

    def _content(self, name: str) -> bytes | None:
        """What is in a file; None if there is none."""
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
        place = np.searchsorted(self._known, value)
        return bool(place < len(self._known) and self._known[place] == value)

    def _read_list(self) -> array[int]:
        values = array("Q")
        with suppress(OSError), (self.path / LIST).open("rb") as stream:  # without a list nothing is known, and all stays
            values.extend(int(line, 16) for line in stream if _ENTRY.fullmatch(line))
        return values

    def _remember(self, value: int) -> None:
        if self._list is None:
            self._list = os.open(self.path / LIST, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            # After the line that a killed run may have left half written.
            os.write(self._list, b"\n" if os.fstat(self._list).st_size else _HEADER)
        os.write(self._list, _entry(value))


def _hash(name: str, content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(name) + b"\0" + content, digest_size=8).digest())


def _entry(value: int) -> bytes:
    return b"%016x\n" % value
