"""How often the intervals of an evaluation hold the truth, by simulation; write reports/statistics.md.

usage: python scripts/measure/measure_statistics.py [--samples 300] [--pairs 150] [--report FILE] [--quick]

From populations of images whose true measures are known, samples are drawn and evaluated as `cocotag evaluate` does; counted is
how often a 95% interval holds the population's value. The label sets are those of COCO's val2017 (COCOTAG_DATA, or
../shared/data), drawn with replacement. The scores come from three kinds of signals x for a class that is absent or present:
``normal``, N(0, 1) and N(m, 1); ``hidden``, in which a fifth of the present objects give no signal; and ``heavy``, with the
tails of Student's t with 4 degrees of freedom. m differs by class. Scores are the probabilities that ``normal`` signals would
have: calibrated there, but not for ``hidden`` and ``heavy``. With --quick it takes two minutes, and its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cocotag.metrics import Scores, difference, score, significant

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")
IMAGES = 200_000  # of a population
SIZES = (150, 500, 2000)
SUPPORTS = ((1, 3), (4, 10), (11, 50), (51, 10**9))
SUMMARY = ("map", "map_expected", "macro_f1", "cf1", "macro_precision", "macro_recall", "micro_f1", "weighted_f1", "samples_f1")
MEANS = ("map", "map_expected", "macro_f1", "macro_precision", "macro_recall")
"""Rows whose truth is the mean over the classes that occur in the sample."""
ENOUGH = 10  # positives from which a class is judged in a comparison
SIGNALS = {"normal": (1.7, 3.6), "hidden": (1.2, 3.2), "heavy": (2.6, 4.6)}
"""Kind of signal -> smallest and largest m of a class."""

Bools = NDArray[np.bool_]
Probs = NDArray[np.float32]


@dataclass(frozen=True)
class Population:
    """Images with their labels and the probabilities of two equally good taggers, ``(N, C)`` each; thresholds ``(C,)``."""

    targets: Bools
    probs: tuple[Probs, Probs]
    thresholds: NDArray[np.float32]


def label_sets() -> Bools:
    """The label sets of val2017's images, ``(N, C)``."""
    document = json.loads((DATA / "labels_val2017.json").read_text(encoding="utf-8"))
    rows = {image["id"]: row for row, image in enumerate(document["images"])}
    columns = {category["id"]: column for column, category in enumerate(document["categories"])}
    targets = np.zeros((len(rows), len(columns)), bool)
    for annotation in document["annotations"]:
        targets[rows[annotation["image_id"]], columns[annotation["category_id"]]] = True
    return targets


def make(kind: str, images: int) -> Population:
    """A population with one kind of signal; its two taggers share a part of their noise."""
    rng = np.random.default_rng(0)
    sets = label_sets()
    targets = sets[rng.integers(len(sets), size=images)]
    prior, m = targets.mean(axis=0), rng.uniform(*SIGNALS[kind], targets.shape[1])
    seen = targets & (rng.random(targets.shape) < 0.8) if kind == "hidden" else targets

    def noise() -> NDArray[Any]:
        return rng.standard_t(4, targets.shape) * 0.8 if kind == "heavy" else rng.standard_normal(targets.shape)

    common = noise()
    probs = []
    for _ in range(2):
        x = math.sqrt(0.6) * common + math.sqrt(0.4) * noise() + (m + 0.9 * (kind == "hidden")) * seen
        logits = m * x - m * m / 2 + np.log(prior / (1 - prior))
        probs.append((1 / (1 + np.exp(-np.clip(logits, -30, 30)))).astype(np.float32))
    return Population(
        targets, (probs[0], probs[1]), np.array([best(*pair) for pair in zip(probs[0].T, targets.T, strict=True)])
    )


def best(probs: Probs, targets: Bools) -> np.float32:
    """The threshold with the best F1."""
    order = np.argsort(-probs, kind="stable")
    hits = targets[order].cumsum()
    return np.float32(probs[order[np.argmax(hits / (np.arange(1, len(hits) + 1) + hits[-1]))]])


class Counts:
    """How often something was so, and the mean of differences, by key."""

    def __init__(self) -> None:
        self.held: defaultdict[Any, list[bool]] = defaultdict(list)
        self.off: defaultdict[Any, list[float]] = defaultdict(list)

    def share(self, key: object) -> str:
        """A share in percent with its standard error."""
        held = self.held[key]
        if len(held) < 20:
            return ""
        share = float(np.mean(held))
        return f"{100 * share:.0f} ± {100 * math.sqrt(max(share * (1 - share), 0.25 / len(held)) / len(held)):.0f}"

    def mean(self, key: object) -> str:
        """A mean difference in points with its standard error."""
        off = 100 * np.array(self.off[key])
        return f"{off.mean():+.1f} ± {off.std() / math.sqrt(len(off)):.1f}"


def truths(population: Population) -> Scores:
    """The measures of a whole population by its first tagger."""
    known = np.ones_like(population.targets)
    return score(population.probs[0], population.targets, known, population.thresholds, groups=0)


def row_of(scores: Scores, name: str) -> list[float]:
    """Value and interval of a row of the summary."""
    return [float(scores.summary[column].loc[name]) for column in ("value", "lo", "hi")]


