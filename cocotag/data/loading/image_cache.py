"""Downscaled copies of a data set's images, created on first use, so that an epoch decodes far fewer pixels.

The copy of ``ROOT/SPLIT/NAME`` is ``ROOT/.cocotag/images-SIDE/SPLIT/NAME``: a JPEG whatever its name, upright, with SIDE
pixels on its shorter side. If ROOT cannot be written, the copies are in the user's cache folder. SIDE is `MARGIN` times the
network's input. A random crop with the share ``a`` of a square photograph's area is enlarged ``1 / (MARGIN * sqrt(a))`` times:
not at all down to three quarters of the photograph, 1.23 times at a half, 1.74 times at a quarter; less if the photograph is
not square. An image that is not larger than its copy would be is read directly.

A journal beside the copies stores the size and times of each image's file when it was copied, and the size of the copy. If any
of these differ, the copy is made again: an interrupted run resumes, a changed image gets a new copy, a truncated or deleted
copy is replaced. Copies are written atomically, so two processes may make the same ones. All copies may be deleted at any time.

Does not depend on labels or torch.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import signal
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from tqdm import tqdm

from cocotag.data.table_cache import user_folder
from cocotag.errors import DataError, ImageError, Interrupted, OutputError
from cocotag.files import write_text
from cocotag.photos.decode import decode
from cocotag.process.cores import usable_cores

MARGIN = 1.15
"""Shorter side of a copy divided by the side of the network's input."""

QUALITY = 92
SUBSAMPLING = "420"
"""JPEG quality and chroma subsampling of the copies. Lower quality changes the network's inputs, higher quality takes longer to
decode: see ``scripts/research/measure_decode_effect.py``."""

MAX_JPEG_SIDE = 65_500  # libjpeg's limit, pixels

JOURNAL = "copies-1.jsonl"
"""The number changes with the method of making copies, so that copies of another version are made again."""

FLUSH_SECONDS = 1.0  # the work that a killed process loses
ABANDONED_SECONDS = 3600  # age of a partial file after which no process is writing it any more
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Entry(NamedTuple):
    """The journal's entry of an image."""

    size: int  # of its file, bytes
    mtime_ns: int  # of its file
    ctime_ns: int  # of its file; it cannot be set back
    copy: int  # size of the copy, bytes; 0 if the image is small and is read directly


@dataclass(slots=True)
class _Place:
    """A folder of copies, and the entries of its journal by name in the folder."""

    folder: str
    entries: dict[str, Entry]


class _Image(NamedTuple):
    row: int
    path: str
    name: str  # path below its root, and of its copy below the folder of copies


class _Job(NamedTuple):
    image: _Image
    place: _Place


def copy_side(image_size: int) -> int:
    """Shorter side of the copies for a network's input size, pixels."""
    return math.ceil(MARGIN * image_size)


def shrunken(image: NDArray[np.uint8], side: int, *, quality: int = QUALITY, subsampling: str = SUBSAMPLING) -> bytes | None:
    """The JPEG file of a copy of ``(H, W, 3)`` RGB uint8, with ``side`` pixels on the shorter side.

    None if the copy would not be smaller, or would be too long for a JPEG.
    """
    height, width = image.shape[:2]
    factor = min(height, width) / side
    size = max(1, round(width / factor)), max(1, round(height / factor))
    if factor <= 1 or max(size) > MAX_JPEG_SIDE:
        return None
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    data: bytes = simplejpeg.encode_jpeg(small, quality=quality, colorspace="RGB", colorsubsampling=subsampling)
    return data


def cached_paths(paths: Sequence[Path], roots: Sequence[Path | str], image_size: int) -> NDArray[np.bytes_]:
    """The paths of the images' copies, which are created if missing or out of date; small images have no copy.

    Shows progress on stderr, and reports there the folder and size of the copies.

    Args:
        paths: The images.
        roots: Folders of the data sets; each image is below one of them.
        image_size: Side of the network's input, pixels.

    Returns:
        File system paths ``(N,)`` of the copies, or of the images without one; as bytes, because numpy's text would take four
        times the memory.

    Raises:
        DataError: Images cannot be read; all the others have their copies then.
        OutputError: The copies cannot be written anywhere, or the disk is full.
        Interrupted: Ctrl-C was pressed. The finished copies are kept.
        ValueError: An image is not below any of the roots.
    """
    side = copy_side(image_size)
    chosen = [(*_choose(root, images, side), images) for root, images in _by_root(paths, roots).items()]
    jobs = [_Job(image, place) for place, missing, _ in chosen for image in missing]
    if jobs:
        _make_all(jobs, side)
    found = np.empty(len(paths), object)
    for place, _, images in chosen:
        for image in images:
            found[image.row] = os.fsencode(f"{place.folder}/{image.name}" if place.entries[image.name].copy else image.path)
        sizes = [place.entries[image.name].copy for image in images]
        copies = len(sizes) - sizes.count(0)
        rest = f", {sizes.count(0)} are small and read directly" if copies < len(sizes) else ""
        new = sum(job.place is place for job in jobs)
        tqdm.write(
            f"{copies} images are read as copies with {side} pixels on the shorter side{rest}: {sum(sizes) / 1e6:.1f} MB in "
            f"{place.folder} ({new} new).",
            file=sys.stderr,
        )
    return found.astype(np.bytes_)


