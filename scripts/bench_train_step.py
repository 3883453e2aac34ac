"""Time one training step on the CPU with and without keeping freed memory, side by side; write reports/train_step.md.

usage: python scripts/bench_train_step.py [--repeats 5] [--report FILE]

MobileNetV2 at width 1, batch 32, float32, 112 px (configs/sample.yaml) and 224 px; each measurement in a process of its own,
in turns.
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

PROJECT = Path(__file__).resolve().parent.parent
STEPS, WARM_UP = 8, 2


def measure(size: int, keep: bool) -> None:
    """In a process of its own: print the median seconds of a step and the page faults of one."""
    import resource

    import torch

    from cocotag.config import ModelConfig
    from cocotag.models.build import build_network
    from cocotag.training.fit import keep_freed_memory

    if keep and not keep_freed_memory():
        sys.exit("mallopt had no effect here: there is nothing to compare.")
    torch.manual_seed(0)
    network = build_network(ModelConfig(image_size=size), 20).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    images = torch.randint(0, 256, (32, size, size, 3), dtype=torch.uint8)
    targets = torch.rand(32, 20).round()
    seconds = []
    faults = 0
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(images), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) // STEPS
    print(json.dumps({"seconds": statistics.median(seconds[WARM_UP:]), "faults": faults}))


def main() -> None:
    """Measure in turns and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="processes for each row")
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "train_step.md")
    parser.add_argument("--measure", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure[0], bool(args.measure[1]))
        return
    rows = []
    for size in (112, 224):
        found: dict[int, list[dict[str, float]]] = {0: [], 1: []}
        for _ in range(args.repeats):
            for keep in (0, 1):
                command = [sys.executable, __file__, "--measure", str(size), str(keep)]
                out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                found[keep].append(json.loads(out))
                print(f"{size} px, keep={keep}: {found[keep][-1]}", file=sys.stderr)
        before, after = ([one["seconds"] for one in found[keep]] for keep in (0, 1))
        faults = [statistics.median(one["faults"] for one in found[keep]) for keep in (0, 1)]
        ratio = statistics.median(a / b for a, b in zip(before, after, strict=True))
        rows.append(
            f"| {size} px | {statistics.median(before):.2f} s ({min(before):.2f} to {max(before):.2f}) | "
            f"{statistics.median(after):.2f} s ({min(after):.2f} to {max(after):.2f}) | {ratio:.2f} | "
            f"{faults[0]:,.0f} | {faults[1]:,.0f} |"
        )
    lines = [
        "# A training step on the CPU",
        "",
        f"Written by `.venv/bin/python scripts/bench_train_step.py --repeats {args.repeats}` on "
        f"{os.cpu_count()} CPU cores ({platform.machine()}).",
        "",
        "MobileNetV2, width 1, batch 32, float32. *Kept*: freed memory stays with the process, which is what `cocotag train`",
        "does (`cocotag.training.fit.keep_freed_memory`). Medians over processes in turns; the ratio is the median of pairs.",
        "",
        "| input | as glibc comes | kept | times as fast | page faults a step | kept |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
    ]
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(args.report)


if __name__ == "__main__":
    main()
