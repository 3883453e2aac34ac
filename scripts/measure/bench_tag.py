"""How fast `cocotag tag` is: against PyTorch as others run it, and against what the machine allows; write reports/tagging.md.

usage: python scripts/measure/bench_tag.py [--repeats 5] [--large 128] [--large-repeats 3]
    [--trained RUN/tagger.onnx] [--report FILE]

Four ways from files to a table of tags, on the photographs of coco-mini (train and val):

- (a) eager PyTorch, batch 32, PIL, two loader workers, as timm's inference script does it;
- (b) one image at a time in eager PyTorch with PIL, as hobby projects do it;
- (c) `cocotag tag` in float32: walk, state, table and all;
- (d) the same with a bundle in 8-bit integers.

(c) and (d) are there a second time with threads that infer after every batch, rather than after several. And the limit: all
photographs decoded and nothing else, all run through the network and nothing else, with the same threads. Both need the same
cores, so together an image takes the sum of what it takes of each.

The network is MobileNetV2 1.0 of 80 classes, of which only the time counts. With --trained the accuracy of 8-bit integers is
measured too, on that bundle and coco-mini/val. Needs the real data: COCOTAG_DATA, or ../shared/data. Takes ten minutes, on a
machine that has nothing else to do.
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

from cocotag.cores import usable_cores
from cocotag.inference.tagger import Tagger
from cocotag.photos.walk import find_images

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")

AHEAD_OF_EAGER, AHEAD_OF_EAGER_LARGE, INT8_AHEAD, OF_LIMIT, FIRST_RESULT_SECONDS = 6.0, 8.0, 1.4, 0.9, 1.5
"""What is wanted: (c) against (a), at 12 megapixels too; (d) against (c); each against its limit; the start."""

MEAN_DIFFERENCE_INT8 = 0.02
"""Of probabilities, at most."""

PAUSE_SECONDS = 0.3  # for the threads of the way before to go to sleep

EAGER, ONE, FP32, INT8 = "(a) eager PyTorch, batch 32", "(b) one at a time", "(c) cocotag", "(d) cocotag, int8"
SMALL = ", a batch at a time"
DECODE, INFER, INFER_INT8 = "decoding alone", "inference alone", "inference alone, int8"
BUNDLES = ("fp32.onnx", "int8.onnx")

LARGE = {"12 megapixels": 0.0, "12 megapixels, with a sensor's noise": NOISE}
"""What the enlarged photographs are called, and their noise: without it they are smoother, and half the size of a camera's."""

Made = TypeVar("Made")


@dataclass
class Timed:
    """Seconds of a way in each round, on the clock and of the processors."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


Call = tuple[Callable[..., tuple[float, float]], tuple[object, ...]]


def calls(network: Path, side: int, providers: Sequence[str]) -> dict[str, Call]:
    """All ways and limits: what each runs in its process, and with what besides the album."""
    made: dict[str, Call] = {EAGER: (eager, (network, side)), ONE: (one_by_one, (network, side))}
    made[DECODE] = decode, (side,)
    for provider in providers:
        for way, alone, name in ((FP32, INFER, "fp32.onnx"), (INT8, INFER_INT8, "int8.onnx")):
            settings = (network.with_name(name), provider)
            made |= {on(way, provider): (ours, settings), on(way + SMALL, provider): (ours, (*settings, 1))}
            made[on(alone, provider)] = infer, settings
    return made


def on(name: str, provider: str) -> str:
    """A way's name with what it runs on, if that is not the CPU."""
    return name if provider == "cpu" else f"{name}, {provider}"


def measure(album: Album, made: dict[str, Call]) -> dict[str, Timed]:
    """All ways in turns, each in a process of its own; a first round is to warm up."""
    timed = {name: Timed() for name in made}
    pools = {name: ProcessPoolExecutor(1, mp_context=get_context("spawn")) for name in made}
    try:
        for repetition in range(-1, album.repeats):
            for name, (work, settings) in made.items():
                if repetition < 0 and work is one_by_one:  # slow, and no warmer than (a)
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
    """How many times as fast the second is, in each round."""
    return [one / other for one, other in zip(slow.wall, fast.wall, strict=True)]


def of_limit(way: Timed, decoding: Timed, inference: Timed) -> list[float]:
    """The part of what decoding and inference alone allow together, in each round."""
    return [(d + i) / w for w, d, i in zip(way.wall, decoding.wall, inference.wall, strict=True)]


def first_result(bundle: Path, folder: Path) -> float:
    """Seconds from the start of a process to its first line.

    Raises:
        RuntimeError: It is no result, or the process has imported torch.
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
    """8-bit integers against float32, on coco-mini/val.

    Attributes:
        images: How many.
        difference: Mean absolute difference in probability.
        map: How much mAP is higher, and the ends of its interval, as fractions.
        size: Bytes of the bundle, as a part of the float32 one's.
    """

    images: int
    difference: float
    map: tuple[float, float, float]
    size: float


def accuracy(bundle: Path, int8: Path) -> Accuracy:
    """Both bundles on coco-mini/val, compared in pairs."""
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
    """So many of the photographs, evenly over them, at 12 megapixels, with so much noise."""
    chosen = [paths[index] for index in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]
    folder.mkdir()
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(lambda path: enlarge(path, folder / path.name, progressive=False, noise=noise), chosen))
    return folder


def in_a_process(work: Callable[..., Made], *settings: object) -> Made:
    """Do it in a process of its own, so that what it imports stays there."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *settings).result()


