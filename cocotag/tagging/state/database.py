"""A SQLite file that one process locks, with one-line errors. Does not depend on the tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cocotag.errors import DataError, OutputError
from cocotag.files import has_locks

_CACHE_KIB = 16_000
_SMALLEST = 512  # bytes of a page, and so of a database; SQLite takes shorter files for empty ones and would write over them
_OF_LOCKS = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM)
"""Errors that SQLite gives if a file is locked or cannot be locked."""
_WAIT_SECONDS = 1.0  # for a run that is about to end


@contextmanager
def plain_errors(path: Path | str) -> Iterator[None]:
    """Turn SQLite's errors about a state into one-line errors.

    Raises:
        OutputError: Another process uses it, its file system has no locks, the disk is full, or it cannot be opened or written.
        DataError: It is damaged, or is not a database.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if isinstance(path, Path) and kind in _OF_LOCKS and not has_locks(path.parent, "lockf"):
            raise OutputError(
                f"{path} cannot be locked: the file system of its folder has no file locks. Keep the state on a local disk: "
                "--state FILE.",
                code="no_locks",
            ) from None
        if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise OutputError(
                f"{path} is in use by another run of cocotag. Wait until it ends, or choose another state: --state FILE.",
                code="state_in_use",
            ) from None
        if kind == sqlite3.SQLITE_FULL:
            raise OutputError(
                f"{path} cannot grow, since the disk is full. Finished results are kept. Free some space and run the command "
                "again.",
                code="disk_full",
            ) from None
        if kind in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise DataError(
                f"{path} is damaged or is not a state of cocotag ({error}); it is left unchanged. Move it away to start again, "
                "or choose another state: --state FILE.",
                code="state_damaged",
            ) from None
        if isinstance(error, sqlite3.OperationalError):  # unable to open, read-only, I/O
            advice = "Choose a state in a writable folder: cocotag tag --state FILE."
            raise OutputError(f"{path} cannot be written ({error}). {advice}", code="not_writable") from None
        raise


def is_database(path: Path) -> bool:
    """Whether a file is a SQLite database; True if it cannot be read, so that opening it reports the error."""
    try:
        with path.open("rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError:
        return True


def connect(path: Path | str, application_id: int, version: int, schema: str) -> sqlite3.Connection:
    """Open a database and lock it; ``""`` makes a temporary one that ends with the process.

    A write-ahead log keeps committed work however the process ends. With an exclusive lock it needs no shared memory, so it
    works on network drives too; the lock ends with the process.

    Args:
        path: The file; created if missing.
        application_id: Distinguishes it from other databases, which are left unchanged.
        version: Version of the tables.
        schema: Statements that create the tables.

    Raises:
        DataError: It is another program's file, or has tables of another version.
        sqlite3.DatabaseError: See `plain_errors`.
    """
    if str(path) and Path(path).is_file() and 0 < Path(path).stat().st_size < _SMALLEST:
        raise DataError(
            f"{path} is not a state of cocotag; it is left unchanged. Move it away, or choose another state: --state FILE.",
            code="not_a_state",
        )
    connection = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        tables = _check(connection, path, application_id, version)
        connection.execute(f"PRAGMA journal_mode = {'WAL' if str(path) else 'OFF'}")
        connection.execute(f"PRAGMA synchronous = {'NORMAL' if str(path) else 'OFF'}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("BEGIN IMMEDIATE")  # takes the lock, and keeps it
        if not tables:
            for statement in filter(str.strip, schema.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {application_id}")
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path, application_id: int, version: int) -> sqlite3.Connection:
    """Open a database that cannot be written. It is not locked, since no process here can write it.

    Raises:
        DataError: See `connect`.
        OutputError: A killed run has left a log, which can only be read if the folder is writable.
        sqlite3.DatabaseError: See `plain_errors`.
    """
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise OutputError(
            f"{path} is read-only, but part of its data is still in {log.name}. Copy both to a writable folder.",
            code="not_writable",
        )
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None)
    try:
        _check(connection, path, application_id, version)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path | str, application_id: int, version: int) -> int:
    """Check that a database is a state; returns the number of its tables."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    found = [connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("application_id", "user_version")]
    if (tables or found[0]) and found[0] != application_id:
        raise DataError(
            f"{path} is a database of another program and is left unchanged. Choose another state: --state FILE.",
            code="not_a_state",
        )
    if tables and found[1] != version:
        raise DataError(
            f"{path} was written by {'a newer' if found[1] > version else 'an older'} cocotag (tables of version {found[1]}; "
            f"this one reads {version}) and is left unchanged. Use that cocotag, or move the file away and tag again.",
            code="schema_unsupported",
        )
    return int(tables)
