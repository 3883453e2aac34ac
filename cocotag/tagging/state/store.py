"""The state: results of tagged files in SQLite, from which all outputs are written. Does not depend on images or networks.

The tables are in `tables.py`. A file and its scores are committed together, about once a second, so a process may end at any
moment. Results of missing files are kept, since their disk may be plugged in again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cocotag.errors import BundleError, DataError, OutputError
from cocotag.files import write_fault
from cocotag.tagging.state.database import connect, connect_to_read, plain_errors
from cocotag.tagging.state.models import Model, Run
from cocotag.tagging.state.tables import APPLICATION_ID, SCHEMA, VERSION

ENDING = ".state"
"""Suffix of a state beside an output, after the output's full name."""

NAME = "state"
"""Name of a state in the folder of a gallery."""

UNRELIABLE = -1
"""Value of size and modification time if they are unreliable: the next run tags the file again."""

_COMMIT_SECONDS = 1.0


class Known(NamedTuple):
    """The record of a file.

    Attributes:
        id: Its number.
        size: Its size in bytes when it was tagged; `UNRELIABLE` if it changed meanwhile.
        mtime_ns: Its modification time then.
        hash: Hash of its content, if requested.
        status: ``ok``, or the error's code.
        scored: Number of the run's networks with scores for it.
    """

    id: int
    size: int
    mtime_ns: int
    hash: bytes | None
    status: str
    scored: int


class Result(NamedTuple):
    """The result of one file by all models of a run.

    Attributes:
        path: The given path, or the path below a given folder.
        status: ``ok``, or the error's code.
        error: The error's message; empty if the status is ``ok``.
        probs: Probabilities ``(C,)`` float16 by each model; empty if the status is not ``ok``.
    """

    path: Path
    status: str
    error: str
    probs: list[NDArray[np.float16]]


class Made(NamedTuple):
    """The record of an output.

    Attributes:
        size: Its size in bytes; during the write, this and the next two are None.
        mtime_ns: Its modification time.
        hash: Hash of its content.
        how: Key of its inputs: as long as it is the same, the output is up to date.
    """

    size: int | None
    mtime_ns: int | None
    hash: bytes | None
    how: str


