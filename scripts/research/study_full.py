"""This module helped to make reports/study.md once; it is not part of continuous integration.

It has the whole runs of scripts/research/study.py: the freezing schedules on folds; the finalists and published recipes on val.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from study_heads import FOLDS, ROOT, fold_of

from cocotag.data.annotations import AnnotationTable, load_split
from cocotag.files import write_text
from cocotag.inference.stream import predict_files
from cocotag.inference.tagger import Tagger

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "measure"))
from measured_run import IMAGENET, PROJECT, measure

HEAD = '{"epochs": 12, "train": "head", "lr": 0.001}'

FREEZING = {
    "the head alone": f"[{HEAD}]",
    "the head, then the last three blocks": f'[{HEAD}, {{"epochs": 6, "train": "last:4", "lr": 0.0002, "lr_decay": 0.8}}]',
    "the head, then the last three blocks, longer and faster": (
        f'[{HEAD}, {{"epochs": 15, "train": "last:4", "lr": 0.0004, "lr_decay": 0.8}}]'
    ),
    "the head, then the last nine blocks": f'[{HEAD}, {{"epochs": 10, "train": "last:10", "lr": 0.0003, "lr_decay": 0.8}}]',
    "the head, then the last three blocks, then all": (
        f'[{HEAD}, {{"epochs": 4, "train": "last:4", "lr": 0.0002, "lr_decay": 0.8}}, '
        '{"epochs": 4, "train": "all", "lr": 0.0001, "lr_decay": 0.8}]'
    ),
    "early layers frozen throughout": '[{"epochs": 12, "train": "last:10", "lr": 0.0005, "lr_decay": 0.8}]',
    "the head, then late layers frozen": f'[{HEAD}, {{"epochs": 6, "train": "0-9,head", "lr": 0.0002}}]',
    "everything at once": '[{"epochs": 12, "train": "all", "lr": 0.0005, "lr_decay": 0.8}]',
}
"""Stages of `cocotag train`; the first is what the others are held against. Groups 0 to 9 are the first half of the network."""

FREEZING_SIZE = 224  # so that whole networks can be trained often enough

FINALISTS = {
    "coco_mini": (),
    "the head alone": ("--stages", '[{"epochs": 20, "train": "head", "lr": 0.001}]'),
}
"""Flags beside `configs/coco_mini.yaml`; the first is that file as it is."""

PUBLISHED = [("original", None, 1), ("csra", None, 10), ("csra", 384, 14), ("asl", None, 40), ("asl", 384, 14)]
"""Recipes of recreations.py: which, input size (None: the published one), and epochs, which cost each at least twice the
computing that ours takes. In epochs, since a machine that does other things as well would make seconds unfair."""


@dataclass(frozen=True)
class Tagged:
    """What a run makes of a split.

    Attributes:
        probs: ``(N, C)`` float32, rounded as tags are.
        decisions: ``(N, C)`` bool.
        summary: Value of each measure, and ``training``, seconds.
    """

    probs: NDArray[np.float32]
    decisions: NDArray[np.bool_]
    summary: dict[str, float]


def fold_data(folder: Path) -> Path:
    """Folds of train as splits of a data set of their own: ``fit0`` and ``held0`` and so on; photographs are hard links."""
    root = folder / "folds"
    done = root / "done"
    if done.is_file():
        return root
    table = load_split(ROOT, "train")
    document = json.loads((ROOT / "annotations" / "instances_train.json").read_text())
    numbers = dict(zip(table.file_names.tolist(), fold_of(table, 0).tolist(), strict=True))
    for number in range(FOLDS):
        for split, inside in ((f"fit{number}", False), (f"held{number}", True)):
            images = [one for one in document["images"] if (numbers[one["file_name"]] == number) == inside]
            kept = {one["id"] for one in images}
            part = {
                **document,
                "images": images,
                "annotations": [one for one in document["annotations"] if one["image_id"] in kept],
            }
            (root / split).mkdir(parents=True, exist_ok=True)
            (root / "annotations").mkdir(exist_ok=True)
            write_text(root / "annotations" / f"instances_{split}.json", json.dumps(part))
            for one in images:
                target = root / split / one["file_name"]
                if not target.exists():
                    try:
                        os.link(ROOT / "train" / one["file_name"], target)
                    except OSError:  # another file system
                        shutil.copyfile(ROOT / "train" / one["file_name"], target)
    done.touch()
    return root


def tag(run: Path, table: AnnotationTable, summary: dict[str, Any]) -> Tagged:
    """A run's bundle at work on a split."""
    tagger = Tagger.load(run / "tagger.onnx")
    probs = (
        np.array([one.probs for one in predict_files(tagger, table.paths())], np.float32).astype(np.float16).astype(np.float32)
    )
    flat = {name: float(summary[name]) for name in ("map", "macro_f1", "micro_f1", "training")}
    return Tagged(probs, np.asarray(probs >= tagger.thresholds()), flat)


def freezing(folder: Path, name: str, fold: int) -> Tagged:
    """One way of freezing, learned outside a fold and scored inside it."""
    root = fold_data(folder)
    run = folder / "freezing" / f"{list(FREEZING).index(name)}-{fold}"
    words = ["--data.train_split", f"fit{fold}", "--data.val_split", f"held{fold}", "--model.weights", IMAGENET]
    words += ["--model.image_size", FREEZING_SIZE, "--stages", FREEZING[name], "--seed", fold]
    return tag(run, load_split(root, f"held{fold}"), measure(run, *map(str, words), root=root))


def finalist(folder: Path, words: tuple[str, ...], label: str, seed: int) -> Tagged:
    """`configs/coco_mini.yaml` with some flags, on val."""
    run = folder / "finalists" / f"{label}-{seed}"
    found = measure(run, "--model.weights", str(IMAGENET), *words, "--seed", str(seed))
    return tag(run, load_split(ROOT, "val"), found)


def published(folder: Path, recipe: str, size: int | None, epochs: int, seed: int) -> dict[str, Any]:
    """A recipe of others on val, by recreations.py in a process of its own; what that says of it."""
    file = folder / "published" / f"{recipe}-{size or 'own'}-{epochs}-{seed}.json"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, PROJECT / "scripts" / "recreations.py", recipe, "--seed", seed, "--epochs", epochs]
        command += ["--out", file, *(["--size", size] if size else [])]
        subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(file.read_text())
    return found
