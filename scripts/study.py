"""Ask which recipe tags best after learning from 317 photographs; write reports/study.md.

usage: COCOTAG_DATA=DIR python scripts/study.py [--out study] [--only heads|full|page]

Two parts, each of which goes on where it was stopped. *Heads*: the backbone stands still, and heads learn from features that were
computed once (study_heads.py). *Full*: whole runs of `cocotag train`, for what features cannot tell (which layers learn when), for
the finalists, and for the recipes of others (recreations.py). Everything is chosen on folds of train: a photograph is scored by
a tagger that did not learn from it. Val is only reported.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from measured_run import PROJECT
from study_heads import SEEDS, Photographs, Recipe, Scored, run

from cocotag.config import LossConfig

BASE = Recipe()


@dataclass(frozen=True)
class Question:
    """What is asked, and the recipes that answer it.

    Attributes:
        title: Of its section.
        about: A sentence on what the options are.
        options: By name; the first is what the others are held against.
    """

    title: str
    about: str
    options: dict[str, Recipe]


def questions() -> list[Question]:
    """All that heads on features can answer."""

    def loss(**changes: object) -> Recipe:
        return replace(BASE, loss=replace(LossConfig(), **changes))  # type: ignore[arg-type]

    return [
        Question(
            "Loss",
            "Binary cross-entropy against the others, each with its published parameters.",
            {
                "BCE": BASE,
                "BCE, positives weighted by inverse frequency, at most 10": loss(pos_weight="inverse"),
                "BCE, positives weighted by effective number, at most 10": loss(pos_weight="effective", pos_weight_beta=0.99),
                "focal, gamma 2, alpha 0.25": loss(name="focal"),
                "focal, gamma 2, both weighted alike": loss(name="focal", alpha=None),
                "soft F1": loss(name="soft_f1"),
                "asymmetric, gamma- 4, shift 0.05": loss(name="asymmetric"),
                "asymmetric, gamma- 2, shift 0": loss(name="asymmetric", gamma_neg=2.0, shift=0.0),
            },
        ),
        Question(
            "Imbalance",
            "Nothing against what is meant to help classes with few photographs.",
            {
                "nothing": BASE,
                "positives weighted by inverse frequency, at most 10": loss(pos_weight="inverse"),
                "positives weighted by inverse frequency, at most 3": loss(pos_weight="inverse", pos_weight_cap=3.0),
                "repeat-factor sampling below 5 %": replace(BASE, repeat_below=0.05),
                "repeat-factor sampling below 20 %": replace(BASE, repeat_below=0.2),
                "logit adjustment": loss(logit_adjustment=1.0),
            },
        ),
        Question(
            "First bias",
            "The probability that every class begins with.",
            {
                "0.04, COCO's mean share of positives": BASE,
                "each class's own share": replace(BASE, prior="data"),
                "0.5, which is no bias": replace(BASE, prior=0.5),
            },
        ),
        Question(
            "Start from ImageNet's classifier",
            "The first weights of a class are those of the ImageNet classes that it is made of, times a factor.",
            {
                "0.5": BASE,
                "0, all classes from nothing": replace(BASE, carried=0.0),
                "0.25": replace(BASE, carried=0.25),
                "0.75": replace(BASE, carried=0.75),
                "1": replace(BASE, carried=1.0),
            },
        ),
        Question(
            "Head",
            "What makes logits of the feature map.",
            {
                "CSRA, one head, weight 0.2": BASE,
                "linear": replace(BASE, head="linear"),
                "CSRA, weight 0.1": replace(BASE, csra_weight=0.1),
                "CSRA, weight 0.4": replace(BASE, csra_weight=0.4),
                "CSRA, four heads, weight 0.2": replace(BASE, csra_heads=4),
                "ML-Decoder, width 256": replace(BASE, head="ml_decoder"),
                "linear, from nothing": replace(BASE, head="linear", carried=0.0),
                "CSRA, from nothing": replace(BASE, carried=0.0),
            },
        ),
        Question(
            "Resolution",
            "Side of the input, pixels.",
            {f"{size}": replace(BASE, size=size) for size in (320, 224, 384, 448)},
        ),
        Question(
            "Moving average",
            "Of the weights, with a decay that ramps up.",
            {"0.9997": BASE, "none": replace(BASE, ema=None), "0.97": replace(BASE, ema=0.97)},
        ),
        Question(
            "Augmentation",
            "How many views of each photograph there are; of ten, eight are random crops in changed colours.",
            {
                "10": BASE,
                "2, the photograph and its mirror image": replace(BASE, views=2),
                "1, the photograph": replace(BASE, views=1),
            },
        ),
        Question(
            "Length and rate",
            "Epochs, and the highest learning rate.",
            {
                f"{epochs} at {lr:g}": replace(BASE, epochs=epochs, lr=lr)
                for epochs, lr in ((20, 2e-3), (10, 2e-3), (40, 2e-3), (20, 1e-3), (20, 4e-3), (10, 4e-3), (40, 1e-3))
            },
        ),
        Question(
            "Curve, decay and dropout",
            "One thing at a time.",
            {
                "one cycle, weight decay 0.01, dropout 0.2": BASE,
                "cosine": replace(BASE, curve="cosine"),
                "weight decay 0.1": replace(BASE, weight_decay=0.1),
                "weight decay 1": replace(BASE, weight_decay=1.0),
                "dropout 0": replace(BASE, dropout=0.0),
                "dropout 0.5": replace(BASE, dropout=0.5),
            },
        ),
    ]


class Results:
    """What was run already, in a folder; what is asked for anew is run.

    Args:
        out: The folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._photographs: dict[tuple[str, int], Photographs] = {}

    def photographs(self, split: str, size: int) -> Photographs:
        """Of a split at an input size."""
        if (split, size) not in self._photographs:
            views = Recipe.views if split == "train" else 1
            self._photographs[split, size] = Photographs(split, size, self.out / "features", views)
        return self._photographs[split, size]

    def of(self, recipe: Recipe) -> list[Scored]:
        """All seeds of a recipe."""
        return [self._one(recipe, seed) for seed in SEEDS]

    def _one(self, recipe: Recipe, seed: int) -> Scored:
        name = hashlib.sha256(recipe.key().encode()).hexdigest()[:16]
        file = self.out / "heads" / f"{name}-{seed}.npz"
        if not file.is_file():
            begun = time.perf_counter()
            scored = run(recipe, self.photographs("train", recipe.size), self.photographs("val", recipe.size), seed)
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.with_suffix(".part").open("wb") as stream:
                np.savez_compressed(stream, **vars(scored), key=np.array(recipe.key()))
            file.with_suffix(".part").rename(file)
            print(f"{recipe.key()}, seed {seed}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
        with np.load(file) as arrays:
            return Scored(*(arrays[field] for field in ("held", "held_thresholds", "val", "val_thresholds")))


def main() -> None:
    """Ask, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PROJECT / "study", help="folder for runs; what is there is not run again")
    parser.add_argument("--only", choices=["heads", "full", "page"], help="one part")
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "study.md")
    args = parser.parse_args()
    results = Results(args.out)
    if args.only in (None, "heads"):
        for question in questions():
            for recipe in question.options.values():
                results.of(recipe)


if __name__ == "__main__":
    torch.set_num_threads(int(torch.get_num_threads()))
    main()
