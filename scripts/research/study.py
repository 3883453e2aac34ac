"""This script made reports/study.md once; it is not part of continuous integration.

usage: COCOTAG_DATA=DIR python scripts/research/study.py [--out study] [--only heads|freezing|full|page]

It compares training recipes on 317 photographs, in parts that can each be resumed. *Heads*: the backbone is frozen, and heads
train on cached features (study_heads.py). *Freezing* and *full*: whole runs of `cocotag train`, for choices that cached
features cannot show (which layers to train when), for the finalists, and for published recipes (recreations.py). All choices
are made on folds of train: a tagger scores only photographs it was not trained on. Val is only reported on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from study_full import FINALISTS, FREEZING, FREEZING_SIZE, PUBLISHED, finalist, fold_data, freezing, published
from study_heads import FOLDS, ROOT, SEEDS, Photographs, Recipe, Scored, run
from study_page import Pair, Question, across, gap, measures, own_interval, page

from cocotag.config import LossConfig
from cocotag.data.annotations import AnnotationTable, load_split
from cocotag.files import write_text

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "measure"))
from measured_run import PROJECT

BASE = Recipe()


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
        Question(
            "Together",
            "What the questions above speak for, at once: of the classifier a factor, attention, rate, side of the input.",
            {
                "0.5, 0.2, 0.002, 320 px": BASE,
                **{
                    f"{carried:g}, {weight:g}, {lr:g}, {size} px": replace(
                        BASE, carried=carried, csra_weight=weight, lr=lr, size=size
                    )
                    for carried, weight, lr, size in (
                        (0.75, 0.2, 1e-3, 320),
                        (0.75, 0.4, 1e-3, 320),
                        (1.0, 0.2, 1e-3, 320),
                        (0.75, 0.2, 1e-3, 384),
                        (0.75, 0.4, 1e-3, 384),
                        (1.0, 0.2, 1e-3, 384),
                        (0.75, 0.2, 1e-3, 448),
                        (0.75, 0.4, 1e-3, 448),
                        (1.0, 0.2, 1e-3, 448),
                        (1.0, 0.4, 1e-3, 448),
                    )
                },
            },
        ),
    ]


class Study:
    """What was found, in a file; what is asked for anew is run.

    Args:
        out: Folder for features and runs.
        file: JSON of what was found.
    """

    def __init__(self, out: Path, file: Path) -> None:
        self.out = out
        self.file = file
        self.found: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else {}
        self._photographs: dict[tuple[str, int], Photographs] = {}

    def answer(self, question: Question) -> None:
        """Run what is missing of a question's options."""
        first = next(iter(question.options.values()))
        for recipe in question.options.values():
            for name, of, against in (("alone", recipe, None), ("against", recipe, first)):
                key = f"{name} {of.key()}{'' if against is None else ' ' + against.key()}"
                if key not in self.found and (against is None or of != against):
                    self.keep(key, self._alone(of) if against is None else self._against(of, against))

    def keep(self, key: str, value: dict[str, Any]) -> None:
        """One more finding."""
        self.found[key] = value
        write_text(self.file, json.dumps(dict(sorted(self.found.items())), indent=1) + "\n")

    def _table(self, split: str) -> AnnotationTable:
        return load_split(ROOT, split)

    def _alone(self, recipe: Recipe) -> dict[str, Any]:
        scored = self.of(recipe)
        folds = [measures(*one.on_folds(), self._table("train")) for one in scored]
        val = [measures(*one.on_val(), self._table("val")) for one in scored]
        return {"folds": across(folds), "val": across(val)}

    def _against(self, recipe: Recipe, other: Recipe) -> dict[str, Any]:
        mine, theirs = self.of(recipe), self.of(other)
        return {
            "folds": gap([one.on_folds() for one in theirs], [one.on_folds() for one in mine], self._table("train")),
            "val": gap([one.on_val() for one in theirs], [one.on_val() for one in mine], self._table("val")),
        }

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

    def freeze(self) -> None:
        """Ask what should learn when."""
        first = next(iter(FREEZING))
        table = self._table("train")
        parts = [load_split(fold_data(self.out), f"held{fold}") for fold in range(FOLDS)]
        held = _joined(parts, table)
        runs: dict[str, tuple[Any, Any]] = {}
        for name, stages in FREEZING.items():
            key = f"freezing {FREEZING_SIZE} {stages}"
            if key in self.found and (name == first or FREEZING[first] == self.found[key].get("held_against")):
                continue
            folds = [freezing(self.out, name, fold) for fold in range(FOLDS)]
            runs[name] = np.concatenate([one.probs for one in folds]), np.concatenate([one.decisions for one in folds])
            own = across([measures(*runs[name], held)])
            seconds = float(np.median([one.summary["training"] for one in folds]))
            made = {"folds": own, "seconds": seconds, "held_against": FREEZING[first]}
            if name != first:
                if first not in runs:
                    again = [freezing(self.out, first, fold) for fold in range(FOLDS)]
                    runs[first] = np.concatenate([o.probs for o in again]), np.concatenate([o.decisions for o in again])
                made["against"] = {"folds": gap([runs[first]], [runs[name]], held)}
            self.keep(key, made)

    def finish(self) -> None:
        """Train the finalists, and by the recipes of others."""
        val, first = self._table("val"), list[Pair]()
        for label, words in FINALISTS.items():
            key = f"finalist {json.dumps(words)}"
            if key in self.found:
                continue
            tagged = [finalist(self.out, tuple(words), label.replace(" ", "_"), seed) for seed in SEEDS]
            runs = [(one.probs, one.decisions) for one in tagged]
            first = first or runs
            made: dict[str, Any] = {"val": across([measures(*one, val) for one in runs])}
            made["seconds"] = float(np.median([one.summary["training"] for one in tagged]))
            if runs is first:
                made["intervals"] = own_interval(*runs[0], val)
            else:
                made["against"] = gap(first, runs, val)
            self.keep(key, made)
        for recipe, size, epochs in PUBLISHED:
            key = f"published {recipe} {size} {epochs}"
            if key in self.found:
                continue
            runs_of = [published(self.out, recipe, size, epochs, seed) for seed in SEEDS]
            names = ("map", "macro_f1", "micro_f1", "epochs", "seconds", "size")
            rows = [{name: float(one[name]) for name in names if one.get(name) is not None} for one in runs_of]
            self.keep(key, {"val": across(rows), "readings": [one["reading"] for one in runs_of]})


def _joined(parts: list[AnnotationTable], whole: AnnotationTable) -> AnnotationTable:
    """The rows of ``whole`` in the order of its parts."""
    place = {name: row for row, name in enumerate(whole.file_names.tolist())}
    return whole.take(np.array([place[name] for part in parts for name in part.file_names.tolist()]))


def main() -> None:
    """Ask, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PROJECT / "study", help="folder for features and runs (some GB)")
    parser.add_argument("--only", choices=["heads", "freezing", "full", "page"], help="one part")
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "study.md")
    args = parser.parse_args()
    study = Study(args.out, args.report.with_suffix(".json"))
    if args.only in (None, "heads"):
        for question in questions():
            study.answer(question)
    if args.only in (None, "freezing"):
        study.freeze()
    if args.only in (None, "full"):
        study.finish()
    write_text(args.report, page(study.found, questions()))


if __name__ == "__main__":
    main()
