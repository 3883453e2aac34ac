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
                f"{path} is in use by another run of cocotag. Wait for its end, or keep another with --state FILE."
            ) from None
        if kind == sqlite3.SQLITE_FULL:
            raise OutputError(
                f"{path} cannot grow: the disk is full. What was tagged is kept; free some space and go on."
            ) from None
        if kind in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise DataError(
                f"{path} is damaged, or no state of cocotag ({error}). It is left as it is. "
                "Move it away to begin anew, or keep another with --state FILE."
            ) from None
        if isinstance(error, sqlite3.OperationalError):  # unable to open, read-only, I/O
            raise OutputError(f"{path} cannot be written ({error}). Keep the state elsewhere with --state FILE.") from None
        raise


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
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        found = [connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("application_id", "user_version")]
        if (tables or found[0]) and found[0] != application_id:
            raise DataError(f"{path} is a database of another program. It is left as it is. Keep the state in another file.")
        if tables and found[1] != version:
            raise DataError(
                f"{path} was made by {'a newer' if found[1] > version else 'an early'} cocotag (tables of version {found[1]}; "
                f"this one has {version}). It is left as it is. Use that cocotag, or keep another with --state FILE."
            )
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