def cover(population: Population, whole: Scores, size: int, samples: int, counts: Counts) -> None:
    """Evaluate samples of a size and count which intervals hold."""
    rng = np.random.default_rng(size)
    truth = whole.per_class
    for _ in range(samples):
        rows = rng.choice(len(population.targets), size, replace=False)
        targets = population.targets[rows]
        found = score(population.probs[0][rows], targets, np.ones_like(targets), population.thresholds)
        occur = np.flatnonzero(targets.any(axis=0))
        of_sample = {
            "map": float(truth["ap"].to_numpy()[occur].mean()),
            "macro_f1": float(truth["f1"].to_numpy()[occur].mean()),
            "macro_precision": float(truth["precision"].fillna(0).to_numpy()[occur].mean()),
            "macro_recall": float(truth["recall"].to_numpy()[occur].mean()),
        }
        of_sample["map_expected"] = of_sample["map"]
        precision, recall = of_sample["macro_precision"], of_sample["macro_recall"]
        of_sample["cf1"] = 2 * precision * recall / (precision + recall)
        for name in SUMMARY:
            value, low, high = row_of(found, name)
            true = of_sample.get(name, row_of(whole, name)[0])
            counts.held[name, size].append(bool(low <= true <= high))
            counts.off[name, size].append(float(value - true))
        frame = found.per_class
        for name in ("f1", "precision", "recall", "ap"):
            held = (frame[f"{name}_lo"] <= truth[name]) & (truth[name] <= frame[f"{name}_hi"])
            for least, most in SUPPORTS:
                use = frame["support"].between(least, most) & frame[f"{name}_lo"].notna()
                counts.held[name, least, size].extend(held[use].tolist())


def compare(population: Population, size: int, samples: int, counts: Counts) -> None:
    """Compare two equally good taggers on samples of a size; count how often they are called different."""
    rng = np.random.default_rng(size + 1)
    for number in range(samples):
        rows = rng.choice(len(population.targets), size, replace=False)
        targets = population.targets[rows]
        first, second = ([(probs[rows], probs[rows] >= population.thresholds)] for probs in population.probs)
        found = difference(first, second, targets, np.ones_like(targets), seed=number)
        low, high = (float(found.summary[end].loc["map"]) for end in ("lo", "hi"))
        counts.held["map", size].append(not low <= 0 <= high)
        judged = targets.sum(axis=0) >= ENOUGH
        counts.held["classes", size].append(bool(significant(found.per_class["f1_p"].where(judged)).any()))


def report(samples: int, pairs: int, images: int) -> Iterator[str]:
    """Yield the lines of the page."""
    began = time.time()
    yield from (
        "# Intervals",
        "",
        f"Written by `python scripts/measure/measure_statistics.py --samples {samples} --pairs {pairs}`",
        f"({platform.machine()}, Python {platform.python_version()}). Populations of {images:,} images with the label sets of",
        "val2017 and 80 classes.",
        "",
        "A cell is the share of samples, in percent with its standard error, whose 95% interval holds the population's value.",
        "Means over classes are compared with the mean over the classes that occur in the sample.",
        "Scores are the probabilities that `normal` signals would have, so those of `hidden` and `heavy` are not calibrated.",
    )
    for kind in SIGNALS:
        print(f"{kind} ({time.time() - began:.0f} s)", file=sys.stderr, flush=True)
        population = make(kind, images)
        whole = truths(population)
        counts, pair_counts = Counts(), Counts()
        for size in SIZES:
            cover(population, whole, size, samples if size <= 500 else max(samples // 3, 1), counts)
            print(f"  {size} images ({time.time() - began:.0f} s)", file=sys.stderr, flush=True)
            if size <= 500:
                compare(population, size, pairs, pair_counts)
        yield from ("", f"## Scores of the kind `{kind}`, mAP {100 * row_of(whole, 'map')[0]:.1f}", "")
        yield "| measure | " + " | ".join(f"{size} images" for size in SIZES) + " |"
        yield "| --- |" + " --- |" * len(SIZES)
        for name in SUMMARY:
            yield f"| `{name}` | " + " | ".join(counts.share((name, size)) for size in SIZES) + " |"
        yield from ("", "Value in the sample minus that of the population, points:", "")
        yield "| measure | " + " | ".join(f"{size} images" for size in SIZES) + " |"
        yield "| --- |" + " --- |" * len(SIZES)
        for name in MEANS:
            yield f"| `{name}` | " + " | ".join(counts.mean((name, size)) for size in SIZES) + " |"
        yield from ("", "Per class, by its positives in the sample:", "")
        yield "| measure, images | 1 to 3 | 4 to 10 | 11 to 50 | above 50 |"
        yield "| --- | --- | --- | --- | --- |"
        for name in ("f1", "precision", "recall", "ap"):
            for size in SIZES:
                cells = " | ".join(counts.share((name, least, size)) for least, _ in SUPPORTS)
                yield f"| `{name}`, {size} | {cells} |"
        yield from ("", "Two equally good taggers on the same images, called different by mistake:", "")
        yield "| | 150 images | 500 images |"
        yield "| --- | --- | --- |"
        yield "| mAP | " + " | ".join(pair_counts.share(("map", size)) for size in (150, 500)) + " |"
        yield "| any class | " + " | ".join(pair_counts.share(("classes", size)) for size in (150, 500)) + " |"
    yield from ("", f"Took {(time.time() - began) / 60:.0f} minutes.")


def main() -> None:
    """Simulate and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=300, help="samples of 150 and 500 images; a third of 2,000")
    parser.add_argument("--pairs", type=int, default=150, help="samples on which two taggers are compared")
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "statistics.md")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    lines = report(5, 2, 20_000) if args.quick else report(args.samples, args.pairs, IMAGES)
    head = ["These figures mean nothing: --quick", ""] if args.quick else []
    args.report.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
