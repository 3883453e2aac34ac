"""How many planted label errors are found, against cleanlab; write reports/label_issues.md.

usage: python scripts/measure/measure_label_issues.py [--run DIR] [--cleanlab PYTHON] [--samples N] [--report FILE] [--quick]

In each class a share of the positives loses its label, and as many negatives get one. The labels are those of COCO's val2017
with simulated scores of three kinds of signals, and those of coco-mini's val photographs with the scores of a tagger trained
on coco-mini (COCOTAG_DATA, or ../shared/data). `cleanlab_ranks.py` ranks the same cells in an environment of its own; without
--cleanlab that is made in a temporary folder, which needs a package index. Without --run the tagger is trained first (2 to 10
minutes on two cores). The rest takes 15 minutes on one core; with --quick a minute, and the figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from measure_exports import environment
from measure_statistics import SIGNALS, label_sets
from measured_run import IMAGENET, PROJECT, measure
from numpy.typing import NDArray

from cocotag.evaluation.label_issues import LEAST_CHANCE
from cocotag.evaluation.predictions import Predictions
from cocotag.files import write_text
from cocotag.metrics import label_error_chances

CLEANLAB = "cleanlab==2.9.0"
SHARES = (0.05, 0.01)  # of each class's positives, for each kind of error
SMALL = 150  # images
WANTED = 1.1
SPREAD, SLOPE, OFFSET = 1.2, 0.85, 1.0  # of the shifted scores, in logits
HIDDEN = 0.2  # share of the objects without a signal
NO_MEANING = "\n**Made with --quick: these figures mean nothing.**\n"

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sample:
    """Scores and labels with planted errors, ``(N, C)`` each."""

    probs: NDArray[np.float32]
    labels: Bools
    wrong: Bools
    known: Bools
    exact: Floats | None = None  # logits of presence by the signal's own densities, for the best possible ranking


@dataclass
class Row:
    """A row of the table: the share of planted errors among as many cells ranked first, of each sample."""

    title: str
    ours: list[float]
    theirs: list[dict[str, float]]
    exact: list[float]
    chances: list[tuple[int, float, int]]  # listed cells, the sum of their chances, planted errors among them

    def best(self) -> tuple[str, NDArray[Any]]:
        """The option of cleanlab with the highest mean, and its shares."""
        options = set.intersection(*(set(one) for one in self.theirs))
        option = max(sorted(options), key=lambda name: float(np.mean([one[name] for one in self.theirs])))
        return option, np.array([one[option] for one in self.theirs])

    def ratio(self) -> tuple[float, float]:
        """Our mean over cleanlab's best, and its standard error over the samples."""
        ours, theirs = np.array(self.ours), self.best()[1]
        ratio = ours.mean() / theirs.mean()
        return float(ratio), float((ours - ratio * theirs).std(ddof=1) / np.sqrt(len(ours)) / theirs.mean())


def plant(labels: Bools, known: Bools, share: float, rng: np.random.Generator) -> Bools:
    """Where labels are made wrong: in each class a share of the known positives, and as many known negatives on average."""
    wrong = np.zeros(labels.shape, bool)
    for column in range(labels.shape[1]):
        positives = np.flatnonzero(labels[:, column] & known[:, column])
        negatives = np.flatnonzero(~labels[:, column] & known[:, column])
        for cells in (positives, negatives):
            count = min(rng.binomial(len(positives), share), len(cells))
            wrong[rng.choice(cells, count, replace=False), column] = True
    return wrong


_label_sets = cache(label_sets)


