"""Time `cocotag tag` against eager PyTorch and against the limit of the machine; write reports/tagging.md.

usage: python scripts/measure/bench_tag.py [--repeats 5] [--large 128] [--large-repeats 3]
    [--trained RUN/tagger.onnx] [--report FILE]

Four ways from files to a table of tags, on the photographs of coco-mini (train and val):

- (a) eager PyTorch, batch 32, PIL, two loader workers, as in timm's inference script;
- (b) one image at a time in eager PyTorch with PIL, as in hobby projects;
- (c) `cocotag tag` in float32, including walk, state and table;
- (d) the same with a bundle in 8-bit integers.

(c) and (d) are also measured with threads that infer after every batch, rather than after several. The limit comes from
decoding alone and inference alone, with the same threads. Both need the same cores, so the limit per image is the sum of both
times.

The network is MobileNetV2 1.0 for 80 classes; only its speed matters. With --trained, the accuracy of 8-bit integers is
measured too, on that bundle and coco-mini/val. Needs the real data: COCOTAG_DATA, or ../shared/data. Takes ten minutes on an
idle machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnxruntime
from phone_photographs import NOISE, enlarge
from tag_ways import Album, decode, eager, infer, make_network, one_by_one, ours, to_int8

from cocotag.inference.tagger import Tagger
from cocotag.photos.walk import find_images
from cocotag.process.cores import usable_cores

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")

AHEAD_OF_EAGER, AHEAD_OF_EAGER_LARGE, INT8_AHEAD, OF_LIMIT, FIRST_RESULT_SECONDS = 6.0, 8.0, 1.4, 0.9, 1.5
"""Targets: speed-up of (c) over (a), the same at 12 megapixels, of (d) over (c); share of the limit; time to first result."""

MEAN_DIFFERENCE_INT8 = 0.02
"""Target for the mean absolute difference of probabilities."""

PAUSE_SECONDS = 0.3  # until the threads of the previous way sleep

EAGER, ONE, FP32, INT8 = "(a) eager PyTorch, batch 32", "(b) one at a time", "(c) cocotag", "(d) cocotag, int8"
SMALL = ", a batch at a time"
DECODE, INFER, INFER_INT8 = "decoding alone", "inference alone", "inference alone, int8"
BUNDLES = ("fp32.onnx", "int8.onnx")

LARGE = {"12 megapixels": 0.0, "12 megapixels, with a sensor's noise": NOISE}
"""Title of the enlarged photographs -> their noise. Without noise they are smoother, with half the file size of a camera's."""

Result = TypeVar("Result")


@dataclass
class Timed:
    """Wall seconds and processor seconds of a way in each round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


Call = tuple[Callable[..., tuple[float, float]], tuple[object, ...]]


def calls(network: Path, side: int, providers: Sequence[str]) -> dict[str, Call]:
    """Name of each way and limit -> the function that runs in its process, and its arguments besides the album."""
    ways: dict[str, Call] = {EAGER: (eager, (network, side)), ONE: (one_by_one, (network, side))}
    ways[DECODE] = decode, (side,)
    for provider in providers:
        for way, alone, name in ((FP32, INFER, "fp32.onnx"), (INT8, INFER_INT8, "int8.onnx")):
            settings = (network.with_name(name), provider)
            ways |= {on(way, provider): (ours, settings), on(way + SMALL, provider): (ours, (*settings, 1))}
            ways[on(alone, provider)] = infer, settings
    return ways


def on(name: str, provider: str) -> str:
    """A way's name, with its execution provider if that is not the CPU."""
    return name if provider == "cpu" else f"{name}, {provider}"


