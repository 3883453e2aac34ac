"""Time keywords in sidecars beside an earlier version of cocotag, in turns: `cocotag tag --xmp` and its single steps.

usage: python scripts/measure/bench_sidecars.py BUNDLE EARLIER [--rounds 9]

EARLIER is a checkout of the other version. The photographs are the 467 of coco-mini (COCOTAG_DATA, or ../shared/data). Prints
the median milliseconds of both and the median of the ratios of a round: of the whole command, of first sidecars, of a run that
changes nothing, of other tags, and of untag.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")
STEPS = """
import sys, time
from pathlib import Path
from cocotag.inference.tags import Tag
from cocotag.tagging.decisions.rows import Row
from cocotag.tagging.xmp.sidecars import untag, write_sidecars
paths = sorted(Path(sys.argv[1]).glob("*.jpg"))
names = [("dog", "animal"), ("cat", "animal"), ("cup", "kitchen"), ("person", "person"), ("car", "vehicle")]
def rows(shift):
    found = []
    for number, path in enumerate(paths):
        some = [names[(number + shift + k) % 5] for k in range(number % 4)]
        found.append(Row(path, tags=tuple(Tag(name, 0.9, 1, group) for name, group in some)))
    return found
for name, run in (
    ("first", lambda: write_sidecars(rows(0))),
    ("unchanged", lambda: write_sidecars(rows(0))),
    ("other tags", lambda: write_sidecars(rows(1))),
    ("untag", lambda: untag([Path(sys.argv[1])])),
):
    start = time.perf_counter()
    run()
    print(f"{name}\\t{1000 * (time.perf_counter() - start)}")
"""


def run(project: Path, command: list[str]) -> str:
    """Run Python with the package of a checkout."""
    environment = os.environ | {"PYTHONPATH": str(project)}
    done = subprocess.run([sys.executable, *command], cwd=project, env=environment, check=True, capture_output=True, text=True)
    return done.stdout  # Python looks for packages in the current folder first


def once(project: Path, bundle: Path) -> dict[str, float]:
    """Milliseconds of each step, on a fresh copy of the photographs."""
    with tempfile.TemporaryDirectory() as scratch:
        photos = Path(scratch) / "photos"
        photos.mkdir()
        for folder in ("train", "val"):
            for path in (DATA / "coco-mini" / folder).glob("*.jpg"):
                shutil.copy(path, photos / path.name)
        found = {
            name: float(value)
            for name, value in (line.split("\t") for line in run(project, ["-c", STEPS, str(photos)]).splitlines())
        }
        start = time.perf_counter()
        run(
            project,
            ["-m", "cocotag", "tag", str(photos), "--model", str(bundle), "--xmp", "--state", str(Path(scratch) / "state")],
        )
        return {"whole command": 1000 * (time.perf_counter() - start), **found}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("earlier", type=Path, metavar="EARLIER")
    parser.add_argument("--rounds", default=9, type=int)
    args = parser.parse_args()
    bundle, both = args.bundle.resolve(), {"earlier": args.earlier.resolve(), "now": PROJECT}
    seen: list[dict[str, dict[str, float]]] = []
    for _ in range(args.rounds):
        order = random.sample(sorted(both), 2)
        times = {name: once(both[name], bundle) for name in order}
        seen.append(times)
    print("| step | earlier, ms | now, ms | ratio |\n| --- | --- | --- | --- |")
    for step in seen[0]["now"]:
        earlier, now = ([times[which][step] for times in seen] for which in ("earlier", "now"))
        ratio = statistics.median(new / old for new, old in zip(now, earlier, strict=True))
        print(f"| {step} | {statistics.median(earlier):.0f} | {statistics.median(now):.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
