"""Latency of a network per batch, for several ways to run it. The ways with torch are in `export/ways.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cocotag.bundle import open_session

Images = NDArray[np.uint8]
Probs = NDArray[np.float32]
PAUSE_SECONDS = 0.2  # until the threads of another pool sleep
WARM_UP = 10
"""Runs of each way that are not counted, while buffers are allocated and clocks rise."""


@dataclass(frozen=True)
class Way:
    """A way to run a network.

    Attributes:
        name: Name in the table.
        run: Images ``(N, S, S, 3)`` uint8 -> probs ``(N, C)``.
        milliseconds: Runs and times the network, where an outside clock would miss the end (work on a GPU); None to use the
            outside clock.
        pool: Name of the thread pool that it runs on.
    """

    name: str
    run: Callable[[Images], Probs]
    milliseconds: Callable[[Images], float] | None = None
    pool: str = "torch"


@dataclass(frozen=True)
class Timing:
    """Latency of one way with one batch size and one number of threads.

    Attributes:
        way: Its name.
        batch: Images per batch.
        threads: Threads within an operator.
        mean: Mean milliseconds per batch.
        spread: Their standard deviation.
        p50: Their median.
        p90: Their 90th percentile.
        p99: Their 99th percentile.
        images_per_second: Throughput at the median.
        difference: Largest difference in probability from the first way; None for the first way.
        error: Why the way could not be timed; the numbers are NaN then.
    """

    way: str
    batch: int
    threads: int
    mean: float = np.nan
    spread: float = np.nan
    p50: float = np.nan
    p90: float = np.nan
    p99: float = np.nan
    images_per_second: float = np.nan
    difference: float | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with null for NaN."""
        return {key: None if value != value else value for key, value in asdict(self).items()}


def measure(
    ways_for: Callable[[int], Sequence[Way]],
    *,
    image_size: int,
    batches: Sequence[int],
    threads: Sequence[int],
    repeats: int = 100,
    warm_up: int = WARM_UP,
    progress: bool = True,
) -> list[Timing]:
    """Time all ways. Those of one thread pool take turns, so that a slow minute of the machine affects all of them.

    Ways of different pools do not take turns: idle threads spin for a while before they sleep, and would take the processor
    from the other pool.

    Args:
        ways_for: Sets up the ways for a number of threads.
        image_size: Side of the square input, pixels.
        batches: Batch sizes.
        threads: Numbers of threads.
        repeats: Counted runs per way.
        warm_up: Uncounted runs before them.
        progress: Show a progress bar if stderr is a terminal.
    """
    timings: list[Timing] = []
    with tqdm(unit="run", disable=None if progress else True) as bar:
        for count in threads:
            ways = ways_for(count)
            bar.total = (repeats + warm_up) * len(ways) * len(batches) * len(threads)
            for batch in batches:
                timings += _in_turns(ways, random_images(batch, image_size), count, repeats, warm_up, bar)
    return timings


def random_images(count: int, side: int) -> Images:
    """Images of noise with a fixed seed, ``(N, S, S, 3)``."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def _in_turns(
    ways: Sequence[Way], images: Images, threads: int, repeats: int, warm_up: int, bar: tqdm[Any]
) -> Iterator[Timing]:
    outputs: dict[str, Probs] = {}
    errors: dict[str, str] = {}
    times: dict[str, list[float]] = {way.name: [] for way in ways}
    for way in ways:
        try:
            outputs[way.name] = way.run(images)
        except Exception as error:  # compilers raise many types
            errors[way.name] = (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
    for pool in dict.fromkeys(way.pool for way in ways):
        time.sleep(PAUSE_SECONDS)
        together = [way for way in ways if way.pool == pool]
        for repetition in range(repeats + warm_up):
            for way in together:
                if way.name not in errors:
                    elapsed = _milliseconds(way, images)
                    if repetition >= warm_up:
                        times[way.name].append(elapsed)
                bar.update()
    first = next(iter(outputs), None)
    for way in ways:
        if way.name in errors:
            yield Timing(way.name, len(images), threads, error=errors[way.name])
            continue
        milliseconds = np.array(times[way.name])
        p50, p90, p99 = (float(value) for value in np.percentile(milliseconds, (50, 90, 99)))
        difference = float(np.abs(outputs[way.name] - outputs[str(first)]).max())
        yield Timing(
            way=way.name,
            batch=len(images),
            threads=threads,
            mean=float(milliseconds.mean()),
            spread=float(milliseconds.std()),
            p50=p50,
            p90=p90,
            p99=p99,
            images_per_second=1000 * len(images) / p50,
            difference=None if way.name == first else difference,
        )


def _milliseconds(way: Way, images: Images) -> float:
    if way.milliseconds is not None:
        return way.milliseconds(images)
    start = time.perf_counter()
    way.run(images)
    return 1000 * (time.perf_counter() - start)


def bundle_way(path: Path | str, threads: int, name: str = "ONNX Runtime") -> Way:
    """The way that runs a bundle on ONNX Runtime.

    Raises:
        BundleError: See `cocotag.bundle.open_session`.
    """
    session = open_session(path, threads=threads)

    def run(images: Images) -> Probs:
        probs: Probs = session.run(["probs"], {"images": images})[0]
        return probs

    return Way(name, run, pool=f"session {name}")


def to_text(timings: Sequence[Timing]) -> str:
    """The table for a terminal, in milliseconds per batch."""
    head = f"{'mean':>8} {'spread':>7} {'p50':>8} {'p90':>8} {'p99':>8} {'images/s':>9}"
    lines = [f"{'way':<22} {'batch':>5} {'threads':>7} {head}  differs"]
    for timing in timings:
        start = f"{timing.way:<22} {timing.batch:>5} {timing.threads:>7}"
        if timing.error is not None:
            lines.append(f"{start} failed: {timing.error}")
            continue
        figures = f"{timing.mean:>8.2f} {timing.spread:>7.2f} {timing.p50:>8.2f} {timing.p90:>8.2f} {timing.p99:>8.2f}"
        differs = "" if timing.difference is None else f"{timing.difference:.1g}"
        lines.append(f"{start} {figures} {timing.images_per_second:>9.1f}  {differs}".rstrip())
    return "\n".join([*lines, "Milliseconds per batch; differs is the largest difference in probability from the first way."])
