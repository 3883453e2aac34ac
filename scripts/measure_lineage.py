"""The five published networks that cocotag grew from: their figures and ours; write reports/lineage.md.

usage: python scripts/measure_lineage.py [--quick] [--out FOLDER] [--report FILE]

Trains on CIFAR-10 and coco-mini; with --out the runs are kept, and what was stopped goes on when it is started again. --quick
is a part of the data and a few epochs, a few minutes in all: it shows that everything runs, its figures mean nothing.
Needs the real data: COCOTAG_DATA, or ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measured_run import DATA, PROJECT, cocotag, measure

from cocotag.cores import usable_cores

EPOCHS = 22  # of the runs that show what the original's choices cost
SCRATCH = {"model.image_size": "224", "model.weights": "null"}
# What the hobby original chose otherwise, each by itself and then all together.
CHOICES: dict[str, dict[str, str]] = {
    "ours, from scratch": {},
    "focal loss (gamma 2, no alpha)": {"loss.name": "focal", "loss.alpha": "null"},
    "its initialisation": {"model.initialisation": "original", "model.prior": "0.5"},
    "rate 0.001": {"lr": "0.001"},
    "no weight decay, no clipping": {"weight_decay": "0", "gradient_clip": "null"},
    "256 px": {"model.image_size": "256"},
    "output stride 16": {"model.output_stride": "16"},
}
TOGETHER = tuple(name for name in CHOICES if name not in ("ours, from scratch", "output stride 16"))
CIFAR = {
    "MobileNetV2 0.5": "cifar10_mobilenetv2_050",
    "MobileNetV3 small 1.0": "cifar10_mobilenetv3_small",
}


def summary(*words: str) -> dict[str, Any]:
    """What `cocotag summary` says of a network."""
    made: dict[str, Any] = json.loads(cocotag("summary", *words, "--json"))
    return made


def cifar(out: Path, *, quick: bool) -> dict[str, dict[str, Any]]:
    """Both networks on CIFAR-10: figures on its test images, which nothing was chosen on."""
    root = out / "cifar10"
    if not (root / "annotations" / "instances_test.json").is_file():
        command = [sys.executable, str(PROJECT / "scripts" / "cifar_to_coco.py"), str(DATA / "cifar10.tar.xz"), str(root)]
        subprocess.run([*command, *(["--per-class", "40"] if quick else [])], check=True)
    words: list[str] = []
    if quick:
        words = ["--stages", '[{"epochs": 2, "train": "all", "lr": 0.003}]', "--batch_size", "32"]
    return {name: measure(out / config, *words, config=config, root=root) for name, config in CIFAR.items()}


def choices(out: Path, *, quick: bool) -> dict[str, dict[str, Any]]:
    """What each of the original's choices costs, on coco-mini."""
    all_of_them = {key: value for name in TOGETHER for key, value in CHOICES[name].items()}
    epochs = 1 if quick else EPOCHS
    made = {}
    for number, (name, flags) in enumerate({**CHOICES, "all but the stride": all_of_them}.items()):
        values = {**SCRATCH, **flags}
        stages = json.dumps([{"epochs": epochs, "train": "all", "lr": float(values.pop("lr", "0.002"))}])
        words = [word for key, value in values.items() for word in (f"--{key}", value)]
        small = ["--data.fraction", "0.2"] if quick else []
        made[name] = measure(out / f"choice-{number}", *words, "--stages", stages, *small)
    return made


def main() -> None:
    """Measure, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a part of the data, a few epochs")
    parser.add_argument("--out", type=Path, help="keep the runs here (default: a temporary folder)")
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "lineage.md")
    args = parser.parse_args()
    if not (DATA / "coco-mini").is_dir():
        sys.exit(f"no real data in {DATA}; set COCOTAG_DATA")
    with tempfile.TemporaryDirectory() as temporary:
        out: Path = args.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        v2 = summary("--model.name", "mobilenet_v2", "--model.num_classes", "1000", "--batch", "2")
        coco = summary("--config", "coco_original", "--model.num_classes", "80", "--batch", "1")
        single = cifar(out, quick=args.quick)
        costs = choices(out, quick=args.quick)
    text = page(v2, coco, single, costs, quick=args.quick)
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(text, encoding="utf-8")
    print(text)


def page(
    v2: dict[str, Any],
    coco: dict[str, Any],
    single: dict[str, dict[str, Any]],
    costs: dict[str, dict[str, Any]],
    *,
    quick: bool,
) -> str:
    """The report."""

    def accuracy(row: dict[str, Any]) -> str:
        low, high = (100 * row[f"top1_accuracy{part}"] for part in ("_lo", "_hi"))
        return (
            f"test accuracy {row['top1_accuracy']:.4f} ({low:.1f} to {high:.1f} %) after {row['epochs']:.0f} epochs, "
            f"{row['training'] / 60:.1f} min on {row['machine']}"
        )

    half, small = (single[name] for name in CIFAR)
    base = costs["ours, from scratch"]
    rows = [
        f"| {name} | {100 * row['map']:.1f} | {100 * (row['map'] - base['map']):+.1f} | {100 * row['map_lo']:.1f} to "
        f"{100 * row['map_hi']:.1f} | {100 * row['macro_f1']:.1f} | {100 * row['micro_f1']:.1f} | {row['training']:.0f} s |"
        for name, row in costs.items()
    ]
    half_file, small_file = (f"`configs/{config}.yaml`" for config in CIFAR.values())
    epochs = "one epoch" if quick else f"{EPOCHS} epochs"
    warning = "\n**Made with --quick: these figures mean nothing.**\n" if quick else ""
    return f"""# Where cocotag comes from

Written by `.venv/bin/python scripts/measure_lineage.py{" --quick" if quick else ""}` on {usable_cores()} CPU cores \
({platform.machine()}), Python {platform.python_version()}. One run of each, seed 0; intervals are 95 %, over images.
{warning}
| ancestor | published | here |
| --- | --- | --- |
| MobileNetV2 at width 0.5 on CIFAR-10, 15 epochs | test accuracy 0.8007 | {accuracy(half)} ({half_file}) |
| MobileNetV2, by torchinfo, 1,000 classes, 2 images of 224 px | 3,504,872 parameters, 601.62 M multiply-adds, 14.02 MB | \
{v2["parameters"]:,} parameters, {v2["multiply_adds"] / 1e6:.2f} M multiply-adds, {v2["parameter_bytes"] / 1e6:.2f} MB |
| MobileNetV3 small 1.0, on CIFAR-100, 20 epochs | 69.44 % | on CIFAR-10 (CIFAR-100 was not at hand): {accuracy(small)} \
({small_file}); all six sizes are in [family.md](family.md) |
| MobileNetV2 for 32 px (stride-1 stem, late strides) | the variant itself | `model.strides: [1, 1, 2, 2, 2]`, as above |
| MobileNetV2 with dilation on COCO, 256 px, output stride 4 | 2,326,352 parameters | {coco["parameters"]:,} parameters \
(`configs/coco_original.yaml`) |

The CIFAR-10 here was JPEG already when it was collected, which costs about a point.

## What the original's choices cost

MobileNetV2 on coco-mini, from scratch, 224 px, {epochs}; each choice of the hobby original by itself,
figures on val in percent. With 150 photographs to report on, differences of a point or two are noise.

| choice | mAP | against ours | interval | macro-F1 | micro-F1 | training |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Its output stride of 4 is not here: {coco["multiply_adds"] / 1e9:.1f} G multiply-adds an image at 256 px, against \
{v2["multiply_adds"] / 2e9:.1f} G at stride 32 and 224 px.
"""


if __name__ == "__main__":
    main()
