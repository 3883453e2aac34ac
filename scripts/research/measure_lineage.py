"""This script made reports/lineage.md once; it is not part of continuous integration.

usage: python scripts/research/measure_lineage.py [--quick] [--out FOLDER] [--report FILE]

It compares the published figures of the five networks that cocotag is based on with cocotag's own, trained on CIFAR-10 and
coco-mini. With --out the runs are kept, and stopped runs are resumed. --quick trains some of the runs on part of the data for
an epoch or two, in about a minute, as a test of the script; its figures mean nothing. Needs the real data: COCOTAG_DATA, or
../shared/data.
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

from cocotag.process.cores import usable_cores

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "measure"))
from measured_run import DATA, IMAGENET, PROJECT, cocotag, measure

EPOCHS = 22  # of the runs that show what the original's choices cost
# What the hobby original chose otherwise, each by itself, and all together but for the stride.
ORIGINAL: dict[str, dict[str, str]] = {
    "focal loss (gamma 2, no alpha)": {"loss.name": "focal", "loss.alpha": "null"},
    "its initialisation": {"model.initialisation": "original", "model.prior": "0.5"},
    "rate 0.001": {"lr": "0.001"},
    "no weight decay, no clipping": {"weight_decay": "0", "gradient_clip": "null"},
    "256 px": {"model.image_size": "256"},
}
SCRATCH, PRETRAINED, TOGETHER = "from scratch", "with ImageNet weights", "all of these together"
SMALL, STRIDE_4 = "from scratch, 96 px", "from scratch, 96 px, output stride 4"
CIFAR = {
    "MobileNetV2 0.5": "cifar10_mobilenetv2_050",
    "MobileNetV3 small 1.0": "cifar10_mobilenetv3_small",
}
PUBLISHED_V3 = {
    "small": {"0.25": "60.13", "0.5": "66.37", "1.0": "69.44"},
    "large": {"0.25": "65.03", "0.5": "69.50", "1.0": "71.75"},
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
    together = {key: value for flags in ORIGINAL.values() for key, value in flags.items()}
    # As simple as the original, so that its choices are what differs.
    plain = {"model.head": "linear", "data.augment_views": "null", "ema_decay": "null", "best_by": "map"}
    scratch = {**plain, "model.image_size": "224", "model.weights": "null", "lr": "0.002"}
    asked = {SCRATCH: scratch, **{name: {**scratch, **flags} for name, flags in ORIGINAL.items()}}
    asked |= {TOGETHER: {**scratch, **together}, SMALL: {**scratch, "model.image_size": "96"}}
    asked[STRIDE_4] = {**asked[SMALL], "model.output_stride": "4"}
    asked[PRETRAINED] = {"model.image_size": "224", "model.weights": str(IMAGENET)}
    made = {}
    for name, flags in asked.items():
        if quick and name not in (PRETRAINED, SCRATCH, TOGETHER):
            continue
        words = [word for key, value in flags.items() if key != "lr" for word in (f"--{key}", value)]
        epochs = 1 if quick else EPOCHS
        if "lr" in flags:
            words += ["--stages", json.dumps([{"epochs": epochs, "train": "all", "lr": float(flags["lr"])}])]
        elif quick:
            words += ["--stages", '[{"epochs": 1, "train": "head", "lr": 0.003}]']
        small = ["--data.fraction", "0.2"] if quick else []
        slug = "-".join("".join(c if c.isalnum() else " " for c in name).split())
        made[name] = measure(out / slug, *words, *small)
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
        out = out / "quick" if args.quick else out
        out.mkdir(parents=True, exist_ok=True)
        v2 = summary("--model.name", "mobilenet_v2", "--model.num_classes", "1000", "--batch", "2")
        coco = summary("--config", "coco_original", "--model.num_classes", "80", "--batch", "1")
        costs = choices(out, quick=args.quick)
        single = cifar(out, quick=args.quick)
    text = page(v2, coco, single, costs, quick=args.quick)
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(text, encoding="utf-8")
    print(text)


def accuracy(row: dict[str, Any]) -> str:
    """Of a run on CIFAR-10's test images, and how it was had."""
    low, high = (100 * row[f"top1_accuracy{part}"] for part in ("_lo", "_hi"))
    return (
        f"test accuracy {row['top1_accuracy']:.4f} ({low:.1f} to {high:.1f} %) after {len(row['epochs'])} epochs, "
        f"{row['training'] / 60:.0f} min on {row['machine']}"
    )


def coco_figures(row: dict[str, Any]) -> str:
    """What the original published of itself, of a run of ours."""
    return f"micro-F1 {row['micro_f1']:.3f}, accuracy over all cells {100 * (1 - row['hamming_loss']):.2f} %"


