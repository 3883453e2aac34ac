"""The identity of a file: its size, modification time and the hash of its content."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from cocotag.photos.decode import MAX_BYTES
from cocotag.tagging.state.store import State

_MOST_NS = 2**63 - 1


def was_rewritten(path: Path, state: State) -> None:
    """Give the state the new size and modification time of a file whose picture is unchanged."""
    folder, name = os.path.split(os.path.abspath(os.fsencode(path)))  # noqa: PTH100 (bytes)
    before, status = state.known(folder, [name]).get(name), stat_file(path)
    if before is not None and status is not None:
        hashed = None if before.hash is None else hash_file(os.fsencode(path))
        state.is_as(before.id, (status.st_size, mtime_ns(status)), hashed)
        state.commit_when_due()


def mtime_ns(status: os.stat_result) -> int:
    """A file's modification time, nanoseconds, within the 64 bits of a database: 1677 to 2262.

    NTFS has times from 1601 on, and a file without a time is of that year. A time beyond the limits becomes the limit, which is
    always the same, so that the file is recognised by it.
    """
    return min(max(status.st_mtime_ns, -_MOST_NS - 1), _MOST_NS)


def stat_file(path: Path | bytes, folder: int | None = None) -> os.stat_result | None:
    """A file's status; None if it cannot be read.

    Args:
        path: The file, or its name in ``folder``.
        folder: Descriptor of an open folder.
    """
    try:
        return os.stat(path, dir_fd=folder)
    except (OSError, ValueError):  # ValueError: a NUL in a name
        return None


def hash_file(path: bytes) -> bytes | None:
    """BLAKE2b of a file's content, 16 bytes; None if it cannot be read."""
    status = stat_file(path)
    if status is None or not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
        return None
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (bytes)
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
    except OSError:
        return None
