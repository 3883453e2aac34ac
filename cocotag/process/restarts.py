"""What a run tells the process that watches it, so that it can be restarted after a decoder has crashed.

Native decoders can end the process on a rare file. `cocotag.cli.guard` therefore runs each command in a child process and, if
that dies abruptly, finds the guilty file and restarts the command. The two share a folder, named by `VARIABLE`: the run notes
there which files are being decoded, and after a restart reads which files to refuse. Without that folder, as in a script that
uses cocotag as a library, this module does nothing. It knows nothing of formats or decoders.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import signal
import struct
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple

from cocotag.errors import ImageError
from cocotag.path_text import show

CRASHES = frozenset(
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGKILL")
    if hasattr(signal, name)  # Windows lacks some
)
"""Signals that end a process abruptly: a fault in native code, or the system when memory runs out."""

VARIABLE = "COCOTAG_WATCHED"
"""Environment variable with the folder that a run shares with the process that watches it."""

_SLOTS, _SLOT_BYTES = 64, 4608  # decodes at once in a process; a path has at most 4,096 bytes on Linux
_LENGTH = struct.Struct("<I")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_CRASHED, _LIST, _LINES, _COMMAND = "crashed.jsonl", "list", "lines", "command.json"


class Attempt(NamedTuple):
    """The decoding of a file that was in progress when its process died.

    Attributes:
        path: The file, as given.
        kind: ``image``, ``preview`` (an image, or a smaller version in its file) or ``header``: what was being read.
        min_side: Side that was wanted, pixels, with headroom but for ``preview``; 0 for full size.
        process: Number of the dead process.
    """

    path: str
    kind: str
    min_side: int
    process: int


def watched() -> Path | None:
    """The folder that this run shares with the process that watches it; None without one."""
    folder = os.environ.get(VARIABLE)
    return Path(folder) if folder and os.path.isdir(folder) else None  # noqa: PTH112 (looked at often)


@contextmanager
def decoding(path: Path | str, kind: str = "image", min_side: int | None = None) -> Iterator[None]:
    """Note that a file is being decoded while the block runs.

    Raises:
        ImageError: ``decoder_crashed``: decoding this file has ended an earlier process of this run.
    """
    journal = _journal()
    if journal is None:
        yield
        return
    if journal.crashed and (how := journal.crashed.get(os.fspath(path))):
        raise ImageError(
            "decoder_crashed",
            f"{show(path)}: its decoder crashed ({how}). Leave it out, or save it again in another format.",
        )
    slot = journal.begin(f"{kind}\0{min_side or 0}\0".encode() + os.fsencode(path))
    try:
        yield
    finally:
        journal.end(slot)


class _Journal:
    """The files that this process is decoding, for whoever outlives it."""

    def __init__(self, folder: Path) -> None:
        self.process = os.getpid()
        self.crashed = _read_crashed(folder)
        self._memory = _mapped(folder / f"{self.process}.decoding", _SLOTS * _SLOT_BYTES)
        self._free = deque(range(0, _SLOTS * _SLOT_BYTES, _SLOT_BYTES))

    def begin(self, note: bytes) -> int | None:
        """Write a note and return its slot; None if all slots are taken or the note is too long."""
        if len(note) > _SLOT_BYTES - _LENGTH.size:
            return None
        try:
            slot = self._free.popleft()
        except IndexError:
            return None
        start = slot + _LENGTH.size
        self._memory[start : start + len(note)] = note
        _LENGTH.pack_into(self._memory, slot, len(note))  # last: a note without its length does not count
        return slot

    def end(self, slot: int | None) -> None:
        if slot is not None:
            _LENGTH.pack_into(self._memory, slot, 0)
            self._free.appendleft(slot)


def _mapped(file: Path, size: int) -> mmap.mmap:
    """A file as memory, which outlives the process."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)  # a sparse file on a full disk would end the process at the first note
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)


_opened: _Journal | None = None
_opening = threading.Lock()


