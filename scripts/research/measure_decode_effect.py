"""This script made reports/decode_effect.md once; it is not part of continuous integration.

usage: python scripts/research/measure_decode_effect.py [--seeds 0 1 2] [--bundle FILE] [--report FILE]

It measures the effect of decoding at reduced scale and of downscaled copies on evaluation, on coco-mini/val. Each photograph is
decoded in several ways, at its own size and at 12 megapixels. Probabilities are compared cell by cell, mAP by a paired
bootstrap over images. Without --bundle, two networks per seed are trained and compared, one on the photographs and one on their
copies (`cocotag train --config coco_mini`, 224 px, one or two minutes each). Needs the real data: COCOTAG_DATA, or
../shared/data.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cocotag import metrics
from cocotag.data.annotations import AnnotationTable, load_split
from cocotag.data.loading import image_cache
from cocotag.data.loading.image_cache import copy_side, shrunken
from cocotag.inference.tagger import Tagger
from cocotag.metrics.bootstrap import draws, once
from cocotag.metrics.measures import Prepared, measure
from cocotag.photos.decode import decode, to_square

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "measure"))
from phone_photographs import enlarge

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")
DRAWS = 1000
LIMIT = 0.01  # mean absolute difference of probabilities that is accepted
COPIES = ((80, "420"), (85, "420"), (90, "420"), (92, "420"), (92, "444"), (95, "444"))  # quality and subsampling of JPEG
SIZES = ("own size", "12 megapixels")
Pictures = dict[str, NDArray[np.uint8]]
Probs = NDArray[np.float32]


@dataclass(frozen=True)
class Effect:
    """Of one road against another."""

    mean: float  # absolute difference of probabilities
    p99: float
    largest: float
    map_change: float
    lo: float
    hi: float

    def cells(self) -> str:
        """Of a table."""
        points = f"{100 * self.map_change:+.2f} | {100 * self.lo:+.2f} to {100 * self.hi:+.2f}"
        good = self.mean < LIMIT and self.lo <= 0 <= self.hi
        return f"{self.mean:.5f} | {self.p99:.4f} | {self.largest:.3f} | {points} | {'yes' if good else 'no'}"


def main() -> None:
    """Measure, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="a trained one (default: train here)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trained ones")
    parser.add_argument("--images", type=int, help="only so many, to try the script")
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "decode_effect.md")
    args = parser.parse_args()
    if not (DATA / "coco-mini").is_dir():
        sys.exit(f"no real photographs in {DATA}; set COCOTAG_DATA")
    with tempfile.TemporaryDirectory() as temporary:
        trained = [
            (train(Path(temporary), seed, cached=False), train(Path(temporary), seed, cached=True))
            for seed in ([] if args.bundle else args.seeds)
        ]
        bundle: Path = args.bundle or trained[0][0]
        table = load_split(DATA / "coco-mini", "val")
        if args.images:
            table = table.take(np.arange(args.images))
        tagger = Tagger.load(bundle)
        pictures, reduced, sizes = roads(table, tagger.metadata.image_size, Path(temporary))
        probs = {name: predict(tagger, stack) for name, stack in pictures.items()}
        originals = pictures["own size, evaluation"]
        learned = [tuple(mean_ap(table, predict(Tagger.load(path), originals)) for path in pair) for pair in trained]
    text = report(table, tagger, probs, reduced, sizes, learned, sys.argv[1:])
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(text, encoding="utf-8")
    print(text)
    print(f"Written: {args.report}")


