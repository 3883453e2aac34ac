"""Ctrl-C recorded instead of raised, so that the current step can finish first. A second Ctrl-C stops at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

_ONCE_SECONDS = 0.3  # a signal to the whole process group arrives twice: by itself, and forwarded by the parent


class NotedInterrupt:
    """Records Ctrl-C while the block runs; outside the main thread, which alone may handle signals, it does nothing.

    Attributes:
        pressed: Whether Ctrl-C was pressed.
    """

    def __init__(self, say: Callable[[str], None], what: str) -> None:
        """Set how to tell the user that Ctrl-C was recorded (``say``), and what finishes first (``what``)."""
        self.pressed = False
        self._say = say
        self._what = what
        self._before: Any = None
        self._noted = 0.0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.pressed:
            if now - self._noted > _ONCE_SECONDS:
                raise KeyboardInterrupt
            return
        self.pressed, self._noted = True, now
        with suppress(RuntimeError):  # stderr was being written to at this moment
            self._say(f"Stopping after {self._what}. Press Ctrl-C again to stop at once.")