def _by_root(paths: Sequence[Path], roots: Sequence[Path | str]) -> dict[str, list[_Image]]:
    tops = sorted({os.path.abspath(root) for root in roots}, key=len, reverse=True)  # noqa: PTH100 (keeps the user's links)
    found: dict[str, list[_Image]] = {}
    folders: dict[str, tuple[str, str]] = {}  # many images, few folders
    for row, path in enumerate(paths):
        head, tail = os.path.split(path)
        if head not in folders:
            folders[head] = _below(head, tops)
        top, middle = folders[head]
        found.setdefault(top, []).append(_Image(row, str(path), middle + tail))
    return found


def _below(folder: str, tops: list[str]) -> tuple[str, str]:
    """The first root that contains a folder, and the path below that root: empty, or ending with a slash."""
    absolute = Path(os.path.abspath(folder))  # noqa: PTH100
    for top in tops:
        if absolute.is_relative_to(top):
            middle = absolute.relative_to(top).as_posix()
            return top, "" if middle == "." else f"{middle}/"
    raise ValueError(f"{folder} is not below any of {', '.join(tops)}.")


def _choose(root: str, images: list[_Image], side: int) -> tuple[_Place, list[_Image]]:
    """The folder of a root's copies, and the missing ones: the first folder that has all, else the first writable one."""
    candidates = []
    for base, folder in _folders(root, side):
        if not _is_free_of_links(base, folder, images):
            continue
        place = _Place(folder, _read_journal(folder))
        missing = [image for image in images if not _is_current(place, image)]
        if not missing:
            return place, []
        candidates.append((place, missing))
    for place, missing in candidates:
        if _prepare(place.folder):
            return place, missing
    tried = " or ".join(folder for _, folder in _folders(root, side))
    raise OutputError(
        f"Copies of the images cannot be written to {tried}. Make one of them writable, or set data.cache_images false.",
        code="not_writable",
    )


def _folders(root: str, side: int) -> Iterator[tuple[str, str]]:
    """The possible folders of the copies, the preferred one first, each with the trusted folder that contains it."""
    yield root, f"{root.rstrip('/')}/.cocotag/images-{side}"
    if (home := user_folder()) is not None:
        digest = hashlib.sha256(os.fsencode(Path(root).resolve())).hexdigest()[:16]
        yield str(home), f"{home}/{Path(root).name[:100]}-{digest}/images-{side}"


def _is_free_of_links(base: str, folder: str, images: list[_Image]) -> bool:
    """Whether copies would be written inside ``base``: an untrusted data set may contain links that lead elsewhere."""
    below = os.path.relpath(folder, base)
    paths = {f"{below}/{os.path.dirname(image.name)}".rstrip("/") for image in images} | {f"{below}/{JOURNAL}"}  # noqa: PTH120
    top = os.path.realpath(base)
    return all(os.path.realpath(f"{base}/{path}") == f"{top.rstrip('/')}/{path}" for path in paths)


