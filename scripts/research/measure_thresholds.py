"""This script made reports/thresholds.md once; it is not part of continuous integration.

usage: python scripts/research/measure_thresholds.py [--splits 100] [--report FILE]

It measures the effect of tuned thresholds on held-out images. A linear head on frozen ImageNet features scores each of
coco-mini's 467 photographs, in five folds, so that no photograph was seen in training. This is done for several losses, and
again with each class's logits shifted by a random amount. Then random subsets of the photographs tune thresholds, with every
fixed prior strength and with cross-validation, and F1 is measured on the others. Takes some minutes on two cores. Needs the
real data: COCOTAG_DATA, or ../shared/data.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cocotag import losses, thresholds
from cocotag.config import ModelConfig
from cocotag.data.annotations import load_split
from cocotag.files import write_text
from cocotag.models.build import build_network, load
from cocotag.photos.decode import load_square
from cocotag.process.cores import usable_cores
from cocotag.thresholds import F1, PRIOR_STRENGTH, STRENGTHS, Rule, choose_thresholds, parse_rule

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "measure"))
from measured_run import DATA, IMAGENET, PROJECT

SIDE = 224
SIZES = (32, 64, 150, 300)  # photographs to choose on; coco_mini's tune split has 32
SPREAD = 2.0  # of the moved classes, in logits
MOVED = "classes moved"
WISHES = ("precision:0.7", "precision:0.9", "recall:0.8")
WISH_STRENGTHS = ("0", "5", "20", "infinite")
WISH_SIZE = 64
FOLDS = 5
EPOCHS, BATCH, RATE = 25, 32, 3e-3
LARGE = (5000, 80)  # images and classes of COCO's val2017, for the time that choosing takes

Probs = NDArray[np.float32]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Scored:
    """Photographs with what a head that did not learn from them said: ``(N, C)`` each."""

    name: str
    probs: Probs
    targets: Bools
    known: Bools

    def take(self, rows: NDArray[np.int64]) -> tuple[Probs, Bools, Bools]:
        """Some of them."""
        return self.probs[rows], self.targets[rows], self.known[rows]


@dataclass(frozen=True, eq=False)
class Compared:
    """Held-out F1, 0..1, of one head and one number of photographs to choose on.

    Attributes:
        name: The head's.
        size: Photographs to choose on.
        fixed: Micro-F1 and macro-F1 of every draw at every of `STRENGTHS`, ``(draws, strengths, 2)``.
        chosen: Those of the strength that cross-validation chose, ``(draws, 2)``.
        kept: Share of the draws in which that was `PRIOR_STRENGTH`.
    """

    name: str
    size: int
    fixed: Floats
    chosen: Floats
    kept: float


def main() -> None:
    """Measure, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=100, help="random draws of each size")
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "thresholds.md")
    args = parser.parse_args()
    if not (DATA / "coco-mini").is_dir():
        sys.exit(f"no real photographs in {DATA}; set COCOTAG_DATA")
    heads = scored()
    compared, wished = measure(heads, args.splits)
    words = ["--splits", str(args.splits)] if args.splits != parser.get_default("splits") else []
    text = page(compared, wished, seconds(*LARGE), words)
    write_text(args.report, text)
    print(text)
    print(f"Written: {args.report}")


def scored() -> list[Scored]:
    """All photographs of coco-mini, by every head."""
    features, targets, known = frozen_features()
    made = []
    for name, loss in losses_of(targets).items():
        print(f"+ {name}", file=sys.stderr, flush=True)
        made.append(Scored(name, out_of_fold(features, targets, known, loss), targets, known))
    return [*made, replace(made[0], name=f"{made[0].name}, {MOVED}", probs=moved(made[0].probs))]


def moved(probs: Probs) -> Probs:
    """With every class's logits moved by an amount of its own: what classes look like of which some are over-confident."""
    by = SPREAD * np.random.default_rng(0).normal(size=probs.shape[1])
    odds = probs.astype(np.float64) / (1 - probs.astype(np.float64)) * np.exp(by)
    return np.asarray(odds / (1 + odds), np.float32)


def frozen_features() -> tuple[Tensor, Bools, Bools]:
    """Pooled features of all photographs ``(N, 1280)``, their targets and known cells ``(N, 80)``."""
    tables = [load_split(DATA / "coco-mini", split) for split in ("train", "val")]
    config = ModelConfig(weights=str(IMAGENET), image_size=SIDE)
    network = build_network(config, len(tables[0].vocabulary)).eval()
    load(network, config, tables[0].vocabulary.names)
    paths = [path for table in tables for path in table.paths()]
    parts = []
    with torch.inference_mode():
        for start in range(0, len(paths), BATCH):
            images = np.stack([load_square(path, SIDE) for path in paths[start : start + BATCH]])
            parts.append(network.forward_features(torch.from_numpy(images)).mean(dim=(2, 3)))
    targets, known = (np.concatenate([getattr(table, key) for table in tables]) for key in ("targets", "known"))
    return torch.cat(parts).clone(), targets, known  # cloned: of tensors made in inference mode nothing can be learned


