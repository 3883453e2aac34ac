"""Let a decoder crash at every stage, and measure what watching costs without a crash; write reports/crashes.md.

usage: python scripts/measure/measure_crashes.py RUN/tagger.onnx [--times 20] [--repeats 15] [--report FILE]

A JPEG decoder is planted that ends its process (SIGABRT) for files with a mark behind their last byte. At each stage, TIMES
files have the mark; counted are the other files that have their result, exactly once. A drawn data set serves for this: the
pictures do not matter. The costs are measured on the photographs of coco-mini (COCOTAG_DATA, or ../shared/data): the same
command in the child of a watching process, and without one, as whole processes, in turns. Takes ten minutes on an idle machine.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from cocotag.process.cores import usable_cores

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")
MARK = b"ends the decoder"
PLANT = f"""
import os, sys
from dataclasses import replace
from cocotag.photos.formats import table
row = table.FORMATS["JPEG"]
def decode(name, data, wanted):
    if data.endswith({MARK!r}) and os.environ.get("PLANTED_SIDE") in (None, str(wanted.min_side or 0)):
        os.abort()
    return row.decode(name, data, wanted)
table.FORMATS["JPEG"] = replace(row, decode=decode)
from cocotag.cli.guard import main
sys.exit(main())
"""
WATCHED = "import sys; from cocotag.cli.guard import main; sys.exit(main())"
ALONE = "import sys; from cocotag.cli.main import main; sys.exit(main())"
SHARE, SECONDS = 0.01, 0.05
"""Targets: share of the images/s, seconds of the start."""


def command(code: str, *words: str | Path, **environment: str) -> tuple[str, float]:
    """Run Python code with arguments; return everything that it printed and its seconds."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    return done.stdout, time.perf_counter() - start


