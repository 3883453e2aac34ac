"""Files -> a stream of results, one for every file: decode and infer, on all cores. Knows no folders and no outputs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cocotag.errors import ImageError
from cocotag.inference.tagger import Tagger
from cocotag.photos.decode import load_square

MAX_DECODERS = 32  # beyond that they wait for Python's lock rather than work
AHEAD, AHEAD_APART = 4, 2
"""Tasks for each decoder that are begun before their turn, so that one slow file does not stop the others; fewer where they
wait as pictures for a network that runs elsewhere."""

TASK_SECONDS, TASK_FILES = 0.04, 16
"""What a task takes, about, and the most files in it: a core that decodes some files and then infers some does both faster than
one that changes after every file, for each needs the core's cache for itself."""

Squares = dict[int, NDArray[np.uint8]]
"""Images as the square inputs that are wanted of them, ``(N, S, S, 3)``, by their side."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one file came to: probabilities ``(C,)``, or the error that names why there are none."""

    path: Path
    probs: NDArray[np.float32] | None = None
    error: ImageError | None = None


def predict_files(
    tagger: Tagger, paths: Iterable[Path], *, batch_size: int | None = None, decoders: int | None = None
) -> Generator[Prediction]:
    """Run a tagger over files: exactly one result for each, in their order.

    Several threads each take a few files, decode them, and then run the network on them, all on one core: no core ever waits
    for another. OpenCV, libjpeg-turbo and ONNX Runtime release Python's lock. A GPU's network is run by the thread that asks
    for results, while the others decode.

    Memory does not grow with the number of files: each thread holds one picture in full size at a time and a few as squares,
    and what waits for its turn is probabilities, or for a GPU a few batches of squares. Closing the generator ends the threads.

    Args:
        tagger: A loaded bundle.
        paths: Image files, taken when they are needed, in the thread that asks for results; what cannot be decoded gives its
            `ImageError` and stops nothing.
        batch_size: Files per run of the network, >= 1; by default what suits the tagger. The scores do not depend on it
            beyond rounding.
        decoders: Threads that decode, and run the network where it runs on the CPU; by default one for each core that the
            tagger may use, at most `MAX_DECODERS`.

    Raises:
        ValueError: ``batch_size`` or ``decoders`` is below 1.
    """
    return _firsts(predict_with_all([tagger], paths, batch_size=batch_size, decoders=decoders))


def _firsts(groups: Generator[list[Prediction]]) -> Generator[Prediction]:
    with closing(groups):  # when this one is closed
        for group in groups:
            yield group[0]


def predict_with_all(
    taggers: Sequence[Tagger], paths: Iterable[Path], *, batch_size: int | None = None, decoders: int | None = None
) -> Generator[list[Prediction]]:
    """Run several taggers over files, as `predict_files` does one: for each file a prediction of each, in their order.

    A file is decoded once for each input size that there is among the taggers, so each gets what it would get alone.
    """
    if batch_size is None:
        batch_size = min(tagger.batch_size for tagger in taggers)
    if decoders is None:
        decoders = min(max(tagger.threads for tagger in taggers), MAX_DECODERS)
    if batch_size < 1 or decoders < 1:
        raise ValueError(f"batch_size is {batch_size} and decoders {decoders}; both must be at least 1.")
    return _predict_files(taggers, iter(paths), batch_size, decoders)


def _predict_files(
    taggers: Sequence[Tagger], paths: Iterator[Path], batch_size: int, decoders: int
) -> Generator[list[Prediction]]:
    pool = ThreadPoolExecutor(decoders, thread_name_prefix="cocotag-decode")
    pending: deque[Future[_Task]] = deque()
    on_cores = all(tagger.on_cores for tagger in taggers)
    most = decoders * (AHEAD if on_cores else AHEAD_APART)
    batches = 1  # of the next task
    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one image per thread is faster than many threads per image
    try:
        while True:
            while len(pending) < most and (files := list(islice(paths, batches * batch_size))):
                pending.append(pool.submit(_decode_and_run, taggers, files, batch_size))
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
    """Some files, and what they came to so far."""

    paths: list[Path]
    errors: dict[int, ImageError] = field(default_factory=dict)  # by their place
    squares: Squares = field(default_factory=dict)  # of those without one; none where all taggers are done
    probs: dict[int, NDArray[np.float32]] = field(default_factory=dict)  # by the tagger's place


@dataclass(slots=True)
class _Task:
    """What a thread has done at once."""

    batches: list[_Batch]
    files: int
    seconds: float


def _decode_and_run(taggers: Sequence[Tagger], paths: list[Path], batch_size: int) -> _Task:
    """Decode all files, then run the taggers that run on the cores, batch by batch."""
    begun = time.perf_counter()
    sides = {tagger.metadata.image_size for tagger in taggers}
    batches = [_decode(paths[start : start + batch_size], sides) for start in range(0, len(paths), batch_size)]
    for batch in batches:
        for place, tagger in enumerate(taggers):
            if tagger.on_cores:
                batch.probs[place] = tagger.predict_here(batch.squares[tagger.metadata.image_size])
        if len(batch.probs) == len(taggers):
            batch.squares = {}  # a batch may wait long for its turn
    return _Task(batches, len(paths), time.perf_counter() - begun)


def _decode(paths: list[Path], sides: Collection[int]) -> _Batch:
    batch = _Batch(paths)
    squares = {side: np.empty((len(paths), side, side, 3), np.uint8) for side in sides}
    good = 0
    for place, path in enumerate(paths):
        try:
            for side in sides:
                squares[side][good] = load_square(path, side)
        except ImageError as error:
            batch.errors[place] = error
        else:
            good += 1
    batch.squares = {side: images[:good] for side, images in squares.items()}
    return batch


def _finish(taggers: Sequence[Tagger], batch: _Batch) -> list[list[Prediction]]:
    """Run the taggers that have not run; a group of predictions for each file."""
    for place, tagger in enumerate(taggers):
        if place not in batch.probs:
            batch.probs[place] = tagger.predict(batch.squares[tagger.metadata.image_size])
    rows = zip(*(batch.probs[place] for place in range(len(taggers))), strict=True)  # of each image, a row of each tagger
    return [
        [Prediction(path, error=batch.errors[place])] * len(taggers)
        if place in batch.errors
        else [Prediction(path, row) for row in next(rows)]
        for place, path in enumerate(batch.paths)
    ]
