"""A SQLite file that one process has to itself; what goes wrong with it is said in one line. Knows no tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cocotag.errors import DataError, OutputError

_CACHE_KIB = 16_000
_WAIT_SECONDS = 1.0  # for a run that is just ending


@contextmanager
def plain_errors(path: Path | str) -> Iterator[None]:
    """Turn what SQLite says of a state into errors of a line.

    Raises:
        OutputError: Another process has it, the disk is full, or it cannot be opened or written.
        DataError: It is damaged, or no database.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise OutputError(
                f"{path} is in use by another run of cocotag. Wait for its end, or have cocotag tag keep another: --state FILE."
            ) from None
        if kind == sqlite3.SQLITE_FULL:
            raise OutputError(
                f"{path} cannot grow: the disk is full. What was tagged is kept; free some space and go on."
            ) from None
        if kind in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise DataError(
                f"{path} is damaged, or no state of cocotag ({error}). It is left as it is. "
                "Move it away to begin anew, or have cocotag tag keep another: --state FILE."
            ) from None
        if isinstance(error, sqlite3.OperationalError):  # unable to open, read-only, I/O
            advice = "Keep the state in a folder that can be written; cocotag tag has --state FILE for that."
            raise OutputError(f"{path} cannot be written ({error}). {advice}") from None
        raise


def is_database(path: Path) -> bool:
    """Whether a file begins as SQLite's do; also if it cannot be read, for then that is to be said."""
    try:
        with path.open("rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError:
        return True


def connect(path: Path | str, application_id: int, version: int, schema: str) -> sqlite3.Connection:
    """Open a file of ours, or one that lasts no longer than the process for ``""``, and keep everybody else out of it.

    A write-ahead log keeps committed work whatever ends the process. Without others it needs no shared memory, so it works on
    network drives too; the lock ends with the process.

    Args:
        path: The file; it is made if it is not there.
        application_id: What tells ours from other databases, which stay as they are.
        version: Of the tables.
        schema: What makes the tables.

    Raises:
        DataError: Another program's database, or tables of another version.
        sqlite3.DatabaseError: As `plain_errors` knows them.
    """
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
    """Open a file of ours in a place that cannot be written. No lock keeps others out, but who could write it is elsewhere.

    Raises:
        DataError: As `connect`.
        OutputError: A killed run has left what only a place that can be written lets be read.
        sqlite3.DatabaseError: As `plain_errors` knows them.
    """
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise OutputError(
            f"{path} cannot be written, and part of it is in {log.name} still. Copy both to a folder that can be written."
        )
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None)
    try:
        _check(connection, path, application_id, version)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path | str, application_id: int, version: int) -> int:
    """See that a database is ours; the number of its tables."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    found = [connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("application_id", "user_version")]
    if (tables or found[0]) and found[0] != application_id:
        raise DataError(f"{path} is a database of another program. It is left as it is. Keep the state in another file.")
    if tables and found[1] != version:
        raise DataError(
            f"{path} was made by {'a newer' if found[1] > version else 'an early'} cocotag (tables of version {found[1]}; "
            f"this one has {version}). It is left as it is. Use that cocotag, or move it away and tag anew."
        )
    return int(tables)
