"""What is known of files that were tagged: a SQLite file, of which every output is made. Knows neither images nor networks.

The tables are in `tables.py`. A file and its scores are committed together, about once a second, so a process may
end at any moment. Files that are gone stay known, for a disk that is not plugged in comes back.
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
from cocotag.tagging.state.database import connect, connect_to_read, plain_errors
from cocotag.tagging.state.models import Model, Run
from cocotag.tagging.state.tables import APPLICATION_ID, SCHEMA, VERSION

ENDING = ".state"
"""Of a state beside an output, behind its whole name."""

NAME = "state"
"""Of a state in the folder of a gallery."""

UNRELIABLE = -1
"""In place of size and modification time: the file is looked at again next time."""

_COMMIT_SECONDS = 1.0


class Known(NamedTuple):
    """What is known of a file.

    Attributes:
        id: Its number.
        size: Bytes, when it was tagged; `UNRELIABLE` where it changed meanwhile.
        mtime_ns: Its modification time then.
        hash: Of its content, where that was asked for.
        status: ``ok``, or why there are no scores.
        scored: By how many of the run's networks there are scores.
    """

    id: int
    size: int
    mtime_ns: int
    hash: bytes | None
    status: str
    scored: int


class Result(NamedTuple):
    """What one file came to, by all models of a run.

    Attributes:
        path: As it was given, or the given folder and the way from there.
        status: ``ok``, or why there are no scores.
        error: The message; empty where the status is ``ok``.
        probs: Of each model ``(C,)`` float16; empty where the status is not ``ok``.
    """

    path: Path
    status: str
    error: str
    probs: list[NDArray[np.float16]]


class Made(NamedTuple):
    """What is known of an output.

    Attributes:
        size: Bytes; None, as the next two, while it is written.
        mtime_ns: Its modification time.
        hash: Of its content.
        how: The same as long as the output would be.
    """

    size: int | None
    mtime_ns: int | None
    hash: bytes | None
    how: str


class State:
    """An open state, which no other process can open; a context manager that closes it, without what is not committed.

    Attributes:
        path: The file; None for one that ends with the process.
        is_new: It was made now.
        read_only: It lies where nothing can be written.
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
            make: Make it, if it is not there. Where not, one that cannot be written can be read all the same.

        Raises:
            DataError: It is damaged, of another version or another program, or not there.
            OutputError: Another process has it, or it cannot be written.
        """
        path = Path(path)
        if not make and not path.is_file():
            raise DataError(f"{path} is not there. Give the state that cocotag tag kept, or the output beside it.")
        with plain_errors(path):
            if not make and not all(os.access(place, os.W_OK) for place in (path, path.parent)):
                return cls(connect_to_read(path, APPLICATION_ID, VERSION), path, read_only=True)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{path} cannot be written ({error.strerror or error}). Choose another place.") from None
            return cls(connect(path, APPLICATION_ID, VERSION, SCHEMA), path)

    @classmethod
    def temporary(cls) -> State:
        """A state that ends with the process, and keeps no scores: the rows go elsewhere at once."""
        return cls(connect("", APPLICATION_ID, VERSION, SCHEMA), None)

    def __enter__(self) -> State:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close it. One that was made now and holds nothing is removed."""
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        empty = False
        with suppress(sqlite3.Error):
            empty = self.is_new and not self._connection.execute("SELECT EXISTS (SELECT 1 FROM files)").fetchone()[0]
        with suppress(sqlite3.Error):  # on a full disk the log stays beside it, and is read next time
            self._connection.close()
        if empty and self.path is not None and not self.read_only:
            self.path.unlink(missing_ok=True)

    # A run

    def begin(self, models: Sequence[Model], asked: Mapping[str, Any]) -> list[Model]:
        """Begin a run.

        Returns:
            The models that the state has no scores of, although it has of others.
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
        """Networks of which a file needs scores: bundles that differ in their thresholds alone have one."""
        return len(set(self._networks))

    def known(self, folder: bytes, names: Sequence[bytes]) -> dict[bytes, Known]:
        """What is known of files.

        Args:
            folder: The absolute path of the folder that they are in.
            names: The files, some thousands at most.
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
        """Take in what a file came to. What was known of it before is forgotten, unless it is the same as it was then.

        Args:
            folder: The absolute path of the folder that it is in.
            name: Its name there.
            stat: Its size and modification time (ns), `UNRELIABLE` both if it changed meanwhile.
            hash: Of its content, if that was asked for.
            status: ``ok``, or why there are no scores.
            error: The message.
            probs: Of each model of the run, ``(C,)``; empty where the status is not ``ok``.

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
        """Note that a file's content is what it was, although size or modification time are others."""
        self._begin()
        self._execute("UPDATE files SET size = ?, mtime_ns = ?, hash = coalesce(?, hash) WHERE id = ?", *stat, hash, file)

    def met(self, folder: bytes, files: Sequence[int]) -> None:
        """Note that the run has met files of one folder, next in order.

        Args:
            folder: As it was given.
            files: Their numbers.
        """
        if files:
            self._begin()
            self._execute(
                "INSERT INTO walks (run, folder, files) VALUES (?, ?, ?)",
                *(self._run, folder, np.asarray(files, "<i8").tobytes()),
            )

    def commit_when_due(self) -> None:
        """Commit if the last time is a second ago."""
        if time.monotonic() - self._committed > _COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Keep everything, whatever happens from here on."""
        if self._connection.in_transaction:
            self._execute("COMMIT")
        self._committed = time.monotonic()

    def end(self, *, whole: bool) -> None:
        """End the run; the walks of earlier ones are forgotten.

        Args:
            whole: It has met every file.
        """
        self._begin()
        self._execute("UPDATE runs SET ended = ?, whole = ? WHERE id = ?", _now(), whole, self._run)
        self._execute("DELETE FROM walks WHERE run <> ?", self._run)
        self._execute("DELETE FROM runs WHERE id <> ?", self._run)
        self.commit()

    # What there is

    def last_run(self) -> Run:
        """The last run that came to its end or was stopped in order; if there is none, the one that was killed.

        Raises:
            DataError: There is none.
        """
        order = "ORDER BY ended IS NULL, id DESC LIMIT 1"
        with plain_errors(self._name):
            found = self._execute(f"SELECT id, asked, models, whole FROM runs {order}").fetchone()
        if found is None:
            raise DataError(f"{self._name} holds no run of cocotag tag. Run that first.")
        number, asked, models, whole = found
        try:
            return Run(number, json.loads(asked), tuple(map(Model.from_json, json.loads(models))), bool(whole))
        except (BundleError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{self._name} is damaged ({error!r}). Move it away to begin anew.") from None

    def use(self, run: Run) -> None:
        """Have `results` give what an earlier run met, by its models."""
        numbers = dict(self._execute("SELECT fingerprint, id FROM networks"))
        self._run, self._networks = run.id, [numbers[model.fingerprint] for model in run.models]

    def digest(self) -> str:
        """The same as long as the run's files, their order and what they came to are the same."""
        digest = hashlib.sha256()
        for folder, files in self._execute("SELECT folder, files FROM walks WHERE run = ? ORDER BY id", self._run):
            digest.update(len(folder).to_bytes(4) + folder + files)
        networks, (changes,) = self._networks, self._execute("SELECT number FROM changes").fetchone()
        return f"{digest.hexdigest()} {networks} {changes}"

    def count(self) -> int:
        """Files that the run has met so far."""
        (length,) = self._execute("SELECT coalesce(sum(length(files)), 0) FROM walks WHERE run = ?", self._run).fetchone()
        return int(length) // 8

    def results(self) -> Iterator[Result]:
        """What the run has met, in order. Other calls may come in between."""
        last = 0
        while True:
            query = "SELECT id, folder, files FROM walks WHERE run = ? AND id > ? ORDER BY id LIMIT 1"
            row = self._execute(query, self._run, last).fetchone()
            if row is None:
                return
            last, folder, files = row
            yield from self.results_of(folder, np.frombuffer(files, "<i8").tolist())

    def results_of(self, folder: bytes, files: Sequence[int]) -> Iterator[Result]:
        """What some files of a folder, which is named as it was given, came to."""
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
                status, error = "changed", f"{path}: it changed, and was tagged by another bundle since. Tag it again."
            yield Result(path, status, error, probs if status == "ok" else [])

    # What was made of it

    def output(self, path: bytes) -> Made | None:
        """What is known of an output; None if it is not of this."""
        found = self._execute("SELECT size, mtime_ns, hash, made FROM outputs WHERE path = ?", path).fetchone()
        return None if found is None else Made(*found)

    def put_output(self, path: bytes, made: Made) -> None:
        """Take in what `output` gives back."""
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
