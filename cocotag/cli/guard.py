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
from collections.abc import Sequence
from pathlib import Path

from cocotag.process.restarts import VARIABLE, Attempt, add_crashed, attempts, restart_command, set_written

ABRUPT = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGKILL}
"""Signals after which a run is restarted."""

MOST_UNEXPLAINED = 3
"""Abrupt ends without a guilty file after which the command gives up."""

_FORWARDED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


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
    for file in folder.iterdir():
        file.unlink(missing_ok=True)
    folder.rmdir()
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
    folder = Path(os.environ.get("TMPDIR") or "/tmp", f"cocotag-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        folder.mkdir(mode=0o700)
    except OSError:
        return None
    return folder


def _watch(words: Sequence[str], folder: Path) -> int | None:
    """Start children until one ends by itself; return its wait status, or None in a child."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED | {signal.SIGCHLD})
    parent = os.getpid()
    relay = _Relay() if sys.stdout is not None and ("-" in words or "--out=-" in words) else None
    suspects: set[str] = set()
    unexplained = 0
    while True:
        if relay:
            set_written(folder, relay.lines)
            relay.open()
        child = os.fork()
        if child == 0:
            _end_with(parent)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            if relay:
                relay.use()
            return None
        if relay:
            relay.start()
        status = _wait(child)
        if relay and relay.finish(whole=not os.WIFSIGNALED(status)):
            return 2 << 8
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) not in ABRUPT:
            return status
        how = signal.Signals(os.WTERMSIG(status)).name
        tried = attempts(folder)
        guilty = _guilty(tried, how, suspects)
        for path, its in guilty.items():
            add_crashed(folder, path, its)
        suspects = {attempt.path for attempt in tried}
        unexplained = 0 if guilty else unexplained + 1
        if signal.sigpending() & _FORWARDED:  # the user has stopped it meanwhile
            return signal.SIGINT
        if unexplained == MOST_UNEXPLAINED:
            memory = " Perhaps memory ran out." if how == "SIGKILL" else ""
            text = f"The command was ended by {how} {unexplained} times, and no image was found to be the cause.{memory}"
            _say(words, f"cocotag: {text} What was finished is kept.", how)
            return 2 << 8
        named = ", ".join(repr(path) if not path.isprintable() else path for path in guilty)
        about = f"Decoding {named} ended the process ({how})" if guilty else f"The process was ended by {how}"
        _say(words, f"cocotag: {about}. The command goes on{' without it' if guilty else ''}.", how)


class _Relay:
    """Passes the lines of children on to stdout, whole and counted: so none is written twice after a restart.

    Attributes:
        lines: How many were written.
    """

    def __init__(self) -> None:
        self.lines = 0
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
        self._thread = threading.Thread(target=self._pass_on)
        self._thread.start()

    def finish(self, *, whole: bool) -> bool:
        """Pass on what a child has left, if it ended by itself also an unfinished line.

        Returns:
            Whether stdout could not be written, and this was said.
        """
        self._thread.join()
        if whole and self._rest and not self._error:
            self._write(self._rest)
        self._rest = b""
        if self._error is None or isinstance(self._error, BrokenPipeError):  # the reader, such as head, has exited
            return False
        print(f"cocotag: stdout cannot be written ({self._error.strerror}). Free some space.", file=sys.stderr)
        return True

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


def _wait(child: int) -> int:
    """Wait for a child; meanwhile forward signals that were sent to this process alone."""
    while True:
        info = signal.sigtimedwait(_FORWARDED | {signal.SIGCHLD}, 1.0)
        if info is None or info.si_signo == signal.SIGCHLD:
            process, status = os.waitpid(child, os.WNOHANG)
            if process:
                return status
        elif info.si_code <= 0:  # sent by a process; a terminal's Ctrl-C has reached the child too
            os.kill(child, info.si_signo)


def _end_with(parent: int) -> None:
    """Let this process be killed when its parent ends, even if that is killed itself."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _say(words: Sequence[str], text: str, how: str) -> None:
    if sys.stderr is None:
        return
    if "--json-log" in words:
        text = json.dumps({"event": "message", "text": text, "code": "decoder_crashed", "signal": how})
    elif sys.stderr.isatty():
        text = f"\n{text}"  # the progress may have left an unfinished line
    print(text, file=sys.stderr, flush=True)
