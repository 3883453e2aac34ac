"""Rows of tags -> output files, each written atomically. Does not depend on images or networks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

from cocotag.errors import OutputError
from cocotag.files import atomic_path, probe_folder, write_fault
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
"""The table of formats: ending of a file name, in lower case -> the format's class.

To add a format, write a class in a module of ``formats/`` and its row here. The class checks the limits of its format.
"""

_ROWS_AT_ONCE = 1000


def check_outputs(outs: Sequence[Path | str], context: Context) -> None:
    """Check before the work that outputs can be written. It does not check whether they exist.

    Args:
        outs: Files, whose ending determines the format, and ``-`` for JSON Lines on stdout.
        context: What all rows have in common.

    Raises:
        OutputError: An unknown ending, a file given twice, a folder that cannot be written to, a closed stdout, or a format
            that cannot hold the wanted content.
        MissingExtraError: Parquet without pyarrow.
    """
    seen: set[str] = set()
    for out in outs:
        real = str(out) if str(out) == STDOUT else os.path.realpath(out)
        if real in seen:
            raise OutputError(f"--out {out} is given more than once. Give each output once.", code="given_twice")
        seen.add(real)
        if str(out) == STDOUT:
            if sys.stdout is None:
                raise OutputError("--out - is stdout, which is closed. Leave it open, or give a file.", code="stdout_closed")
        else:
            _check_file(Path(out), context)


def _check_file(out: Path, context: Context) -> None:
    form = _form(out)
    if out.is_dir():
        raise OutputError(f"{out} is a folder. Choose another name.", code="not_a_file")
    form.check(out, context)
    probe_folder(out.parent)


def _form(out: Path) -> type[Form]:
    form = ENDINGS.get(out.suffix.lower())
    if form is None:
        *most, last = ENDINGS
        beside = " For a .txt beside each image, add --txt." if out.suffix.lower() == ".txt" else ""
        fault = f"ends in {out.suffix}, which is not a supported format" if out.suffix else "has no ending"
        raise OutputError(f"{out} {fault}. Choose {', '.join(most)} or {last}.{beside}", code="unknown_format")
    return form


def file_of(out: Path | str) -> Path | None:
    """The path of an output; None for stdout."""
    return None if str(out) == STDOUT else Path(out)


def write_outputs(outs: Sequence[Path | str], rows: Callable[[], Iterable[Row]], context: Context) -> None:
    """Write rows to several outputs in one pass.

    The new files replace existing ones when all rows are written. If the work ends early (Ctrl-C, a full disk, a killed
    process), existing files stay unchanged. If the reader of stdout exits, the files are still written.

    Args:
        outs: The outputs, checked by `check_outputs`.
        rows: Makes the rows; called once.
        context: What all rows have in common.

    Raises:
        OutputError: A file cannot be written; the message has its name and the reason.
        BrokenPipeError: The reader of stdout has exited.
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
        for file in files:  # all are complete before the first replaces an existing file
            file.close()
    if gone:
        raise gone


def open_stdout(context: Context) -> JsonStream:
    """JSON Lines on stdout, flushed after each write."""
    return JsonStream(sys.stdout, context)


class StdoutRows:
    """A writer of rows to stdout during the work.

    Args:
        context: What all rows have in common.
        keep_going: Whether to stop writing without an error when the reader exits, because there are also files to write.
    """

    def __init__(self, context: Context, *, keep_going: bool) -> None:
        self._stream = open_stdout(context)
        self._keep_going = keep_going
        self._gone: BrokenPipeError | None = None

    def write(self, rows: Sequence[Row]) -> None:
        """Write some rows.

        Raises:
            BrokenPipeError: The reader has exited, and there is no other output.
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
        """Raise BrokenPipeError if the reader has exited."""
        if self._gone is not None:
            raise self._gone


class _File:
    """A file that is being written. It turns errors into ones with its name, since several files are open."""

    def __init__(self, out: Path, context: Context, stack: ExitStack) -> None:
        """Open a file that replaces ``out`` when ``stack`` ends without an error, and is removed otherwise."""
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
            raise OutputError(
                f"{self._out} cannot be written ({reason}). Choose another place or free some space.", code=write_fault(error)
            ) from error


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rest = iter(rows)
    while some := list(islice(rest, _ROWS_AT_ONCE)):
        yield some
