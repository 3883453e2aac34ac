"""This script made reports/threshold_alignment.md once; it is not part of continuous integration.

usage: python scripts/research/measure_alignment.py --run DIR [--samples 100] [--report FILE]

It asks whether the rule `f1` of `cocotag.thresholds` gains if the classes' scores are first aligned by the offsets of an
empirical-Bayes Platt model (`cocotag.metrics.recalibration`): always, or only if its marginal likelihood is clearly above that
of a model without offsets. Thresholds are tuned on few images of a simulated population (label sets of val2017; COCOTAG_DATA,
or ../shared/data) and measured on others, and on random halves of the val photographs of a run on coco-mini. Takes 15 minutes
on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cocotag.evaluation.predictions import Predictions
from cocotag.files import write_text
from cocotag.metrics.recalibration import Recalibration, fit, histogram, logit, sigmoid
from cocotag.thresholds import choose_thresholds

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "measure"))
from measure_statistics import SIGNALS, label_sets
from measured_run import PROJECT

IMAGES, HELD_OUT = 30_000, 10_000
SIZES = (30, 100, 500)  # images to tune on
SPREADS = {"plain": 0.0, "mild": 0.4, "shifted": 1.2}  # of the classes' offsets, in logits
WANTED, ALLOWED = 1.0, 0.2  # points
CLEAR = (2.0, 5.0, 10.0, 20.0)  # differences of log marginal likelihood

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Pair = tuple[Floats, Bools]


def population(kind: str, spread: float) -> Pair:
    """Probabilities and labels, ``(N, C)`` each."""
    rng = np.random.default_rng(0)
    sets, (low, high) = label_sets(), SIGNALS[kind]
    targets = sets[rng.integers(len(sets), size=IMAGES)]
    prior, m = np.clip(targets.mean(axis=0), 1e-5, 1), rng.uniform(low, high, targets.shape[1])
    if kind == "hidden":
        x = rng.standard_normal(targets.shape) + (m + 0.9) * (targets & (rng.random(targets.shape) < 0.8))
    elif kind == "heavy":
        x = rng.standard_t(4, targets.shape) * 0.8 + 1.15 * m * targets
    else:
        x = rng.standard_normal(targets.shape) + m * targets
    logits = np.clip(m * x - m**2 / 2 + np.log(prior / (1 - prior)), -17, 17)
    if spread:
        logits = 0.85 * logits + rng.normal(0, spread, targets.shape[1]) + (1 if spread > 1 else 0)
    return sigmoid(logits), targets


def aligned(probs: Floats, targets: Bools) -> tuple[Floats, float]:
    """Thresholds ``(C,)`` chosen on aligned scores, and the evidence for different offsets: a difference of log likelihoods."""
    x = logit(probs)
    present, cells = histogram(x, targets), histogram(x, np.ones_like(targets))
    model = fit(present, cells)
    same = fit(present.sum(axis=0, keepdims=True), cells.sum(axis=0, keepdims=True))
    common = Recalibration(same.slope, same.common + float(same.shift[0]), np.zeros(len(present)), 1e-6)
    offset = (model.shift - model.shift.mean()) / model.slope
    chosen = choose_thresholds(sigmoid(x + offset), targets, np.ones_like(targets)).values
    return sigmoid(logit(chosen) - offset), _marginal(model, present, cells) - _marginal(common, present, cells)


def _marginal(model: Recalibration, present: Floats, cells: Floats) -> float:
    """Log marginal likelihood by Laplace's approximation."""
    chance = np.clip(sigmoid(model.by_bin()), 1e-12, 1 - 1e-12)
    log_likelihood = (present * np.log(chance) + (cells - present) * np.log1p(-chance)).sum(axis=1)
    curvature = (cells * chance * (1 - chance)).sum(axis=1)
    terms = log_likelihood - (model.shift / model.spread) ** 2 / 2 - np.log1p(model.spread**2 * curvature) / 2
    return float(terms.sum())


def f1(probs: Floats, targets: Bools, thresholds: NDArray[Any]) -> float:
    """Mean of micro-F1 and macro-F1 over classes with support, percent."""
    tagged = probs >= thresholds
    tp, both = (tagged & targets).sum(axis=0), tagged.sum(axis=0) + targets.sum(axis=0)
    macro = (2 * tp / np.maximum(both, 1))[targets.any(axis=0)].mean()
    return float(50 * (macro + 2 * tp.sum() / both.sum()))