def main() -> None:
    """Measure, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", type=int, default=128, help="photographs at 12 megapixels; 0 leaves those tables out")
    parser.add_argument("--large-repeats", type=int, default=3)
    parser.add_argument("--images", type=int, help="so many photographs rather than all: the figures mean nothing then")
    parser.add_argument("--size", type=int, default=224, help="side of the network's input, pixels")
    parser.add_argument("--trained", type=Path, help="a bundle trained on photographs, for the accuracy of 8-bit integers")
    parser.add_argument("--report", type=Path, help="default: reports/tagging.md")
    args = parser.parse_args()
    if not (DATA / "coco-mini").is_dir():
        sys.exit(f"no real photographs in {DATA}; set COCOTAG_DATA")
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
        albums = [Album("Their own size", tuple(photographs), args.repeats, AHEAD_OF_EAGER, INT8_AHEAD)]
        for title, noise in LARGE.items() if args.large else ():
            large = enlarged(albums[0].files(), args.large, folder / f"noise {noise:g}", noise)
            albums.append(Album(title, (large,), args.large_repeats, AHEAD_OF_EAGER_LARGE))
        made = calls(folder / "network.pt", args.size, providers)
        started = {name: [first_result(folder / name, photographs[-1]) for _ in range(args.repeats)] for name in BUNDLES}
        tables = [table(album, measure(album, made), providers) for album in albums]
        sizes = {name: (folder / name).stat().st_size for name in BUNDLES}
    text = page(args, tables, started, found, sizes, providers, load)
    report: Path = args.report or PROJECT / "reports" / "tagging.md"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(text, encoding="utf-8")
    print(text)
    print(f"Written: {report}")


def linked(paths: Sequence[Path], folder: Path) -> Path:
    """Links to some photographs."""
    folder.mkdir()
    for path in paths:
        (folder / path.name).symlink_to(path.resolve())
    return folder


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median, lowest and highest."""
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

| way | images/s | ms of processor an image | times (a) | % of its limit |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

{chr(10).join(f"- {line}" for line in verdicts(album, timed))}
"""


def verdicts(album: Album, timed: dict[str, Timed]) -> list[str]:
    """What is wanted, and whether it is so, by medians over the rounds."""
    wanted = [
        ("(c) against (a)", statistics.median(ratios(timed[EAGER], timed[FP32])), album.ahead),
        ("(d) against (c)", statistics.median(ratios(timed[FP32], timed[INT8])), album.int8_ahead),
        ("(c) against its limit", statistics.median(of_limit(timed[FP32], timed[DECODE], timed[INFER])), OF_LIMIT),
        ("(d) against its limit", statistics.median(of_limit(timed[INT8], timed[DECODE], timed[INFER_INT8])), OF_LIMIT),
    ]
    return [
        f"{what}: {value:.2f}" + (f", wanted {least:g}: {'reached' if value >= least else 'not reached'}" if least else "")
        for what, value, least in wanted
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
    openvino = (
        "OpenVINO is there too: its rows are named."
        if "openvino" in providers
        else "OpenVINO was not in the installed ONNX Runtime."
    )
    flags = f"--repeats {args.repeats} --large {args.large} --large-repeats {args.large_repeats}"
    flags += " --trained BUNDLE" if args.trained else ""
    few = "\n**Made with --images: these figures mean nothing.**\n" if args.images else ""
    return f"""# Tagging folders

Written by `.venv/bin/python scripts/measure/bench_tag.py {flags}` on {cores} CPU cores \
({platform.machine()}), Python {platform.python_version()}, ONNX Runtime {onnxruntime.__version__}; other work at the start: \
load {load:.1f}.
{few}
MobileNetV2 1.0, {args.size} px, 80 classes. From files to a table of tags on disk, the network loaded before; each way in a
process of its own, in turns, medians over rounds after one to warm up (lowest and highest beside), ratios of each round. (a) is
eager PyTorch, batch 32, PIL, two loader workers, as timm's inference script does it; (b) one image at a time, as hobby projects
do it; both on {cores} threads. (c) and (d) are what `cocotag tag --out FILE.csv` does: walk, state and table too; once more
with threads that infer after every batch, rather than after several. The limit is what decoding alone and inference alone, on
the same threads, allow together: an image takes the sum of what it takes of each, 1 / (1 / decoding + 1 / inference).
{openvino}

{chr(10).join(tables)}
## Start

From the start of the process to the first line of `cocotag tag --out -`, seconds: {spread(started["fp32.onnx"])} in float32,
{spread(started["int8.onnx"])} in 8-bit integers; wanted {FIRST_RESULT_SECONDS:g}: \
{"reached" if start < FIRST_RESULT_SECONDS else "not reached"}. torch is not imported.

## 8-bit integers

The bundle takes {sizes["int8.onnx"] / 1e6:.1f} MB, {sizes["int8.onnx"] / sizes["fp32.onnx"]:.2f} of the float32 one's.
{_accuracy(found)}"""


def _accuracy(found: Accuracy | None) -> str:
    if found is None:
        return "Their accuracy was not measured: that takes a trained bundle, `--trained`.\n"
    value, low, high = (100 * part for part in found.map)
    reached = "reached" if found.difference < MEAN_DIFFERENCE_INT8 else "not reached"
    return f"""
A trained bundle, on the {found.images} photographs of coco-mini/val, in 8-bit integers calibrated on coco-mini/train against
float32, with the same thresholds:

- mean absolute difference of probabilities {found.difference:.4f}, wanted below {MEAN_DIFFERENCE_INT8}: {reached};
- mAP {value:+.1f} points, 95 % from {low:+.1f} to {high:+.1f} (paired, over images);
- {found.size:.2f} of the size.
"""


if __name__ == "__main__":
    main()