def losses_of(targets: Bools) -> dict[str, Loss]:
    """What heads learn by."""
    positives = torch.from_numpy(targets.sum(axis=0))
    weight = ((len(targets) - positives) / positives.clamp(min=1)).clamp(max=10)
    return {
        "BCE": losses.bce,
        "BCE, positives weighted": partial(losses.bce, pos_weight=weight),
        "focal": partial(losses.focal, alpha=None),
        "asymmetric": losses.asymmetric,
    }


def out_of_fold(features: Tensor, targets: Bools, known: Bools, loss: Loss) -> Probs:
    """Probabilities ``(N, C)``, each from a linear head that learned from the other folds."""
    torch.manual_seed(0)
    fold = torch.randperm(len(features)) % FOLDS
    truth, looked = torch.from_numpy(targets).float(), torch.from_numpy(known)
    probs = torch.zeros_like(truth)
    for number in range(FOLDS):
        rows = torch.nonzero(fold != number).flatten()
        head = nn.Linear(features.shape[1], truth.shape[1])
        nn.init.zeros_(head.weight)
        nn.init.constant_(head.bias, float(np.log(targets.mean() / (1 - targets.mean()))))
        steps = len(rows) // BATCH
        optimiser = torch.optim.AdamW(head.parameters(), RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * steps)
        for _ in range(EPOCHS):
            order = rows[torch.randperm(len(rows))]
            for batch in torch.split(order[: steps * BATCH], BATCH):
                optimiser.zero_grad()
                logits = head(nn.functional.dropout(features[batch], 0.2))
                torch.autograd.backward(loss(logits, truth[batch], looked[batch]))
                optimiser.step()
                schedule.step()
        with torch.no_grad():
            probs[fold == number] = head(features[fold == number]).sigmoid()
    return probs.numpy()


def measure(heads: list[Scored], draws: int) -> tuple[list[Compared], dict[str, Floats]]:
    """Every head at every size, on all cores; and the rules that want a precision or recall, on the first head."""
    spawn = get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(usable_cores(), mp_context=spawn) as pool:
        jobs = [pool.submit(compare, head, size, draws) for head in heads for size in SIZES]
        wished = {text: pool.submit(wish, heads[0], parse_rule(text), WISH_SIZE, draws) for text in WISHES}
        return [job.result() for job in jobs], {text: job.result() for text, job in wished.items()}


def compare(head: Scored, size: int, draws: int) -> Compared:
    """Choose on some photographs by every strength and by cross-validation, and take F1 on the rest."""
    fixed, chosen, kept = [], [], 0
    for tune, test in _draws(len(head.probs), size, draws):
        cells = head.take(tune)
        fit = thresholds._Fit.on(*thresholds._checked(*cells), F1)  # once, not once for each strength
        fixed.append([f1(*head.take(test), fit.shrunk(strength)) for strength in STRENGTHS])
        found = choose_thresholds(*cells)
        chosen.append(f1(*head.take(test), found.values))
        kept += found.prior_strength == PRIOR_STRENGTH
    return Compared(head.name, size, np.array(fixed), np.array(chosen), kept / draws)


def wish(head: Scored, rule: Rule, size: int, draws: int) -> Floats:
    """Held-out precision and recall of all decisions, and how far classes fall short of the wish: ``(strengths, 3)``."""
    made = np.zeros((len(STRENGTHS), 3))
    for tune, test in _draws(len(head.probs), size, draws):
        fit = thresholds._Fit.on(*thresholds._checked(*head.take(tune)), rule)
        probs, targets, known = head.take(test)
        for place, strength in enumerate(STRENGTHS):
            tagged = (probs.astype(np.float16) >= fit.shrunk(strength)) & known
            tp, said, there = ((part & known).sum(axis=0) for part in (tagged & targets, tagged, targets))
            of = said if rule.name == "precision" else there
            short = np.maximum(float(rule.value or 0) - tp[of > 0] / of[of > 0], 0).mean() if of.any() else 0.0
            made[place] += [tp.sum() / max(said.sum(), 1), tp.sum() / there.sum(), short]
    return made / draws