def page(
    v2: dict[str, Any],
    coco: dict[str, Any],
    single: dict[str, dict[str, Any]],
    costs: dict[str, dict[str, Any]],
    *,
    quick: bool,
) -> str:
    """The report."""
    half, small = (single[name] for name in CIFAR)

    def cost(name: str, base: str | None = None) -> str:
        row = costs[name]
        against = f"{100 * (row['map'] - costs[base]['map']):+.1f}" if base else ""
        return (
            f"| {name} | {100 * row['map']:.1f} | {against} | {100 * row['map_lo']:.1f} to {100 * row['map_hi']:.1f} | "
            f"{100 * row['macro_f1']:.1f} | {100 * row['micro_f1']:.1f} | {100 * (1 - row['hamming_loss']):.2f} | "
            f"{row['training']:.0f} s |"
        )

    against = {
        PRETRAINED: SCRATCH,
        SCRATCH: None,
        **dict.fromkeys((*ORIGINAL, TOGETHER), SCRATCH),
        SMALL: None,
        STRIDE_4: SMALL,
    }
    rows = [cost(name, base) for name, base in against.items() if name in costs]
    per_epoch = [
        f"| {row['epoch']:.0f} | {row['train_loss']:.3f} | {row['tune_loss']:.3f} | {row['train_top1']:.4f} | "
        f"{row['tune_top1']:.4f} |"
        for row in half["epochs"]
    ]
    on_cifar10 = f"; on CIFAR-10 {accuracy(small)}"
    v3 = [
        f"| MobileNetV3 {size} {width} on CIFAR-100, 20 epochs | accuracy {figure} % | builds, trains and is timed "
        f"([family.md](family.md)); CIFAR-100 was not at hand{on_cifar10 if (size, width) == ('small', '1.0') else ''} |"
        for size, figures in PUBLISHED_V3.items()
        for width, figure in figures.items()
    ]
    epochs = "one epoch" if quick else f"{EPOCHS} epochs"
    warning = "\n**Made with --quick: these figures mean nothing.**\n" if quick else ""
    return f"""# Where cocotag comes from

Written by `.venv/bin/python scripts/research/measure_lineage.py{" --quick" if quick else ""}` on {usable_cores()} CPU cores \
({platform.machine()}), Python {platform.python_version()}. One run of each, seed 0; intervals are 95 %, over images.
{warning}
| ancestor | published | here |
| --- | --- | --- |
| MobileNetV2 at width 0.5 on CIFAR-10, 15 epochs | test accuracy 0.8007 | {accuracy(half)} |
| MobileNetV2, by torchinfo, 1,000 classes, 2 images of 224 px | 3,504,872 parameters, 601.62 M multiply-adds, 14.02 MB | \
{v2["parameters"]:,} parameters, {v2["multiply_adds"] / 1e6:.2f} M multiply-adds, {v2["parameter_bytes"] / 1e6:.2f} MB |
{chr(10).join(v3)}
| MobileNetV2 for 32 px (stride-1 stem, late strides) on CIFAR-10 | the variant itself | `model.strides: [1, 1, 2, 2, 2]`: \
the first row's network |
| MobileNetV2 with dilation on COCO, 256 px, output stride 4 | 2,326,352 parameters; train micro-F1 0.654, accuracy over all \
cells 97.97 %; validation 0.617, 97.73 % | {coco["parameters"]:,} parameters (`configs/coco_original.yaml`); on coco-mini's \
{EPOCHS if not quick else 1} epochs its choices give {coco_figures(costs[TOGETHER])}, ours {coco_figures(costs[PRETRAINED])} \
(other data: not comparable with its own figures) |

CIFAR-10 here was JPEG already when it was collected. Its two runs, once it is in COCO's layout \
(`.venv/bin/python scripts/data/cifar_to_coco.py ARCHIVE CIFAR10`):

```sh
{chr(10).join(f"cocotag train --config {config} --data.root CIFAR10" for config in CIFAR.values())}
```

## MobileNetV2 0.5 on CIFAR-10, epoch by epoch

A twentieth of the training images, which nothing is learned from, chooses the epoch; the test images are looked at once.

| epoch | train loss | validation loss | train accuracy | validation accuracy |
| --- | --- | --- | --- | --- |
{chr(10).join(per_epoch)}

## What the original's choices cost

MobileNetV2 on coco-mini, 224 px unless said, {epochs} from scratch; each choice of the hobby original by itself, then together;
with ImageNet weights it is `configs/coco_mini.yaml`. Figures on val in percent. With 150 photographs to report on, differences
of a point or two are noise; so is the order of networks that have hardly begun to learn. Seconds and minutes of training are
the clock's, and the machine had other work at times.

| choice | mAP | change | interval | macro-F1 | micro-F1 | cells right | training |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

The output stride of 4 is shown at 96 px: at the original's 256 px it takes {coco["multiply_adds"] / 1e9:.1f} G multiply-adds \
an image, against {v2["multiply_adds"] / 2e9:.1f} G at stride 32 and 224 px. Accuracy over all cells says little: a tagger \
that never gives a tag has it too.
"""


if __name__ == "__main__":
    main()
