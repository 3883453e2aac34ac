"""How far a run is: a line on a terminal, JSON lines for programs, or nothing. Knows nothing of images."""

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
_WINDOW = 20.0  # seconds that the rate is taken over
_CLEAR = "\r\x1b[K"


class Progress:
    """Counts, and tells on stderr.

    Attributes:
        done: Files with a result, those known from before included.
        new: Those that were worked on now.
        errors: Those of either that failed.
        total: Files in all; None until they are counted.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, stream: TextIO | None = None) -> None:
        """Choose how to tell.

        Args:
            as_json: JSON lines, whatever stderr is. Else a line that changes, if stderr is a terminal.
            quiet: No such line.
            stream: Instead of stderr.
        """
        self._stream = sys.stderr if stream is None else stream
        self._kind = "json" if as_json else "line" if not quiet and self._stream.isatty() else ""
        self.done = self.new = self.errors = 0
        self.total: int | None = None
        self._ended = threading.Event()
        self._told = 0.0
        self._marks: deque[tuple[float, int]] = deque()

    def count(self, sizes: Iterable[int]) -> None:
        """Have the total counted beside the work, if somebody will see it.

        Args:
            sizes: Numbers of files; gone through in a thread of its own, as far as time allows.
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
        """Count some files more, and tell if it is time."""
        self.done += known + new
        self.new += new
        self.errors += errors
        now = time.monotonic()
        if self._kind and now - self._told >= _SECONDS[self._kind]:
            self._told = now
            self._marks.append((now, self.new))
            while now - self._marks[0][0] > _WINDOW:
                self._marks.popleft()
            self._tell()

    @property
    def as_json(self) -> bool:
        """Whether it writes JSON lines."""
        return self._kind == "json"

    def say(self, text: str, *, code: str | None = None) -> None:
        """Tell a line of words."""
        if self._kind == "json":
            self._write_json({"event": "message", "text": text, **({} if code is None else {"code": code})})
        else:
            self._write(f"{_CLEAR if self._kind else ''}{text}\n")

    def end(self, summary: Mapping[str, Any] | None = None) -> None:
        """Take the line away; programs get the last figures, and what the run came to if it came to an end."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._kind == "line":
            self._write(_CLEAR)
        elif self._kind == "json":
            self._tell()
            if summary is not None:
                self._write_json({"event": "end", **summary})

    def _tell(self) -> None:
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
        """New files a second, lately."""
        if not self._marks:
            return 0.0
        (start, before), (end, after) = self._marks[0], self._marks[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def _write_json(self, document: Mapping[str, Any]) -> None:
        self._write(json.dumps(document, allow_nan=False) + "\n")

    def _write(self, text: str) -> None:
        with suppress(BrokenPipeError):  # whoever looked has gone, as head does; the work goes on
            self._stream.write(text)
            self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
