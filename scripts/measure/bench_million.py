"""Measure `cocotag tag` on one million files: its speed on unchanged files and its memory; write a report.

usage: python scripts/measure/bench_million.py [--files 1000000] [--decoded 20000] [--folder DIR] [--report FILE]

The files are hard links to a few tiny PNGs, in folders of 1,000. They take about 40 bytes of disk each, plus about 270 in the
state. The parts, each in its own process:

- decoded: some files with decoding and inference, with a bundle that computes the mean colour;
- first: all files, with scores from a random number generator instead of decoding and inference, to measure walk and state;
- again: all files, now unchanged, while another thread counts the total as for a terminal;
- retag: a table of all files with another threshold.

Memory is the largest resident size of a process (``ru_maxrss``), minus its size after the bundle was loaded and had run once.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cocotag.inference.stream import Prediction, predict_files
from cocotag.inference.tagger import Tagger
from cocotag.photos.walk import Walk
from cocotag.process.cores import usable_cores
from cocotag.tagging import folder as folder_module
from cocotag.tagging.folder import tag_paths
from cocotag.tagging.progress import Progress
from cocotag.tagging.state.store import State
from cocotag.tagging.summary import TagSummary

PROJECT = Path(__file__).resolve().parents[2]
IN_A_FOLDER = 1000
LINKS = 50_000  # most links to one file; ext4 allows 65,000
MOST_MEMORY_MB, LEAST_RATE = 250, 50_000
OLD_NS = 10**18


def main() -> None:
    """Create the files, run the parts and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--decoded", type=int, default=20_000)
    parser.add_argument(
        "--folder", type=Path, help="folder for the files, which are removed afterwards (default: a temporary folder)"
    )
    parser.add_argument("--report", type=Path)
    parser.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(_part(*args.part)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        bundle = _bundle(folder)
        start = time.perf_counter()
        _make(folder / "all", args.files)
        _make(folder / "some", args.decoded)
        print(f"{args.files + args.decoded} files created in {time.perf_counter() - start:.0f} s", file=sys.stderr)
        found = {"decoded": _run("decoded", bundle, folder / "some", folder / "some.state")}
        for part in ("first", "again", "retag"):
            found[part] = _run(part, bundle, folder / "all", folder / "all.state")
        size = (folder / "all.state").stat().st_size
    text = _report(args, found, size)
    print(text)
    if args.report:
        args.report.write_text(text, encoding="utf-8")


def _bundle(folder: Path) -> Path:
    sys.path.insert(0, str(PROJECT / "tests" / "support"))
    from toy_bundle import make_toy_bundle

    bundle: Path = make_toy_bundle(folder / "toy.onnx")
    return bundle


def _make(root: Path, files: int) -> None:
    """Create hard links in folders of `IN_A_FOLDER`."""
    originals = root.with_name(f"{root.name}-originals")
    originals.mkdir()
    for number in range(files // LINKS + 4):
        path = originals / f"{number}.png"
        Image.new("RGB", (8, 8), (number % 256, 90, 120)).save(path)
        os.utime(path, ns=(OLD_NS, OLD_NS))
    sources = [os.fspath(path) for path in sorted(originals.iterdir())]
    for number in range(files):
        folder = f"{root}/{number // IN_A_FOLDER:04}"
        if number % IN_A_FOLDER == 0:
            Path(folder).mkdir(parents=True)
        os.link(sources[number % len(sources)], f"{folder}/IMG_{number % IN_A_FOLDER:04}.png")


def _run(part: str, *words: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part, *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    print(part, done.stdout.strip(), file=sys.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _part(part: str, bundle: str, photos: str, state: str) -> dict[str, Any]:
    if part == "retag":
        from cocotag.cli.main import main as command

        before = _resident()
        start, worked = time.perf_counter(), time.process_time()
        assert command(["retag", state, "--out", f"{state}.csv", "--threshold", "0.7"]) == 0
        took = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - worked}
        with Path(f"{state}.csv").open("rb") as file:
            rows = sum(1 for _ in file) - 1
        return {"files": rows, **took, "memory": _most() - before}
    tagger = Tagger.load(bundle)
    list(predict_files(tagger, [next(Path(photos).rglob("*.png"))] * 8))
    before = _resident()
    if part == "first":
        vars(folder_module)["predict_with_all"] = _drawn
    progress = Progress(as_json=True, stream=io.StringIO())
    progress.count(len(one.names) for one in Walk([photos]))
    start, worked = time.perf_counter(), time.process_time()
    with State.open(state) as opened:
        summary: TagSummary = tag_paths(tagger, Walk([photos]), opened, progress=progress)
    took = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - worked}
    return {"files": summary.total, "known": summary.known, **took, "memory": _most() - before, "model": before}


def _drawn(taggers: Sequence[Tagger], paths: Iterable[Path], **_: object) -> Iterator[list[Prediction]]:
    """Random predictions in the form of `predict_with_all`."""
    scores = np.random.default_rng(0).random((1000, len(taggers[0].metadata.vocabulary)), np.float32) ** 4
    for number, path in enumerate(paths):
        yield [Prediction(path, scores[number % len(scores)])]


def _most() -> float:
    """The largest resident size of the process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _resident() -> float:
    """The current resident size of the process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _report(args: argparse.Namespace, found: dict[str, dict[str, Any]], size: int) -> str:
    machine = f"{usable_cores()} CPU cores ({platform.machine()}), Python {platform.python_version()}"
    command = f".venv/bin/python scripts/measure/bench_million.py --files {args.files} --decoded {args.decoded}"
    rows = [
        ("decoded", "decoding and inference (a network that computes a mean)"),
        ("first", "first run, random scores: walk and state"),
        ("again", "second run, all files unchanged: walk and look-up, while the total is counted"),
        ("retag", "`cocotag retag --out TABLE.csv --threshold 0.7`"),
    ]
    table = "\n".join(_line(what, found[part]) for part, what in rows)
    rate = found["again"]["known"] / found["again"]["seconds"]
    most = max(one["memory"] for one in found.values())
    verdict = "reached" if rate >= LEAST_RATE and most <= MOST_MEMORY_MB else "not reached"
    return f"""# One million files

Written by `{command}` on {machine}. Files are hard links to tiny PNGs in folders of {IN_A_FOLDER:,}; the bundle has 80 classes.
The time is from the start of the work to the last commit. CPU seconds are the sum over all threads; compared with the time,
they show the load of other programs. Memory is the largest resident size of the process, minus its size after the bundle was
loaded and had run once.

| part | files | seconds | files/s | CPU seconds | MB |
| --- | ---: | ---: | ---: | ---: | ---: |
{table}

{rate:,.0f} unchanged files/s (target: {LEAST_RATE:,}) and at most {most:.0f} MB (target: {MOST_MEMORY_MB}): {verdict}. The
state has {size / 2**20:.0f} MB, {size / args.files:.0f} bytes per file.
"""


def _line(what: str, one: dict[str, Any]) -> str:
    rate = one["files"] / one["seconds"]
    return f"| {what} | {one['files']:,} | {one['seconds']:.1f} | {rate:,.0f} | {one['cpu']:.1f} | {one['memory']:.0f} |"


if __name__ == "__main__":
    main()
