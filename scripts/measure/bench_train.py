"""Time a training step of a plain loop and of cocotag; write reports/train_step.md.

usage: python scripts/measure/bench_train.py [--repeats 5] [--report FILE]

MobileNetV2 at width 1, batch 32, 224 px, 80 classes: forward, binary cross-entropy, backward, AdamW. The changes are added one
by one. Each measurement runs in a new process, in turns. On a GPU its utilisation is measured too, over ten seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

PROJECT = Path(__file__).resolve().parents[2]
SIZE, BATCH, CLASSES = 224, 32, 80
STEPS, WARM_UP = 8, 2

CHANGES = {
    "naive": "float32, contiguous, unfused AdamW, no gradient clipping",
    "channels_last": "channels last",
    "autocast": "mixed precision, as `precision: auto` chooses it on this machine",
    "fused": "fused AdamW",
    "memory": "the process keeps freed memory (`cocotag.training.loop.runtime.keep_freed_memory`)",
    "whole": "gradient clipping and the moving average: **cocotag's default**",
    "compiled": "`compile: true`",
}
"""Name -> description. Each includes all changes before it."""


def measure(upto: str) -> None:
    """Print the median seconds of a step, its page faults and the GPU's utilisation; runs in a new process."""
    import resource

    import torch
    from torch.optim.swa_utils import AveragedModel

    from cocotag.config import ModelConfig, TrainConfig
    from cocotag.losses import bce
    from cocotag.models.build import build_network
    from cocotag.training.loop.ema import MovingAverage
    from cocotag.training.loop.runtime import keep_freed_memory, precision

    names = list(CHANGES)
    on = dict.fromkeys(names[: names.index(upto) + 1])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if "memory" in on and device.type == "cpu" and not keep_freed_memory():
        sys.exit("mallopt has no effect here.")
    torch.manual_seed(0)
    network = build_network(ModelConfig(image_size=SIZE), CLASSES).train().to(device)
    layout = torch.channels_last if "channels_last" in on else torch.contiguous_format
    network.to(memory_format=layout)
    if "channels_last" not in on:
        network.forward_features = lambda images: network.backbone(network.normalize(images).contiguous())  # type: ignore[method-assign]
    if "compiled" in on:
        network.compile()
    average = AveragedModel(network, multi_avg_fn=cast(Any, MovingAverage(0.9997)._average), use_buffers=True)
    fused = "fused" in on
    optimizer = torch.optim.AdamW(network.parameters(), fused=fused, foreach=None if fused else False)
    kind = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision(TrainConfig()))
    images = torch.randint(0, 256, (BATCH, SIZE, SIZE, 3), dtype=torch.uint8)
    images = images.pin_memory() if device.type == "cuda" else images
    targets = torch.rand(BATCH, CLASSES, device=device).round()
    known = torch.ones(BATCH, CLASSES, dtype=torch.bool, device=device)

    def step() -> None:
        optimizer.zero_grad()
        batch = images.to(device, non_blocking=True)
        with torch.autocast(device.type, kind or torch.bfloat16, enabled="autocast" in on and kind is not None):
            logits = network(batch)
        bce(logits, targets, known).backward()  # type: ignore[no-untyped-call]
        if "whole" in on:
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if "whole" in on:
            average.update_parameters(network)
        if device.type == "cuda":
            torch.cuda.synchronize()

    for _ in range(WARM_UP):
        step()
    faults, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, []
    for _ in range(STEPS):
        begun = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begun)
    faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) // STEPS
    used = []
    end = time.perf_counter() + 10
    while device.type == "cuda" and time.perf_counter() < end:
        step()
        try:
            used.append(torch.cuda.utilization())
        except ModuleNotFoundError:
            sys.exit("nvidia-ml-py, which reads the GPU utilisation, is not installed. Run: pip install nvidia-ml-py")
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()} CPU cores ({platform.machine()})"
    used_share = statistics.fmean(used) if used else None
    print(json.dumps({"seconds": statistics.median(seconds), "faults": faults, "used": used_share, "on": where}))


def main() -> None:
    """Measure in turns and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="processes for each row")
    parser.add_argument("--without", nargs="*", default=[], choices=list(CHANGES), help="rows to leave out")
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "train_step.md")
    parser.add_argument("--measure", choices=list(CHANGES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure)
        return
    names = [name for name in CHANGES if name == "naive" or name not in args.without]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(args.repeats):
        for name in names:
            command = [sys.executable, __file__, "--measure", name]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[name].append(json.loads(out.splitlines()[-1]))
            print(f"{name}: {found[name][-1]}", file=sys.stderr, flush=True)
    rows = []
    for name in names:
        seconds = [one["seconds"] for one in found[name]]
        ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in zip(found["naive"], found[name], strict=True))
        used = found[name][0]["used"]
        rows.append(
            f"| {'' if name == 'naive' else '+ '}{CHANGES[name]} | {statistics.median(seconds):.3f} s ({min(seconds):.3f} to "
            f"{max(seconds):.3f}) | {ratio:.2f} | {statistics.median(one['faults'] for one in found[name]):,.0f} | "
            f"{'no GPU' if used is None else f'{used:.0f} %'} |"
        )
    without = f" --without {' '.join(args.without)}" if args.without else ""
    text = f"""# A training step

Written by `.venv/bin/python scripts/measure/bench_train.py --repeats {args.repeats}{without}` on {found["naive"][0]["on"]}.

MobileNetV2, width 1, batch {BATCH}, {SIZE} px, {CLASSES} classes. Each row includes the changes of the rows above it. Medians \
over processes in turns, range in brackets; the speed-up is the median of the ratios within a turn.

| change | time per step | speed-up over the first row | page faults per step | GPU utilisation |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}
"""
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