def _prepare(folder: str) -> bool:
    """Create a folder for copies; return whether it can be written."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with (path / JOURNAL).open("ab") as journal:
            journal.write(b"\n")  # the last line may be incomplete
        if path.parent.name == ".cocotag" and not (path.parent / ".gitignore").exists():
            write_text(path.parent / ".gitignore", "*\n")
    except (OSError, OutputError):
        return False
    for part in path.glob("*.part"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
                part.unlink()
    return True


def _read_journal(folder: str) -> dict[str, Entry]:
    """The last entry of each image. Incomplete lines of killed processes are ignored."""
    try:
        lines = Path(folder, JOURNAL).read_bytes().splitlines()
    except OSError:
        return {}
    entries: dict[str, Entry] = {}
    for line in lines:
        with suppress(ValueError, TypeError, RecursionError, OverflowError):
            name, *numbers = json.loads(line)
            entries[name] = Entry(*map(int, numbers))
    return entries


def _is_current(place: _Place, image: _Image) -> bool:
    """Whether an image has an up-to-date copy, by the journal and the files."""
    entry = place.entries.get(image.name)
    if entry is None:
        return False
    try:
        # os.stat, because Path.stat is slow for two times a hundred thousand files.
        look = os.stat(image.path)  # noqa: PTH116
        if (look.st_size, look.st_mtime_ns, look.st_ctime_ns) != (entry.size, entry.mtime_ns, entry.ctime_ns):
            return False
        if not entry.copy:
            return True
        copy = os.lstat(f"{place.folder}/{image.name}")
        return stat.S_ISREG(copy.st_mode) and copy.st_size == entry.copy
    except OSError:
        return False


def _make_all(jobs: list[_Job], side: int) -> None:
    """Make copies on all cores, and add each to its folder's entries and journal.

    Raises:
        DataError: Images cannot be read; all others have copies then.
        OutputError: The disk is full.
        Interrupted: Ctrl-C was pressed.
    """
    threads = usable_cores()
    failures: list[str] = []
    waiting = iter(jobs)
    pending: deque[tuple[_Job, Future[Entry]]] = deque()
    journals = _Journals()
    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one image per thread is faster than many threads per image
    pool = ThreadPoolExecutor(threads, thread_name_prefix="cocotag-shrink")
    bar = tqdm(total=len(jobs), desc="Shrinking images, once", unit="image", smoothing=0.1, disable=None)
    try:
        with _interruptible():
            while True:
                while len(pending) < 4 * threads and (job := next(waiting, None)):
                    pending.append((job, pool.submit(_make, job, side)))
                if not pending:
                    break
                job, future = pending[0]
                try:
                    journals.add(job, future.result())
                except ImageError as error:
                    failures.append(str(error))
                pending.popleft()
                bar.update()
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped. {journals.count} of {len(jobs)} copies are finished and kept in {jobs[0].place.folder}. "
            "Run the same command to resume.",
            code="interrupted",
        ) from None
    except OSError as error:
        raise _failure(error, jobs, journals) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        journals.close()
        bar.close()
        cv2.setNumThreads(opencv_threads)
    if failures:
        raise DataError(
            f"{len(failures)} images cannot be read; the others have their copies now. The first: {failures[0]} "
            "Remove it from the annotations, or run: cocotag check ROOT --split SPLIT",
            code="images_unreadable",
        )


def _failure(error: OSError, jobs: list[_Job], journals: _Journals) -> OutputError:
    place = jobs[0].place.folder
    if error.errno not in _NO_ROOM:
        return OutputError(
            f"{error.filename or place} cannot be written ({error.strerror or error}). Check the folder and disk.",
            code="not_writable",
        )
    need = (len(jobs) - journals.count) * journals.bytes / max(1, journals.count) / 1e6
    about = f" (about {need:.0f} MB)" if need else ""
    return OutputError(
        f"The disk of {place} is full after {journals.count} of {len(jobs)} copies. Free some space{about} and run the same "
        "command to resume, or set data.cache_images false and delete that folder.",
        code="disk_full",
    )


def _make(job: _Job, side: int) -> Entry:
    """Make one copy.

    Raises:
        ImageError: The image cannot be read.
        OSError: The copy cannot be written.
    """
    image, place = job
    try:
        look = os.stat(image.path)  # noqa: PTH116
    except OSError:
        decode(image.path)  # raises an ImageError with the reason
        raise
    data = shrunken(decode(image.path, min_side=side), side)
    if data is None:
        return Entry(look.st_size, look.st_mtime_ns, look.st_ctime_ns, 0)
    copy = Path(place.folder, image.name)
    copy.parent.mkdir(parents=True, exist_ok=True)
    part = Path(place.folder, f"{uuid4().hex}.part")  # not beside the copy: its name may have the maximum length
    try:
        part.write_bytes(data)
        part.replace(copy)
    finally:
        part.unlink(missing_ok=True)
    return Entry(look.st_size, look.st_mtime_ns, look.st_ctime_ns, len(data))


@dataclass(slots=True)
class _Journals:
    """Appends finished copies to the journals of their folders, several lines per write."""

    count: int = 0
    bytes: int = 0
    _lines: dict[str, list[str]] = field(default_factory=dict)
    _written: float = field(default_factory=time.monotonic)

    def add(self, job: _Job, entry: Entry) -> None:
        """Record that an image has its copy."""
        job.place.entries[job.image.name] = entry
        self.count += 1
        self.bytes += entry.copy
        self._lines.setdefault(job.place.folder, []).append(json.dumps([job.image.name, *entry]))
        if time.monotonic() - self._written > FLUSH_SECONDS:
            self._flush()

    def close(self) -> None:
        """Write the remaining lines; if that fails, these copies are made again later."""
        with suppress(OSError):
            self._flush()

    def _flush(self) -> None:
        for folder, lines in self._lines.items():
            with Path(folder, JOURNAL).open("ab", buffering=0) as journal:
                journal.write(("\n".join(lines) + "\n").encode())
        self._lines.clear()
        self._written = time.monotonic()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C stop this at once, although the trainer handles it at the end of a step."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
