"""Whether decoding a file ends the process: it is tried in a process of its own."""

from __future__ import annotations

import os
import signal

from cocotag.process.restarts import CRASHES, VARIABLE, Attempt, end_with

SECONDS = 120
"""A trial that takes longer is ended: a file that is slow is not guilty."""


def crash(attempt: Attempt) -> str:
    """Repeat an attempt in a new process, whose output is discarded.

    Returns:
        The name of the signal that ended the process, such as ``SIGSEGV``; empty if it ended by itself, or was stopped.
    """
    parent = os.getpid()
    process = os.fork()
    if process == 0:
        _try(attempt, parent)
    _, status = os.waitpid(process, 0)
    crashed = os.WIFSIGNALED(status) and os.WTERMSIG(status) in CRASHES
    return signal.Signals(os.WTERMSIG(status)).name if crashed else ""


def _try(attempt: Attempt, parent: int) -> None:
    """Decode as in the attempt and end this process."""
    try:
        end_with(parent)
        signal.alarm(SECONDS)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.environ.pop(VARIABLE, None)  # this process is not part of the run
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)

        from cocotag.photos.decode import decode
        from cocotag.photos.header import read_header

        if attempt.kind == "header":
            read_header(attempt.path, metadata=True)
        elif attempt.kind == "preview":
            decode(attempt.path, min_side=attempt.min_side or None, previews=True)
        else:
            decode(attempt.path, min_side=attempt.min_side or None, headroom=1)
    finally:
        os._exit(0)  # any error of Python's is no crash
