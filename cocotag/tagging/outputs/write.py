"""Rows of tags -> the files that were asked for, each whole or not at all. Knows neither images nor networks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

from cocotag.errors import OutputError
from cocotag.files import atomic_path, probe_folder
from cocotag.tagging.decisions.rows import Context, Form, Row
from cocotag.tagging.outputs.formats.csv_table import CsvTable
from cocotag.tagging.outputs.formats.json_lines import JsonLines, JsonStream
from cocotag.tagging.outputs.formats.parquet import ParquetTable
from cocotag.tagging.outputs.formats.sqlite import SqliteDatabase

STDOUT = "-"
ENDINGS: dict[str, type[Form]] = {
    ".csv": CsvTable,
    ".jsonl": JsonLines,
    ".parquet": ParquetTable,
    ".sqlite": SqliteDatabase,
    ".sqlite3": SqliteDatabase,
    ".db": SqliteDatabase,
}
"""The table of formats: ending of a file's name, in lower case -> its form.

To add a format, write its form in a module of ``formats/`` and its row here. The form checks what it cannot hold.
"""

_ROWS_AT_ONCE = 1000


def check_outputs(outs: Sequence[Path | str], context: Context) -> None:
    """See before the work that outputs can be written; whether they are there already is another's question.

    Args:
        outs: Files, their form by their ending, and ``-`` for JSON Lines on stdout.
        context: What they will have.

    Raises:
        OutputError: An ending that is none, one file twice, a folder that cannot be written to, stdout that is closed, or a
            form that has no room for what is asked.
        MissingExtraError: Parquet without pyarrow.
    """
    seen: set[str] = set()
    for out in outs:
        place = str(out) if str(out) == STDOUT else os.path.realpath(out)
        if place in seen:
            raise OutputError(f"--out {out} is given more than once. Give each output once.")
        seen.add(place)
        if str(out) == STDOUT:
            if sys.stdout is None:
                raise OutputError("--out - is stdout, which is closed. Leave it open, or give a file.")
        else:
            _check_file(Path(out), context)


def _check_file(out: Path, context: Context) -> None:
    form = _form(out)
    if out.is_dir():
        raise OutputError(f"{out} is a folder. Choose another name.")
    form.check(out, context)
    probe_folder(out.parent)


def _form(out: Path) -> type[Form]:
    form = ENDINGS.get(out.suffix.lower())
    if form is None:
        *most, last = ENDINGS
        beside = " A .txt beside each image is written by --txt." if out.suffix.lower() == ".txt" else ""
        forms = f"{', '.join(most)} or {last}"
        raise OutputError(f"{out} ends in {out.suffix or 'nothing'}; tags are written as {forms}. Choose one of them.{beside}")
    return form


def file_of(out: Path | str) -> Path | None:
    """The file that an output is; None for stdout."""
    return None if str(out) == STDOUT else Path(out)


def write_outputs(outs: Sequence[Path | str], rows: Callable[[], Iterable[Row]], context: Context) -> None:
    """Write rows to several outputs in one pass.

    The files take their places when all rows are written; if the work ends otherwise (Ctrl-C, a full disk, a killed process),
    what was there stays as it was. When the reader of stdout goes away the files are still written.

    Args:
        outs: As `check_outputs`, which has seen them.
        rows: Called once.
        context: What all rows have in common.

    Raises:
        OutputError: One cannot be written; its name and the reason are in the message.
        BrokenPipeError: The reader of stdout has gone.
    """
    gone: BrokenPipeError | None = None
    with ExitStack() as stack:
        files = [_File(Path(out), context, stack) for out in outs if str(out) != STDOUT]
        stdout = open_stdout(context) if STDOUT in map(str, outs) else None
        for some in _batches(rows()):
            for file in files:
                file.write(some)
            try:
                if stdout and not gone:
                    stdout.write_all(some)
            except BrokenPipeError as error:
                gone = error
            if gone and not files:
                break
        for file in files:  # all are complete before the first takes its place
            file.close()
    if gone:
        raise gone


def open_stdout(context: Context) -> JsonStream:
    """JSON Lines on stdout, each row to be seen at once."""
    return JsonStream(sys.stdout, context)


class StdoutRows:
    """Rows to stdout while the work goes on.

    Args:
        context: What all rows have in common.
        keep_going: Whether a reader that goes away only ends the writing, since there are files to write as well.
    """

    def __init__(self, context: Context, *, keep_going: bool) -> None:
        self._stream = open_stdout(context)
        self._keep_going = keep_going
        self._gone: BrokenPipeError | None = None

    def write(self, rows: Sequence[Row]) -> None:
        """Write some rows.

        Raises:
            BrokenPipeError: The reader has gone, and there is nothing else to do.
        """
        if self._gone is not None:
            return
        try:
            self._stream.write_all(rows)
        except BrokenPipeError as error:
            if not self._keep_going:
                raise
            self._gone = error

    def end(self) -> None:
        """Raise BrokenPipeError if the reader has gone."""
        if self._gone is not None:
            raise self._gone


class _File:
    """An output under way. Its errors name it: several are open, and each would take another's for its own."""

    def __init__(self, out: Path, context: Context, stack: ExitStack) -> None:
        """Open a file that takes the place of ``out`` when ``stack`` ends well, and is removed when it does not."""
        self._out = out
        self._context = context
        temporary = stack.enter_context(atomic_path(out))
        with self._errors():
            self._form = _form(out)(temporary, context)
        stack.callback(self._form.abandon)

    def write(self, rows: Sequence[Row]) -> None:
        with self._errors():
            self._form.write(rows)

    def close(self) -> None:
        self._form.check(self._out, self._context)  # again: hours may have passed
        with self._errors():
            self._form.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"{self._out} cannot be written ({reason}). Choose another place or free some space.") from error


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rest = iter(rows)
    while some := list(islice(rest, _ROWS_AT_ONCE)):
        yield some
