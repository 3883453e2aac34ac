"""Measure the annotation index at the size of train2017; write reports/annotation_index.md.

Draws an annotation file as large as COCO's instances_train2017.json (118,287 images, 860,001 boxes with polygons). Measures the
time of its first reading compared with pycocotools alone, the time of later readings, the size of the table, and the growth of
loader workers over an epoch.

usage: python scripts/measure/measure_index.py [--part reading|loading --keep FOLDER] [--repeats 3] [--report FILE]

Needs COCO's labels and photographs: COCOTAG_DATA, or ../shared/data. Needs about 1 GB of disk, 5 GB of memory and eight
minutes; the two parts can be measured one after the other.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cocotag.data.annotations import load_annotations

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")

# instances_train2017.json, https://cocodataset.org
IMAGES, BOXES, BARE = 118_287, 860_001, 1_021
"""Number of images, of annotations, and of images without annotations."""
CROWD_EVERY = 85
"""Every k-th annotation is a crowd, with this k."""
MEAN_POINTS = 26
"""Mean number of corners of a polygon, which gives train2017's 448 MB."""

SPLIT, WORKERS, BATCH, SIDE = "train2017", 2, 64, 80
MEMORY = ("Rss", "Pss", "Private")
"""Memory of a process: all mapped pages; the same with shared pages divided by their users; private pages only (USS)."""

PEAK = """
def peak():
    # VmHWM: unlike ru_maxrss, it does not include the parent's memory
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))
"""
PYCOCOTOOLS = (
    PEAK
    + """
import contextlib, io, json, sys, time
from pycocotools.coco import COCO
start = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()):
    coco = COCO(sys.argv[1])
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "peak": peak()}), flush=True)
"""
)
COCOTAG = (
    PEAK
    + """
import json, sys, time
start = time.perf_counter()
from cocotag.data.annotations import PER_IMAGE, load_annotations
imported = time.perf_counter()
table = load_annotations(sys.argv[1])
seconds = time.perf_counter() - imported
print(json.dumps({
    "seconds": seconds,
    "import": imported - start,
    "peak": peak(),
    "through_pycocotools": "pycocotools" in sys.modules,
    "nbytes": {name: getattr(table, name).nbytes for name in PER_IMAGE},
    "dtypes": {name: str(getattr(table, name).dtype) for name in PER_IMAGE},
}), flush=True)
"""
)