def simulated(kind: str, scores: str, images: int | None, share: float, number: int) -> Sample:
    """val2017's labels, or a random part of them, with simulated scores."""
    rng = np.random.default_rng([number, round(1000 * share)])
    targets, (low, high) = _label_sets(), SIGNALS[kind]
    prior = targets.mean(axis=0)
    m = np.random.default_rng(0).uniform(low, high, targets.shape[1])
    if images is not None:
        targets = targets[rng.choice(len(targets), images, replace=False)]
    noise = rng.standard_t(4, targets.shape) * 0.8 if kind == "heavy" else rng.standard_normal(targets.shape)
    if kind == "hidden":
        x = noise + (m + 0.9) * (targets & (rng.random(targets.shape) >= HIDDEN))
        exact = np.log((1 - HIDDEN) * np.exp((m + 0.9) * x - (m + 0.9) ** 2 / 2) + HIDDEN)
    elif kind == "heavy":
        x = noise + 1.15 * m * targets
        exact = 2.5 * (np.log1p((x / 0.8) ** 2 / 4) - np.log1p(((x - 1.15 * m) / 0.8) ** 2 / 4))
    else:
        x = noise + m * targets
        exact = m * x - m**2 / 2
    odds = np.log(prior / (1 - prior))
    logits = exact + odds if scores == "calibrated" else m * x - m**2 / 2 + odds
    logits = np.clip(logits, -17, 17)
    if scores == "shifted":
        logits = SLOPE * logits + OFFSET + np.random.default_rng(1).normal(0, SPREAD, targets.shape[1])
    known = np.ones(targets.shape, bool)
    wrong = plant(targets, known, share, rng)
    return Sample((1 / (1 + np.exp(-logits))).astype(np.float32), targets ^ wrong, wrong, known, exact + odds)


def photographed(predictions: Predictions, share: float, number: int) -> Sample:
    """coco-mini's val photographs with planted errors."""
    known = predictions.known
    wrong = plant(predictions.targets, known, share, np.random.default_rng([number, round(1000 * share)]))
    return Sample(predictions.probs, (predictions.targets ^ wrong) & known, wrong, known)


def found(rank: Floats, sample: Sample) -> float:
    """Share of planted errors among as many cells ranked first."""
    order = np.argsort(-np.where(sample.known, rank, -np.inf).ravel(), kind="stable")
    return float(sample.wrong.ravel()[order[: sample.wrong.sum()]].mean())


def measured(title: str, samples: Iterator[Sample], python: Path) -> Row:
    """A row of the table."""
    row = Row(title, [], [], [], [])
    with tempfile.TemporaryDirectory() as folder:
        for number, sample in enumerate(samples):
            if not sample.wrong.any():
                continue
            chances = label_error_chances(sample.probs, sample.labels, sample.known)
            row.ours.append(found(chances, sample))
            listed = chances >= LEAST_CHANCE
            row.chances.append((int(listed.sum()), float(chances[listed].sum()), int(sample.wrong[listed].sum())))
            if sample.exact is not None:
                prior = (sample.labels.sum(axis=0) + 0.5) / (len(sample.labels) + 1)
                odds = np.log(prior / (1 - prior))
                row.exact.append(found(np.where(sample.labels, odds - sample.exact, sample.exact), sample))
            parts = {"probs": sample.probs, "labels": sample.labels, "wrong": sample.wrong, "known": sample.known}
            np.savez(Path(folder) / f"{number:04d}.npz", **parts)  # type: ignore[arg-type]  # numpy's stub has a keyword for bool
        script = Path(__file__).with_name("cleanlab_ranks.py")
        subprocess.run([python, script, folder], check=True, env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"})
        row.theirs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(folder).glob("*.json"))]
    print(_line(row), file=sys.stderr, flush=True)
    return row


def _line(row: Row) -> str:
    option, theirs = row.best()
    ratio, error = row.ratio()
    ours, best, exact = (float(np.mean(values)) if len(values) else np.nan for values in (row.ours, theirs, row.exact))
    listed, expected, wrong = np.sum(row.chances, axis=0)
    cells = [
        *(row.title, str(len(row.ours)), f"{100 * ours:.1f}", f"{100 * best:.1f}", f"{ratio:.2f} ± {error:.2f}"),
        *((f"{100 * exact:.1f}", f"{exact / best:.2f}") if row.exact else ("", "")),
        *(option, f"{100 * expected / max(listed, 1):.0f}", f"{100 * wrong / max(listed, 1):.0f}"),
    ]
    return f"| {' | '.join(cells)} |"