def measure(album: Album, ways: dict[str, Call]) -> dict[str, Timed]:
    """Time all ways in turns, each in its own process, after a warm-up round."""
    timed = {name: Timed() for name in ways}
    pools = {name: ProcessPoolExecutor(1, mp_context=get_context("spawn")) for name in ways}
    try:
        for repetition in range(-1, album.repeats):
            for name, (work, settings) in ways.items():
                if repetition < 0 and work is one_by_one:  # it is slow, and (a) has warmed up the files
                    continue
                time.sleep(PAUSE_SECONDS)
                wall, cpu = pools[name].submit(work, album, *settings).result()
                if repetition >= 0:
                    timed[name].wall.append(wall)
                    timed[name].cpu.append(cpu)
                print(f"{album.title}, {repetition + 1} of {album.repeats}: {name} {wall:.2f} s", file=sys.stderr, flush=True)
    finally:
        for pool in pools.values():
            pool.shutdown()
    return timed


def ratios(slow: Timed, fast: Timed) -> list[float]:
    """Speed-up of the second over the first in each round."""
    return [one / other for one, other in zip(slow.wall, fast.wall, strict=True)]


def of_limit(way: Timed, decoding: Timed, inference: Timed) -> list[float]:
    """Speed as a share of the limit from decoding alone and inference alone, in each round."""
    return [(d + i) / w for w, d, i in zip(way.wall, decoding.wall, inference.wall, strict=True)]


def first_result(bundle: Path, folder: Path) -> float:
    """Seconds from the start of a process to its first line.

    Raises:
        RuntimeError: The line is not a result, or the process has imported torch.
    """
    command = [sys.executable, "-X", "importtime", "-m", "cocotag", "tag", str(folder), "--model", str(bundle), "--out", "-"]
    with tempfile.TemporaryFile("w+") as stderr:
        begun = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            seconds = time.perf_counter() - begun
            process.stdout.read()
        stderr.seek(0)
        imported = {text.rpartition("|")[2].strip() for text in stderr}
    if '"status": "ok"' not in line or "torch" in imported or "numpy" not in imported:
        raise RuntimeError(f"the first line is {line!r}; torch was {'' if 'torch' in imported else 'not '}imported")
    return seconds


@dataclass(frozen=True)
class Accuracy:
    """8-bit integers compared with float32, on coco-mini/val.

    Attributes:
        images: Number of images.
        difference: Mean absolute difference in probability.
        map: Difference in mAP and the bounds of its interval, as fractions.
        size: Size of the bundle as a share of the float32 bundle's.
    """

    images: int
    difference: float
    map: tuple[float, float, float]
    size: float


def accuracy(bundle: Path, int8: Path) -> Accuracy:
    """Both bundles on coco-mini/val, in a paired comparison."""
    from cocotag.data.annotations import load_split
    from cocotag.inference.stream import predict_files
    from cocotag.metrics import difference

    table = load_split(DATA / "coco-mini", "val")
    taggers = [Tagger.load(one, provider="cpu") for one in (bundle, int8)]
    probs = []
    for tagger in taggers:
        predictions = list(predict_files(tagger, table.paths()))
        probs.append(np.stack([one.probs for one in predictions if one.probs is not None]))
    decided = [one >= tagger.thresholds() for one, tagger in zip(probs, taggers, strict=True)]
    found = difference([(probs[0], decided[0])], [(probs[1], decided[1])], table.targets, table.known)
    value, low, high = map(float, found.summary.loc["map", ["value", "lo", "hi"]].to_numpy(float))
    size = int8.stat().st_size / bundle.stat().st_size
    return Accuracy(len(table), float(np.abs(probs[1] - probs[0]).mean()), (value, low, high), size)


def enlarged(paths: Sequence[Path], count: int, folder: Path, noise: float) -> Path:
    """Enlarge an even sample of the photographs to 12 megapixels with noise; return their folder."""
    chosen = [paths[index] for index in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]
    folder.mkdir()
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(lambda path: enlarge(path, folder / path.name, progressive=False, noise=noise), chosen))
    return folder


