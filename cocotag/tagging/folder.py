"""Paths -> a stream of results, one for every file: walk, decode, batch. Knows no output format."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cocotag import raw
from cocotag.cores import usable_cores
from cocotag.errors import DataError, ImageError
from cocotag.images import FORMATS, load_square
from cocotag.tagging.outputs import Row, Writer
from cocotag.tagging.tagger import Tagger, check_top_k, decide, make_tags

IMAGE_SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
"""Endings that are taken for images in a folder, in either case. A file that is named is taken whatever its ending."""

BATCH_SIZE = 4  # on CPU larger batches are no faster for a MobileNet, and hold more memory
MAX_DECODERS = 8  # as many decode faster than the network of any CPU takes
FIRST_FAILURES = 3
_INSTALL_RAW = "pip install 'cocotag[raw]'"


Squares = dict[int, NDArray[np.uint8]]
"""An image as the square inputs that are wanted of it, by their side."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one file came to: probabilities ``(C,)``, or the error that names why there are none."""

    path: Path
    probs: NDArray[np.float32] | None = None
    error: ImageError | None = None


@dataclass(slots=True)
class TagSummary:
    """What a run came to.

    Attributes:
        ok: Files that were tagged, be it with no tag.
        failed: Files that could not be, by reason.
        first_failures: The messages of the first of them.
        raw_left_out: Camera RAW files that were left out, as `find_images` says; no fault, for they often lie beside a JPEG.
        seconds: From the first file to the last, wall clock.
        models: Taggers that each file was given to.
    """

    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    first_failures: list[str] = field(default_factory=list)
    raw_left_out: int = 0
    seconds: float = 0.0
    models: int = 1

    @property
    def total(self) -> int:
        """Files in all."""
        return self.ok + self.failed.total()

    def to_text(self) -> str:
        """A line of counts, and one for each of the first failures."""
        by = f" by {self.models} models" if self.models > 1 else ""
        rate = self.total / self.seconds if self.seconds else 0.0
        lines = [f"{self.ok} of {self.total} images tagged{by} in {self.seconds:.1f} s ({rate:.1f} images/s)"]
        if self.failed:
            counts = ", ".join(f"{count} {reason}" for reason, count in self.failed.most_common())
            lines[0] += f"; failed: {counts}"
            more = self.failed.total() - len(self.first_failures)
            lines += [f"  {message}" for message in self.first_failures] + ([f"  and {more} more"] if more else [])
        if self.raw_left_out:
            lines.append(f"{self.raw_left_out} camera RAW files left out. To tag them too: {_INSTALL_RAW}")
        return "\n".join(lines)


def find_images(paths: Iterable[Path | str], *, left_out: list[Path] | None = None) -> Iterator[Path]:
    """Find the image files under some paths, in an order that depends on the names alone.

    A folder is walked with all below it, sorted by name, and gives its files with a known ending. Hidden files and
    folders (a leading dot) are left out unless they are named. Links to folders are followed; each folder is walked
    once however many ways lead there, so loops end. A folder that may not be listed is given itself, so that it gets its
    error as a file would.

    Camera RAW files in a folder are taken where the extra ``raw`` is installed, each for itself, also beside a JPEG of the
    same name. Where it is not, they are left out: each would only fail, and most who shoot RAW and JPEG have the picture
    anyway.

    Args:
        paths: Files and folders; a file is always taken.
        left_out: Gets the camera RAW files that are left out.

    Returns:
        The files, each as the path given and the way from there.

    Raises:
        DataError: One of the paths does not exist. Raised at once, before anything is walked.
    """
    starts = [Path(path) for path in paths]
    missing = [str(path) for path in starts if not os.path.lexists(path)]
    if missing:
        raise DataError(f"{', '.join(map(repr, missing[:3]))}: {len(missing)} of {len(starts)} paths do not exist. Check them.")
    seen: set[tuple[int, int]] = set()
    found = (file for start in starts for file in (_walk(start, seen) if start.is_dir() else (start,)))
    if raw.available():
        return found
    return _without_raw(found, frozenset(starts), [] if left_out is None else left_out)


def _without_raw(files: Iterator[Path], named: frozenset[Path], left_out: list[Path]) -> Iterator[Path]:
    for file in files:
        if file in named or file.suffix.lower() not in FORMATS["RAW"]:
            yield file
        else:
            left_out.append(file)


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        entries = sorted(folder.iterdir())
    except OSError:
        yield folder
        return
    for path in entries:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, seen)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield path


def predict_files(
    tagger: Tagger, paths: Iterable[Path], *, batch_size: int = BATCH_SIZE, decoders: int | None = None
) -> Iterator[Prediction]:
    """Run a tagger over files: exactly one result for each, in their order.

    Files are decoded in threads (OpenCV and Pillow release the GIL) while the network runs on the batch before. At most
    three batches of decoded images are held, so memory does not grow with the number of files. Closing the generator
    ends the threads.

    Args:
        tagger: A loaded bundle.
        paths: Image files; what cannot be decoded gives its `ImageError` and stops nothing.
        batch_size: Files per run of the network, >= 1. The scores do not depend on it beyond rounding.
        decoders: Threads that decode; by default one per core, at most `MAX_DECODERS`.

    Raises:
        ValueError: ``batch_size`` or ``decoders`` is below 1.
    """
    return _firsts(predict_with_all([tagger], paths, batch_size=batch_size, decoders=decoders))