def row(title: str, splits: Iterator[tuple[Pair, Pair]]) -> tuple[str, Floats]:
    """A row, and its mean gains in points: of always aligning, and of aligning with clear evidence only."""
    gains, evidence = [], []
    for (probs, targets), held_out in splits:
        today = choose_thresholds(probs, targets, np.ones_like(targets)).values
        chosen, found = aligned(probs, targets)
        gains.append(f1(*held_out, chosen) - f1(*held_out, today))
        evidence.append(found)
    gain, clear = np.array(gains), np.array(evidence)
    kinds = [gain, *(np.where(clear > least, gain, 0) for least in CLEAR)]
    cells = [
        _mean(gain),
        *(f"{_mean(kind)} ({np.mean(clear > least):.0%})" for kind, least in zip(kinds[1:], CLEAR, strict=True)),
    ]
    text = f"| {title} | {' | '.join(cells)} |"
    print(text, file=sys.stderr, flush=True)
    return text, np.mean(kinds, axis=1)


def _mean(values: Floats) -> str:
    return f"{values.mean():+.2f} ± {values.std(ddof=1) / np.sqrt(len(values)):.2f}"


def draws(data: Pair, size: int, samples: int) -> Iterator[tuple[Pair, Pair]]:
    """Random images to tune on, and those to measure on."""
    (probs, targets), rng = data, np.random.default_rng(size)
    for _ in range(samples):
        rows = rng.choice(len(probs) - HELD_OUT, size, replace=False)
        yield (probs[rows], targets[rows]), (probs[-HELD_OUT:], targets[-HELD_OUT:])


def halves(data: Pair, samples: int) -> Iterator[tuple[Pair, Pair]]:
    """Random halves."""
    (probs, targets), rng = data, np.random.default_rng(0)
    for _ in range(samples):
        order = rng.permutation(len(probs))
        tune, rest = order[: len(order) // 2], order[len(order) // 2 :]
        yield (probs[tune], targets[tune]), (probs[rest], targets[rest])


def main() -> None:
    """Measure, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="run directory of a tagger trained on coco-mini")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "threshold_alignment.md")
    args = parser.parse_args()
    predictions = Predictions.load(args.run / "report" / "predictions.npz")
    real = predictions.probs.astype(np.float64), predictions.targets
    rows = [row(f"photographs, {len(real[0]) // 2}", halves(real, args.samples))]
    for kind in SIGNALS:
        for name, spread in SPREADS.items():
            data = population(kind, spread)
            rows += [row(f"{kind}, {name}, {size}", draws(data, size, args.samples)) for size in SIZES]
    head = " | ".join(["always", *(f"evidence over {least:g}" for least in CLEAR)])
    lines = "\n".join(line for line, _ in rows)
    gains = {moved: np.array([gain for line, gain in rows if ("shifted" in line) == moved]) for moved in (True, False)}
    holds = (gains[True].min(axis=0) >= WANTED) & (gains[False].min(axis=0) >= -ALLOWED)
    verdict = "A column has both." if holds.any() else "No column has both, so the rule `f1` stays as it is."
    text = f"""# Thresholds: aligning the classes first

Written by `python scripts/research/measure_alignment.py --run DIR --samples {args.samples}`.

The rule `f1` draws the threshold of a class with few positives towards a common one. If the scores of the classes are shifted
against each other, the common threshold is wrong for most of them. Here the classes are aligned by an empirical-Bayes Platt
model before the rule is applied: always, or only if the log marginal likelihood of the model is higher, by a given amount, than
that of a model without offsets (in brackets: how often).

Figures are gains in the mean of micro-F1 and macro-F1 on held-out images against the rule as it is, in points, with standard
errors over {args.samples} samples. A row is named by signals, scores and the number of images tuned on. The kinds of signals
are those of [statistics.md](statistics.md). Plain scores are the probabilities that `normal` signals would have, so they are
calibrated for these only; mild and shifted scores are plain ones with a slope of 0.85 and offsets of standard deviation
{SPREADS["mild"]:g} and {SPREADS["shifted"]:g}. The photographs are random halves of coco-mini's val split.

| cells | {head} |
| --- | {"--- | " * len(CLEAR)}--- |
{lines}

Wanted were gains of {WANTED:g} or more wherever classes are shifted, and no loss above {ALLOWED:g} points elsewhere.
{verdict}
"""
    write_text(args.report, text)
    print(f"Written: {args.report}")


if __name__ == "__main__":
    main()