def train(folder: Path, seed: int, *, cached: bool) -> Path:
    """The bundle of a run on coco-mini; the copies go to a folder of our own."""
    root = folder / "coco-mini"
    if not root.is_dir():
        root.mkdir()
        for part in ("annotations", "train", "val"):
            (root / part).symlink_to((DATA / "coco-mini" / part).resolve())
    command: list[str | Path] = [sys.executable, "-m", "cocotag", "train", "--config", "coco_mini", "--data.root", root]
    command += ["--model.weights", DATA / "mobilenet_v2_imagenet.pth", "--model.image_size", "224"]
    name = f"{'cached' if cached else 'plain'}-{seed}"
    command += ["--data.cache_images", str(cached).lower(), "--seed", str(seed), "--out", folder / name]
    print("+", *command, file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return folder / name / "tagger.onnx"


def roads(table: AnnotationTable, side: int, folder: Path) -> tuple[Pictures, dict[str, int], dict[str, list[float]]]:
    """All photographs by all roads.

    Returns:
        Stacks ``(N, S, S, 3)`` by road; how many photographs were decoded smaller, by road; kilobytes of the files, by road.
    """
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = list(tqdm(pool.map(lambda path: _roads(path, side, folder), table.paths()), total=len(table), disable=None))
    squares = {name: np.stack([row[name][0] for row in rows]) for name in rows[0]}
    reduced = {name: sum(row[name][1] for row in rows) for name in rows[0]}
    return squares, reduced, {name: [row[name][2] / 1e3 for row in rows] for name in rows[0]}


def _roads(path: Path, side: int, folder: Path) -> dict[str, tuple[NDArray[np.uint8], bool, int]]:
    large = folder / f"{path.stem}-12mp.jpg"
    enlarge(path, large, progressive=False)
    made: dict[str, tuple[NDArray[np.uint8], bool, int]] = {}
    for size, data in zip(SIZES, (path.read_bytes(), large.read_bytes()), strict=True):
        full = decode(data)
        made[f"{size}, full"] = to_square(full, side), False, len(data)
        for name, headroom in (("evaluation", 2), ("training", 1)):
            image = decode(data, min_side=side, headroom=headroom)
            made[f"{size}, {name}"] = to_square(image, side), image.shape != full.shape, len(data)
        image = decode(data, min_side=copy_side(side))
        for quality, subsampling in COPIES:
            copy = shrunken(image, copy_side(side), quality=quality, subsampling=subsampling)
            kept = data if copy is None else copy
            square = to_square(decode(kept, min_side=side), side)
            made[f"{size}, copy {quality} {subsampling}"] = square, copy is not None, len(kept)
    large.unlink()
    return made


def predict(tagger: Tagger, images: NDArray[np.uint8]) -> Probs:
    """A few at a time: ``(N, C)``."""
    return np.concatenate([tagger.predict(images[start : start + 8]) for start in range(0, len(images), 8)])


def mean_ap(table: AnnotationTable, probs: Probs) -> float:
    """Mean average precision, 0 to 1."""
    thresholds = np.full(len(table.vocabulary), 0.5)
    summary = metrics.score(probs, table.targets, table.known, thresholds, groups=0).summary
    return float(summary["value"].astype(float)["map"])


def learning(pairs: list[tuple[float, ...]]) -> str:
    """The page's part on networks that learned from photographs and from copies: mAP of both for each seed."""
    changes = [100 * (after - before) for before, after in pairs]
    rows = [f"| {100 * before:.1f} | {100 * after:.1f} | {100 * (after - before):+.2f} |" for before, after in pairs]
    worse = sum(change < 0 for change in changes)
    spread = f", standard deviation {statistics.stdev(changes):.2f}" if len(changes) > 1 else ""
    return f"""
## Learning from copies

Pairs of networks of one seed each, one trained from the photographs, one with `--data.cache_images true`; mAP of both on the
photographs of val themselves. Mean change {statistics.mean(changes):+.2f} points{spread}; the copies lost in {worse} of \
{len(changes)} pairs.

| from photographs | from copies | change |
| --- | --- | --- |
{chr(10).join(rows)}
"""


def compare(table: AnnotationTable, before: Probs, after: Probs) -> Effect:
    """The effect of one road, with a 95 % interval for the change of mAP: the same images are drawn for both."""
    difference = np.abs(after - before)
    prepared = [Prepared.of(probs, table.targets, table.known, probs >= 0.5) for probs in (before, after)]

    def change(weights: NDArray[np.float32]) -> NDArray[np.float64]:
        maps = [measure(one, weights).summary[:, metrics.SUMMARY.index("map")] for one in prepared]
        return maps[1] - maps[0]

    changes = np.concatenate([change(weights) for weights in draws(len(table), DRAWS, seed=0)])
    lo, hi = np.percentile(changes, (2.5, 97.5))
    point = float(change(once(len(table)))[0])
    p99 = float(np.percentile(difference, 99))
    return Effect(float(difference.mean()), p99, float(difference.max()), point, float(lo), float(hi))


def report(
    table: AnnotationTable,
    tagger: Tagger,
    probs: dict[str, Probs],
    reduced: dict[str, int],
    sizes: dict[str, list[float]],
    learned: list[tuple[float, ...]],
    words: list[str],
) -> str:
    """The page."""
    side = tagger.metadata.image_size
    rows = []
    copy = f"copy {image_cache.QUALITY} {image_cache.SUBSAMPLING}"
    for size in SIZES:
        for name, title, against in (
            ("evaluation", "evaluation and tagging (headroom 2)", "full"),
            ("training", "training (headroom 1)", "full"),
            (copy, f"copy ({copy_side(side)} px, quality {image_cache.QUALITY}, {image_cache.SUBSAMPLING})", "evaluation"),
        ):
            effect = compare(table, probs[f"{size}, {against}"], probs[f"{size}, {name}"])
            compared = "full decode" if against == "full" else "the original"
            rows.append(f"| {size} | {title} | {compared} | {reduced[f'{size}, {name}']} | {effect.cells()} |")
    kinds = []
    for quality, subsampling in COPIES:
        names = [f"{size}, copy {quality} {subsampling}" for size in SIZES]
        effects = [compare(table, probs[f"{size}, evaluation"], probs[name]) for size, name in zip(SIZES, names, strict=True)]
        chosen = " (chosen)" if (quality, subsampling) == (image_cache.QUALITY, image_cache.SUBSAMPLING) else ""
        columns = " | ".join(f"{effect.mean:.5f} | {100 * effect.map_change:+.2f}" for effect in effects)
        kinds.append(f"| {quality}, {subsampling}{chosen} | {np.mean(sizes[names[0]]):.1f} | {columns} |")
    base = 100 * mean_ap(table, probs["own size, full"])
    return f"""# Reduced decoding and copies: the effect on what the network says

Written by `{" ".join([".venv/bin/python scripts/research/measure_decode_effect.py", *(["..."] if words else [])])}` on \
{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}.

{len(table)} photographs of coco-mini/val, a network of `configs/coco_mini.yaml` with {side} px (mAP {base:.1f} by full decode).
Differences are of probabilities, over images and classes; mAP in points, with a paired bootstrap over images ({DRAWS} draws,
95 %). "Smaller" counts photographs that were decoded smaller, or replaced by a copy. The 12-megapixel files are the same
photographs enlarged, with noise, quality 90, 4:2:0 (`phone_photographs.py`), baseline; progressive ones have the same
pixels at every scale.

| photographs | road | against | smaller | mean | 99 % | largest | mAP | interval | mean < {LIMIT} and 0 inside |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

## Quality of the copies

Mean difference of probabilities and change of mAP against the originals.

| quality, chroma | kB a copy | mean, own size | mAP | mean, 12 megapixels | mAP |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(kinds)}
{learning(learned) if learned else ""}"""


if __name__ == "__main__":
    main()
