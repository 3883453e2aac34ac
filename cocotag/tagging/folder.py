"""Tags the files of a walk: one result per file in a state. Does not depend on output formats."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from cocotag.errors import DataError
from cocotag.inference.stream import Prediction, predict_with_all
from cocotag.inference.tagger import Tagger
from cocotag.photos.walk import Part, Walk
from cocotag.process.cores import usable_cores
from cocotag.process.interrupt import NotedInterrupt
from cocotag.tagging.decisions.failures import FIRST_FAILURES
from cocotag.tagging.progress import Progress
from cocotag.tagging.state.models import Model
from cocotag.tagging.state.stamps import hash_file, mtime_ns, stat_file
from cocotag.tagging.state.store import UNRELIABLE, Known, Result, State
from cocotag.tagging.summary import INSTALL_RAW, TagSummary, counted, skipped_text

_MOMENTARY = frozenset({"missing", "unreadable", "changed", "needs_raw"})
"""Failures that do not depend on a file's content: such a file is tried again in every run."""

_HASHERS = 8
_HASHED_TOGETHER = 32  # few, so that the first result does not wait until many files are hashed
_FINE_STAMP_NS, _COARSE_STAMP_NS = 20_000_000, 2_000_000_000
"""Resolution of modification times: two writes within it may have the same time. A kernel's tick, and FAT's two seconds."""


def tag_paths(
    taggers: Tagger | Mapping[str, Tagger],
    walk: Walk,
    state: State,
    *,
    models: Sequence[Model] | None = None,
    asked: Mapping[str, Any] | None = None,
    on_result: Callable[[Result], None] | None = None,
    rehash: bool = False,
    retry_failed: bool = False,
    full_decode: bool = False,
    progress: Progress | None = None,
) -> TagSummary:
    """Give every file of a walk a result in the state: the cached one of an unchanged file, or a new one.

    A file is unchanged if it has the size and modification time of an earlier run, and the state has its scores by every tagger
    or a failure caused by its content. A file that changes while it is tagged keeps this result until the next run, which
    tags it again. A file that is met twice counts once.

    Ctrl-C stops the work after the images in progress; cached results of the rest of the walk are still included.

    Args:
        taggers: A loaded bundle, or several by the model names of their rows.
        walk: The files.
        state: Cache of results, which receives the new ones.
        models: Descriptions of the taggers for the state; None to make them.
        asked: The arguments of the run as plain JSON, to be stored.
        on_result: Called with each result, in the order of the walk.
        rehash: Recognise an unchanged file by its content instead of its modification time; a file that was never hashed is
            tagged again.
        retry_failed: Try all failed files again.
        full_decode: Decode every picture itself, even where the camera stored a smaller version that would do.
        progress: Receives the progress.

    Raises:
        DataError: There are no images under the paths, or the state is damaged.
        OutputError: The disk is full.
    """
    named = {"": taggers} if isinstance(taggers, Tagger) else taggers
    progress = Progress(quiet=True) if progress is None else progress
    parts = iter(walk)
    first = next(parts, None)
    if first is None and walk.raw_left_out:
        raw = counted(walk.raw_left_out, "camera RAW file")
        raise DataError(
            f"There are no image files under the given paths except {raw}. To tag such files, run: {INSTALL_RAW}",
            code="no_images",
        )
    if first is None:
        others = f" {skipped_text(walk.skipped)}." if walk.skipped else ""
        raise DataError(
            f"There are no image files (.jpg, .png, .heic, ...) under the given paths.{others} Check the paths.",
            code="no_images",
        )
    if models is None:
        models = [Model.of(name, tagger, full_decode=full_decode) for name, tagger in named.items()]
    for model in state.begin(models, asked or {}):
        other = "another bundle, or without --full-decode" if full_decode else "another bundle"
        progress.say(f"{state.path} was made with {other}; {model.bundle} tags every image again.")
    summary = TagSummary(models=len(named), runs_on=getattr(next(iter(named.values())), "runs_on", ""))
    start = time.perf_counter()
    with ExitStack() as stack:
        stop = stack.enter_context(NotedInterrupt(progress.say, "the images in progress"))
        hashers = stack.enter_context(ThreadPoolExecutor(min(usable_cores(), _HASHERS))) if rehash else None
        job = _Job(chain((first,), parts), state, stop, summary, progress, on_result, hashers, retry_failed)
        stream = predict_with_all(list(named.values()), job.paths(), previews=not full_decode)
        for predictions in stack.enter_context(closing(stream)):
            job.take(predictions)
            state.commit_when_due()
    summary.stopped = job.is_stopped
    state.end(whole=not summary.stopped)
    summary.skipped, summary.raw_left_out, summary.system_folders = walk.skipped, walk.raw_left_out, walk.system_folders
    summary.idle_exclusions = [] if summary.stopped else walk.idle_exclusions
    summary.seconds = time.perf_counter() - start
    return summary


