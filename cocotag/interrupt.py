"""Ctrl-C noted rather than raised, so that what is under way can be finished first. A second one does not wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self


class NotedInterrupt:
    """Notes Ctrl-C while the block runs; outside the main thread, which alone may handle signals, it notes nothing.

    Attributes:
        pressed: It was.
    """

    def __init__(self, say: Callable[[str], None], what: str) -> None:
        """Choose who tells the user that it was noted, and what is said to be finished first."""
        self.pressed = False
        self._say = say
        self._what = what
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True
        with suppress(RuntimeError):  # where stderr was just being written to
            self._say(f"Stopping after {self._what}. Ctrl-C again to stop at once.")