def in_a_process(work: Callable[..., Result], *settings: object) -> Result:
    """Run a function in a new process, so that its imports stay there."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *settings).result()


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--large", type=int, default=128, help="number of photographs at 12 megapixels; 0 leaves out those tables"
    )
    parser.add_argument("--large-repeats", type=int, default=3)
    parser.add_argument(
        "--images", type=int, help="number of photographs, for a quick trial with meaningless figures (default: all)"
    )
    parser.add_argument("--size", type=int, default=224, help="side of the network's input, pixels")
    parser.add_argument("--trained", type=Path, help="a bundle trained on photographs, for the accuracy of 8-bit integers")
    parser.add_argument("--report", type=Path, help="default: reports/tagging.md")
    args = parser.parse_args()
    if not (DATA / "coco-mini").is_dir():
        sys.exit(f"There are no real photographs in {DATA}. Set COCOTAG_DATA.")
    load = os.getloadavg()[0]
    photographs = [DATA / "coco-mini" / split for split in ("train", "val")]
    train = list(find_images(photographs[:1]))
    weights = DATA / "mobilenet_v2_imagenet.pth"
    providers = ["cpu", *(["openvino"] if "OpenVINOExecutionProvider" in onnxruntime.get_available_providers() else [])]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        in_a_process(make_network, folder, args.size, weights if weights.is_file() else None, train)
        found = None
        if args.trained:
            in_a_process(to_int8, args.trained, folder / "trained.int8.onnx", train)
            found = accuracy(args.trained, folder / "trained.int8.onnx")
        if args.images:
            photographs = [linked(list(find_images(photographs))[: args.images], folder / "some")]
        albums = [Album("Original size", tuple(photographs), args.repeats, AHEAD_OF_EAGER, INT8_AHEAD)]
        for title, noise in LARGE.items() if args.large else ():
            large = enlarged(albums[0].files(), args.large, folder / f"noise {noise:g}", noise)
            albums.append(Album(title, (large,), args.large_repeats, AHEAD_OF_EAGER_LARGE))
        ways = calls(folder / "network.pt", args.size, providers)
        started = {name: [first_result(folder / name, photographs[-1]) for _ in range(args.repeats)] for name in BUNDLES}
        tables = [table(album, measure(album, ways), providers) for album in albums]
        sizes = {name: (folder / name).stat().st_size for name in BUNDLES}
    text = page(args, tables, started, found, sizes, providers, load)
    report: Path = args.report or PROJECT / "reports" / "tagging.md"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(text, encoding="utf-8")
    print(text)
    print(f"Written: {report}")


def linked(paths: Sequence[Path], folder: Path) -> Path:
    """Make a folder with links to some photographs."""
    folder.mkdir()
    for path in paths:
        (folder / path.name).symlink_to(path.resolve())
    return folder


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median and range, as text."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def table(album: Album, timed: dict[str, Timed], providers: Sequence[str]) -> str:
    """A section of the report."""
    paths = album.files()
    megabytes = statistics.mean(path.stat().st_size for path in paths) / 1e6
    limits = ((FP32, INFER), (INT8, INFER_INT8))
    alone = {on(way + small, p): on(limit, p) for p in providers for way, limit in limits for small in ("", SMALL)}
    rows = []
    for name, one in timed.items():
        rate = spread([len(paths) / seconds for seconds in one.wall], ".0f" if len(paths) / max(one.wall) >= 100 else ".1f")
        against = spread(ratios(timed[EAGER], one)) if name in alone or name == ONE else ""
        part = ""
        if name in alone:
            shares = of_limit(one, timed[DECODE], timed[alone[name]])
            part = spread([100 * share for share in shares], ".0f")
        cpu = 1000 * statistics.median(one.cpu) / len(paths)
        rows.append(f"| {name} | {rate} | {cpu:.1f} | {against} | {part} |")
    return f"""## {album.title}

{len(paths)} photographs, {megabytes:.2f} MB each. {album.repeats} rounds.

| way | images/s | processor ms per image | speed-up over (a) | % of its limit |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