@dataclass(slots=True)
class _File:
    """A file to tag, with its status when the walk met it."""

    folder: bytes  # absolute
    name: bytes
    path: Path  # as given
    status: os.stat_result | None
    met_ns: int
    hash: bytes | None

    def stamp(self) -> tuple[int, int]:
        """Its size and modification time; `UNRELIABLE` if it has changed since, or could change without a new time."""
        now = stat_file(self.path)
        if self.status is None or now is None or _identity(now) != _identity(self.status):
            return UNRELIABLE, UNRELIABLE
        mtime = mtime_ns(self.status)
        if abs(self.met_ns - mtime) < (_FINE_STAMP_NS if mtime % 10**9 else _COARSE_STAMP_NS):
            return UNRELIABLE, UNRELIABLE
        return self.status.st_size, mtime


@dataclass(slots=True)
class _OpenPart:
    """A part of a folder in progress: the numbers of finished files, and the files to tag."""

    folder: bytes
    entries: list[int | _File]
    position: int = 0  # all entries before it are finished


class _Job:
    """A run: yields the files to tag, takes their results, and keeps all results in the order of the walk."""

    def __init__(
        self,
        parts: Iterable[Part],
        state: State,
        stop: NotedInterrupt,
        summary: TagSummary,
        progress: Progress,
        on_result: Callable[[Result], None] | None,
        hashers: ThreadPoolExecutor | None,
        retry_failed: bool,
    ) -> None:
        self._parts = parts if hashers is None else _smaller(parts)
        self._state = state
        self._stop = stop
        self._summary = summary
        self._progress = progress
        self._on_result = on_result
        self._hashers = hashers
        self._retry_failed = retry_failed
        self._open: deque[_OpenPart] = deque()
        self._in_progress: set[tuple[bytes, bytes]] = set()
        self._met = bytearray()  # a flag by file number
        self.is_stopped = False

    def paths(self) -> Iterator[Path]:
        """The files to tag. After Ctrl-C there are no more, but unchanged files are still met."""
        for part in self._parts:
            opened = self._look_up(part)
            self._open.append(opened)
            self._advance()
            files = [entry for entry in opened.entries if isinstance(entry, _File)]
            for index, file in enumerate(files):
                if self._stop.pressed:
                    self._drop(opened, files[index:])
                    break
                yield file.path
            if self._stop.pressed and self._state.is_new:  # no further file can be unchanged
                self.is_stopped = True
                return
            self._state.commit_when_due()

    def take(self, predictions: Sequence[Prediction]) -> None:
        """Take the result of the first yielded file without a result."""
        part = self._open[0]
        file = part.entries[part.position]
        assert isinstance(file, _File)
        self._in_progress.discard((file.folder, file.name))
        error = predictions[0].error  # the same for all taggers
        probs = [one.probs.astype(np.float16) for one in predictions if one.probs is not None]
        result = Result(file.path, error.code if error else "ok", str(error) if error else "", probs)
        number = self._state.put(
            file.folder, file.name, file.stamp(), hash=file.hash, status=result.status, error=result.error, probs=probs
        )
        self._mark_met(number)
        part.entries[part.position] = number
        part.position += 1
        self._count(result.status, result.error)
        self._progress.add(new=1, errors=result.status != "ok")
        if self._on_result is not None:
            self._on_result(result)
        self._advance()

    def _look_up(self, part: Part) -> _OpenPart:
        """Look up the files of a part: numbers for unchanged files, and files to tag."""
        folder = os.path.abspath(part.folder)  # noqa: PTH100 (bytes)
        known = self._state.known(folder, part.names)
        now = time.time_ns()
        prefix = part.prefix
        hashes = self._hash([prefix + name for name in part.names])
        entries: list[int | _File] = []
        errors = 0
        for name, status, hashed in zip(part.names, _stat_all(part), hashes, strict=True):
            before = known.get(name)
            if before is not None and self._is_met(before.id):
                continue
            if before is not None and self._is_unchanged(before, status, hashed):
                entries.append(before.id)
                self._mark_met(before.id)
                if before.status == "ok":
                    self._summary.ok += 1
                else:
                    errors += 1
                    named = len(self._summary.first_failures) < FIRST_FAILURES
                    error = next(self._state.results_of(part.folder, [before.id])).error if named else ""
                    self._count(before.status, error)
            elif (folder, name) not in self._in_progress:
                self._in_progress.add((folder, name))
                entries.append(_File(folder, name, Path(os.fsdecode(prefix + name)), status, now, hashed))
        found = sum(isinstance(entry, int) for entry in entries)
        self._summary.known += found
        self._summary.known_failed += errors
        self._progress.add(known=found, errors=errors)
        return _OpenPart(part.folder, entries)

    def _is_unchanged(self, before: Known, status: os.stat_result | None, hashed: bytes | None) -> bool:
        if status is None:
            return False
        if before.status == "ok":
            if before.scored < self._state.wanted:
                return False
        elif self._retry_failed or before.status in _MOMENTARY:
            return False
        stamp = status.st_size, mtime_ns(status)
        if self._hashers is None:
            return stamp == (before.size, before.mtime_ns)
        if hashed is None or hashed != before.hash:
            return False
        if stamp != (before.size, before.mtime_ns):
            self._state.is_as(before.id, stamp)
        return True

    def _hash(self, paths: Sequence[bytes]) -> Iterable[bytes | None]:
        return [None] * len(paths) if self._hashers is None else self._hashers.map(hash_file, paths)

    def _drop(self, part: _OpenPart, files: Sequence[_File]) -> None:
        """Remove files from a part without tagging them."""
        self.is_stopped = True
        dropped = set(map(id, files))
        part.entries = [entry for entry in part.entries if id(entry) not in dropped]
        self._advance()

    def _advance(self) -> None:
        """Move past finished files, part by part, up to the next file to tag."""
        while self._open:
            part = self._open[0]
            start = part.position
            done: list[int] = []
            for entry in part.entries[start:]:
                if not isinstance(entry, int):
                    break
                done.append(entry)
            part.position += len(done)
            if done and self._on_result is not None:
                for result in self._state.results_of(part.folder, done):
                    self._on_result(result)
            if part.position < len(part.entries):
                return
            self._state.met(part.folder, [entry for entry in part.entries if isinstance(entry, int)])
            self._open.popleft()

    def _count(self, status: str, error: str) -> None:
        if status == "ok":
            self._summary.ok += 1
            return
        self._summary.failed[status] += 1
        if len(self._summary.first_failures) < FIRST_FAILURES:
            self._summary.first_failures.append(error)

    def _is_met(self, file: int) -> bool:
        return file < len(self._met) and bool(self._met[file])

    def _mark_met(self, file: int) -> None:
        if file >= len(self._met):
            self._met.extend(bytes(file + 1 - len(self._met) + len(self._met) // 4))
        self._met[file] = 1


def _smaller(parts: Iterable[Part]) -> Iterator[Part]:
    for part in parts:
        for start in range(0, len(part.names), _HASHED_TOGETHER):
            yield Part(part.folder, part.names[start : start + _HASHED_TOGETHER])


def _stat_all(part: Part) -> list[os.stat_result | None]:
    """The status of each file of a part, relative to its open folder, so that the path is resolved only once."""
    try:
        folder = os.open(part.folder or b".", os.O_RDONLY | os.O_DIRECTORY)
    except (OSError, ValueError, AttributeError):  # AttributeError: Windows has no such flag
        return [stat_file(part.prefix + name) for name in part.names]
    try:
        return [stat_file(name, folder) for name in part.names]
    finally:
        os.close(folder)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    """Values that differ after any change of a file, even if the old modification time is restored."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