def _journal() -> _Journal | None:
    """The journal of this process, opened at first use; None if nobody watches."""
    global _opened
    if _opened is not None:
        return _opened
    folder = watched()
    if folder is None:
        return None
    with _opening:
        if _opened is None:
            try:
                _opened = _Journal(folder)
            except OSError:  # the folder is gone or the disk full: go on unwatched
                del os.environ[VARIABLE]
    return _opened


def _forget() -> None:
    """In a new process: it gets a journal of its own."""
    global _opened, _opening
    _opened, _opening = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def attempts(folder: Path) -> list[Attempt]:
    """What dead processes were decoding when they died. Their journals are removed."""
    found = []
    for file in sorted(folder.glob("*.decoding")):
        process = int(file.stem)
        if _lives(process):
            continue
        memory = file.read_bytes()
        for slot in range(0, len(memory), _SLOT_BYTES):
            (length,) = _LENGTH.unpack_from(memory, slot)
            if length:
                kind, side, path = memory[slot + _LENGTH.size : slot + _LENGTH.size + length].split(b"\0", 2)
                found.append(Attempt(os.fsdecode(path), kind.decode(), int(side), process))
        file.unlink()
    return list({attempt[:2]: attempt for attempt in found}.values())


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def add_crashed(folder: Path, path: str, how: str) -> None:
    """Let the run refuse a file after a restart; ``how`` is the name of the signal."""
    with (folder / _CRASHED).open("a", encoding="utf-8") as file:
        file.write(json.dumps([path, how]) + "\n")


def _read_crashed(folder: Path) -> dict[str, str]:
    with suppress(FileNotFoundError):
        return dict(map(json.loads, (folder / _CRASHED).read_text(encoding="utf-8").splitlines()))
    return {}


def restart_as(words: Sequence[str]) -> None:
    """Set the command with which this run is restarted, without the program's name."""
    if (folder := watched()) is not None:
        part = folder / f"{_COMMAND}.part"
        with suppress(OSError):  # then it is restarted as it was started
            part.write_text(json.dumps(list(words)), encoding="utf-8")
            part.replace(folder / _COMMAND)


def restart_command(folder: Path) -> list[str] | None:
    """The command that `restart_as` set; None if it did not."""
    with suppress(FileNotFoundError):
        return list(json.loads((folder / _COMMAND).read_text(encoding="utf-8")))
    return None


def set_written(folder: Path, lines: int) -> None:
    """Tell the run, before a restart, how many lines of earlier processes have reached stdout."""
    if lines:
        (folder / _LINES).write_text(f"{lines}\n")


def written() -> int:
    """How many lines earlier processes of this run have written to stdout."""
    folder = watched()
    if folder is not None:
        with suppress(FileNotFoundError):
            return int((folder / _LINES).read_text())
    return 0


def replayed(stream: BufferedIOBase) -> BufferedIOBase:
    """A list that is read from a pipe; after a restart it begins again with what earlier processes have read of it."""
    folder = watched()
    if folder is None:
        return stream
    try:
        return io.BufferedReader(_Replayed(stream, folder / _LIST))
    except OSError:
        return stream


class _Replayed(io.RawIOBase):
    """Reads a stream, begins with the copy of an earlier process, and keeps a copy itself as long as there is room."""

    def __init__(self, stream: BufferedIOBase, copy: Path) -> None:
        self._stream = stream
        self._copy = copy.open("ab+", buffering=0)
        self._copy.seek(0)
        self._again = self._copying = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: any writable buffer
        data = self._copy.read(len(buffer)) if self._again else b""
        if not data:
            self._again = False
            data = self._stream.read1(len(buffer))
            if self._copying:
                try:
                    self._copy.write(data)
                except OSError:  # the disk is full: a restart would miss this part
                    self._copying = False
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._copy.close()
        super().close()


def end_with(parent: int) -> None:
    """Let this process be killed when its parent ends, even if that is killed itself (Linux)."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
