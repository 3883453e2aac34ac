"""Progress of a run: a line on a terminal, JSON lines for programs, or nothing. Does not depend on images."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, TextIO

_SECONDS = {"line": 0.2, "json": 1.0}  # between two reports
_WINDOW = 20.0  # seconds over which the rate is averaged
_CLEAR = "\r\x1b[K"


class Progress:
    """Counts files and reports the progress on stderr.

    Attributes:
        done: Files with a result, including unchanged files of an earlier run.
        new: Files that were processed in this run.
        errors: Failed files among ``done``.
        total: Number of all files; None until they are counted.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, stream: TextIO | None = None) -> None:
        """Choose the form of the report.

        Args:
            as_json: Write JSON lines, whatever stderr is. Otherwise write an updating line if stderr is a terminal.
            quiet: Do not write the updating line.
            stream: The stream to write to instead of stderr.
        """
        self._stream = sys.stderr if stream is None else stream
        self._kind = "json" if as_json else "line" if not quiet and self._stream.isatty() else ""
        self.done = self.new = self.errors = 0
        self.total: int | None = None
        self._ended = threading.Event()
        self._reported = 0.0
        self._marks: deque[tuple[float, int]] = deque()

    def count(self, sizes: Iterable[int]) -> None:
        """Count the total in a thread beside the work, if it will be shown.

        Args:
            sizes: Numbers of files, to be summed until the work ends.
        """
        if self._kind:
            threading.Thread(target=self._count, args=(sizes,), name="cocotag-count", daemon=True).start()

    def _count(self, sizes: Iterable[int]) -> None:
        total = 0
        for size in sizes:
            total += size
            if self._ended.is_set():
                return
        self.total = total

    def add(self, *, known: int = 0, new: int = 0, errors: int = 0) -> None:
        """Count some more files, and report if it is time."""
        self.done += known + new
        self.new += new
        self.errors += errors
        now = time.monotonic()
        if self._kind and now - self._reported >= _SECONDS[self._kind]:
            self._reported = now
            self._marks.append((now, self.new))
            while now - self._marks[0][0] > _WINDOW:
                self._marks.popleft()
            self._report()

    @property
    def as_json(self) -> bool:
        """Whether it writes JSON lines."""
        return self._kind == "json"

    def say(self, text: str, *, code: str | None = None) -> None:
        """Write one line of text."""
        if self._kind == "json":
            self._write_json({"event": "message", "text": text, **({} if code is None else {"code": code})})
        else:
            self._write(f"{_CLEAR if self._kind else ''}{text}\n")

    def log(self, event: Mapping[str, object]) -> None:
        """Write what happened to a single file, if it writes JSON lines."""
        if self._kind == "json":
            self._write_json(event)

    def end(self, summary: Mapping[str, Any] | None = None) -> None:
        """Remove the updating line; JSON gets the last progress, and the summary if the run was completed."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._kind == "line":
            self._write(_CLEAR)
        elif self._kind == "json":
            self._report()
            if summary is not None:
                self._write_json({"event": "end", **summary})

    def _report(self) -> None:
        rate = self._rate()
        total = None if self.total is None else max(self.total, self.done)
        left = None if total is None or not rate else (total - self.done) / rate
        if self._kind == "json":
            figures = {"files": self.done, "total": total, "rate": round(rate, 2), "errors": self.errors}
            self._write_json({"event": "progress", **figures, "eta": None if left is None else round(left, 1)})
            return
        parts = [f"{self.done:,} of {'...' if total is None else format(total, ',')}"]
        parts += [f"{rate:.1f} images/s"] if rate else []
        parts += [f"{_clock(left)} left"] if left is not None else []
        parts += [f"{self.errors:,} {'error' if self.errors == 1 else 'errors'}"] if self.errors else []
        self._write(_CLEAR + "  ".join(parts))

    def _rate(self) -> float:
        """New files per second in the last seconds."""
        if not self._marks:
            return 0.0
        (start, before), (end, after) = self._marks[0], self._marks[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def _write_json(self, document: Mapping[str, Any]) -> None:
        self._write(json.dumps(document, allow_nan=False) + "\n")

    def _write(self, text: str) -> None:
        with suppress(BrokenPipeError):  # the reader has closed the pipe, as head does; the work continues
            self._stream.write(text)
            self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