{chr(10).join(f"- {line}" for line in verdicts(album, timed))}
"""


def verdicts(album: Album, timed: dict[str, Timed]) -> list[str]:
    """The targets, and whether the medians over the rounds reach them."""
    targets = [
        ("(c) against (a)", statistics.median(ratios(timed[EAGER], timed[FP32])), album.ahead),
        ("(d) against (c)", statistics.median(ratios(timed[FP32], timed[INT8])), album.int8_ahead),
        ("(c) against its limit", statistics.median(of_limit(timed[FP32], timed[DECODE], timed[INFER])), OF_LIMIT),
        ("(d) against its limit", statistics.median(of_limit(timed[INT8], timed[DECODE], timed[INFER_INT8])), OF_LIMIT),
    ]
    return [
        f"{what}: {value:.2f}" + (f", target {least:g}: {'reached' if value >= least else 'not reached'}" if least else "")
        for what, value, least in targets
    ]


def page(
    args: argparse.Namespace,
    tables: Sequence[str],
    started: dict[str, list[float]],
    found: Accuracy | None,
    sizes: dict[str, int],
    providers: Sequence[str],
    load: float,
) -> str:
    """The report."""
    cores = usable_cores()
    start = statistics.median(started["fp32.onnx"])
    openvino = "Rows with openvino used OpenVINO." if "openvino" in providers else "The installed ONNX Runtime has no OpenVINO."
    flags = f"--repeats {args.repeats} --large {args.large} --large-repeats {args.large_repeats}"
    flags += " --trained BUNDLE" if args.trained else ""
    few = "\n**Measured with --images: these figures mean nothing.**\n" if args.images else ""
    return f"""# Tagging folders

Written by `.venv/bin/python scripts/measure/bench_tag.py {flags}` on {cores} CPU cores \
({platform.machine()}), Python {platform.python_version()}, ONNX Runtime {onnxruntime.__version__}; load before the start: \
{load:.1f}.
{few}
MobileNetV2 1.0, {args.size} px, 80 classes. The time is from files to a table of tags on disk, without loading the network.
Each way has its own process; the ways run in turns. Figures are medians over the rounds after a warm-up round (range in
brackets); ratios are taken within each round. (a) is eager PyTorch, batch 32, PIL, two loader workers, as in timm's inference
script; (b) is one image at a time, as in hobby projects; both use {cores} threads. (c) and (d) are `cocotag tag --out
FILE.csv`, including walk, state and table; second rows have threads that infer after every batch, rather than after several.
The limit combines decoding alone and inference alone on the same threads: the time per image is the sum of both, so the rate is
1 / (1 / decoding + 1 / inference).
{openvino}

{chr(10).join(tables)}
## Start

Seconds from the start of the process to the first line of `cocotag tag --out -`: {spread(started["fp32.onnx"])} in float32,
{spread(started["int8.onnx"])} in 8-bit integers; target {FIRST_RESULT_SECONDS:g}: \
{"reached" if start < FIRST_RESULT_SECONDS else "not reached"}. The process does not import torch.

## 8-bit integers

The bundle has {sizes["int8.onnx"] / 1e6:.1f} MB, {sizes["int8.onnx"] / sizes["fp32.onnx"]:.2f} times the float32 bundle.
{_accuracy(found)}"""


def _accuracy(found: Accuracy | None) -> str:
    if found is None:
        return "Their accuracy was not measured: that needs a trained bundle, `--trained`.\n"
    value, low, high = (100 * part for part in found.map)
    reached = "reached" if found.difference < MEAN_DIFFERENCE_INT8 else "not reached"
    return f"""
A trained bundle on the {found.images} photographs of coco-mini/val: 8-bit integers, calibrated on coco-mini/train, compared
with float32 at the same thresholds:

- mean absolute difference of probabilities {found.difference:.4f}, target below {MEAN_DIFFERENCE_INT8}: {reached};
- mAP {value:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f} (paired, over images);
- {found.size:.2f} times the size.
"""


if __name__ == "__main__":
    main()
