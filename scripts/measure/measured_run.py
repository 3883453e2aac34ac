"""Run cocotag's commands and store the scores of training runs, for the other scripts here."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from cocotag.process.cores import usable_cores

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")
IMAGENET = DATA / "mobilenet_v2_imagenet.pth"


def cocotag(*words: str | Path) -> str:
    """Run one command and return its stdout."""
    command = [sys.executable, "-m", "cocotag", *map(str, words)]
    print("+ cocotag", *map(str, words), file=sys.stderr, flush=True)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def measure(run: Path, *words: str | Path, config: str = "coco_mini", root: Path = DATA / "coco-mini") -> dict[str, Any]:
    """Train with some flags; return the figures of the report on val, the seconds of training and of the whole command.

    A finished run in an existing folder is not trained again; a stopped run is resumed. The settings are stored beside the
    folder, and a folder with a run of other settings is refused.

    Returns:
        Each measure of the summary by its name, its interval by the name with ``_lo`` and ``_hi``; ``training`` and ``whole``,
        seconds (``whole`` of the last start only); ``machine``, a description of it; ``epochs``, the rows of ``metrics.csv``.
    """
    settings_file = run.with_name(f"{run.name}.asked.json")
    settings = yaml.safe_load((PROJECT / "configs" / f"{config}.yaml").read_text(encoding="utf-8"))
    asked = {"config": settings, "root": str(root), "words": [*map(str, words)]}
    if run.is_dir() and (not settings_file.is_file() or json.loads(settings_file.read_text()) != asked):
        sys.exit(f"{run} is a run with other settings. Choose another --out, or remove it.")
    run.parent.mkdir(parents=True, exist_ok=True)
    settings_file.write_text(json.dumps(asked))
    kept = run / "measured.json"
    if not kept.is_file():
        start = time.perf_counter()
        if run.is_dir():
            cocotag("train", "--resume", run)
        else:
            cocotag("train", "--config", config, "--data.root", root, "--out", run, *words)
        kept.write_text(json.dumps({"whole": time.perf_counter() - start, "machine": machine()}))
    with (run / "metrics.csv").open(newline="") as file:
        epochs = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    summary = json.loads((run / "report" / "report.json").read_text())["summary"]
    flat = {
        f"{name}{'' if part == 'value' else '_' + part}": row[part]
        for name, row in summary.items()
        for part in ("value", "lo", "hi")
    }
    training = sum(row["seconds"] for row in epochs)
    return {**flat, "training": training, "epochs": epochs, **json.loads(kept.read_text())}


def machine() -> str:
    """A description of the training hardware."""
    if torch.cuda.is_available():
        return f"one {torch.cuda.get_device_name()} and {usable_cores()} CPU cores"
    return f"{usable_cores()} CPU core{'s' if usable_cores() > 1 else ''}"