def report(rows: list[Row], words: str) -> str:
    """The page; ``words`` is the command that made it."""
    parts = []
    for share in SHARES:
        ratios = [row.ratio()[0] for row in rows if row.title.endswith(f"{share:.0%}")]
        reached = sum(ratio >= WANTED for ratio in ratios)
        parts.append(
            f"at {share:.0%} planted in {reached} of {len(ratios)} rows (mean {np.mean(ratios):.2f}, least {min(ratios):.2f})"
        )
    capped = sum(bool(row.exact) and float(np.mean(row.exact)) < WANTED * row.best()[1].mean() for row in rows)
    version, lines = CLEANLAB.partition("==")[2], "\n".join(map(_line, rows))
    return f"""# Likely label errors against cleanlab

Written by `{words}`.
{NO_MEANING if "--quick" in words else ""}
In each class a share of the positives lost its label, and as many negatives got one. Every cell is then ranked, and of as many
cells as there are planted errors, the table has the percentage that is one. cocotag ranks by `label_error_chances`.
cleanlab {version} gets the labels as lists of class numbers; its column has the best of its per-class quality scores and of
its multi-label filters ranked by each of them, chosen in each row with the planted errors known. The ratio has its standard
error over samples.

Labels are val2017's, or those of {SMALL} random images of it. Signals: `normal`; `hidden`, in which a fifth of the objects
gives no signal; `heavy`, with the tails of Student's t. Scores: calibrated; distorted, a logistic formula that ignores hidden
objects and tails; shifted, these with slope {SLOPE}, offset {OFFSET:g} and an offset per class of standard deviation {SPREAD}.
*Exact* ranks by the signal's own densities: no ranking by these signals finds more on average. The photographs are coco-mini's
val split with the scores of the tagger trained on coco-mini. Their own label errors are not known and count as wrongly found.

cocotag is at least {WANTED} times as good as cleanlab's best
{" and ".join(parts)}.
In {capped} rows even the exact ranking is not.

The last two columns are of the cells with a chance of {LEAST_CHANCE:g} or more, which reports list: their mean chance and the
share that was planted, percent. A row is named by signals, scores, number of images and planted share.

| cells | samples | cocotag, % | cleanlab, % | ratio | exact, % | its ratio | option of cleanlab | chance | planted |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{lines}
"""


def command(args: argparse.Namespace, samples: int) -> str:
    """The command that makes the same page, with DIR and PYTHON for folders of this machine."""
    words = ["python", "scripts/measure/measure_label_issues.py"]
    words += ["--run", "DIR"] if args.run else []
    words += ["--cleanlab", "PYTHON"] if args.cleanlab else []
    words += ["--samples", str(args.samples)] if args.samples != samples and not args.quick else []
    return " ".join([*words, *(["--quick"] if args.quick else [])])


def main() -> None:
    """Measure, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="run directory of a tagger trained on coco-mini")
    parser.add_argument("--cleanlab", metavar="PYTHON", type=Path, help=f"python of an environment with {CLEANLAB}")
    parser.add_argument(
        "--samples", type=int, default=40, help=f"samples of {SMALL} images; an eighth of whole ones, twice of real"
    )
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "label_issues.md")
    parser.add_argument("--quick", action="store_true", help="a minute; the figures mean nothing")
    args = parser.parse_args()
    count = 2 if args.quick else args.samples
    with tempfile.TemporaryDirectory() as folder:
        run = args.run or Path(folder) / "run"
        if args.run is None:
            measure(run, "--model.weights", IMAGENET)
        predictions = Predictions.load(run / "report" / "predictions.npz")
        python = args.cleanlab or environment((CLEANLAB,), Path(folder) / "environments")
        rows = []
        for share in SHARES:
            for kind in SIGNALS:
                for scores in ("calibrated", "distorted", "shifted"):
                    if (kind, scores) == ("normal", "distorted"):
                        continue  # the same as calibrated
                    for images in (SMALL,) if args.quick else (SMALL, None):
                        numbers = range(count if images else max(2, count // 8))
                        samples = (simulated(kind, scores, images, share, number) for number in numbers)
                        title = f"{kind}, {scores}, {images or 'all'}, {share:.0%}"
                        rows.append(measured(title, samples, python))
            samples = (photographed(predictions, share, number) for number in range(2 * count))
            rows.append(measured(f"photographs, {len(predictions)}, {share:.0%}", samples, python))
    write_text(args.report, report(rows, command(args, parser.get_default("samples"))))
    print(f"Written: {args.report}")


if __name__ == "__main__":
    main()
