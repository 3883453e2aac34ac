"""Inference on many files: a stream with one result per file, on all cores. Does not depend on folders or outputs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cocotag.errors import ImageError
from cocotag.inference.tagger import Tagger
from cocotag.photos.decode import load_square

MAX_DECODERS = 32  # with more, threads mostly wait for Python's lock
AHEAD, AHEAD_APART = 4, 2
"""Tasks per decoder that start before their turn, so that one slow file does not stop the others; fewer if decoded pictures
wait for a network that runs elsewhere."""

TASK_SECONDS, TASK_FILES = 0.04, 16
"""Approximate duration of a task, and the largest number of files in it. Decoding and inference each fill a core's cache, so a
core that decodes several files and then infers them is faster than one that alternates after every file."""

Measure = Callable[[NDArray[np.uint8]], float]
"""Computes one number from a square input ``(S, S, 3)``."""

Squares = dict[int, NDArray[np.uint8]]
"""Side ``S`` -> the images as square inputs of that side, ``(N, S, S, 3)``."""


_Load = Callable[[Path, int], NDArray[np.uint8]]
"""Reads a file as a square input of a side."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The result of one file: probabilities ``(C,)``, or an error.

    Attributes:
        path: The file.
        probs: Probability of each class; None with an error.
        error: Why the file cannot be used; None if it can.
        measured: The value of the caller's ``measure`` on the square input; None without a measure or with an error.
    """

    path: Path
    probs: NDArray[np.float32] | None = None
    error: ImageError | None = None
    measured: float | None = None


def predict_files(
    tagger: Tagger,
    paths: Iterable[Path],
    *,
    batch_size: int | None = None,
    decoders: int | None = None,
    previews: bool = False,
) -> Generator[Prediction]:
    """Run a tagger on files: exactly one result per file, in the order of the files.

    Each of several threads takes a few files, decodes them and then runs the network on them, all on one core, so no core
    waits for another. OpenCV, libjpeg-turbo and ONNX Runtime release Python's lock. On a GPU, the consuming thread runs the
    network while the others decode.

    Memory does not grow with the number of files. Each thread holds one full-size picture at a time and a few squares;
    probabilities wait for their turn, or for a GPU a few batches of squares. Closing the generator ends the threads.

    Args:
        tagger: A loaded bundle.
        paths: Image files, read lazily in the consuming thread; a file that cannot be decoded gives its `ImageError` and does
            not stop the stream.
        batch_size: Files per run of the network, >= 1; by default that of the tagger. The scores do not depend on it beyond
            rounding.
        decoders: Threads that decode, and that run the network if it runs on the CPU; by default one per core that the
            tagger may use, at most `MAX_DECODERS`.
        previews: Decode the smaller version that a camera stored in the file, if it is large enough; as for
            `cocotag.photos.decode.decode`.

    Raises:
        ValueError: ``batch_size`` or ``decoders`` is below 1.
    """
    return _first_of_each(predict_with_all([tagger], paths, batch_size=batch_size, decoders=decoders, previews=previews))


def _first_of_each(groups: Generator[list[Prediction]]) -> Generator[Prediction]:
    with closing(groups):  # closing this generator closes that one
        for group in groups:
            yield group[0]


def predict_with_all(
    taggers: Sequence[Tagger],
    paths: Iterable[Path],
    *,
    batch_size: int | None = None,
    decoders: int | None = None,
    measure: Measure | None = None,
    previews: bool = False,
) -> Generator[list[Prediction]]:
    """Run several taggers on files, as `predict_files` does with one: for each file, a list with one prediction per tagger.

    A file is decoded once per input size of the taggers, so the predictions equal those of each tagger alone. ``measure`` is
    computed on the square input of the first tagger, in the thread that decoded it.
    """
    if batch_size is None:
        batch_size = min(tagger.batch_size for tagger in taggers)
    if decoders is None:
        decoders = min(max(tagger.threads for tagger in taggers), MAX_DECODERS)
    if batch_size < 1 or decoders < 1:
        raise ValueError(f"batch_size is {batch_size} and decoders {decoders}; both must be at least 1.")
    load = partial(load_square, previews=previews)
    return _predict_files(taggers, iter(paths), batch_size, decoders, measure, load)


def _predict_files(
    taggers: Sequence[Tagger],
    paths: Iterator[Path],
    batch_size: int,
    decoders: int,
    measure: Measure | None,
    load: _Load,
) -> Generator[list[Prediction]]:
    pool = ThreadPoolExecutor(decoders, thread_name_prefix="cocotag-decode")
    pending: deque[Future[_Task]] = deque()
    on_cores = all(tagger.on_cores for tagger in taggers)
    most = decoders * (AHEAD if on_cores else AHEAD_APART)
    batches = 1  # in the next task
    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one image per thread is faster than many threads per image
    try:
        while True:
            while len(pending) < most and (files := list(islice(paths, batches * batch_size))):
                pending.append(pool.submit(_decode_and_run, taggers, files, batch_size, measure, load))
            if not pending:
                return
            task = pending.popleft().result()
            if on_cores:
                files_in_time = TASK_SECONDS / max(task.seconds / task.files, 1e-9)
                batches = max(1, min(2 * batches, int(min(files_in_time, TASK_FILES) // batch_size)))
            for batch in task.batches:
                yield from _finish(taggers, batch)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(opencv_threads)


@dataclass(slots=True)
class _Batch:
    """Some files and their results so far."""

    paths: list[Path]
    errors: dict[int, ImageError] = field(default_factory=dict)  # by index of the file
    squares: Squares = field(default_factory=dict)  # of the files without an error; empty when all taggers are done
    probs: dict[int, NDArray[np.float32]] = field(default_factory=dict)  # by index of the tagger
    measured: list[float] | None = None  # of the files without an error


@dataclass(slots=True)
class _Task:
    """Some batches that one thread has processed."""

    batches: list[_Batch]
    files: int
    seconds: float


def _decode_and_run(
    taggers: Sequence[Tagger], paths: list[Path], batch_size: int, measure: Measure | None, load: _Load
) -> _Task:
    """Decode all files, then run the taggers that run on the cores, batch by batch."""
    start = time.perf_counter()
    sides = {tagger.metadata.image_size for tagger in taggers}
    batches = [_decode(paths[first : first + batch_size], sides, load) for first in range(0, len(paths), batch_size)]
    for batch in batches:
        if measure is not None:
            batch.measured = list(map(measure, batch.squares[taggers[0].metadata.image_size]))
        for index, tagger in enumerate(taggers):
            if tagger.on_cores:
                batch.probs[index] = tagger.predict_here(batch.squares[tagger.metadata.image_size])
        if len(batch.probs) == len(taggers):
            batch.squares = {}  # free memory: a batch may wait long for its turn
    return _Task(batches, len(paths), time.perf_counter() - start)


def _decode(paths: list[Path], sides: Collection[int], load: _Load) -> _Batch:
    batch = _Batch(paths)
    squares = {side: np.empty((len(paths), side, side, 3), np.uint8) for side in sides}
    good = 0
    for index, path in enumerate(paths):
        try:
            for side in sides:
                squares[side][good] = load(path, side)
        except ImageError as error:
            batch.errors[index] = error
        else:
            good += 1
    batch.squares = {side: images[:good] for side, images in squares.items()}
    return batch


def _finish(taggers: Sequence[Tagger], batch: _Batch) -> list[list[Prediction]]:
    """Run the remaining taggers; for each file, a list with one prediction per tagger."""
    for index, tagger in enumerate(taggers):
        if index not in batch.probs:
            batch.probs[index] = tagger.predict(batch.squares[tagger.metadata.image_size])
    rows = zip(*(batch.probs[index] for index in range(len(taggers))), strict=True)  # for each image, a row per tagger
    measured = iter(batch.measured or [])
    return [
        [Prediction(path, error=batch.errors[index])] * len(taggers)
        if index in batch.errors
        else _predictions(path, next(rows), next(measured, None))
        for index, path in enumerate(batch.paths)
    ]


def _predictions(path: Path, rows: Sequence[NDArray[np.float32]], measured: float | None) -> list[Prediction]:
    return [Prediction(path, row, measured=measured) for row in rows]
