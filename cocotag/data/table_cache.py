"""Keep what was made of a file until the file changes. Knows no labels: named numpy arrays and plain facts.

A cache lies in the folder ``.cocotag`` beside its file, or, where that cannot be written, in the user's cache folder
(``$XDG_CACHE_HOME/cocotag``, else ``~/.cache/cocotag``); where neither can, there is none. It may be deleted at any time.
Files below `MIN_BYTES` have none: they are read about as fast as they are looked up.

A cache is believed if its first line is this version's, its checksum holds, and it says the file's size and times. Where only
the times differ the file is hashed, and a cache of the same content stays, with its times refreshed. Otherwise it is made anew.
Nothing in it can run: a line of what it is, a SHA-256 of all that follows, a line of JSON, then the arrays' bytes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cocotag
from cocotag.errors import OutputError
from cocotag.files import atomic_path, write_text

MIN_BYTES = 8 * 2**20
"""Smaller files are read in about 0.3 s, so nothing is left beside them."""
SETTLED_NS = 2_000_000_000
"""Where a file was changed so shortly before it was read, nanoseconds, a second change may leave the same times: FAT counts in
two seconds."""
FIRST_LINE = f"cocotag {cocotag.__version__} table 1\n".encode()
"""What a cache is, down to the version: what another one made of the file may differ."""
DIGEST_CHARACTERS = 64
SLACK_BYTES = 2**20
"""A cache is smaller than its file; what is larger by more than this is none, and is not read."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which content a file had, and how to see without reading that it has it still.

    Attributes:
        size: Bytes.
        mtime_ns: When its content was changed.
        ctime_ns: When anything about it was changed; this one cannot be set back.
        seen_ns: When it was looked at, before it was read.
        sha256: Of its content, hexadecimal.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    seen_ns: int
    sha256: str

    @classmethod
    def of(cls, look: os.stat_result, seen_ns: int, sha256: str) -> Stamp:
        """What `os.stat` said, and when."""
        return cls(look.st_size, look.st_mtime_ns, look.st_ctime_ns, seen_ns, sha256)

    @property
    def settled(self) -> bool:
        """Whether a later change would show in the times."""
        return min(abs(self.seen_ns - self.mtime_ns), abs(self.seen_ns - self.ctime_ns)) >= SETTLED_NS

    def fits(self, look: os.stat_result) -> bool:
        """Whether a file that looks like this has the content for certain."""
        return self.settled and (self.size, self.mtime_ns, self.ctime_ns) == (look.st_size, look.st_mtime_ns, look.st_ctime_ns)


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What is kept: JSON values and arrays, by name."""

    facts: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def read_stamped(source: Path) -> tuple[bytes, Stamp | None]:
    """The content of a file, and its stamp; None where it needs no cache, or changed while it was read.

    Raises:
        OSError: It cannot be read.
    """
    with source.open("rb") as file:
        seen_ns, look = time.time_ns(), os.fstat(file.fileno())
        content = file.read()
        stable = _same(look, os.fstat(file.fileno())) and look.st_size == len(content)
    if len(content) < MIN_BYTES or not stable:
        return content, None
    return content, Stamp.of(look, seen_ns, hashlib.sha256(content).hexdigest())


def load(source: Path) -> Stored | None:
    """What was kept of a file, if it still has that content; its arrays may be written to."""
    try:
        look = source.stat()
    except OSError:
        return None
    if look.st_size < MIN_BYTES:
        return None
    kept = [cache for place in _places(source) if (cache := _read(place, look.st_size + SLACK_BYTES)) is not None]
    for stamp, stored in kept:  # before any is hashed for: a stale one that cannot be written may stand before the right one
        if stamp.fits(look):
            return stored
    kept = [(stamp, stored) for stamp, stored in kept if stamp.size == look.st_size]
    now = _stamp(source) if kept else None
    for stamp, stored in kept:
        if now is not None and now.sha256 == stamp.sha256:
            _write(source, now, stored)
            return stored
    return None


def save(source: Path, stamp: Stamp, stored: Stored) -> None:
    """Keep what was made of a file. Where that is not possible, say so on stderr, and go on.

    Args:
        source: The file.
        stamp: From `read_stamped`.
        stored: What to keep.
    """
    if not stamp.settled:  # most often it is by now, and a second look spares the next start the hashing
        now = _stamp(source)
        if now is None or now.sha256 != stamp.sha256:
            return
        stamp = now
    if error := _write(source, stamp, stored):
        logger.warning("cocotag: the index of %s is not kept, so the next start reads it all again: %s", source, error)


def _stamp(source: Path) -> Stamp | None:
    """Hash a file as it is now; None if it changes meanwhile or cannot be read."""
    try:
        with source.open("rb") as file:
            seen_ns, look = time.time_ns(), os.fstat(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return Stamp.of(look, seen_ns, sha256) if _same(look, os.fstat(file.fileno())) else None
    except OSError:
        return None


def _same(look: os.stat_result, later: os.stat_result) -> bool:
    return (look.st_size, look.st_mtime_ns, look.st_ctime_ns) == (later.st_size, later.st_mtime_ns, later.st_ctime_ns)


def _places(source: Path) -> Iterator[Path]:
    """Where the cache of a file may lie, the better place first."""
    beside = source.parent / ".cocotag"
    if not beside.is_symlink():  # a data set from a stranger may bring along a link that leads elsewhere
        yield beside / f"{source.name}.table"
    if folder := user_folder():
        # Resolved, so that every folder from which the file is named finds the one cache.
        where = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()
        yield folder / f"{source.stem[:100]}-{where[:16]}.table"


def user_folder() -> Path | None:
    """The user's cache folder by https://specifications.freedesktop.org/basedir-spec; None without a home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if Path(given).is_absolute():  # the specification ignores others
        return Path(given) / "cocotag"
    try:
        return Path.home() / ".cache" / "cocotag"
    except RuntimeError:
        return None


