"""Time tagging of files as phones and cameras write them, beside an earlier cocotag and an eager loop; write a report.

usage: python scripts/measure/bench_photographs.py EARLIER [--trained BUNDLE] [--images 12] [--rounds 3] [--report FILE]

EARLIER is a checkout of cocotag that decodes every picture itself. The photographs are coco-mini's (COCOTAG_DATA, or
../shared/data), enlarged: HEIC of 12 megapixels with a thumbnail whose shorter side has 240 pixels, as in phones' 320 x 240,
by heif-enc (Debian's libheif-examples), and JPEG of 24 megapixels with a version of 1620 pixels in CIPA's Multi-Picture
Format, by Pillow. Both ways tag the same files in turns, each in a process of its own, in which the time of a first file is
not counted. --trained is a bundle of 224 pixels, whose probabilities and mAP on coco-mini's val, or the first --compared of
it, are compared with and without the smaller versions.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_tag import in_a_process
from eager_tag import as_timm, make_network
from measured_run import machine
from phone_photographs import enlarge
from PIL import Image

from cocotag.data.annotations import load_split
from cocotag.inference.stream import predict_files
from cocotag.inference.tagger import Tagger
from cocotag.metrics.differences import difference
from cocotag.metrics.scores import score

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests" / "support"))

from image_files import mpf  # noqa: E402

DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")
SIDE = 224
THUMBNAIL, VERSION = 240, 1620
"""Pixels of the shorter side, as in a phone's 320 x 240, and of the longer one."""

HEIC, CAMERA, PLAIN = "HEIC, 12 megapixels, thumbnail", "JPEG, 24 megapixels, smaller version", "JPEG, 24 megapixels"
TARGETS = {HEIC: 15.0, CAMERA: 5.0, PLAIN: 0.98}
REPEATED = {HEIC: 40, CAMERA: 20, PLAIN: 2}
"""How many times as many files the new way gets, so that both take seconds."""

STREAM = """
import inspect, json, sys, time
from pathlib import Path
try:
    from cocotag.inference.stream import predict_files
    from cocotag.inference.tagger import Tagger
except ImportError:  # before that room
    from cocotag.tagging.stream import predict_files
    from cocotag.tagging.tagger import Tagger
tagger, paths = Tagger.load(Path(sys.argv[1])), [Path(one) for one in json.load(sys.stdin)]
more = {"previews": True} if "previews" in inspect.signature(predict_files).parameters else {}
def read():
    return next(int(line.split()[1]) for line in open("/proc/self/io") if line.startswith("rchar"))
list(predict_files(tagger, paths[:2], **more))
before, start = read(), time.perf_counter()
assert all(one.error is None for one in predict_files(tagger, paths, **more))
print(json.dumps([time.perf_counter() - start, read() - before]))
"""


@dataclass
class Way:
    """Images per second of each round, and the share of the files' bytes that was read."""

    rates: list[float]
    share: float = 0.0


