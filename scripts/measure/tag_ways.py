"""The ways from files to tags that bench_tag.py compares, and their limits; each runs in its own process.

Only the ways that need PyTorch import it, so that its threads do not slow down the others.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cocotag.inference import stream
from cocotag.inference.tagger import Tagger
from cocotag.photos.decode import load_square
from cocotag.photos.walk import Walk, find_images
from cocotag.process.cores import usable_cores
from cocotag.tagging.decisions.choice import Wish, choose
from cocotag.tagging.decisions.rows import Context
from cocotag.tagging.folder import tag_paths
from cocotag.tagging.outputs.write import write_outputs
from cocotag.tagging.state.models import Model
from cocotag.tagging.state.store import State


@dataclass(frozen=True)
class Album:
    """Folders of photographs to tag.

    Attributes:
        title: Title in the report.
        folders: The folders.
        repeats: Number of rounds.
        ahead: Target speed-up of (c) over (a).
        int8_ahead: Target speed-up of (d) over (c), if the network is most of the work.
    """

    title: str
    folders: tuple[Path, ...]
    repeats: int
    ahead: float
    int8_ahead: float | None = None

    def files(self) -> list[Path]:
        """The files in the order of the walk."""
        return list(find_images(self.folders))


def eager(album: Album, network: Path, side: int) -> tuple[float, float]:
    """Wall and processor seconds of way (a)."""
    import eager_tag

    eager_tag.load_network(network)
    return _timed(lambda out: eager_tag.as_timm(network, album.files(), side, out))


def one_by_one(album: Album, network: Path, side: int) -> tuple[float, float]:
    """Wall and processor seconds of way (b)."""
    import eager_tag

    eager_tag.load_network(network)
    return _timed(lambda out: eager_tag.one_by_one(network, album.files(), side, out))


def ours(album: Album, bundle: Path, provider: str, task_files: int = stream.TASK_FILES) -> tuple[float, float]:
    """Wall and processor seconds of ways (c) and (d): `cocotag tag FOLDER... --out FILE.csv` after loading the bundle.

    ``task_files`` is the largest number of files that a thread decodes before it infers them; at least a batch.
    """
    stream.TASK_FILES = task_files  # each way has its own process
    tagger, model = load(bundle, provider)

    def tag(out: Path) -> None:
        with State.open(out.with_suffix(".state")) as state:
            tag_paths(tagger, Walk(album.folders), state, models=[model])
            choice = choose(Wish(), [model])
            context = Context({"": tagger.metadata.vocabulary}, choice.thresholds)
            write_outputs([out], lambda: choice.rows(state.results()), context)

    return _timed(tag)


def decode(album: Album, side: int) -> tuple[float, float]:
    """Wall and processor seconds of decoding all photographs to squares, with one thread per core, as cocotag does."""
    cv2.setNumThreads(1)
    paths = album.files()
    with ThreadPoolExecutor(usable_cores()) as pool:
        return _timed(lambda _: deque(pool.map(lambda path: load_square(path, side).shape, paths), maxlen=0))


def infer(album: Album, bundle: Path, provider: str) -> tuple[float, float]:
    """Wall and processor seconds of the network on decoded photographs, with cocotag's batches and threads."""
    tagger, _ = load(bundle, provider)
    squares = _squares(album, tagger.metadata.image_size)
    parts = [squares[start : start + tagger.batch_size] for start in range(0, len(squares), tagger.batch_size)]
    with ThreadPoolExecutor(usable_cores() if tagger.on_cores else 1) as pool:
        return _timed(lambda _: deque(pool.map(tagger.predict_here, parts), maxlen=0))


@cache
def load(bundle: Path, provider: str) -> tuple[Tagger, Model]:
    """A bundle, loaded once."""
    tagger = Tagger.load(bundle, provider=provider)
    return tagger, Model.of("", tagger)


@cache
def _squares(album: Album, side: int) -> NDArray[np.uint8]:
    with ThreadPoolExecutor(usable_cores()) as pool:
        return np.stack(list(pool.map(lambda path: load_square(path, side), album.files())))


def _timed(work: Callable[[Path], object]) -> tuple[float, float]:
    """Wall and processor seconds of some work, which gets a file to write to."""
    with tempfile.TemporaryDirectory() as folder:
        busy, begun = _processor_seconds(), time.perf_counter()
        work(Path(folder) / "tags.csv")
        return time.perf_counter() - begun, _processor_seconds() - busy


def _processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def make_network(folder: Path, side: int, weights: Path | None, photographs: Sequence[Path]) -> None:
    """As `eager_tag.make_network`."""
    import eager_tag

    eager_tag.make_network(folder, side, weights, photographs)


def to_int8(bundle: Path, out: Path, photographs: Sequence[Path]) -> None:
    """As `eager_tag.to_int8`."""
    import eager_tag

    eager_tag.to_int8(bundle, out, photographs)
