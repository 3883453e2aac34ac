"""Time both reports on 4,952 images and 80 classes, figures and pages; write reports/report_speed.md.

usage: python scripts/measure/bench_reports.py [--repeats 3] [--report FILE]

The labels are those of COCO's val2017; the probabilities are derived from them and have no meaning. The photographs are
coco-mini's under the names of val2017, so that the report makes thumbnails as usual. Needs the real data: COCOTAG_DATA, or
../shared/data.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cocotag import metrics
from cocotag.bundle import BundleMetadata
from cocotag.data.annotations import AnnotationTable, load_annotations
from cocotag.evaluation.predictions import Predictions
from cocotag.evaluation.result import evaluate
from cocotag.evaluation.write import write_evaluation
from cocotag.imbalance.result import imbalance
from cocotag.imbalance.write import write as write_imbalance
from cocotag.metrics.intervals import GROUPS
from cocotag.thresholds import choose_thresholds

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")
NUMBERS, PAGE = 20.0, 10.0
"""Target seconds for all figures with their intervals, and for a page."""

Probs = NDArray[np.float32]
Result = TypeVar("Result")


def made_up(table: AnnotationTable, seed: int) -> Probs:
    """Probabilities that rank present classes above absent ones most of the time, ``(N, C)``."""
    logits = np.random.default_rng(seed).normal(3 * table.targets - 3.2, 1.2)
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


@contextmanager
def with_stand_ins(table: AnnotationTable) -> Iterator[AnnotationTable]:
    """The table in a folder where every file name links to a photograph."""
    photographs = sorted((DATA / "coco-mini" / "val").glob("*.jpg"))
    if not photographs:
        sys.exit(f"There are no photographs in {DATA / 'coco-mini' / 'val'}. Set COCOTAG_DATA.")
    with tempfile.TemporaryDirectory() as folder:
        for row, path in enumerate(table.file_names.tolist()):
            (Path(folder) / path).symlink_to(photographs[row % len(photographs)])
        yield replace(table, image_dir=Path(folder))


class Clock:
    """Wall seconds and processor seconds of each step."""

    def __init__(self) -> None:
        self.taken: dict[str, list[tuple[float, float]]] = {}

    def time(self, name: str, work: Callable[[], Result]) -> Result:
        """Run a step, record its time and return its result."""
        begun, busy = time.perf_counter(), time.process_time()
        result = work()
        seconds = time.perf_counter() - begun, time.process_time() - busy
        self.taken.setdefault(name, []).append(seconds)
        print(f"{name}: {seconds[0]:.2f} s, processor {seconds[1]:.2f} s", file=sys.stderr, flush=True)
        return result

    def row(self, name: str, limit: float | None) -> str:
        """A row of the page's table."""
        wall, busy = ([one[part] for one in self.taken[name]] for part in (0, 1))
        allowed = "" if limit is None else f"{limit:.0f} s"
        spread = f"{statistics.median(wall):.2f} s ({min(wall):.2f} to {max(wall):.2f})"
        return f"| {name} | {spread} | {statistics.median(busy):.2f} s | {allowed} |"


STEPS: dict[str, float | None] = {
    "every measure with its intervals (`cocotag.metrics.score`)": NUMBERS,
    "evaluation without its page (`cocotag.evaluation.result.evaluate`)": NUMBERS,
    "page and files of the evaluation (`cocotag.evaluation.write.write_evaluation`)": PAGE,
    "evaluation with a baseline: paired differences": NUMBERS,
    "page and files of the evaluation with a baseline": PAGE,
    "imbalance without its page (`cocotag.imbalance.result.imbalance`)": NUMBERS,
    "page and files of imbalance": PAGE,
}
"""Timed step -> target seconds."""


def measure(table: AnnotationTable, clock: Clock, out: Path) -> dict[str, int]:
    """Run every step once; return the sizes of the pages in bytes."""
    probs, before = made_up(table, 0), made_up(table, 1)
    chosen = choose_thresholds(before, table.targets, table.known)
    metadata = BundleMetadata(
        vocabulary=table.vocabulary,
        image_size=224,
        thresholds=tuple(chosen.values.tolist()),
        positives=tuple(table.positives.tolist()),
        train_images=len(table),
    )
    thresholds = metadata.threshold_array()
    names = iter(STEPS)
    clock.time(next(names), lambda: metrics.score(probs, table.targets, table.known, thresholds))
    brightness = np.random.default_rng(2).uniform(40, 200, len(table))
    run, data = {"bundle": "made up"}, {"split": "val2017"}
    whole = partial(evaluate, table, probs, metadata, run=run, data=data, brightness=brightness)
    found = clock.time(next(names), whole)
    clock.time(next(names), lambda: write_evaluation(found, out / "evaluation"))
    baseline = Predictions(
        file_names=table.file_names,
        class_names=tuple(table.vocabulary.names),
        probs=before,
        predicted=before >= thresholds,
        targets=table.targets,
        known=table.known,
    )
    compared = clock.time(next(names), lambda: whole(baseline=baseline))
    clock.time(next(names), lambda: write_evaluation(compared, out / "compared"))
    uneven = clock.time(next(names), lambda: imbalance(table, split="val2017"))
    clock.time(next(names), lambda: write_imbalance([uneven], out / "imbalance"))
    return {str(page.relative_to(out)): page.stat().st_size for page in sorted(out.glob("*/*.html"))}


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="repetitions of each step")
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "report_speed.md")
    args = parser.parse_args()
    labels = DATA / "labels_val2017.json"
    if not labels.is_file():
        sys.exit(f"{labels} does not exist. Set COCOTAG_DATA.")
    load = os.getloadavg()[0]
    clock, pages = Clock(), dict[str, int]()
    with with_stand_ins(load_annotations(labels)) as table:
        shape = table.targets.shape
        for _ in range(args.repeats):
            with tempfile.TemporaryDirectory() as out:
                pages = measure(table, clock, Path(out))
    others = (
        f"Other programs used the same cores (load {load:.1f} before the start), so the wall times are too high."
        if load > 0.5
        else "No other program used the cores."
    )
    sizes = ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in pages.items())
    text = f"""# Time of the reports

Written by `.venv/bin/python scripts/measure/bench_reports.py --repeats {args.repeats}` on {os.cpu_count()} CPU cores \
({platform.machine()}), Python {platform.python_version()}. {others}

{shape[0]:,} images, {shape[1]} classes: the labels of COCO's val2017, probabilities derived from them. Intervals by the
jackknife over {GROUPS} groups of images. Median of {args.repeats} runs, range in brackets; processor time is the sum over all
threads.

| step | time | processor time | target |
| --- | --- | --- | --- |
{chr(10).join(clock.row(name, limit) for name, limit in STEPS.items())}

The pages: {sizes}.
"""
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
