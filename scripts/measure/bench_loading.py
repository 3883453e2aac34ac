"""Measure images per second of four ways to load training images on one core; write reports/loading.md.

usage: python scripts/measure/bench_loading.py [--images 200] [--repeats 7] [--large 24] [--large-repeats 3] [--report FILE]

- the loader of a hobby project: PIL, Resize to 256 x 256, flip, brightness, ToTensor, Normalize, float32 on the CPU;
- torchvision's reference training: PIL, v2's RandomResizedCrop 224 with antialias, flip, PILToTensor, ToDtype, Normalize;
- cocotag's TaggedImages as in training (random resized crop 224, flip, colour; uint8), from the photographs and from the copies
  of data.cache_images.

All ways read the same files in one process, one image after the other, in turns. The time is from file to array. The second and
third table have the photographs enlarged to 12 megapixels. Needs the real data: COCOTAG_DATA, or ../shared/data.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from phone_photographs import enlarge
from PIL import Image
from PIL import __version__ as pillow_version
from torchvision import transforms
from torchvision.transforms import v2

from cocotag.data.annotations import AnnotationTable, load_split
from cocotag.data.loading.dataset import TaggedImages
from cocotag.data.loading.image_cache import cached_paths, copy_side
from cocotag.data.loading.transforms import Augmentation
from cocotag.models.network import Normalize
from cocotag.models.normalization import IMAGENET_MEAN, IMAGENET_STD
from cocotag.photos.decode import decode

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")
SIZE = 224
KINDS = ("baseline", "progressive")
TARGET, TARGET_CACHED = 2.5, 6.0  # times the hobby original
HOBBY, REFERENCE, OURS, CACHED = "hobby original", "torchvision v2", "ours", "ours, cache_images"


@dataclass(frozen=True)
class Timed:
    """Milliseconds per image, one value per repetition."""

    whole: list[float]
    decoding: list[float]

    @property
    def median(self) -> float:
        """The median from file to array."""
        return statistics.median(self.whole)


@dataclass(frozen=True)
class Table:
    """One table of the report."""

    title: str
    files: str
    timed: dict[str, Timed]
    copies_per_second: float  # on one core
    copy_kb: float

    def ratio(self, way: str) -> float:
        """Speed-up over the hobby original."""
        return self.timed[HOBBY].median / self.timed[way].median

    def text(self) -> str:
        """The table as Markdown."""
        rows = []
        for way, timed in self.timed.items():
            spread = f"{min(timed.whole):.2f} to {max(timed.whole):.2f}"
            decoding = statistics.median(timed.decoding)
            rows.append(
                f"| {way} | {1000 / timed.median:.0f} | {self.ratio(way):.2f} | {timed.median:.2f} | {spread} | "
                f"{decoding:.2f} | {timed.median - decoding:.2f} |"
            )
        return f"""## {self.title}

{self.files} Copies: {self.copy_kb:.0f} kB each, created at {self.copies_per_second:.0f} images/s on this core.

| way | images/s | speed-up over the original | ms per image | range | decoding | rest |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}
"""


def hobby() -> Any:  # noqa: ANN401 (torchvision is untyped)
    """The transforms of the hobby original."""
    return transforms.Compose(
        [
            transforms.Resize((256, 256)),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(brightness=0.2),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )


def reference() -> Any:  # noqa: ANN401 (torchvision is untyped)
    """Torchvision's references/classification/presets.py with the PIL backend, without AutoAugment and random erasing."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, interpolation=v2.InterpolationMode.BILINEAR, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )


def with_pillow(path: Path) -> Image.Image:
    """An image, read as torchvision's ImageFolder does."""
    with path.open("rb") as file:
        return Image.open(file).convert("RGB")


def measure(title: str, files: str, table: AnnotationTable, root: Path, repeats: int) -> Table:
    """Time all ways on the images of a table, in turns; the copies go to ``root``."""
    paths = table.paths()
    start = time.perf_counter()
    cached = cached_paths(paths, [root], SIZE)
    copies_per_second = len(paths) / (time.perf_counter() - start)
    augmentation = Augmentation("standard", size=SIZE)
    plain = TaggedImages(table, image_size=SIZE, augmentation=augmentation)
    quick = TaggedImages(table, image_size=SIZE, augmentation=augmentation, cached=cached)
    one, two = hobby(), reference()

    def our_decode(row: int, index: int, files: list[Path]) -> NDArray[np.uint8]:
        drawn = augmentation.draw(index, *table.sizes[row].tolist())
        rows = drawn.rows if drawn is not None else None
        return decode(files[row], min_side=augmentation.min_side(drawn), headroom=1, rows=rows)

    copies = [Path(os.fsdecode(name)) for name in cached]
    rows = range(len(paths))
    ways: dict[str, tuple[Callable[[int, int], object], Callable[[int, int], object]]] = {
        HOBBY: (lambda row, _: one(with_pillow(paths[row])), lambda row, _: with_pillow(paths[row])),
        REFERENCE: (lambda row, _: two(with_pillow(paths[row])), lambda row, _: with_pillow(paths[row])),
        OURS: (lambda _, index: plain[index], lambda row, index: our_decode(row, index, paths)),
        CACHED: (lambda _, index: quick[index], lambda row, index: our_decode(row, index, copies)),
    }
    timed = {way: Timed([], []) for way in ways}
    for repetition in itertools.count(-1):  # the first is a warm-up
        if repetition == repeats:
            break
        print(f"{title}: repetition {repetition + 1} of {repeats}", file=sys.stderr, flush=True)
        for way, (whole, decoding) in ways.items():
            for work, into in ((whole, timed[way].whole), (decoding, timed[way].decoding)):
                if repetition < 0 and work is decoding:  # the files are in memory already
                    continue
                start = time.perf_counter()
                for row in rows:
                    work(row, (repetition + 1) * len(paths) + row)
                if repetition >= 0:
                    into.append(1000 * (time.perf_counter() - start) / len(paths))
    size = statistics.mean(path.stat().st_size for path in copies)
    return Table(title, files, timed, copies_per_second, size / 1e3)