class State:
    """An open state, which no other process can open. As a context manager, it is closed without uncommitted changes.

    Attributes:
        path: The file; None for a temporary state.
        is_new: Whether it had no files when it was opened.
        read_only: Whether it cannot be written.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path | None, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._connection = connection
        self._name = path or "the temporary state"
        self._networks: list[int] = []
        self._run = 0
        self._committed = time.monotonic()
        self._folder: tuple[bytes, int] | None = None
        (files,) = self._execute("SELECT EXISTS (SELECT 1 FROM files)").fetchone()
        self.is_new = not files

    @classmethod
    def open(cls, path: Path | str, *, make: bool = True) -> State:
        """Open a state.

        Args:
            path: The file.
            make: Create it if it is missing. If False, a read-only state can be opened too.

        Raises:
            DataError: It is damaged, has another version, belongs to another program, or is missing.
            OutputError: Another process uses it, or it cannot be written.
        """
        path = Path(path)
        if not make and not path.is_file():
            raise DataError(
                f"{path} does not exist. Give the state of cocotag tag, or the output beside it.", code="state_missing"
            )
        with plain_errors(path):
            if not make and not all(os.access(needed, os.W_OK) for needed in (path, path.parent)):
                return cls(connect_to_read(path, APPLICATION_ID, VERSION), path, read_only=True)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(
                    f"{path} cannot be written ({error.strerror or error}). Choose another folder.", code=write_fault(error)
                ) from None
            return cls(connect(path, APPLICATION_ID, VERSION, SCHEMA), path)

    @classmethod
    def temporary(cls) -> State:
        """A state that ends with the process and stores no scores, since the rows are written elsewhere at once."""
        return cls(connect("", APPLICATION_ID, VERSION, SCHEMA), None)

    def __enter__(self) -> State:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the state. A new state without files is removed."""
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        empty = False
        with suppress(sqlite3.Error):
            empty = self.is_new and not self._connection.execute("SELECT EXISTS (SELECT 1 FROM files)").fetchone()[0]
        with suppress(sqlite3.Error):  # on a full disk, the log stays beside it for the next run
            self._connection.close()
        if empty and self.path is not None and not self.read_only:
            self.path.unlink(missing_ok=True)

    # A run

    def begin(self, models: Sequence[Model], asked: Mapping[str, Any]) -> list[Model]:
        """Start a run.

        Returns:
            The models without scores in the state, if it has scores of others.
        """
        before = dict(self._execute("SELECT fingerprint, id FROM networks"))
        self._begin()
        self._execute("DELETE FROM walks WHERE run IN (SELECT id FROM runs WHERE ended IS NULL)")
        self._execute("DELETE FROM runs WHERE ended IS NULL")
        for model in models:
            self._execute("INSERT OR IGNORE INTO networks (fingerprint) VALUES (?)", model.fingerprint)
        numbers = dict(self._execute("SELECT fingerprint, id FROM networks"))
        self._networks = [numbers[model.fingerprint] for model in models]
        texts = json.dumps(asked), json.dumps([model.to_json() for model in models])
        self._run = self._execute("INSERT INTO runs (started, asked, models) VALUES (?, ?, ?)", _now(), *texts).lastrowid or 0
        self.commit()
        return [model for model in models if before and model.fingerprint not in before]

    @property
    def wanted(self) -> int:
        """Number of networks from which a file needs scores: bundles that differ only in thresholds share one."""
        return len(set(self._networks))

    def known(self, folder: bytes, names: Sequence[bytes]) -> dict[bytes, Known]:
        """The records of files, by name.

        Args:
            folder: The absolute path of their folder.
            names: Their names, some thousands at most.
        """
        number = self._folder_number(folder, make=False)
        if number is None:
            return {}
        networks = ",".join(map(str, set(self._networks)))
        found = self._execute(
            "SELECT name, id, size, mtime_ns, hash, status, "
            f"(SELECT count(*) FROM scores WHERE file = files.id AND network IN ({networks})) "
            f"FROM files WHERE folder = ? AND name IN ({','.join('?' * len(names))})",
            number,
            *names,
        )
        with plain_errors(self._name):
            return {name: Known(*rest) for name, *rest in found}

    def put(
        self,
        folder: bytes,
        name: bytes,
        stat: tuple[int, int],
        *,
        hash: bytes | None = None,
        status: str = "ok",
        error: str = "",
        probs: Sequence[NDArray[np.floating]] = (),
    ) -> int:
        """Store the result of a file. Earlier scores are deleted, unless the file is unchanged.

        Args:
            folder: The absolute path of its folder.
            name: Its name there.
            stat: Its size and modification time (ns); both `UNRELIABLE` if it changed meanwhile.
            hash: Hash of its content, if requested.
            status: ``ok``, or the error's code.
            error: The error's message.
            probs: Probabilities by each model of the run, ``(C,)``; empty if the status is not ``ok``.

        Returns:
            The file's number.
        """
        self._begin()
        number = self._folder_number(folder, make=True)
        query = "SELECT id, size, mtime_ns, status, error FROM files WHERE folder = ? AND name = ?"
        before = self._execute(query, number, name).fetchone()
        if before is None or status == "ok" or before[3:] != (status, error):
            self._execute("UPDATE changes SET number = number + 1")
        if before is None:
            values = "folder, name, size, mtime_ns, hash, status, error"
            done = self._execute(
                f"INSERT INTO files ({values}) VALUES (?, ?, ?, ?, ?, ?, ?)", number, name, *stat, hash, status, error
            )
            file = done.lastrowid or 0
        else:
            file = before[0]
            if UNRELIABLE in stat or before[1:3] != stat or status != "ok":
                self._execute("DELETE FROM scores WHERE file = ?", file)
            self._execute(
                "UPDATE files SET size = ?, mtime_ns = ?, hash = ?, status = ?, error = ? WHERE id = ?",
                *(*stat, hash, status, error, file),
            )
        if self.path is not None:
            for network, one in zip(self._networks, probs, strict=False):
                self._execute("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", file, network, one.astype("<f2").tobytes())
        return file

    def is_as(self, file: int, stat: tuple[int, int], hash: bytes | None = None) -> None:
        """Record that a file's content is unchanged, although its size or modification time differs."""
        self._begin()
        self._execute("UPDATE files SET size = ?, mtime_ns = ?, hash = coalesce(?, hash) WHERE id = ?", *stat, hash, file)

    def met(self, folder: bytes, files: Sequence[int]) -> None:
        """Record the next files that the run has met, in one folder.

        Args:
            folder: The given path of the folder.
            files: Their numbers.
        """
        if files:
            self._begin()
            self._execute(
                "INSERT INTO walks (run, folder, files) VALUES (?, ?, ?)",
                *(self._run, folder, np.asarray(files, "<i8").tobytes()),
            )

    def commit_when_due(self) -> None:
        """Commit if the last commit is more than a second ago."""
        if time.monotonic() - self._committed > _COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Commit all changes."""
        if self._connection.in_transaction:
            self._execute("COMMIT")
        self._committed = time.monotonic()

    def end(self, *, whole: bool) -> None:
        """End the run and delete the walks of earlier runs.

        Args:
            whole: Whether it has met every file.
        """
        self._begin()
        self._execute("UPDATE runs SET ended = ?, whole = ? WHERE id = ?", _now(), whole, self._run)
        self._execute("DELETE FROM walks WHERE run <> ?", self._run)
        self._execute("DELETE FROM runs WHERE id <> ?", self._run)
        self.commit()

    # Results

    def last_run(self) -> Run:
        """The last run that was completed or stopped by Ctrl-C; if there is none, the run that was killed.

        Raises:
            DataError: There is no run.
        """
        order = "ORDER BY ended IS NULL, id DESC LIMIT 1"
        with plain_errors(self._name):
            found = self._execute(f"SELECT id, asked, models, whole FROM runs {order}").fetchone()
        if found is None:
            raise DataError(f"{self._name} has no run of cocotag tag. Run cocotag tag first.", code="no_run")
        number, asked, models, whole = found
        try:
            return Run(number, json.loads(asked), tuple(map(Model.from_json, json.loads(models))), bool(whole))
        except (BundleError, ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{self._name} is damaged ({error!r}). Move it away to start again.", code="state_damaged"
            ) from None

    def use(self, run: Run) -> None:
        """Select an earlier run: `results` then returns its files and models."""
        numbers = dict(self._execute("SELECT fingerprint, id FROM networks"))
        self._run, self._networks = run.id, [numbers[model.fingerprint] for model in run.models]

    def digest(self) -> str:
        """A key that is the same as long as the run's files, their order and their results are the same."""
        digest = hashlib.sha256()
        for folder, files in self._execute("SELECT folder, files FROM walks WHERE run = ? ORDER BY id", self._run):
            digest.update(len(folder).to_bytes(4) + folder + files)
        networks, (changes,) = self._networks, self._execute("SELECT number FROM changes").fetchone()
        return f"{digest.hexdigest()} {networks} {changes}"

    def count(self) -> int:
        """Number of files that the run has met so far."""
        (length,) = self._execute("SELECT coalesce(sum(length(files)), 0) FROM walks WHERE run = ?", self._run).fetchone()
        return int(length) // 8

    def results(self) -> Iterator[Result]:
        """The results of the files that the run has met, in order. Other calls are allowed meanwhile."""
        last = 0
        while True:
            query = "SELECT id, folder, files FROM walks WHERE run = ? AND id > ? ORDER BY id LIMIT 1"
            row = self._execute(query, self._run, last).fetchone()
            if row is None:
                return
            last, folder, files = row
            yield from self.results_of(folder, np.frombuffer(files, "<i8").tolist())

    def results_of(self, folder: bytes, files: Sequence[int]) -> Iterator[Result]:
        """The results of some files of a folder, which is the given path."""
        among = f"IN ({','.join(map(str, files))})"
        with plain_errors(self._name):
            about = {row[0]: row[1:] for row in self._execute(f"SELECT id, name, status, error FROM files WHERE id {among}")}
            scores = {
                (file, network): np.frombuffer(probs, "<f2")
                for file, network, probs in self._execute(f"SELECT file, network, probs FROM scores WHERE file {among}")
            }
        prefix = folder if folder in (b"", b"/") else folder + b"/"
        for file in files:
            name, status, error = about[file]
            path = Path(os.fsdecode(prefix + name))
            probs = [scores[file, network] for network in self._networks if (file, network) in scores]
            if status == "ok" and len(probs) < len(self._networks):
                status, error = "changed", f"{path} has changed, and another bundle has tagged it since. Tag it again."
            yield Result(path, status, error, probs if status == "ok" else [])

    # Outputs

    def output(self, path: bytes) -> Made | None:
        """The record of an output; None if it was not written from this state."""
        found = self._execute("SELECT size, mtime_ns, hash, made FROM outputs WHERE path = ?", path).fetchone()
        return None if found is None else Made(*found)

    def put_output(self, path: bytes, made: Made) -> None:
        """Store the record of an output."""
        self._begin()
        self._execute("INSERT OR REPLACE INTO outputs (path, size, mtime_ns, hash, made) VALUES (?, ?, ?, ?, ?)", path, *made)

    def _folder_number(self, folder: bytes, *, make: bool) -> int | None:
        if self._folder is not None and self._folder[0] == folder:
            return self._folder[1]
        found = self._execute("SELECT id FROM folders WHERE path = ?", folder).fetchone()
        if found is None and not make:
            return None
        number = found[0] if found else self._execute("INSERT INTO folders (path) VALUES (?)", folder).lastrowid or 0
        self._folder = folder, number
        return number

    def _begin(self) -> None:
        if not self._connection.in_transaction:
            self._execute("BEGIN IMMEDIATE")

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        with plain_errors(self._name):
            return self._connection.execute(statement, values)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