class Listed:
    """A data set with Python objects for every image, which cocotag's loader avoids, to show the growth of workers.

    Args:
        path: An annotation file.
    """

    def __init__(self, path: Path) -> None:
        table = load_annotations(path)
        self.rows = [
            (name, [(index, index + 0.5) for index in np.flatnonzero(labels).tolist()])
            for name, labels in zip(table.file_names.tolist(), table.targets, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> int:
        """Read the objects of a row, as a data set would."""
        name, labels = self.rows[row]
        return len(name) + sum(index for index, _ in labels)


def memory_of(process: int) -> dict[str, int]:
    """Kind of memory, as in `MEMORY` -> bytes of a process."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    parts = {name: 1024 * int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
    return {"Rss": parts["Rss"], "Pss": parts["Pss"], "Private": parts["Private_Clean"] + parts["Private_Dirty"]}


def watch_workers(loader: Iterable[object], batches: int) -> list[dict[str, float]]:
    """Load an epoch; return the mean memory of the workers after the first batch, a tenth of the epoch, and up to its end."""
    points = {1, *(max(1, batches * share // 100) for share in (10, 25, 50, 75, 100))}
    seen = []
    for done, _ in enumerate(tqdm(loader, total=batches, desc="load", disable=None), start=1):
        if done in points:
            held = [memory_of(worker.pid) for worker in multiprocessing.active_children() if worker.pid]
            seen.append({"images": done * BATCH, **{kind: statistics.mean(one[kind] for one in held) for kind in MEMORY}})
    return seen


def draw_annotations(path: Path, source: Path, seed: int = 0) -> None:
    """Write an annotation file of train2017's size.

    Every image has the boxes of an image of ``source``, drawn with replacement, which keeps frequencies and co-occurrence;
    polygons are noisy ellipses in the boxes.
    """
    rng = np.random.default_rng(seed)
    real = json.loads(source.read_text())
    boxes_of: dict[int, list[tuple[int, list[float]]]] = defaultdict(list)
    for annotation in real["annotations"]:
        boxes_of[annotation["image_id"]].append((annotation["category_id"], annotation["bbox"]))
    pool = list(boxes_of.values())
    drawn = [pool[index] for index in rng.integers(len(pool), size=IMAGES - BARE)] + [[] for _ in range(BARE)]
    drawn = [drawn[index] for index in rng.permutation(IMAGES)]
    owner = np.repeat(np.arange(IMAGES), [len(boxes) for boxes in drawn])
    assert len(owner) >= BOXES, "the source has fewer boxes per image than train2017"
    dropped = set(rng.choice(len(owner), len(owner) - BOXES, replace=False).tolist())
    flat = [(image, box) for image, boxes in enumerate(drawn) for box in boxes]
    flat = [pair for index, pair in enumerate(flat) if index not in dropped]
    ids = np.sort(rng.choice(600_000, IMAGES, replace=False)).tolist()
    sizes = [_size([box for _, box in boxes]) for boxes in drawn]
    with path.open("w", encoding="ascii") as file:
        file.write('{"info": {"description": "drawn, not COCO"},"licenses": [],"images": ')
        file.write(_dumps([_image(number, *size) for number, size in zip(ids, sizes, strict=True)]))
        file.write(',"annotations": [')
        step = 20_000
        for start in tqdm(range(0, BOXES, step), desc="draw", disable=None):
            part = flat[start : start + step]
            corners = _polygons(rng, np.array([box for _, (_, box) in part]))
            for index, ((image, (category, box)), polygon) in enumerate(zip(part, corners, strict=True), start=start):
                crowd = index % CROWD_EVERY == 0
                shape: Any = {"counts": [int(value) for value in polygon], "size": sizes[image][::-1]} if crowd else [polygon]
                entry = {
                    "segmentation": shape,
                    "area": 0.63 * box[2] * box[3],
                    "iscrowd": int(crowd),
                    "image_id": ids[image],
                    "bbox": box,
                    "category_id": category,
                    "id": 900_000 + index,
                }
                file.write(("," if index else "") + _dumps(entry))
        file.write('],"categories": ' + _dumps(real["categories"]) + "}")


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ": "))


def _size(boxes: list[list[float]]) -> tuple[int, int]:
    """Width and height of an image that contains the boxes; most of COCO's are 640 x 480 or 480 x 640."""
    right = max((x + width for x, _, width, _ in boxes), default=640)
    bottom = max((y + height for _, y, _, height in boxes), default=480)
    return (640, 480) if bottom <= 480 else (480, 640) if right <= 480 else (640, 640)


def _image(number: int, width: int, height: int) -> dict[str, Any]:
    name = f"{number:012}.jpg"
    return {
        "license": 3,
        "file_name": name,
        "coco_url": f"http://images.cocodataset.org/train2017/{name}",
        "height": height,
        "width": width,
        "date_captured": "2013-11-14 11:18:45",
        "flickr_url": f"http://farm9.staticflickr.com/8186/8119368305_{number:010x}_z.jpg",
        "id": number,
    }


def _polygons(rng: np.random.Generator, boxes: NDArray[np.float64]) -> Iterator[list[float]]:
    """Yield the corners ``x, y, x, y, ...`` of a polygon for each box ``x, y, width, height``, ``(A, 4)``."""
    points = 4 + rng.geometric(1 / (MEAN_POINTS - 4), len(boxes))
    box = np.repeat(np.arange(len(boxes)), points)
    ends = np.cumsum(points)
    angle = 2 * np.pi * (np.arange(len(box)) - (ends - points)[box]) / points[box]
    radius = 0.5 * rng.uniform(0.7, 1, len(box))
    circle = 0.5 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    corners = np.round(boxes[box, :2] + circle * boxes[box, 2:], 2).ravel().tolist()
    start = 0
    for end in (2 * ends).tolist():
        yield corners[start:end]
        start = end


def fill_folder(folder: Path, names: list[str]) -> int:
    """Link every name to one of coco-mini's photographs, which are copied once; return the number of photographs."""
    photographs = sorted((DATA / "coco-mini").glob("*/*.jpg"))
    if folder.is_dir():
        return len(photographs)
    originals = folder.parent / "originals"
    originals.mkdir()
    folder.mkdir()
    copies = [Path(shutil.copyfile(photograph, originals / photograph.name)) for photograph in photographs]
    for name, copy in zip(tqdm(names, desc="link", disable=None), itertools.cycle(copies), strict=False):
        (folder / name).hardlink_to(copy)
    return len(photographs)


def measure_loading(path: Path) -> dict[str, Any]:
    """Memory over an epoch, of the workers of cocotag's loader and of a loader of Python objects."""
    from torch.utils.data import DataLoader

    from cocotag.config import DataConfig
    from cocotag.data.loading.datamodule import TaggingData
    from cocotag.data.splits import Splits

    root = path.parent.parent
    photographs = fill_folder(root / SPLIT, load_annotations(path).file_names.tolist())
    config = DataConfig(root=str(root), train_split=SPLIT, val_split=None, workers=WORKERS)
    loader = TaggingData(Splits(config, seed=0), image_size=SIDE, batch_size=BATCH, seed=0).train_dataloader()
    ours = watch_workers(loader, len(loader))
    listed: Any = DataLoader(Listed(path), batch_size=BATCH, num_workers=WORKERS, shuffle=True, drop_last=True)  # type: ignore[arg-type]
    return {"photographs": photographs, "ours": ours, "listed": watch_workers(listed, len(listed))}


def fresh(code: str, *words: object) -> dict[str, Any]:
    """Run code in a new process; return its printed JSON, and as ``whole`` the seconds from its start to its end."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True)
    return {**json.loads(done.stdout), "whole": time.perf_counter() - start}


def measure_reading(path: Path, repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Name of a reading -> its figures, one per repetition; each reading has a new process."""
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")  # fills the page cache, without memory that the children would inherit
    figures: dict[str, list[dict[str, Any]]] = {"pycocotools": [], "first": []}
    for _ in tqdm(range(repeats), desc="read", disable=None):
        shutil.rmtree(path.parent / ".cocotag", ignore_errors=True)
        figures["pycocotools"].append(fresh(PYCOCOTOOLS, path))
        figures["first"].append(fresh(COCOTAG, path))
    figures["later"] = [fresh(COCOTAG, path) for _ in range(7)]
    path.touch()
    time.sleep(3)  # until the new modification time counts as stable
    figures["touched"] = [fresh(COCOTAG, path)]
    figures["after"] = [fresh(COCOTAG, path)]
    assert all(figure["through_pycocotools"] == (name == "first") for name in list(figures)[1:] for figure in figures[name])
    return figures


def median_and_range(figures: list[dict[str, Any]], key: str) -> str:
    """Median and range in seconds, as text."""
    values = [figure[key] for figure in figures]
    several = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    return f"{statistics.median(values):.2f} s{several}"


def memory_table(points: list[dict[str, float]]) -> str:
    """The table of the workers' memory."""
    rows = [
        f"| {point['images']:,.0f} | " + " | ".join(f"{point[kind] / 1e6:.1f}" for kind in MEMORY) + " |" for point in points
    ]
    return "\n".join(["| images loaded | RSS | PSS | private |", "| --- | --- | --- | --- |", *rows])


def growth(points: list[dict[str, float]], since: int) -> float:
    """Growth of a worker's private memory from a point to the last, MB."""
    return (points[-1]["Private"] - points[since]["Private"]) / 1e6


def report(figures: dict[str, list[dict[str, Any]]], loading: dict[str, Any], path: Path) -> str:
    """The report."""
    ours, listed = loading["ours"], loading["listed"]
    first, alone = (statistics.median(one["seconds"] for one in figures[name]) for name in ("first", "pycocotools"))
    whole = max(one["whole"] for one in figures["later"])
    nbytes, dtypes = figures["later"][0]["nbytes"], figures["later"][0]["dtypes"]
    total = sum(nbytes.values()) / 1e6
    verdicts = [
        (first / alone <= 1.3, f"the first reading takes {first / alone:.2f} times as long as pycocotools alone (target 1.3)"),
        (whole <= 0.5, f"a later reading takes at most {whole:.2f} s, for the whole process (target 0.5 s)"),
        (total <= 50, f"the table has {total:.1f} MB (target 50 MB)"),
        (
            growth(ours, 1) <= 1,
            f"a worker's private memory grows by {growth(ours, 1):.1f} MB from a tenth of an epoch to its end (target 1 MB); "
            f"with Python objects by {growth(listed, 1):.1f} MB",
        ),
    ]
    readings = {
        "pycocotools": "`pycocotools.COCO(file)` alone",
        "first": "first `load_annotations`, which writes the cache",
        "later": "later `load_annotations`",
        "touched": "after `touch`, which hashes the unchanged content",
        "after": "after that",
    }
    rows = [
        f"| {what} | {median_and_range(figures[name], 'seconds')} | {median_and_range(figures[name], 'whole')} | "
        f"{max(one['peak'] for one in figures[name]) / 1e9:.2f} GB |"
        for name, what in readings.items()
    ]
    return "\n".join(
        [
            "# The annotation index at the size of train2017",
            "",
            f"Written by `scripts/measure/measure_index.py` on {os.cpu_count()} CPU cores ({platform.machine()}), Python "
            f"{platform.python_version()}, numpy {np.__version__}, torch {version('torch')}, pycocotools "
            f"{version('pycocotools')}. Reading and loading may have been measured in separate runs, with `--part`.",
            "",
            *(f"- {'reached' if reached else '**not reached**'}: {what}" for reached, what in verdicts),
            "",
            f"The file is synthetic: {IMAGES:,} images, {BOXES:,} boxes with polygons, {path.stat().st_size / 1e6:.0f} MB. "
            "Each image has the boxes of a random val2017 image, so frequencies and co-occurrence are COCO's. The polygons are "
            f"random, and one annotation in {CROWD_EVERY} is a crowd.",
            "",
            "## Reading",
            "",
            "Each reading has a new process. The table has median and range of the call without imports, and of the whole "
            "process. The file is in the page cache. First readings and pycocotools alone take turns.",
            "",
            "| reading | call | whole process | peak memory |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            f"The cache has {(path.parent / '.cocotag' / f'{path.name}.table').stat().st_size / 1e6:.1f} MB on disk.",
            "",
            "## Table",
            "",
            "| array | type | MB |",
            "| --- | --- | --- |",
            *(f"| `{name}` | {dtypes[name]} | {size / 1e6:.1f} |" for name, size in nbytes.items()),
            f"| all | | {total:.1f} |",
            "",
            "## Loader workers",
            "",
            f"Mean of {WORKERS} workers, MB, from `/proc/PID/smaps_rollup`. RSS counts all mapped pages of a process, PSS "
            "divides shared pages among their users, private pages belong to the process alone. A page shared with the parent "
            "becomes private when a worker writes to it, and reading a Python object writes its reference count.",
            "",
            f"`TaggingData.train_dataloader()` as in training ({SIDE} px, batches of {BATCH}, standard augmentation), one "
            f"epoch. Every file is a hard link to one of coco-mini's {loading['photographs']} photographs:",
            "",
            memory_table(ours),
            "",
            f"From the first batch to the last, RSS changes by {(ours[-1]['Rss'] - ours[0]['Rss']) / 1e6:+.1f} MB and private "
            f"memory by {growth(ours, 0):+.1f} MB, mostly for decoding buffers. Workers join paths as text, because `pathlib` "
            "interns the parts of each path. Python's table of interned strings is as large as the parent's, so almost every "
            "image would copy a page of it.",
            "",
            "For comparison, the memory of a loader of a list with a tuple per image, without decoding:",
            "",
            memory_table(listed),
            "",
        ]
    )


def main() -> None:
    """Draw the annotation file, measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="work in this folder and keep it; parts measured there before are reused")
    parser.add_argument(
        "--part", choices=("reading", "loading"), help="measure only this part; the report is written with the second"
    )
    parser.add_argument("--repeats", type=int, default=3, help="repetitions of the slow readings")
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "annotation_index.md")
    args = parser.parse_args()
    if not (DATA / "coco-mini").is_dir():
        sys.exit(f"There are no real photographs in {DATA}. Set COCOTAG_DATA.")
    with tempfile.TemporaryDirectory() as temporary:
        root: Path = args.keep or Path(temporary)
        os.environ["XDG_CACHE_HOME"] = str(root / "cache")
        path = root / "annotations" / f"instances_{SPLIT}.json"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_annotations(path, DATA / "labels_val2017.json")
        reading, loading = root / "reading.json", root / "loading.json"
        if args.part != "loading" and not reading.is_file():
            reading.write_text(json.dumps(measure_reading(path, args.repeats)))
        if args.part != "reading" and not loading.is_file():
            loading.write_text(json.dumps(measure_loading(path)))
        if not (reading.is_file() and loading.is_file()):
            print(f"{root} has one part of two. Measure the other with --part to write the report.")
            return
        args.report.write_text(report(json.loads(reading.read_text()), json.loads(loading.read_text()), path), encoding="utf-8")
    print(args.report.read_text())
    print(args.report)


if __name__ == "__main__":
    main()
