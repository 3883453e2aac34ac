"""Measure the index of annotations at train2017's size; write reports/annotation_index.md.

Draws an annotation file as large as COCO's instances_train2017.json (118,287 images, 860,001 boxes with polygons) and measures
how long its first reading takes against pycocotools alone, how long every later start takes, how large the table is, and
whether loader workers grow over an epoch.

usage: python scripts/measure/measure_index.py [--part reading|loading --keep FOLDER] [--repeats 3] [--report FILE]

Needs COCO's labels and photographs: COCOTAG_DATA, or ../shared/data. About 1 GB of disk, 5 GB of memory, eight minutes; the two
parts may be measured one after the other.
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
"""Images, annotations, and images without any."""
CROWD_EVERY = 85
"""One annotation in so many is a crowd."""
MEAN_POINTS = 26
"""Corners of a polygon: those of train2017 make its 448 MB."""

SPLIT, WORKERS, BATCH, SIDE = "train2017", 2, 64, 80
MEMORY = ("Rss", "Pss", "Private")
"""Of a process: all pages it has mapped; those, shared ones divided by their users; those that are its alone (also: USS)."""

PEAK = """
def peak():
    # VmHWM: unlike ru_maxrss it does not begin with what the parent had
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
    """What the loader does not do: Python objects for every image. Shows what growth looks like.

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
        """Reads what a data set would read of a row."""
        name, labels = self.rows[row]
        return len(name) + sum(index for index, _ in labels)


def memory_of(process: int) -> dict[str, int]:
    """Resident memory of a process, bytes, by the kinds of `MEMORY`."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    parts = {name: 1024 * int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
    return {"Rss": parts["Rss"], "Pss": parts["Pss"], "Private": parts["Private_Clean"] + parts["Private_Dirty"]}


