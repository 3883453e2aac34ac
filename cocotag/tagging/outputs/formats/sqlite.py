"""SQLite: a database of tags for queries.

    images(id, path, model, status, error)          one row per output row, in the same order; model is '' for a single model
    classes(id, model, name, supercategory, category_id)          all classes, including those that no image has as a tag
    tags(image_id, class_id, score)
    tagged(path, model, tag, supercategory, score, category_id)   a view that joins the three
    about(key, value)               schema_version; made_by and thresholds as JSON

    SELECT path, score FROM tagged WHERE tag = 'dog' AND score >= 0.8 ORDER BY score DESC;

Indices: by path, by status if it is not ``ok``, by class name, and by class and score. The file has no journal beside it and
can be opened read-only.
"""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from cocotag.errors import OutputError
from cocotag.inference.tags import Tag
from cocotag.path_text import path_text, plain_text
from cocotag.tagging.decisions.rows import Context, Row
from cocotag.tagging.outputs.formats.cells import score_text

SCHEMA_VERSION = 1

_TABLES = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE images (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL, model TEXT NOT NULL, status TEXT NOT NULL, error TEXT NOT NULL
);
CREATE TABLE classes (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, name TEXT NOT NULL, supercategory TEXT NOT NULL, category_id,
    UNIQUE (name, model)
);
CREATE TABLE tags (
    image_id INTEGER NOT NULL REFERENCES images (id), class_id INTEGER NOT NULL REFERENCES classes (id), score REAL NOT NULL,
    PRIMARY KEY (image_id, class_id)
) WITHOUT ROWID;
CREATE VIEW tagged AS
    SELECT path, images.model AS model, name AS tag, supercategory, score, category_id
    FROM tags JOIN images ON images.id = image_id JOIN classes ON classes.id = class_id;
"""
_INDICES = """
CREATE INDEX images_by_path ON images (path);
CREATE INDEX images_that_failed ON images (status) WHERE status <> 'ok';
CREATE INDEX tags_by_class ON tags (class_id, score);
ANALYZE;
"""


class SqliteDatabase:
    """A database that is being written, to a file that is discarded if it is not completed."""

    @staticmethod
    def check(out: Path, context: Context) -> None:
        """Check that a database can replace an existing file.

        Raises:
            OutputError: Another program has the file open, and its journal would be taken for the new file's; or all scores
                are wanted.
        """
        if context.all_scores:
            raise OutputError(
                f"{out}: all scores would fill the database. Write them to .jsonl or .parquet.", code="all_scores_unsupported"
            )
        journals = [journal for ending in ("-journal", "-wal") if (journal := out.with_name(out.name + ending)).exists()]
        if journals:  # SQLite itself removes those of a killed program
            with suppress(sqlite3.Error), closing(sqlite3.connect(out, timeout=0)) as connection:
                for statement in (
                    "SELECT count(*) FROM sqlite_master",
                    "PRAGMA journal_mode = PERSIST",
                    "PRAGMA journal_mode = DELETE",
                ):
                    connection.execute(statement).fetchall()
        if any(journal.exists() for journal in journals):
            raise OutputError(
                f"{out} is open in another program (see {journals[0].name}). Close it there, or choose another name.",
                code="output_in_use",
            )

    def __init__(self, path: Path, context: Context) -> None:
        self._context = context
        self._images = 0
        self._classes: dict[tuple[str, str], int] = {}
        with _as_os_errors():
            # Without locks, which some network drives lack: no other process knows this temporary file.
            self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?nolock=1", uri=True, isolation_level=None)
            self._connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32768;")
            self._connection.executescript(f"BEGIN; {_TABLES}")
            about = {"schema_version": SCHEMA_VERSION, **{key: json.dumps(value) for key, value in context.about().items()}}
            self._connection.executemany("INSERT INTO about VALUES (?, ?)", about.items())
            for model in context.vocabularies:
                for category in context.tags(model):
                    self._add_class(model, Tag(category.name, 0.0, category.id, category.supercategory))

    def write(self, rows: Sequence[Row]) -> None:
        """Write some more rows."""
        images, tags = [], []
        with _as_os_errors():
            for number, row in enumerate(rows, self._images + 1):
                images.append((number, path_text(row.path), plain_text(row.model), row.status, plain_text(row.error)))
                for tag in row.tags:
                    class_id = self._classes.get((row.model, tag.name)) or self._add_class(row.model, tag)
                    tags.append((number, class_id, float(score_text(tag.score))))
            self._images += len(rows)
            self._connection.executemany("INSERT INTO images VALUES (?, ?, ?, ?, ?)", images)
            self._connection.executemany("INSERT INTO tags VALUES (?, ?, ?)", tags)

    def close(self) -> None:
        """Complete the file."""
        with _as_os_errors():
            self._connection.execute("COMMIT")
            self._connection.executescript(_INDICES)
            self._connection.close()

    def abandon(self) -> None:
        """Close the file without completing it."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def _add_class(self, model: str, tag: Tag) -> int:
        number = self._classes[model, tag.name] = len(self._classes) + 1
        values = (number, plain_text(model), tag.name, tag.supercategory, tag.category_id)
        self._connection.execute("INSERT INTO classes VALUES (?, ?, ?, ?, ?)", values)
        return number


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Raise SQLite's errors of the disk as OSError, as for any other file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error
