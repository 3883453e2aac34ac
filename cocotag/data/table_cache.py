"""A cache of the parsed contents of a file, valid until the file changes. It stores named numpy arrays and JSON values.

A cache is stored in the folder ``.cocotag`` beside its file, or, if that cannot be written, in the user's cache folder
(``$XDG_CACHE_HOME/cocotag``, else ``~/.cache/cocotag``). If neither can be written, there is no cache. It may be deleted at any
time. Files below `MIN_BYTES` are not cached: parsing them is about as fast as a look-up.

A cache is valid if its first line is that of this version, its checksum is correct, and it has the file's size and times. If
only the times differ, the file is hashed; a cache of the same content is kept and its times are refreshed. Otherwise the cache
is written again. It contains no executable code: a line with its type, a SHA-256 of the rest, a line of JSON, and the arrays'
bytes.
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
"""Smaller files are parsed in about 0.3 s, so they are not cached."""
SETTLED_NS = 2_000_000_000
"""If a file was changed less than this before it was read, in nanoseconds, a second change may leave the same times: FAT has a
resolution of two seconds."""
FIRST_LINE = f"cocotag {cocotag.__version__} table 2\n".encode()
"""Type and version of a cache: another version may parse the file differently."""
DIGEST_CHARACTERS = 64
SLACK_BYTES = 2**20
"""A cache is smaller than its file; a file that is larger by more than this is not a cache and is not read."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stamp:
    """The content that a file had, with size and times to recognise it without reading.

    Attributes:
        size: Bytes.
        mtime_ns: Time of the last change of the content.
        ctime_ns: Time of the last change of content or metadata; it cannot be set back.
        seen_ns: Time of the look-up, before the file was read.
        sha256: Hash of the content, hexadecimal.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    seen_ns: int
    sha256: str

    @classmethod
    def of(cls, look: os.stat_result, seen_ns: int, sha256: str) -> Stamp:
        """The stamp of a result of `os.stat` and the time of the call."""
        return cls(look.st_size, look.st_mtime_ns, look.st_ctime_ns, seen_ns, sha256)

    @property
    def settled(self) -> bool:
        """Whether a later change would be visible in the times."""
        return min(abs(self.seen_ns - self.mtime_ns), abs(self.seen_ns - self.ctime_ns)) >= SETTLED_NS

    def fits(self, look: os.stat_result) -> bool:
        """Whether a file with this result of `os.stat` certainly has the same content."""
        return self.settled and (self.size, self.mtime_ns, self.ctime_ns) == (look.st_size, look.st_mtime_ns, look.st_ctime_ns)


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """The contents of a cache: JSON values and arrays, by name."""

    facts: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def read_stamped(source: Path) -> tuple[bytes, Stamp | None]:
    """The content of a file, and its stamp; the stamp is None if the file needs no cache, or changed while being read.

    Raises:
        OSError: The file cannot be read.
    """
    with source.open("rb") as file:
        seen_ns, look = time.time_ns(), os.fstat(file.fileno())
        content = file.read()
        stable = _same(look, os.fstat(file.fileno())) and look.st_size == len(content)
    if len(content) < MIN_BYTES or not stable:
        return content, None
    return content, Stamp.of(look, seen_ns, hashlib.sha256(content).hexdigest())


def load(source: Path) -> Stored | None:
    """The cached contents of a file, or None if there is no valid cache; the arrays are writable."""
    try:
        look = source.stat()
    except OSError:
        return None
    if look.st_size < MIN_BYTES:
        return None
    caches = [cache for path in _cache_paths(source) if (cache := _read(path, look.st_size + SLACK_BYTES)) is not None]
    for stamp, stored in caches:  # before hashing: a stale cache that cannot be replaced may come before the valid one
        if stamp.fits(look):
            return stored
    caches = [(stamp, stored) for stamp, stored in caches if stamp.size == look.st_size]
    now = _stamp(source) if caches else None
    for stamp, stored in caches:
        if now is not None and now.sha256 == stamp.sha256:
            _write(source, now, stored)
            return stored
    return None


def save(source: Path, stamp: Stamp, stored: Stored) -> None:
    """Write the cache of a file. If that is not possible, log a warning and continue.

    Args:
        source: The file.
        stamp: The stamp from `read_stamped`.
        stored: The contents of the cache.
    """
    if not stamp.settled:  # usually it is by now, and a second stamp saves the next start the hashing
        now = _stamp(source)
        if now is None or now.sha256 != stamp.sha256:
            return
        stamp = now
    if error := _write(source, stamp, stored):
        logger.warning("cocotag: the index of %s cannot be cached, so the next start parses the file again: %s", source, error)


def _stamp(source: Path) -> Stamp | None:
    """The stamp of a file as it is now; None if it changes meanwhile or cannot be read."""
    try:
        with source.open("rb") as file:
            seen_ns, look = time.time_ns(), os.fstat(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return Stamp.of(look, seen_ns, sha256) if _same(look, os.fstat(file.fileno())) else None
    except OSError:
        return None


def _same(look: os.stat_result, later: os.stat_result) -> bool:
    return (look.st_size, look.st_mtime_ns, look.st_ctime_ns) == (later.st_size, later.st_mtime_ns, later.st_ctime_ns)


def _cache_paths(source: Path) -> Iterator[Path]:
    """The possible paths of the cache of a file, the preferred one first."""
    beside = source.parent / ".cocotag"
    if not beside.is_symlink():  # an untrusted data set may contain a link that leads elsewhere
        yield beside / f"{source.name}.table"
    if folder := user_folder():
        # Resolved, so that all relative paths of the file share one cache.
        digest = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()
        yield folder / f"{source.stem[:100]}-{digest[:16]}.table"


def user_folder() -> Path | None:
    """The user's cache folder by https://specifications.freedesktop.org/basedir-spec; None without a home folder."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if Path(given).is_absolute():  # the specification ignores relative paths
        return Path(given) / "cocotag"
    try:
        return Path.home() / ".cache" / "cocotag"
    except RuntimeError:
        return None


def _write(source: Path, stamp: Stamp, stored: Stored) -> OutputError | None:
    """Write atomically to the first path that can be written; return the last error if none can."""
    header = {
        "stamp": asdict(stamp),
        "facts": stored.facts,
        "arrays": [(name, array.dtype.newbyteorder("<").str, array.shape) for name, array in stored.arrays.items()],
    }
    parts = [json.dumps(header).encode() + b"\n"]
    parts += [array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() for array in stored.arrays.values()]
    body = b"".join(parts)
    failure: OutputError | None = None
    for path in _cache_paths(source):
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(b"".join((FIRST_LINE, hashlib.sha256(body).hexdigest().encode(), b"\n", body)))
            if path.parent.name == ".cocotag" and not (path.parent / ".gitignore").exists():
                write_text(path.parent / ".gitignore", "*\n")
        except OutputError as error:
            failure = error
        else:
            return None
    return failure


def _read(path: Path, limit: int) -> tuple[Stamp, Stored] | None:
    """Read a cache; None if it is missing, incomplete, of another version, or has more bytes than the limit."""
    try:
        content = path.read_bytes() if path.is_file() and path.stat().st_size <= limit else b""
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
        valid = all(type(value) is int for value in (stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.seen_ns))
        return (stamp, Stored(header["facts"], arrays)) if valid else None
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError, SyntaxError, MemoryError):  # a forged file
        return None