def _firsts(groups: Generator[list[Prediction]]) -> Iterator[Prediction]:
    with closing(groups):  # when this one is closed
        for group in groups:
            yield group[0]


def predict_with_all(
    taggers: Sequence[Tagger], paths: Iterable[Path], *, batch_size: int = BATCH_SIZE, decoders: int | None = None
) -> Generator[list[Prediction]]:
    """Run several taggers over files, as `predict_files` does one: for each file a prediction of each, in their order.

    A file is decoded once for each input size that there is among the taggers, so each gets what it would get alone.
    """
    if decoders is None:
        decoders = min(usable_cores(), MAX_DECODERS)
    if batch_size < 1 or decoders < 1:
        raise ValueError(f"batch_size is {batch_size} and decoders {decoders}; both must be at least 1.")
    return _predict_files(taggers, iter(paths), batch_size, decoders)


def _predict_files(
    taggers: Sequence[Tagger], paths: Iterator[Path], batch_size: int, decoders: int
) -> Generator[list[Prediction]]:
    sides = {tagger.metadata.image_size for tagger in taggers}
    pool = ThreadPoolExecutor(decoders, thread_name_prefix="cocotag-decode")
    pending: deque[tuple[Path, Future[Squares]]] = deque()
    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one image per thread is faster than many threads per image
    try:
        while True:
            wanted = 2 * batch_size + decoders - len(pending)
            pending.extend((path, pool.submit(_load_squares, path, sides)) for path in islice(paths, wanted))
            if not pending:
                return
            batch = [pending.popleft() for _ in range(min(batch_size, len(pending)))]
            yield from _predict_batch(taggers, batch)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(opencv_threads)


def _load_squares(path: Path, sides: Iterable[int]) -> Squares:
    return {side: load_square(path, side) for side in sides}


def _predict_batch(taggers: Sequence[Tagger], batch: list[tuple[Path, Future[Squares]]]) -> list[list[Prediction]]:
    images: list[Squares] = []
    errors: dict[int, ImageError] = {}
    for place, (_, future) in enumerate(batch):
        try:
            images.append(future.result())
        except ImageError as error:
            errors[place] = error
    probs = [tagger.predict(np.stack([image[tagger.metadata.image_size] for image in images])) for tagger in taggers if images]
    rows = zip(*probs, strict=True)  # of each image, a row of each tagger
    return [
        [Prediction(path, error=errors[place])] * len(taggers)
        if place in errors
        else [Prediction(path, row) for row in next(rows)]
        for place, (path, _) in enumerate(batch)
    ]


def tag_paths(
    taggers: Tagger | Mapping[str, Tagger],
    paths: Iterable[Path | str],
    writer: Writer,
    *,
    threshold: float | None = None,
    top_k: int | None = None,
    progress: bool = True,
) -> TagSummary:
    """Tag files and folders: one row for every image file; of several taggers, one for each.

    Args:
        taggers: A loaded bundle, or several by the names that their rows are to have.
        paths: Files and folders, as `find_images`.
        writer: Gets the rows, in order.
        threshold: One for all classes; None for the bundle's own per class.
        top_k: At most so many tags per image.
        progress: Show a bar on stderr, if that is a terminal.

    Raises:
        DataError: A path does not exist, or there is no image under them.
        ConfigError: ``threshold`` is not in 0..1, or ``top_k`` is below 1.
    """
    named = {"": taggers} if isinstance(taggers, Tagger) else taggers
    thresholds = [tagger.thresholds(threshold) for tagger in named.values()]
    check_top_k(top_k)
    left_out: list[Path] = []
    files = list(find_images(paths, left_out=left_out))
    if not files and left_out:
        raise DataError(f"There are only camera RAW files under the given paths, {len(left_out)} of them. Run: {_INSTALL_RAW}")
    if not files:
        raise DataError("There are no image files (.jpg, .png, .heic, ...) under the given paths. Check them.")
    summary = TagSummary(raw_left_out=len(left_out), models=len(named))
    start = time.perf_counter()
    with tqdm(total=len(files), unit="image", smoothing=0.1, disable=None if progress else True) as bar:
        for predictions in predict_with_all(list(named.values()), files):
            for (name, tagger), prediction, limits in zip(named.items(), predictions, thresholds, strict=True):
                row = _row(name, tagger, prediction, limits, top_k)
                writer.write(row)
            _count(summary, row)  # a file is decoded for all or for none
            if row.error:
                bar.set_postfix(errors=summary.failed.total(), refresh=False)
            bar.update()
    summary.seconds = time.perf_counter() - start
    return summary


def _row(name: str, tagger: Tagger, prediction: Prediction, thresholds: NDArray[np.float32], top_k: int | None) -> Row:
    if prediction.probs is None:
        error = prediction.error
        return Row(prediction.path, status=error.reason if error else "unreadable", error=str(error), model=name)
    tags = make_tags(tagger.metadata.vocabulary, prediction.probs, decide(prediction.probs, thresholds, top_k))
    return Row(prediction.path, tags=tags, probs=prediction.probs, model=name)


def _count(summary: TagSummary, row: Row) -> None:
    if row.status == "ok":
        summary.ok += 1
        return
    summary.failed[row.status] += 1
    if len(summary.first_failures) < FIRST_FAILURES:
        summary.first_failures.append(row.error)