def normalisation() -> float:
    """Milliseconds per image of the normalisation from uint8 to float32, which cocotag's network does per batch."""
    batch, normalize = torch.randint(0, 256, (32, SIZE, SIZE, 3), dtype=torch.uint8), Normalize()
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        normalize(batch)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds) / len(batch)


def linked(folder: Path) -> AnnotationTable:
    """Link coco-mini/train into a new folder, where the copies can be created; return its table."""
    (folder / "coco-mini").mkdir()
    for part in ("annotations", "train"):
        (folder / "coco-mini" / part).symlink_to((DATA / "coco-mini" / part).resolve())
    return load_split(folder / "coco-mini", "train")


def enlarged(table: AnnotationTable, folder: Path, *, progressive: bool) -> AnnotationTable:
    """The table of the photographs, enlarged to 12 megapixels."""
    image_dir = folder / ("progressive" if progressive else "baseline") / "train"
    names = table.file_names.tolist()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda name: enlarge(table.image_dir / name, image_dir / name, progressive=progressive), names))
    sizes = []
    for name in names:
        with Image.open(image_dir / name) as image:
            sizes.append(image.size)
    return replace(table, image_dir=image_dir, sizes=np.array(sizes, np.int32))


def spread(table: AnnotationTable, count: int) -> AnnotationTable:
    """An even sample of the images of a table."""
    return table.take(np.linspace(0, len(table) - 1, min(count, len(table))).astype(int))


def megabytes(table: AnnotationTable) -> float:
    """Mean size of the files in MB."""
    return statistics.mean(path.stat().st_size for path in table.paths()) / 1e6


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--large", type=int, default=24, help="number of photographs at 12 megapixels; 0 leaves out those tables"
    )
    parser.add_argument("--large-repeats", type=int, default=3)
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "loading.md")
    args = parser.parse_args()
    if not (DATA / "coco-mini").is_dir():
        sys.exit(f"There are no real photographs in {DATA}. Set COCOTAG_DATA.")
    tables = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        whole = linked(folder)
        large = {
            kind: enlarged(spread(whole, args.large), folder, progressive=kind == "progressive")
            for kind in KINDS[: 2 * bool(args.large)]
        }
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        table = spread(whole, args.images)
        sides = "{} x {}".format(*np.median(table.sizes, axis=0).astype(int))
        kilobytes = f"{1000 * megabytes(table):.0f} kB"
        files = f"{len(table)} photographs of coco-mini/train, median size {sides} pixels, {kilobytes} each."
        tables.append(measure("Full-size photographs", files, table, folder / "coco-mini", args.repeats))
        for kind, part in large.items():
            enlarger = "`scripts/measure/phone_photographs.py`"
            files = f"{len(part)} photographs, enlarged to 12 megapixels ({enlarger}), {megabytes(part):.1f} MB each."
            tables.append(measure(f"12 megapixels, {kind}", files, part, part.image_dir.parent, args.large_repeats))
        deferred = normalisation()
    text = page(tables, deferred, args.repeats, args.large_repeats)
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(text, encoding="utf-8")
    print(text)
    print(f"Written: {args.report}")


def page(tables: list[Table], deferred: float, repeats: int, large_repeats: int) -> str:
    """The report."""
    first = tables[0]
    ours, cached, ahead = first.ratio(OURS), first.ratio(CACHED), first.timed[REFERENCE].median / first.timed[OURS].median

    def reached(good: bool) -> str:
        return "reached" if good else "not reached"

    verdicts = [
        f"ours is {ours:.2f} times as fast as the original (target {TARGET}: {reached(ours >= TARGET)})",
        f"{ahead:.2f} times as fast as torchvision v2 (target 1: {reached(ahead > 1)})",
        f"with `data.cache_images` {cached:.2f} times as fast as the original "
        f"(target {TARGET_CACHED:g}: {reached(cached >= TARGET_CACHED)})",
    ]
    whole = [first.timed[HOBBY].median / (first.timed[way].median + deferred) for way in (OURS, CACHED)]
    return f"""# Loading training images

Written by `.venv/bin/python scripts/measure/bench_loading.py` on one core of {os.cpu_count()} ({platform.machine()}), \
Python {platform.python_version()}, Pillow {pillow_version}, torch {torch.__version__}.

One process, one core, one thread in OpenCV and torch. The ways run in turns; figures are medians of {repeats} repetitions (at
12 megapixels {large_repeats}) after a warm-up, so the files are in memory. Ours draws the random crop before decoding, and
decodes a JPEG at 1/2, 1/4 or 1/8 scale if the crop needs no more pixels. It returns uint8; the network normalises, which takes
{deferred:.2f} ms per image on this core and is not in our rows. The original resizes to 256 px, the others to {SIZE} px.

Result: {"; ".join(verdicts)}. If the network normalises on the same core, as the other two ways have done, ours is
{whole[0]:.2f} times as fast as the original, with copies {whole[1]:.2f} times. The original resizes the whole image to 256 px;
ours and torchvision's take random crops of at least 50 % and 8 % of the area, as in their training. The effect on evaluation is
in [decode_effect.md](decode_effect.md).

{chr(10).join(table.text() for table in tables)}
Copies have {copy_side(SIZE)} pixels on the shorter side. Decoding is timed separately; "rest" is the difference of two timings.
"""


if __name__ == "__main__":
    main()