def _write(source: Path, stamp: Stamp, stored: Stored) -> OutputError | None:
    """Write to the first place that takes it, whole or not at all; the last error if none does."""
    header = {
        "stamp": asdict(stamp),
        "facts": stored.facts,
        "arrays": [(name, array.dtype.newbyteorder("<").str, array.shape) for name, array in stored.arrays.items()],
    }
    parts = [json.dumps(header).encode() + b"\n"]
    parts += [array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() for array in stored.arrays.values()]
    body = b"".join(parts)
    failure: OutputError | None = None
    for place in _places(source):
        try:
            with atomic_path(place) as temporary:
                temporary.write_bytes(b"".join((FIRST_LINE, hashlib.sha256(body).hexdigest().encode(), b"\n", body)))
            if place.parent.name == ".cocotag" and not (place.parent / ".gitignore").exists():
                write_text(place.parent / ".gitignore", "*\n")
        except OutputError as error:
            failure = error
        else:
            return None
    return failure


def _read(place: Path, limit: int) -> tuple[Stamp, Stored] | None:
    """A cache file; None if there is none, or it is not whole, or not of this version, or has more bytes than the limit."""
    try:
        content = place.read_bytes() if place.is_file() and place.stat().st_size <= limit else b""
    except OSError:
        return None
    start = len(FIRST_LINE) + DIGEST_CHARACTERS + 1
    body = memoryview(content)[start:]
    if content[:start] != FIRST_LINE + hashlib.sha256(body).hexdigest().encode() + b"\n":
        return None
    try:
        end = content.index(b"\n", start)
        header = json.loads(content[start:end])
        arrays: dict[str, NDArray[Any]] = {}
        offset = end + 1
        for name, dtype, shape in header["arrays"]:
            count = int(np.prod(shape, dtype=np.int64))
            flat = np.frombuffer(content, np.dtype(dtype), count, offset)
            arrays[name] = flat.reshape(shape).astype(flat.dtype.newbyteorder("="))
            offset += flat.nbytes
        stamp = Stamp(**header["stamp"])
        sound = all(type(value) is int for value in (stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.seen_ns))
        return (stamp, Stored(header["facts"], arrays)) if sound else None
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError, SyntaxError, MemoryError):  # made by hand
        return None