def make_data(folder: Path, images: int, guilty: int) -> Path:
    """A drawn data set; ``guilty`` images, evenly spread over the files of each split, have the mark."""
    command(ALONE, "sample", folder, "--train", str(images), "--val", str(images), "--size", "96")
    for split in ("train", "val"):
        files = sorted((folder / split).iterdir())
        for file in files[:: len(files) // guilty][:guilty]:
            file.write_bytes(file.read_bytes() + MARK)
    return folder


def rows_of(table: Path) -> tuple[int, int]:
    """Number of files with exactly one row that says ok, and of rows that say that the decoder crashed."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    once = Counter(row["path"] for row in rows)
    return sum(row["status"] == "ok" and once[row["path"]] == 1 for row in rows), sum(
        row["status"] == "decoder_crashed" for row in rows
    )


Stage = Callable[[Path, Path, Path], tuple[int, int, float, int]]
"""Data, bundle, folder for outputs -> other files with a result, guilty files named, seconds, restarts."""


def restarts(said: str) -> int:
    """How often a process died."""
    return said.count("ended the process (") + said.count("was ended by")


def tag(data: Path, bundle: Path, out: Path) -> tuple[int, int, float, int]:
    """Tag a folder."""
    said, seconds = command(PLANT, "tag", data / "val", "--model", bundle, "--out", out / "tags.csv")
    return *rows_of(out / "tags.csv"), seconds, restarts(said)


def stream(data: Path, bundle: Path, out: Path) -> tuple[int, int, float, int]:
    """Tag a folder, rows on stdout."""
    start = time.perf_counter()
    words = ["tag", str(data / "val"), "--model", str(bundle), "--out", "-"]
    done = subprocess.run([sys.executable, "-c", PLANT, *words], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    once = Counter(row["path"] for row in rows)
    ok = sum(row["status"] == "ok" and once[row["path"]] == 1 for row in rows)
    return ok, sum(row["status"] == "decoder_crashed" for row in rows), seconds, restarts(done.stderr)


def gallery(data: Path, bundle: Path, out: Path) -> tuple[int, int, float, int]:
    """Make a gallery of files that crash only when a thumbnail is made."""
    from cocotag.tagging.gallery.thumbnails import SIDE

    words = ("tag", data / "val", "--model", bundle, "--out", out / "tags.csv", "--gallery", out / "gallery")
    said, seconds = command(PLANT, *words, PLANTED_SIDE=str(SIDE))
    without = re.search(r"have no thumbnail: (\d+)", said)
    named = int(without[1]) if without else 0
    return rows_of(out / "tags.csv")[0] - named, named, seconds, restarts(said)


def check(data: Path, bundle: Path, out: Path) -> tuple[int, int, float, int]:
    """Check a data set."""
    said, seconds = command(PLANT, "check", data, "--split", "val", "--json")
    report = json.loads(said[said.index("{") :])
    named = next((one["count"] for one in report["findings"] if one["code"] == "unreadable_images"), 0)
    return report["images"] - named, named, seconds, restarts(said)


def evaluate(data: Path, bundle: Path, out: Path) -> tuple[int, int, float, int]:
    """Evaluate a bundle."""
    said, seconds = command(PLANT, "evaluate", bundle, "--root", data, "--split", "val", "--out", out / "report")
    scored = json.loads((out / "report" / "report.json").read_text())["data"]["images"]
    named = re.search(r"(\d+) of \d+ images cannot be read and are excluded", said)
    return scored, int(named[1]) if named else 0, seconds, restarts(said)


def copies(data: Path, bundle: Path, out: Path) -> tuple[int, int, float, int]:
    """Make the copies of a training run."""
    words = ("--config", "sample", "--data.root", data, "--data.cache_images", "true", "--out", out / "run")
    said, seconds = command(PLANT, "train", *words)
    named = re.search(r"(\d+) images cannot be read; the others have their copies", said)
    total = len(list((data / "train").iterdir()))
    return (total - int(named[1]) if named else 0), int(named[1]) if named else 0, seconds, restarts(said)


STAGES: dict[str, Stage] = {
    "`tag`, a table": tag,
    "`tag`, rows on stdout": stream,
    "`tag`, thumbnails of the gallery": gallery,
    "`check`": check,
    "`evaluate`": evaluate,
    "`train`, copies of the images": copies,
}


def costs(bundle: Path, repeats: int, scratch: Path) -> list[str]:
    """Lines about images/s and start, with and without a watching process, each pair in turns."""
    photos = DATA / "coco-mini" / "train"
    total = len(list(photos.iterdir()))
    rates: list[float] = []
    starts: list[float] = []
    for turn in range(repeats + 1):
        seconds = {}
        for name, code in [("watched", WATCHED), ("alone", ALONE)][:: 1 if turn % 2 else -1]:
            shutil.rmtree(scratch, ignore_errors=True)
            said, _ = command(code, "tag", photos, "--model", bundle, "--out", scratch / "tags.csv", "--json-log")
            seconds[name] = json.loads(said.strip().splitlines()[-1])["seconds"]
        quick = {name: min(command(code, "--version")[1] for _ in range(5)) for name, code in (("w", WATCHED), ("a", ALONE))}
        if turn:  # the first is to warm up
            rates.append(seconds["alone"] / seconds["watched"])
            starts.append(quick["w"] - quick["a"])
        print(f"{turn} of {repeats}", file=sys.stderr, flush=True)
    rate, low, high = statistics.median(rates), min(rates), max(rates)
    start = statistics.median(starts)
    return [
        f"- {total} photographs, {repeats} rounds in turns: images/s when watched against alone {rate:.4f} (median; "
        f"{low:.4f} to {high:.4f}). Wanted {1 - SHARE}: {'reached' if rate >= 1 - SHARE else 'not reached'}.",
        f"- Start and end (`cocotag --version`, the shorter of five): {1000 * start:.1f} ms more when watched (median; "
        f"{1000 * min(starts):.1f} to {1000 * max(starts):.1f}). Wanted {1000 * SECONDS:.0f} ms: "
        f"{'reached' if start <= SECONDS else 'not reached'}.",
    ]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "crashes.md")
    args = parser.parse_args()
    images = 10 * args.times
    lines = [
        "# Decoders that crash",
        "",
        f"Written by `python scripts/measure/measure_crashes.py BUNDLE --times {args.times} --repeats {args.repeats}` on "
        f"{usable_cores()} CPU cores ({platform.machine()}), Python {platform.python_version()}.",
        "",
        f"A planted decoder ends the process for {args.times} of {images} images. The command is restarted after each; it "
        "names the guilty files, and every other file has its result exactly once.",
        "",
        "| stage | others with their result | guilty files named | restarts | seconds |",
        "| --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        data = make_data(Path(scratch, "data"), images, args.times)
        for name, stage in STAGES.items():
            out = Path(scratch, "out")
            out.mkdir()
            others, named, seconds, died = stage(data, args.bundle, out)
            shutil.rmtree(out)
            row = f"| {name} | {others} of {images - args.times} | {named} of {args.times} | {died} | {seconds:.0f} |"
            print(row, file=sys.stderr, flush=True)
            lines.append(row)
        lines += ["", "## Without a crash", "", *costs(args.bundle, args.repeats, Path(scratch, "cost"))]
    args.report.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
