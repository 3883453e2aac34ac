"""Compare the network family: size, latency against torchvision, mAP on coco-mini; write reports/family.md and family.svg.

usage: python scripts/measure/measure_family.py [--quick] [--out FOLDER] [--report FILE]

Latency is measured on one image of 224 px and all cores, ours and torchvision's in turns, both with channels last. On
coco-mini, MobileNetV2 is trained from the same ImageNet weights with the same budget at several output strides and sizes, and
each network from scratch, because weights of the others are not available. With --out the runs are kept, and stopped runs are
resumed. --quick times some networks a few times and trains two of them for an epoch, in about a minute; its figures mean
nothing. Needs the real data: COCOTAG_DATA, or ../shared/data.
"""

from __future__ import annotations

import argparse
import copy
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import onnx
import torch
import torchvision.models
from markupsafe import Markup
from measured_run import DATA, IMAGENET, PROJECT, measure
from torch import nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from cocotag.config import ModelConfig
from cocotag.export.onnx_graph import to_onnx
from cocotag.export.quantize import quantize_convolutions
from cocotag.export.ways import all_ways, cpu_run, stir
from cocotag.inference.latency import Timing, Way, bundle_way, random_images
from cocotag.inference.latency import measure as measure_latency
from cocotag.models.build import build_network
from cocotag.models.detector import CLASSES, IMAGE_SIZE, DetectorTagger
from cocotag.models.network import Normalize, TaggerNetwork
from cocotag.models.summary import summarise
from cocotag.models.weights import to_torchvision
from cocotag.pages.drawing import standalone
from cocotag.pages.plots import scatter
from cocotag.process.cores import usable_cores

Architecture = Literal["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"]
SIDE = 224
SIZES: tuple[tuple[Architecture, float], ...] = (
    *(("mobilenet_v2", width) for width in (1.0, 0.5)),
    *(("mobilenet_v3_small", width) for width in (1.0, 0.5, 0.25)),
    *(("mobilenet_v3_large", width) for width in (1.0, 0.5, 0.25)),
)
LIMIT = 1.05  # target for our latency, as a multiple of torchvision's
OUTPUT_STRIDES = (32, 16, 8)