def watch_workers(loader: Iterable[object], batches: int) -> list[dict[str, float]]:
    """Load an epoch; what a worker holds (mean of them) after the first batch, a tenth of the epoch, and on to its end."""
    points = {1, *(max(1, batches * share // 100) for share in (10, 25, 50, 75, 100))}
    seen = []
    for done, _ in enumerate(tqdm(loader, total=batches, desc="load", disable=None), start=1):
        if done in points:
            held = [memory_of(worker.pid) for worker in multiprocessing.active_children() if worker.pid]
            seen.append({"images": done * BATCH, **{kind: statistics.mean(one[kind] for one in held) for kind in MEMORY}})
    return seen


def draw_annotations(path: Path, source: Path, seed: int = 0) -> None:
    """Write an annotation file of train2017's size.

    Every image has the boxes of an image of ``source``, drawn with replacement, so that frequencies and co-occurrence are
    those; polygons are noisy ellipses in the boxes.
    """
    rng = np.random.default_rng(seed)
    real = json.loads(source.read_text())
    boxes_of: dict[int, list[tuple[int, list[float]]]] = defaultdict(list)
    for annotation in real["annotations"]:
        boxes_of[annotation["image_id"]].append((annotation["category_id"], annotation["bbox"]))
    pool = list(boxes_of.values())
    drawn = [pool[place] for place in rng.integers(len(pool), size=IMAGES - BARE)] + [[] for _ in range(BARE)]
    drawn = [drawn[place] for place in rng.permutation(IMAGES)]
    owner = np.repeat(np.arange(IMAGES), [len(boxes) for boxes in drawn])
    assert len(owner) >= BOXES, "the source has fewer boxes an image than train2017"
    dropped = set(rng.choice(len(owner), len(owner) - BOXES, replace=False).tolist())
    flat = [(image, box) for image, boxes in enumerate(drawn) for box in boxes]
    flat = [pair for place, pair in enumerate(flat) if place not in dropped]
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
            for place, ((image, (category, box)), polygon) in enumerate(zip(part, corners, strict=True), start=start):
                crowd = place % CROWD_EVERY == 0
                shape: Any = {"counts": [int(value) for value in polygon], "size": sizes[image][::-1]} if crowd else [polygon]
                entry = {
                    "segmentation": shape,
                    "area": 0.63 * box[2] * box[3],
                    "iscrowd": int(crowd),
                    "image_id": ids[image],
                    "bbox": box,
                    "category_id": category,
                    "id": 900_000 + place,
                }
                file.write(("," if place else "") + _dumps(entry))
        file.write('],"categories": ' + _dumps(real["categories"]) + "}")


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ": "))


def _size(boxes: list[list[float]]) -> tuple[int, int]:
    """Width and height that hold the boxes; most of COCO is 640 x 480 or upright."""
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
    """Corners ``x, y, x, y, ...`` for each box ``x, y, width, height``, ``(A, 4)``."""
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
    """Give every name a photograph of coco-mini: one copy of each, and hard links to it. How many photographs."""
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
    """Memory of the workers of the real loader, and of one over Python objects, over an epoch."""
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
    """Run code in a process of its own: what it printed, and ``whole``, the seconds from its start to its end."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True)
    return {**json.loads(done.stdout), "whole": time.perf_counter() - start}


def measure_reading(path: Path, repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Readings of the annotation file, each in a process of its own: what was read how, and its figures."""
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")  # into the page cache; never whole into memory, which the children would inherit
    figures: dict[str, list[dict[str, Any]]] = {"pycocotools": [], "first": []}
    for _ in tqdm(range(repeats), desc="read", disable=None):
        shutil.rmtree(path.parent / ".cocotag", ignore_errors=True)
        figures["pycocotools"].append(fresh(PYCOCOTOOLS, path))
        figures["first"].append(fresh(COCOTAG, path))
    figures["later"] = [fresh(COCOTAG, path) for _ in range(7)]
    path.touch()
    time.sleep(3)  # so that the new times count as settled
    figures["touched"] = [fresh(COCOTAG, path)]
    figures["after"] = [fresh(COCOTAG, path)]
    assert all(figure["through_pycocotools"] == (name == "first") for name in list(figures)[1:] for figure in figures[name])
    return figures


def median_and_range(figures: list[dict[str, Any]], key: str) -> str:
    """Part of the page, in seconds."""
    values = [figure[key] for figure in figures]
    several = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    return f"{statistics.median(values):.2f} s{several}"


def memory_table(points: list[dict[str, float]]) -> str:
    """Part of the page."""
    rows = [
        f"| {point['images']:,.0f} | " + " | ".join(f"{point[kind] / 1e6:.1f}" for kind in MEMORY) + " |" for point in points
    ]
    return "\n".join(["| images loaded | RSS | PSS | private |", "| --- | --- | --- | --- |", *rows])


def growth(points: list[dict[str, float]], since: int) -> float:
    """Of a worker's private memory from a point to the last, MB."""
    return (points[-1]["Private"] - points[since]["Private"]) / 1e6


def report(figures: dict[str, list[dict[str, Any]]], loading: dict[str, Any], path: Path) -> str:
    """The page."""
    ours, listed = loading["ours"], loading["listed"]
    first, alone = (statistics.median(one["seconds"] for one in figures[name]) for name in ("first", "pycocotools"))
    whole = max(one["whole"] for one in figures["later"])
    nbytes, dtypes = figures["later"][0]["nbytes"], figures["later"][0]["dtypes"]
    total = sum(nbytes.values()) / 1e6
    verdicts = [
        (first / alone <= 1.3, f"the first reading takes {first / alone:.2f} times pycocotools alone (wanted: at most 1.3)"),
        (whole <= 0.5, f"a later start takes {whole:.2f} s at worst, from the start of its process to its end (0.5 s)"),
        (total <= 50, f"the table takes {total:.1f} MB (50 MB)"),
        (
            growth(ours, 1) <= 1,
            f"a worker's own memory grows by {growth(ours, 1):.1f} MB from a tenth of an epoch to its end (1 MB); over "
            f"Python objects by {growth(listed, 1):.1f} MB",
        ),
    ]
    readings = {
        "pycocotools": "`pycocotools.COCO(file)` alone",
        "first": "first `load_annotations`, with the cache written",
        "later": "later `load_annotations`",
        "touched": "after `touch`: the content hashed, and the same",
        "after": "after that",
    }
    rows = [
        f"| {what} | {median_and_range(figures[name], 'seconds')} | {median_and_range(figures[name], 'whole')} | "
        f"{max(one['peak'] for one in figures[name]) / 1e9:.2f} GB |"
        for name, what in readings.items()
    ]
    return "\n".join(
        [
            "# The index of annotations at train2017's size",
            "",
            f"Written by `scripts/measure/measure_index.py` on {os.cpu_count()} CPU cores ({platform.machine()}), Python "
            f"{platform.python_version()}, numpy {np.__version__}, torch {version('torch')}, pycocotools "
            f"{version('pycocotools')}. Reading and loading may have been measured one after the other, by `--part`.",
            "",
            *(f"- {'reached' if reached else '**not reached**'}: {what}" for reached, what in verdicts),
            "",
            f"The file is drawn: {IMAGES:,} images, {BOXES:,} boxes with polygons, {path.stat().st_size / 1e6:.0f} MB. Each "
            "image has the boxes of a val2017 image, taken at random, so frequencies and co-occurrence are COCO's; made up are "
            f"the polygons, and which one in {CROWD_EVERY} is a crowd.",
            "",
            "## Reading",
            "",
            "Each reading has a process of its own; median and range of the call alone, its imports left out, and of the whole "
            "process. The file is in the page cache. First readings and pycocotools alone take turns.",
            "",
            "| reading | call | whole process | peak memory |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            f"The cache takes {(path.parent / '.cocotag' / f'{path.name}.table').stat().st_size / 1e6:.1f} MB of disk.",
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
            f"Mean of {WORKERS} workers, MB, from `/proc/PID/smaps_rollup`. RSS counts every page that a process has mapped, "
            "PSS divides the shared ones among their users, private ones are the process's alone: pages shared with the parent "
            "become private where a worker writes, and touching a Python object writes its reference count.",
            "",
            f"`TaggingData.train_dataloader()` as in training ({SIDE} px, batches of {BATCH}, standard augmentation), one "
            f"epoch; every name is a hard link to one of coco-mini's {loading['photographs']} photographs:",
            "",
            memory_table(ours),
            "",
            f"From the first batch to the last RSS changes by {(ours[-1]['Rss'] - ours[0]['Rss']) / 1e6:+.1f} MB and private "
            f"memory by {growth(ours, 0):+.1f} MB: first the buffers for decoding. Paths are joined as text there: `pathlib` "
            "enters the parts of each in Python's table of interned strings, which is as large as the parent made it, and so "
            "copies a page of it for almost every image.",
            "",
            "To show what growth looks like, the same read-out over a list with a tuple for each image, without any decoding:",
            "",
            memory_table(listed),
            "",
        ]
    )


def main() -> None:
    """Draw, measure, write the page, delete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="draw and measure into this folder, and leave it; a part found there is kept")
    parser.add_argument(
        "--part", choices=("reading", "loading"), help="measure this one only; the page is written with the other"
    )
    parser.add_argument("--repeats", type=int, default=3, help="fresh processes for each of the long readings")
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "annotation_index.md")
    args = parser.parse_args()
    if not (DATA / "coco-mini").is_dir():
        sys.exit(f"no real photographs in {DATA}; set COCOTAG_DATA")
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
            print(f"{root} has one part; the page is written with the other")
            return
        args.report.write_text(report(json.loads(reading.read_text()), json.loads(loading.read_text()), path), encoding="utf-8")
    print(args.report.read_text())
    print(args.report)


if __name__ == "__main__":
    main()
