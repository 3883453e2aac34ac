"""Train on real photographs from ImageNet weights and from scratch; write reports/coco_mini.md.

usage: python scripts/measure/measure_coco_mini.py [--seeds 0 1 2] [--out FOLDER] [--report FILE]

Needs the real data: COCOTAG_DATA, or ../shared/data. The photographs and weights stay there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measured_run import DATA, IMAGENET, PROJECT, measure

# From scratch, a head on random layers is useless, so all layers train, for as many epochs as all stages together.
FROM_SCRATCH = '[{"epochs": 22, "train": "all", "lr": 0.002}]'


def tags_agree(run: Path) -> str:
    """Tag the val folder with the bundle, and compare the counts of its tags with the report's."""
    out = run / "tags.jsonl"
    subprocess.run(
        [sys.executable, "-m", "cocotag", "tag", DATA / "coco-mini" / "val", "--model", run / "tagger.onnx", "--out", out],
        check=True,
    )
    tagged = [json.loads(line)["tags"] for line in out.read_text().splitlines()]
    report: list[dict[str, Any]] = json.loads((run / "report" / "report.json").read_text())["per_class"]
    different = [row["name"] for row in report if row["predicted"] != sum(row["name"] in tags for tags in tagged)]
    total = sum(len(tags) for tags in tagged)
    return f"{len(tagged)} photographs, {total} tags; " + (
        f"classes whose counts differ: {', '.join(different)}" if different else "the counts of all classes agree"
    )


def cold_seconds(run: Path) -> list[float]:
    """Seconds that `cocotag tag` takes for one photograph in a new process; five measurements."""
    photo = next((DATA / "coco-mini" / "val").glob("*.jpg"))
    command: list[str | Path] = [sys.executable, "-m", "cocotag", "tag", photo, "--model", run / "tagger.onnx", "--out", "-"]
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return seconds


def line(name: str, rows: list[dict[str, float]]) -> str:
    """A row of the table: the mean over seeds and, if there are several, the standard deviation."""

    def cell(key: str) -> str:
        values = [100 * row[key] for row in rows]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.1f}{spread}"

    interval = f"{100 * rows[0]['map_lo']:.1f} to {100 * rows[0]['map_hi']:.1f}"
    seconds = statistics.median(row["training"] for row in rows), statistics.median(row["whole"] for row in rows)
    cells = [
        name,
        cell("map"),
        interval,
        cell("macro_f1"),
        cell("micro_f1"),
        cell("cf1"),
        f"{seconds[0]:.0f} s",
        f"{seconds[1]:.0f} s",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Run both trainings and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, help="keep the runs here (default: a temporary folder)")
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "coco_mini.md")
    args = parser.parse_args()
    if not (DATA / "coco-mini").is_dir():
        sys.exit(f"There are no real photographs in {DATA}. Set COCOTAG_DATA.")
    with tempfile.TemporaryDirectory() as temporary:
        out: Path = args.out or Path(temporary)
        weights: list[str | Path] = ["--model.weights", IMAGENET]
        staged = [measure(out / f"staged-{seed}", *weights, "--seed", str(seed)) for seed in args.seeds]
        scratch = [
            measure(
                out / f"scratch-{seed}",
                *("--model.weights", "null", "--model.image_size", "224", "--stages", FROM_SCRATCH, "--seed", str(seed)),
            )
            for seed in args.seeds
        ]
        agree = tags_agree(out / f"staged-{args.seeds[0]}")
        cold = cold_seconds(out / f"staged-{args.seeds[0]}")
    text = f"""# coco-mini: real photographs

Written by `.venv/bin/python scripts/measure/measure_coco_mini.py --seeds {" ".join(map(str, args.seeds))}` on \
{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}.

`configs/coco_mini.yaml`: 317 COCO photographs for training (a tenth of them chooses checkpoint and thresholds), 150 to report
on. The recipe was chosen on folds of the 317 (reports/study.md), from ideas that had earlier been tried on the 150.
Figures are percentages; mean{" and standard deviation" if len(args.seeds) > 1 else ""} over seeds \
{", ".join(map(str, args.seeds))}; the interval is the first seed's, 95 %, over images. That of mAP is
the interval of mAP on many images, and lies mostly below the value here: on 150 images a positive of a rare class is a large
part of its own precision.

| run | mAP | interval | macro-F1 | micro-F1 | CF1 | training | whole command |
| --- | --- | --- | --- | --- | --- | --- | --- |
{line("ImageNet weights, staged", staged)}
{line("from scratch, 224 px", scratch)}

The tags of the first bundle on the val folder (`cocotag tag`), compared with its report (`cocotag evaluate`): {agree}.

`cocotag tag` of one photograph, the whole process: {statistics.median(cold):.2f} s, \
median of {len(cold)} ({min(cold):.2f} to {max(cold):.2f}).
"""
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