class Theirs(nn.Module):
    """torchvision's network after our normalisation, so that both do the same work."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalize, self.network = Normalize(), network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images to logits, as `TaggerNetwork.forward`."""
        logits: torch.Tensor = self.network(self.normalize(images).contiguous(memory_format=torch.channels_last))
        return logits

    def probs(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits to probabilities, as `TaggerNetwork.probs`."""
        return logits.sigmoid()


def latency(name: Architecture, width: float, repeats: int) -> tuple[dict[str, Timing], str]:
    """Timings of ours and torchvision's network in turns and of ONNX Runtime; parameters and multiply-adds for the table."""
    network = build_network(ModelConfig(name=name, width=width, image_size=SIDE), 80).eval()
    stir(network)
    theirs = getattr(torchvision.models, name)(weights=None, width_mult=width, num_classes=80)
    theirs.load_state_dict(to_torchvision(network))
    counts = summarise(copy.deepcopy(network), SIDE)
    with tempfile.TemporaryDirectory() as folder:
        graph, int8 = bundles(network, Path(folder))

        def ways(threads: int) -> list[Way]:
            return [
                Way("ours", cpu_run(network, "channels_last", threads)),
                Way("torchvision", cpu_run(cast(TaggerNetwork, Theirs(theirs)), "channels_last", threads)),
                bundle_way(graph, threads),
                bundle_way(int8, threads, "int8"),
            ]

        timings = measure_latency(ways, image_size=SIDE, batches=[1], threads=[usable_cores()], repeats=repeats)
        sizes = f"{graph.stat().st_size / 1e6:.1f} | {int8.stat().st_size / graph.stat().st_size:.2f}"
    return {timing.way: timing for timing in timings}, f"{counts.parameters:,} | {counts.multiply_adds / 1e6:.1f} | {sizes}"


def bundles(network: TaggerNetwork, folder: Path) -> tuple[Path, Path]:
    """The network as a graph in float32 and one in 8-bit integers, calibrated on noise, for size and time only."""
    model = to_onnx(network, SIDE)
    graph, int8 = folder / "network.onnx", folder / "int8.onnx"
    onnx.save_model(model, str(graph))
    onnx.save_model(quantize_convolutions(model, random_images(8, SIDE)), str(int8))
    return graph, int8


def ways_table(repeats: int, *, quick: bool) -> list[str]:
    """Table rows of MobileNetV2 by every way to run it, for several batch sizes and numbers of threads, with a GPU if present.

    Compiling takes a minute, so ``quick`` leaves out that way.
    """
    network = build_network(ModelConfig(image_size=SIDE), 80).eval()
    stir(network)
    with tempfile.TemporaryDirectory() as folder:
        graph, int8 = bundles(network, Path(folder))
        threads = sorted({1, usable_cores()})
        timings = measure_latency(
            lambda count: [way for way in all_ways(network, graph, int8, count) if not (quick and way.name == "compiled")],
            image_size=SIDE,
            batches=[1, 16],
            threads=threads,
            repeats=repeats,
            warm_up=3,
        )
    return [
        f"| {one.way} | {one.batch} | {one.threads} | {one.p50:.1f} | {one.mean:.1f} ± {one.spread:.1f} | {one.p90:.1f} | "
        f"{one.p99:.1f} | {one.images_per_second:.0f} |"
        if one.error is None
        else f"| {one.way} | {one.batch} | {one.threads} | not available: {one.error} | | | | |"
        for one in timings
    ]


def detector(repeats: int) -> Timing:
    """Time of the bundle of `cocotag pretrained` on ONNX Runtime, with random weights, which do not affect the time."""
    network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "network.onnx"
        onnx.save_model(to_onnx(DetectorTagger(network), IMAGE_SIZE), str(graph))
        return time_bundle(graph, IMAGE_SIZE, repeats)


def time_bundle(path: Path, side: int, repeats: int) -> Timing:
    """Time of one image on ONNX Runtime with all cores."""
    cores = usable_cores()
    (timing,) = measure_latency(
        lambda threads: [bundle_way(path, threads)], image_size=side, batches=[1], threads=[cores], repeats=repeats
    )
    return timing


@dataclass(frozen=True)
class Trained:
    """A run on coco-mini."""

    name: str
    flags: dict[str, str]
    scratch: bool = False

    @property
    def label(self) -> str:
        """Label in the plot."""
        return f"{self.name}{', from scratch' if self.scratch else ''}"

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return self.label.replace(" ", "-").replace(",", "")

    @property
    def side(self) -> int:
        """Side of its input, pixels."""
        return int(self.flags.get("model.image_size", SIDE))


STRIDES = tuple(Trained(f"V2, stride {stride}", {"model.output_stride": str(stride)}) for stride in OUTPUT_STRIDES)
RUNS = (
    *STRIDES,
    *(Trained(f"V2, {side} px", {"model.image_size": str(side)}) for side in (160, 288)),
    Trained("V2", {}, scratch=True),
    Trained("V2 0.5", {"model.width": "0.5"}, scratch=True),
    Trained("V3 small", {"model.name": "mobilenet_v3_small"}, scratch=True),
    Trained("V3 large", {"model.name": "mobilenet_v3_large"}, scratch=True),
)
QUICK = ("V2, stride 32", "V3 small, from scratch")


def train(run: Trained, out: Path, *, quick: bool) -> dict[str, Any]:
    """Train, with ImageNet weights and the stages of configs/coco_mini.yaml or from scratch, and return the figures on val."""
    flags = {"model.image_size": str(SIDE), "model.weights": str(IMAGENET), **run.flags}
    if run.scratch:
        flags |= {"model.weights": "null", "stages": '[{"epochs": 22, "train": "all", "lr": 0.002}]'}
    if quick:
        flags |= {"stages": '[{"epochs": 1, "train": "head", "lr": 0.003}]', "data.fraction": "0.2"}
    return measure(out / run.folder, *(word for key, value in flags.items() for word in (f"--{key}", value)))


def size_rows(repeats: int, sizes: Sequence[tuple[Architecture, float]]) -> tuple[list[str], float, float]:
    """A row per size, the highest ratio to torchvision's latency, and the largest difference in probability."""
    rows, worst, differs = [], 0.0, 0.0
    for name, width in sizes:
        timed, counts = latency(name, width, repeats)
        ours, theirs, runtime = timed["ours"], timed["torchvision"], timed["ONNX Runtime"]
        ratio = ours.p50 / theirs.p50
        worst, differs = max(worst, ratio), max(differs, theirs.difference or 0.0, runtime.difference or 0.0)
        rows.append(
            f"| {name} | {width:g} | {counts} | {ours.p50:.1f} | {ours.mean:.1f} ± {ours.spread:.1f} | {theirs.p50:.1f} | "
            f"{ratio:.2f} | {runtime.p50:.1f} | {timed['int8'].p50:.1f} |"
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return rows, worst, differs


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few runs of one epoch, with meaningless figures")
    parser.add_argument("--out", type=Path, help="keep the runs here (default: a temporary folder)")
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "family.md")
    args = parser.parse_args()
    if not (DATA / "coco-mini").is_dir():
        sys.exit(f"There are no real photographs in {DATA}. Set COCOTAG_DATA.")
    repeats = 3 if args.quick else 300
    with tempfile.TemporaryDirectory() as temporary:
        out: Path = args.out or Path(temporary)
        out = out / "quick" if args.quick else out
        runs = [run for run in RUNS if not args.quick or run.label in QUICK]
        trained = {run.label: train(run, out, quick=args.quick) for run in runs}
        times = {run.label: time_bundle(out / run.folder / "tagger.onnx", run.side, repeats).p50 for run in runs}
    rows, worst, differs = size_rows(repeats, SIZES[::4] if args.quick else SIZES)
    drawing = args.report.with_suffix(".svg")
    text = page(
        rows,
        f"at most {worst:.2f} times torchvision's time (target {LIMIT}: {'reached' if worst <= LIMIT else 'not reached'})",
        differs,
        detector(repeats).p50,
        ways_table(3 if args.quick else 20, quick=args.quick),
        trained,
        times,
        drawing=drawing.name,
        quick=args.quick,
    )
    args.report.parent.mkdir(parents=True, exist_ok=True)
    drawing.write_text(standalone(plot(trained, times)), encoding="utf-8")
    args.report.write_text(text, encoding="utf-8")
    print(text)


def plot(trained: dict[str, dict[str, Any]], times: dict[str, float]) -> Markup:
    """A plot of accuracy against latency, with one point per run."""
    runs = [run for run in RUNS if run.label in trained]
    return scatter(
        [times[run.label] for run in runs],
        [100 * trained[run.label]["map"] for run in runs],
        [run.label for run in runs],
        title="mAP on coco-mini against latency",
        x_label="milliseconds for one image on ONNX Runtime",
        y_label="mAP on val, %",
        colors=["c3" if run.scratch else "c1" for run in runs],
    )


def page(
    rows: list[str],
    verdict: str,
    differs: float,
    first_day: float,
    by_way: list[str],
    trained: dict[str, dict[str, Any]],
    times: dict[str, float],
    *,
    drawing: str,
    quick: bool,
) -> str:
    """The report."""
    table = [
        f"| {run.name} | {'none' if run.scratch else 'ImageNet'} | {times[run.label]:.1f} | {100 * row['map']:.1f} | "
        f"{100 * row['map_lo']:.1f} to {100 * row['map_hi']:.1f} | {100 * row['micro_f1']:.1f} | {row['training']:.0f} s |"
        for run in RUNS
        if run.label in trained
        for row in [trained[run.label]]
    ]
    warning = "\n**Measured with --quick: these figures mean nothing.**\n" if quick else ""
    repeats = 3 if quick else 300
    return f"""# The network family

Written by `.venv/bin/python scripts/measure/measure_family.py{" --quick" if quick else ""}` on {usable_cores()} CPU cores \
({platform.machine()}), Python {platform.python_version()}, torch {torch.__version__}.
{warning}
## Size and latency

80 classes, linear head, one image of {SIDE} px, {usable_cores()} threads. Times are milliseconds: median of {repeats} runs, and
mean with standard deviation. Our network and torchvision's have the same weights and run in turns, in float32 with channels
last. Ours took {verdict}; the largest difference in probability between them is {differs:.1g}.

"int8 size" is the size of the bundle in 8-bit integers as a share of the float32 bundle. The weights of heads and
squeeze-excitation, a large part of a small network, stay in float32.

| network | width | parameters | M multiply-adds | bundle MB | int8 size | ours | mean | torchvision | ratio | \
bundle | int8 bundle |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

The bundle of `cocotag pretrained` (SSDlite320, here with random weights) takes {first_day:.1f} ms for an image of \
{IMAGE_SIZE} px on ONNX Runtime.

MobileNetV2 by every way to run it, as `cocotag latency` prints it, in milliseconds per batch; a GPU has its own row:

| way | batch | threads | median | mean | 90 % | 99 % | images/s |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(by_way)}

## Accuracy against latency

On coco-mini, {SIDE} px unless stated otherwise, seed 0. Runs from ImageNet weights (available for MobileNetV2 only) use
`configs/coco_mini.yaml`; runs from scratch use one stage of 22 epochs. Figures are percentages on val, with 95 % intervals over
images. With one run each on 150 photographs, differences of one or two points are noise. Latency is that of one image with the
bundle on ONNX Runtime. Training times are wall times; other programs ran at times.

| network | weights | milliseconds | mAP | interval | micro-F1 | training |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(table)}

![Accuracy against latency; blue: from ImageNet weights, orange: from scratch]({drawing})
"""


if __name__ == "__main__":
    main()
