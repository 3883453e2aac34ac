"""The entry point of the command: it runs the command in a child process and restarts it if a decoder crashes.

Native decoders can end a process on a rare file (SIGSEGV, SIGABRT), and so can the system when memory runs out (SIGKILL). The
child notes which files it is decoding (`cocotag.process.restarts`). After such a death, each of them is tried in a process of
its own; the guilty one is refused from then on, with the code ``decoder_crashed``, and the command runs again: results that
were kept are not computed again. This process stays small, because it forks before anything large is imported.

Only on Linux: elsewhere, the command runs in this process and a crash ends it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence, Set
from contextlib import suppress
from pathlib import Path

from cocotag.process.restarts import (
    CRASHES,
    VARIABLE,
    Attempt,
    add_crashed,
    attempts,
    end_with,
    restart_command,
    set_written,
)

MOST_UNEXPLAINED = 3
"""Abrupt ends without a guilty file after which the command gives up."""

_READER_SECONDS = 2.0  # that the reader of stdout has for the rest, after the command was stopped
_STOPPING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
_FORWARDED = (*_STOPPING, "SIGUSR1", "SIGUSR2")


def main() -> int:
    """Run the command of ``sys.argv``, and return its exit status."""
    words = sys.argv[1:]
    folder = _shared_folder()
    if folder is None:
        return _run(words)
    os.environ[VARIABLE] = str(folder)
    status = _watch(words, folder)
    if status is None:  # this is the child
        return _run(restart_command(folder) or words)
    _remove(folder)
    if os.WIFSIGNALED(status):  # end as the command did, for whoever waits for it
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {os.WTERMSIG(status)})
        os.kill(os.getpid(), os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status)


def _run(words: Sequence[str]) -> int:
    from cocotag.cli.main import main as run

    return run(words)


def _shared_folder() -> Path | None:
    """A new folder for the notes of the run; None if it is not to be watched.

    A process that a watched run has started, as Lightning does for a second GPU, is watched by the same parent.
    """
    if sys.platform != "linux" or VARIABLE in os.environ:
        return None
    place = Path(os.environ.get("TMPDIR") or "/tmp")
    for old in place.glob("cocotag-*-????????"):  # of runs that were killed together with their parent
        number = old.name.split("-")[1]
        if number.isdigit() and not Path(f"/proc/{number}").exists():
            _remove(old)
    folder = place / f"cocotag-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        folder.mkdir(mode=0o700)
    except OSError:
        return None
    return folder


def _remove(folder: Path) -> None:
    with suppress(OSError):  # another program may clean up too
        for file in folder.iterdir():
            file.unlink(missing_ok=True)
        folder.rmdir()


def _watch(words: Sequence[str], folder: Path) -> int | None:
    """Start children until one ends by itself; return its wait status, or None in a child."""
    forwarded = {number for name in _FORWARDED if signal.getsignal(number := getattr(signal, name)) is not signal.SIG_IGN}
    stopping = forwarded & {getattr(signal, name) for name in _STOPPING}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, forwarded | {signal.SIGCHLD})
    children = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, no child could be waited for
    parent = os.getpid()
    relay = _Relay(stopping) if sys.stdout is not None and ("-" in words or "--out=-" in words) else None
    suspects: set[str] = set()
    unexplained = 0
    while True:
        if relay:
            relay.open()
        child = os.fork()
        if child == 0:
            end_with(parent)
            signal.signal(signal.SIGCHLD, children)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            if relay:
                relay.use()
            return None
        if relay:
            relay.start()
        status, seen = _wait(child, forwarded)
        if relay and (instead := relay.finish(whole=not os.WIFSIGNALED(status), stopped=bool(seen & stopping))) is not None:
            return instead if instead else status
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) not in CRASHES:
            return status
        how = signal.Signals(os.WTERMSIG(status)).name
        tried = attempts(folder)
        guilty = _guilty(tried, how, suspects)
        stop = (seen | signal.sigpending()) & stopping
        if stop:  # the user has stopped it
            return int(min(stop))
        suspects = {attempt.path for attempt in tried}
        unexplained = 0 if guilty else unexplained + 1
        if unexplained == MOST_UNEXPLAINED:
            memory = " Perhaps memory ran out." if how == "SIGKILL" else ""
            text = f"The command was ended by {how} {unexplained} times, and no image was found to be the cause.{memory}"
            _say(words, f"cocotag: {text} What was finished is kept.", how)
            return 2 << 8
        try:
            for path, its in guilty.items():
                add_crashed(folder, path, its)
            set_written(folder, relay.lines if relay else 0)
        except OSError as error:
            _say(words, f"cocotag: {folder} cannot be written ({error.strerror}), so the command cannot go on.", how)
            return 2 << 8
        named = ", ".join(repr(path) if not path.isprintable() else path for path in guilty)
        about = f"Decoding {named} ended the process ({how})" if guilty else f"The process was ended by {how}"
        _say(words, f"cocotag: {about}. The command starts again{' and leaves it out' if guilty else ''}.", how)


class _Relay:
    """Passes the lines of children on to stdout, whole and counted: so none is written twice after a restart.

    Attributes:
        lines: How many were written.
    """

    def __init__(self, stopping: Set[int]) -> None:
        """Set the signals after which a reader is no longer waited for."""
        self.lines = 0
        self._stopping = stopping
        self._rest = b""
        self._error: OSError | None = None

    def open(self) -> None:
        """Make the pipe for the next child."""
        self._source, self._target = os.pipe()

    def use(self) -> None:
        """In the child: write to the pipe instead of stdout."""
        os.close(self._source)
        os.dup2(self._target, 1)
        os.close(self._target)
        encoding = sys.stdout.encoding
        sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115 (the old one may have been a file)

    def start(self) -> None:
        """In the parent, after the fork: pass lines on, in a thread."""
        os.close(self._target)
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self._thread.start()

    def finish(self, *, whole: bool, stopped: bool) -> int | None:
        """Pass on what a child has left, if it ended by itself also an unfinished line.

        Args:
            whole: Whether the child ended by itself.
            stopped: Whether the user has stopped the command: then a reader that does not read is not waited for.

        Returns:
            None to go on; else the wait status to end with, 0 for that of the child.
        """
        end = time.monotonic() + _READER_SECONDS
        while self._thread.is_alive():
            self._thread.join(0.1)
            pending = signal.sigpending() & self._stopping
            if pending:
                return int(min(pending))
            if stopped and time.monotonic() > end:
                return 0
        if whole and self._rest and not self._error:
            self._write(self._rest)
        self._rest = b""
        if self._error is None or isinstance(self._error, BrokenPipeError):  # the reader, such as head, has exited
            return None
        print(f"cocotag: stdout cannot be written ({self._error.strerror}). Free some space.", file=sys.stderr)
        return 2 << 8

    def _pass_on(self) -> None:
        try:
            while self._error is None and (block := os.read(self._source, 2**16)):
                whole, end, self._rest = (self._rest + block).rpartition(b"\n")
                self._write(whole + end)
                self.lines += whole.count(b"\n") + len(end)
        finally:
            os.close(self._source)  # if there was an error, the child gets EPIPE

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(1, data) :]
        except OSError as error:
            self._error = error


def _guilty(tried: Sequence[Attempt], how: str, suspects: set[str]) -> dict[str, str]:
    """The files that end a process, each with the signal: alone, or by being decoded at two such ends in a row."""
    from cocotag.photos.trial import crash

    alone = {attempt.path: its for attempt in tried if (its := crash(attempt))}
    return alone or {attempt.path: how for attempt in tried if attempt.path in suspects}


def _wait(child: int, forwarded: Set[int]) -> tuple[int, set[int]]:
    """Wait for a child; meanwhile forward signals that were sent to this process alone.

    Returns:
        Its wait status, and the signals that came.
    """
    seen: set[int] = set()
    while True:
        info = signal.sigtimedwait(forwarded | {signal.SIGCHLD}, 1.0)
        if info is None or info.si_signo == signal.SIGCHLD:
            process, status = os.waitpid(child, os.WNOHANG)
            if process:
                return status, seen
            continue
        seen.add(info.si_signo)
        if info.si_code <= 0:  # sent by a process; a terminal's Ctrl-C has reached the child too
            os.kill(child, info.si_signo)


def _say(words: Sequence[str], text: str, how: str) -> None:
    if sys.stderr is None:
        return
    if "--json-log" in words:
        text = json.dumps({"event": "message", "text": text, "code": "decoder_crashed", "signal": how})
    elif sys.stderr.isatty():
        text = f"\n{text}"  # the progress may have left an unfinished line
    print(text, file=sys.stderr, flush=True)
