"""JSON Lines: one object per row, in ASCII, which passes through any pipe.

An object has ``path``, ``status``, and the lists ``tags``, ``scores`` and ``supercategories`` in the same order, highest score
first. It has ``model`` if there are several models, ``error`` if the status is not ``ok``, and on request ``all_scores``, an
object with the score of every class, or null if the image could not be used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TextIO

from cocotag.errors import OutputError
from cocotag.files import write_fault
from cocotag.path_text import path_text
from cocotag.process.restarts import written
from cocotag.tagging.decisions.rows import Context, Row
from cocotag.tagging.outputs.formats.cells import score_text, shortest
from cocotag.tagging.outputs.formats.text_lines import TextLines

_text = lru_cache(maxsize=2**14)(json.dumps)  # for names, which repeat


class JsonLines(TextLines):
    """A file of JSON Lines that is being written."""

    def __init__(self, path: Path, context: Context) -> None:
        super().__init__(path, LineMaker(context), encoding="ascii")


class JsonStream:
    """JSON Lines on an open stream such as stdout, flushed after each write."""

    def __init__(self, stream: TextIO, context: Context) -> None:
        self._line = LineMaker(context)
        self._stream = stream
        self._written_before = written()  # by a process of this run that has crashed

    def write(self, row: Row) -> None:
        """Write one row in one piece, so that an interrupt never cuts it.

        Raises:
            BrokenPipeError: The reader has exited.
            OutputError: The stream cannot be written, for example to a full disk.
        """
        self.write_all([row])

    def write_all(self, rows: Iterable[Row]) -> None:
        """Write some rows, as `write` does."""
        lines = list(map(self._line, rows))
        before = min(self._written_before, len(lines))
        self._written_before -= before
        try:
            self._stream.write("".join(lines[before:]))
            self._stream.flush()
        except BrokenPipeError:  # the reader, such as head, has exited: the command line handles it
            raise
        except OSError as error:
            raise OutputError(
                f"stdout cannot be written ({error.strerror or error}). Free some space.", code=write_fault(error)
            ) from error


class LineMaker:
    """A function: row -> its line."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._keys = (
            {model: [f"{_text(name)}: " for name in context.tags(model).names] for model in context.vocabularies}
            if context.all_scores
            else None
        )

    def __call__(self, row: Row) -> str:
        """The line, with its line break."""
        parts = [
            f'"path": {json.dumps(path_text(row.path))}',
            f'"status": {_text(row.status)}',
            f'"tags": [{", ".join([_text(tag.name) for tag in row.tags])}]',
            f'"scores": [{", ".join([score_text(tag.score) for tag in row.tags])}]',
            f'"supercategories": [{", ".join([_text(tag.supercategory) for tag in row.tags])}]',
        ]
        if self._context.several:
            parts.append(f'"model": {_text(row.model)}')
        if row.error:
            parts.append(f'"error": {json.dumps(row.error)}')
        if self._keys is not None:
            parts.append(f'"all_scores": {self._all_scores(row, self._keys[row.model])}')
        return "{" + ", ".join(parts) + "}\n"

    def _all_scores(self, row: Row, keys: list[str]) -> str:
        scores = self._context.scores(row)
        if scores is None:
            return "null"
        return "{" + ", ".join([f"{key}{score}" for key, score in zip(keys, shortest(scores).tolist(), strict=True)]) + "}"