def make_heic(source: Path, folder: Path) -> Path:
    """A photograph as a phone's HEIC."""
    large = folder / f"{source.stem}.large.jpg"
    enlarge(source, large, progressive=False)
    out = folder / f"{source.stem}.heic"
    with Image.open(large) as image:
        longer = -(-THUMBNAIL * max(image.size) // min(image.size))
    command = ["heif-enc", "-q", "75", "-t", str(longer), "-p", "preset=ultrafast", str(large), "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    large.unlink()
    return out


def make_camera(source: Path, folder: Path, *, version: bool) -> Path:
    """A photograph as a camera's JPEG, with a smaller version or without."""
    large = folder / f"{source.stem}.large.jpg"
    enlarge(source, large, progressive=False)
    with Image.open(large) as image:
        picture = image.resize((round(image.width * 2**0.5), round(image.height * 2**0.5)), Image.Resampling.BICUBIC)
    large.unlink()
    out = folder / f"{source.stem}.jpg"
    small = picture.copy()
    small.thumbnail((VERSION, VERSION), Image.Resampling.LANCZOS)
    if version:
        out.write_bytes(mpf(picture, small))  # type: ignore[no-untyped-call]
    else:
        picture.save(out, "JPEG", quality=90)
    return out


def made(kind: str, source: Path, folder: Path) -> Path:
    """A photograph as a file of a kind."""
    return make_heic(source, folder) if kind == HEIC else make_camera(source, folder, version=kind == CAMERA)


def stream(project: Path, bundle: Path, paths: Sequence[Path]) -> tuple[float, float]:
    """Images per second, and the share of the files' bytes that is read."""
    environment = os.environ | {"PYTHONPATH": str(project)}
    text = json.dumps(list(map(str, paths)))
    answer = subprocess.run(
        [sys.executable, "-c", STREAM, str(bundle)],
        cwd=project,  # Python looks there first
        input=text,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    seconds, read = json.loads(answer)
    return len(paths) / seconds, read / sum(path.stat().st_size for path in paths)


def eager(network: Path, paths: Sequence[Path]) -> float:
    """Images per second of the eager loop, without its start."""
    with tempfile.TemporaryDirectory() as scratch:
        as_timm(network, paths[:2], SIDE, Path(scratch) / "warm.csv")
        start = time.perf_counter()
        as_timm(network, paths, SIDE, Path(scratch) / "tags.csv")
        return len(paths) / (time.perf_counter() - start)


def repeated(paths: Sequence[Path], times: int, folder: Path) -> list[Path]:
    """Links to files, several to each."""
    folder.mkdir(exist_ok=True)
    found = []
    for number in range(times):
        for path in paths:
            link = folder / f"{number}_{path.name}"
            if not link.exists():
                link.symlink_to(path)
            found.append(link)
    return found


def compare(bundle: Path, make: str, folder: Path, most: int) -> str:
    """How far the smaller versions change the probabilities and mAP of coco-mini's val."""
    table = load_split(DATA / "coco-mini", "val")
    table = table.take(range(min(most, len(table))))
    with ThreadPoolExecutor(2) as pool:
        files = list(pool.map(lambda path: made(make, path, folder), table.paths()))
    tagger = Tagger.load(bundle)
    thresholds = np.asarray(tagger.metadata.thresholds)
    ways = []
    for previews in (False, True):
        found = [one.probs for one in predict_files(tagger, files, previews=previews) if one.probs is not None]
        ways.append(np.stack(found))
    decided = [[(probs, probs >= thresholds)] for probs in ways]
    summary = difference(decided[0], decided[1], table.targets, table.known).summary
    values = [float(score(probs, table.targets, table.known, thresholds).summary["value"]["map"]) for probs in ways]
    low, high = (100 * float(summary[name]["map"]) for name in ("lo", "hi"))
    mean = np.abs(ways[1] - ways[0]).mean()
    maps = f"{100 * values[0]:.1f} | {100 * values[1]:.1f} | {low:+.1f} to {high:+.1f}"
    return f"| {make} | {len(files)} | {mean:.4f} | {maps} |"


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("earlier", type=Path, metavar="EARLIER")
    parser.add_argument("--trained", type=Path, metavar="BUNDLE")
    parser.add_argument("--compared", type=int, default=150, metavar="N")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "photographs.md", metavar="FILE")
    args = parser.parse_args()
    sources = sorted((DATA / "coco-mini" / "val").glob("*.jpg"))[: args.images]
    lines = ["| files | earlier, images/s | now, images/s | times | eager loop, images/s | times | bytes read |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    accuracy = ["| files | photographs | mean difference of probabilities | mAP, decoded | mAP, smaller version | difference |"]
    accuracy.append("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        in_a_process(make_network, folder, SIDE, DATA / "mobilenet_v2_imagenet.pth", sources)
        for kind in (HEIC, CAMERA, PLAIN):
            place = folder / str(len(lines))
            place.mkdir()
            files = [made(kind, path, place) for path in sources]
            many = repeated(files, REPEATED[kind], folder / f"{len(lines)} links")
            few = many[: len(files) * (2 if kind == PLAIN else 1)]
            old, new, loop = Way([]), Way([]), Way([])
            for number in range(args.rounds):
                old_rate, _ = stream(args.earlier.resolve(), folder / "fp32.onnx", few)
                new_rate, new.share = stream(PROJECT, folder / "fp32.onnx", many)
                old.rates.append(old_rate)
                new.rates.append(new_rate)
                if kind != HEIC:  # Pillow alone does not read HEIC
                    loop.rates.append(in_a_process(eager, folder / "network.pt", files))
                print(f"{kind}, round {number + 1}: {old_rate:.1f} and {new_rate:.1f} images/s", file=sys.stderr, flush=True)
            times = statistics.median(new / old for new, old in zip(new.rates, old.rates, strict=True))
            cells = [kind, f"{statistics.median(old.rates):.1f}", f"{statistics.median(new.rates):.1f}", f"{times:.2f}"]
            if loop.rates:
                ahead = statistics.median(new / old for new, old in zip(new.rates, loop.rates, strict=True))
                cells += [f"{statistics.median(loop.rates):.1f}", f"{ahead:.1f}"]
            else:
                cells += ["-", "-"]
            lines.append(f"| {' | '.join(cells)} | {100 * new.share:.1f} % |")
        for kind in (HEIC, CAMERA) if args.trained else ():
            place = folder / f"val {len(accuracy)}"
            place.mkdir()
            accuracy.append(compare(args.trained, kind, place, args.compared))
    args.report.write_text(page(lines, accuracy if args.trained else []), encoding="utf-8")
    print(args.report)


def page(lines: Sequence[str], accuracy: Sequence[str]) -> str:
    """The report."""
    head = f"""# Photographs as phones and cameras write them

Made by `python scripts/measure/bench_photographs.py EARLIER --trained BUNDLE`. {machine()}

Files of coco-mini's photographs, enlarged. Tagged from file to probabilities by MobileNetV2 with an input of {SIDE} pixels, in
turns by an earlier cocotag, which decodes every picture itself, by this one, and by a loop in eager PyTorch; medians. The times
are medians of the ratios of a round.

"""
    more = (
        "\nWith a bundle trained on coco-mini's photographs, on those of its val: how much the probabilities change when the\n"
        "smaller version is tagged, and the 95 % interval of the difference in mAP (paired bootstrap).\n\n"
    )
    return head + "\n".join(lines) + "\n" + (more + "\n".join(accuracy) + "\n" if accuracy else "")


if __name__ == "__main__":
    main()
