"""Rows of tags, written as CSV or JSON Lines. Knows neither images nor networks."""

from __future__ import annotations

import csv
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from cocotag.bundle import BundleMetadata
from cocotag.errors import Interrupted, OutputError
from cocotag.tagging.tagger import Tag

COLUMNS = ("path", "status", "tags", "scores")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """What one file came to.

    Attributes:
        path: As it was given, or the given folder and the way from there.
        status: ``ok``, or the reason why there are no tags, such as ``truncated``.
        tags: Highest score first.
        error: The one-line message; empty where the status is ``ok``.
        probs: All probabilities, ``(C,)``; None where the image could not be used.
        model: Which of several models this is of; empty where there is one.
    """

    path: Path
    status: str = "ok"
    tags: tuple[Tag, ...] = ()
    error: str = ""
    probs: NDArray[np.float32] | None = None
    model: str = ""


class Writer:
    """Writes rows to an open stream; `open_writer` makes one.

    Attributes:
        rows: How many have been written.
    """

    def __init__(self, stream: TextIO, name: str, line: Callable[[Row], str], *, flush: bool) -> None:
        self.rows = 0
        self._stream = stream
        self._name = name
        self._line = line
        self._flush = flush

    def write(self, row: Row) -> None:
        """Write one row.

        Raises:
            OutputError: The disk is full.
            BrokenPipeError: The reader of stdout has gone.
        """
        with _output_errors(self._name):
            self._stream.write(self._line(row))  # in one piece: an interrupt comes before or after a row, never within
            self.rows += 1
            if self._flush:
                self._stream.flush()


@contextmanager
def open_writer(
    out: Path | str,
    metadata: BundleMetadata | Mapping[str, BundleMetadata],
    *,
    overwrite: bool = False,
    all_scores: bool = False,
) -> Iterator[Writer]:
    r"""Open a table of tags, CSV or JSON Lines by its ending.

    Both have ``path``, ``status``, ``tags`` and ``scores``, the highest score first. In CSV the last two are joined by
    ``;``; in JSON Lines they are lists, and rows that failed have ``error``, one line of text. With several models there is
    ``model`` as well. Scores are the shortest numbers that give back the float16 that tags are decided on. Bytes of a path
    that are not UTF-8 are written as ``\udcXX``.

    The rows are in ``OUT.partial`` until the block ends well, and take the place of ``out`` then. If it ends otherwise
    (Ctrl-C, a full disk, a killed process), ``out`` stays as it was and the complete rows stay in ``OUT.partial``, which
    no later run writes over unless told. So whatever is at ``out`` is complete.

    Args:
        out: ``.csv``, ``.jsonl``, or ``-`` for JSON Lines on stdout, flushed after each row.
        metadata: Of the bundle that tags, or of several by their names in the rows; names the classes.
        overwrite: Replace ``out`` and ``OUT.partial`` if they are there.
        all_scores: Write ``all_scores`` as well, an object of every class's score; null where the image failed. JSON Lines
            only.

    Raises:
        OutputError: Another ending, ``out`` is there already, or it cannot be written.
        Interrupted: Ctrl-C in the block, once there are rows; the message says where they are.
    """
    models = {"": metadata} if isinstance(metadata, BundleMetadata) else metadata
    several = not isinstance(metadata, BundleMetadata)
    names = {model: one.vocabulary.names for model, one in models.items()} if all_scores else None
    json_line = partial(_json_line, names=names, several=several)
    if str(out) == "-":
        yield Writer(sys.stdout, "stdout", json_line, flush=True)
        return
    out = Path(out)
    ending = out.suffix.lower()
    if ending not in (".csv", ".jsonl"):
        raise OutputError(f"{out} ends in {ending or 'nothing'}; tags are written as .csv or .jsonl. Choose one of them.")
    if all_scores and ending == ".csv":
        raise OutputError(f"{out}: CSV has no column for all scores. Write to .jsonl.")
    if out.exists() and (not overwrite or not out.is_file()):
        raise OutputError(f"{out} is there already. Choose another name{', or add --overwrite' if out.is_file() else ''}.")
    unfinished = out.with_name(f"{out.name}.partial")
    if unfinished.is_file() and not overwrite:
        raise OutputError(f"{unfinished} holds the rows of a run that was stopped. Move it away, or add --overwrite.")
    with _output_errors(str(out)):
        out.parent.mkdir(parents=True, exist_ok=True)
        stream = unfinished.open("w", encoding="utf-8", newline="")
    writer = Writer(stream, str(out), json_line if ending == ".jsonl" else partial(_csv_row, several=several), flush=False)
    try:
        with _output_errors(str(out)):
            stream.write("" if ending == ".jsonl" else _csv_line((*COLUMNS, "model") if several else COLUMNS))
        yield writer
        with _output_errors(str(out)):
            stream.close()
            unfinished.replace(out)
    except KeyboardInterrupt:
        if not writer.rows:
            raise
        raise Interrupted(f"Stopped. {out} is not written; the {writer.rows} rows so far are in {unfinished}.") from None
    except Exception:
        if writer.rows:
            logger.warning("%s is not written; the rows so far are in %s.", out, unfinished)
        raise
    finally:
        with suppress(OSError):  # on a full disk what is in the buffer is lost; what is in the file is kept
            stream.close()
        if not writer.rows:
            unfinished.unlink(missing_ok=True)


@contextmanager
def _output_errors(name: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # head has seen enough: no fault of ours, and the command line knows what to do
        raise
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{name} cannot be written ({reason}). Choose another place or free some space.") from error


def _text(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _csv_line(cells: tuple[str, ...]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _score(score: float | np.floating) -> str:
    """The shortest number that gives back the float16 that tags are decided on, so that who decides again agrees."""
    return np.format_float_positional(np.float16(score), trim="0")


def _csv_row(row: Row, *, several: bool) -> str:
    names, scores = ";".join(tag.name for tag in row.tags), ";".join(_score(tag.score) for tag in row.tags)
    cells = _text(row.path), row.status, names, scores
    return _csv_line((*cells, row.model) if several else cells)


def _json_line(row: Row, *, names: Mapping[str, Sequence[str]] | None, several: bool) -> str:
    cells: dict[str, object] = {
        "path": _text(row.path),
        "status": row.status,
        "tags": [tag.name for tag in row.tags],
        "scores": [float(_score(tag.score)) for tag in row.tags],
    }
    if several:
        cells["model"] = row.model
    if row.error:
        cells["error"] = row.error
    if names is not None:
        rounded = None if row.probs is None else [float(_score(prob)) for prob in row.probs]
        cells["all_scores"] = None if rounded is None else dict(zip(names[row.model], rounded, strict=True))
    return json.dumps(cells, allow_nan=False) + "\n"  # ASCII: good in every pipe, whatever its encoding