def _draws(images: int, size: int, draws: int) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to choose on and the rest; the same for every head."""
    for number in range(draws):
        order = np.random.default_rng([size, number]).permutation(images)
        yield order[:size], order[size:]


def f1(probs: Probs, targets: Bools, known: Bools, values: NDArray[np.float32]) -> list[float]:
    """Micro-F1, and macro-F1 over classes with support."""
    tagged = (probs.astype(np.float16) >= values) & known
    tp, said, there = (tagged & targets).sum(axis=0), tagged.sum(axis=0), (targets & known).sum(axis=0)
    each = 2 * tp / np.maximum(said + there, 1)
    return [float(2 * tp.sum() / max(said.sum() + there.sum(), 1)), float(each[there > 0].mean())]


def seconds(images: int, classes: int) -> float:
    """That choosing by ``f1`` takes."""
    rng = np.random.default_rng(0)
    targets = rng.random((images, classes)) < 0.04
    probs = 1 / (1 + np.exp(-rng.normal(2.5 * targets - 3, 1)))
    start = time.perf_counter()
    choose_thresholds(probs, targets, np.ones_like(targets))
    return time.perf_counter() - start


def page(compared: list[Compared], wished: dict[str, Floats], took: float, words: list[str]) -> str:
    """The report."""
    names = [_strength(strength) for strength in STRENGTHS]
    still = [one for one in compared if MOVED not in one.name]
    gains = [[gain(one).mean() for one in part] for part in (still, [one for one in compared if MOVED in one.name])]
    by_strength = 100 * np.mean([one.fixed.mean(axis=0) for one in still], axis=0)
    best = int(by_strength.mean(axis=1).argmax())
    verdict = "gains nothing" if np.mean(gains[0]) <= 0 else "gains"
    trades = [f"| {name} | {micro:.2f} | {macro:.2f} |" for name, (micro, macro) in zip(names, by_strength, strict=True)]
    wishes = [
        f"| {text} | {name} | {precision:.1f} | {recall:.1f} | {short:.1f} |"
        for text, table in wished.items()
        for name, (precision, recall, short) in zip(names, 100 * table, strict=True)
        if name in WISH_STRENGTHS
    ]
    return f"""# Thresholds: how strongly classes are drawn together

Written by `{" ".join([".venv/bin/python scripts/research/measure_thresholds.py", *words])}` on {os.cpu_count()} CPU cores \
({platform.machine()}), Python {platform.python_version()}.

A class's threshold is the mean, in logits, of its own best one and the one that is best for all classes together.
The prior strength is the number of positives at which both count alike: 0 leaves every class its own, infinite all of
them the common one. Cross-validated is what the rule `f1` does: {PRIOR_STRENGTH:g}, unless another of these strengths is
better by more than {thresholds.MARGIN} standard errors on held-out folds of the photographs that are chosen on.

Figures are the mean of micro-F1 and macro-F1, percent, over {len(compared[0].chosen)} random draws of so many of coco-mini's
photographs to choose on; they are taken on the rest of them. Probabilities are of linear heads on frozen ImageNet
features, each of a photograph that the head did not learn from. In the last rows every class's logits are moved by an
amount of its own (standard deviation {SPREAD:g}), as if some classes were far more confident than others. Draws overlap, so
the standard errors know nothing of other photographs.

| loss | chosen on | {" | ".join(names)} | cross-validated | against {PRIOR_STRENGTH:g} | other than {PRIOR_STRENGTH:g} |
| --- | --- | {"--- | " * len(names)}--- | --- | --- |
{chr(10).join(map(_row, compared))}

On scores as they are the best fixed strength is {names[best]}, and cross-validation {verdict}: {_range(gains[0])} points
against {PRIOR_STRENGTH:g}. Where classes are moved it is {_range(gains[1])}: an insurance for bundles whose classes lie apart.

What the strength trades, averaged over losses and numbers of photographs, classes not moved:

| prior strength | micro-F1 | macro-F1 |
| --- | --- | --- |
{chr(10).join(trades)}

## A wanted precision or recall

Chosen on {WISH_SIZE} photographs, {compared[0].name}; precision and recall of all decisions on the rest, and by how many points
a class falls short of the wish there on average: in precision of the classes that are tagged, in recall of those with
positives. These rules take {PRIOR_STRENGTH:g}.

| rule | prior strength | precision | recall | short by |
| --- | --- | --- | --- | --- |
{chr(10).join(wishes)}

## Time

Choosing by `f1`, cross-validated, on {LARGE[0]:,} images and {LARGE[1]} classes: {took:.2f} s.
"""


def gain(one: Compared) -> Floats:
    """Of cross-validation against `PRIOR_STRENGTH`, in points, of each draw."""
    return np.asarray(100 * (one.chosen - one.fixed[:, STRENGTHS.index(PRIOR_STRENGTH)]).mean(axis=1))


def _range(points: list[float]) -> str:
    return f"{np.mean(points):+.2f} ({min(points):+.2f} to {max(points):+.2f})"


def _row(one: Compared) -> str:
    points = gain(one)
    error = points.std(ddof=1) / np.sqrt(len(points)) if len(points) > 1 else np.nan
    cells = [f"{100 * value:.2f}" for value in (*one.fixed.mean(axis=(0, 2)), one.chosen.mean())]
    return f"| {one.name} | {one.size} | {' | '.join(cells)} | {points.mean():+.2f} ± {error:.2f} | {1 - one.kept:.0%} |"


def _strength(strength: float) -> str:
    return f"{strength:g}" if np.isfinite(strength) else "infinite"


if __name__ == "__main__":
    main()
