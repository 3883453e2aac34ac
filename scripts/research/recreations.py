"""This script helped to make reports/study.md once; it is not part of continuous integration.

usage: python scripts/research/recreations.py {asl,csra,csra_30,original} [--seed 0] [--seconds 180] [--size PX] [--out FILE]

It trains three published recipes on our data, budget and network, as baselines; `published_recipes.py` has their values.
MobileNetV2 at width 1 trains on coco-mini's split train without the tenth of tune images, which are the same as cocotag's; val
is only reported on. One loop runs all recipes on the CPU, with the speed-ups of `cocotag train`: bfloat16 if the processor
supports it, channels last, fused optimisers. It times a step, then plans as many whole epochs as fit in the seconds, so that
the schedule completes; if not even one epoch fits, it trains part of one. If the speed of steps changes, the plan adapts. After
each epoch the tune images choose the checkpoint, as in our runs. --out FILE.json saves the figures, --out FILE.npz the
probabilities on val too. Needs the real data: COCOTAG_DATA, or ../shared/data.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from published_recipes import RECIPES, Recipe
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from cocotag import metrics
from cocotag.config import DataConfig, TrainConfig
from cocotag.data.annotations import AnnotationTable
from cocotag.data.loading.datamodule import TaggingData
from cocotag.data.splits import Splits
from cocotag.errors import CocotagError
from cocotag.files import atomic_path, write_text
from cocotag.models.build import build_network, load
from cocotag.models.network import TaggerNetwork
from cocotag.photos.decode import decode, load_square
from cocotag.process.cores import usable_cores
from cocotag.thresholds import choose_thresholds
from cocotag.training.loop.runtime import keep_freed_memory, precision

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "measure"))
from measured_run import DATA, IMAGENET

Item = tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]

WATCHED = 8.0  # seconds for which steps are measured, at least one
SPARE = 0.05  # share of the time that the plan leaves free, for steps that get slower
EVALUATED = 32  # images at once


class Photographs(Dataset[Item]):
    """Images to learn from, decoded once: a few hundred fit in memory.

    Args:
        table: The rows.
        augment: What makes them inputs.
        size: Side of those, pixels.
        seed: Of the augmentation, which is the same in any worker.
    """

    def __init__(self, table: AnnotationTable, augment: Sequence[Any], *, size: int, seed: int) -> None:
        self.table, self.augment, self.seed = table, v2.Compose(augment), seed
        self.images = [decode(path, min_side=size) for path in table.paths()]

    def __len__(self) -> int:
        return len(self.images)

    def order(self, epoch: int) -> list[int]:
        """All rows, shuffled for this epoch."""
        shuffled = torch.randperm(len(self), generator=torch.Generator().manual_seed(self.seed * 1_000_003 + epoch))
        return (epoch * len(self) + shuffled).tolist()

    def __getitem__(self, index: int) -> Item:
        """Image uint8 ``(S, S, 3)``, targets and known ``(C,)``; ``index`` is ``epoch * len(self) + row``."""
        row = index % len(self)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed * 1_000_003 + index)
            image = np.array(self.augment(Image.fromarray(self.images[row])))
        return image, self.table.targets[row], self.table.known[row]


class Chosen:
    """The tune images, and what they think of a network.

    Args:
        table: Their rows.
        size: Side of the square input, pixels.
    """

    def __init__(self, table: AnnotationTable, size: int) -> None:
        self.table, self.size = table, size
        self.images = squares(table, size)

    def map_of(self, network: nn.Module) -> float:
        """Mean average precision, a fraction."""
        probs = predict(network, self.images)
        rows = metrics.summary(probs, self.table.targets, self.table.known, np.full(probs.shape[1], 0.5), groups=0)
        return float(rows.to_dict("index")["map"]["value"])

    def report(self, network: nn.Module, val: AnnotationTable) -> tuple[dict[str, float], NDArray[np.float32]]:
        """Our summary on val, flat, with thresholds of these images; and the probabilities ``(N, C)``."""
        thresholds = choose_thresholds(predict(network, self.images), self.table.targets, self.table.known).values
        probs = predict(network, squares(val, self.size))
        rows = metrics.summary(probs, val.targets, val.known, thresholds).to_dict("index")
        parts = {"value": "", "lo": "_lo", "hi": "_hi"}
        return {f"{name}{end}": float(row[part]) for name, row in rows.items() for part, end in parts.items()}, probs


class Learner:
    """A network that takes steps, and the average of its weights if the recipe has one."""

    def __init__(self, recipe: Recipe, network: TaggerNetwork) -> None:
        self.recipe, self.network = recipe, network
        self.readings = {"plain": network} | ({"average": copy.deepcopy(network)} if recipe.decay else {})
        self.optimizer = recipe.optimizer(network)
        for group in self.optimizer.param_groups:
            group["highest"] = group["lr"]

    def step(self, batch: Sequence[Tensor], part: float) -> None:
        """Learn from images, targets and known when ``part`` of the training is done."""
        self.recipe.pace(self.optimizer, part)
        self.network.train()
        with mixed():
            logits = self.network(batch[0])
        loss = self.recipe.loss(logits, batch[1], batch[2])
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.recipe.decay is not None:
            kept, new = (self.readings[name].state_dict().values() for name in ("average", "plain"))
            for old, value in zip(kept, new, strict=True):
                old.copy_(self.recipe.decay * old + (1 - self.recipe.decay) * value)

    def judge(self, tune: Chosen) -> dict[str, float]:
        """The mAP of the weights and of their average."""
        with mixed():
            return {name: tune.map_of(network) for name, network in self.readings.items()}


def mixed() -> torch.autocast:
    """The precision that `cocotag train` would take."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision(TrainConfig()) == "bf16-mixed")


def squares(table: AnnotationTable, size: int) -> Tensor:
    """The images as evaluation sees them, uint8 ``(N, size, size, 3)``."""
    return torch.from_numpy(np.stack([load_square(path, size) for path in table.paths()]))


@torch.inference_mode()
def predict(network: nn.Module, images: Tensor) -> NDArray[np.float32]:
    """Probabilities, ``(N, C)``."""
    network.eval()
    return torch.cat([network(part).float().sigmoid() for part in torch.split(images, EVALUATED)]).numpy()


def rehearse(learner: Learner, loader: DataLoader[Item], tune: Chosen) -> tuple[float, float]:
    """Seconds of a step, with its loading, and of a choice. Spoils the learner."""
    marks = [time.perf_counter()]
    for batch in loader:
        learner.step(batch, 0.5)
        marks.append(time.perf_counter())
        if marks[-1] - marks[0] > WATCHED:
            break
    first = min(1, len(marks) - 2)  # the first step is slow, but may be the only one
    learner.judge(tune)
    return (marks[-1] - marks[first]) / (len(marks) - 1 - first), time.perf_counter() - marks[-1]


def plan(seconds: float, *, step: float, choice: float, steps_per_epoch: int) -> int:
    """Steps that fit: of whole epochs, each with its choice; or of a part of one, at least one."""
    epochs = int(seconds / (steps_per_epoch * step + choice))
    return epochs * steps_per_epoch or max(1, int((seconds - choice) / step))


def train(
    recipe: str,
    *,
    seed: int,
    seconds: float,
    root: Path,
    weights: Path,
    size: int | None = None,
    epochs: int | None = None,
) -> dict[str, Any]:
    """Train by a recipe within a time, and measure on val what comes out.

    Args:
        recipe: A name of `RECIPES`.
        seed: Of the tune part, the first values, the order and the augmentation.
        seconds: Of training on the clock, choices with it; neither the measured steps before nor the evaluation after.
        root: The data set.
        weights: torchvision's ImageNet state dict; the original does not look at it.
        size: Side of the square input, pixels; None for the published one.
        epochs: So many, however long they take, where a busy machine would make seconds unfair.

    Returns:
        Each measure of our summary by its name, its interval by that with ``_lo`` and ``_hi``; ``probs`` on val, ``(N, C)``;
        ``recipe``, ``seed``, ``size``; ``seconds`` that it took, ``epochs`` (may be a fraction), ``steps``; ``reading``, which
        weights the tune images chose, ``plain`` or ``average``, and under ``readings`` the measures of each, with ``tune_map``.

    Raises:
        CocotagError: The data or the weights cannot be used.
    """
    made = RECIPES[recipe]
    size = size or made.size
    keep_freed_memory()
    cv2.setNumThreads(1)  # a forked worker would wait for ever on the threads of OpenCV's pool
    torch.manual_seed(seed)
    data = TaggingData(Splits(DataConfig(root=str(root)), seed=seed), image_size=size, batch_size=made.batch, seed=seed)
    model = replace(made.model, image_size=size, weights=str(weights) if made.pretrained else None)
    network = build_network(model, len(data.vocabulary))
    load(network, model, data.vocabulary.names)
    made.start(network.head)
    tune = Chosen(data.tune, size)
    photographs = Photographs(data.train, made.augment(size), size=size, seed=seed)
    order = photographs.order(0)
    workers = min(8, usable_cores())
    loader = DataLoader(photographs, made.batch, sampler=order, num_workers=workers, persistent_workers=True)

    if epochs is not None:
        steps = epochs * len(loader)
    else:
        step, choice = rehearse(Learner(made, copy.deepcopy(network)), loader, tune)
        steps = plan((1 - SPARE) * seconds, step=step, choice=choice, steps_per_epoch=len(loader))
    torch.manual_seed(seed)  # however much the rehearsal drew
    learner = Learner(made, network)
    best: dict[str, tuple[float, TaggerNetwork]] = {}
    done = epoch = 0
    began = time.perf_counter()
    while done < steps:
        order[:] = photographs.order(epoch)
        for batch in loader:
            learner.step(batch, done / steps)
            done += 1
            if done == steps:
                break
        for name, tune_map in learner.judge(tune).items():
            if name not in best or tune_map > best[name][0]:
                best[name] = tune_map, copy.deepcopy(learner.readings[name])
        epoch += 1
        took = time.perf_counter() - began
        # The plan follows the clock: in the first half both ways, later downwards only, for the rates have come down by then.
        if epochs is None:
            fits = done + max(0, int((seconds - took) / (took / epoch))) * len(loader)
            steps = fits if done < steps / 2 else min(steps, fits)
        print(f"{recipe}: step {done} of {steps}, {took:.0f} s, tune mAP {100 * best['plain'][0]:.1f}", file=sys.stderr)

    found = {name: tune.report(chosen, data.splits.of_root("val")) for name, (_, chosen) in best.items()}
    reading = max(best, key=lambda name: best[name][0])
    figures, probs = found[reading]
    readings = {name: {"tune_map": best[name][0], **measures} for name, (measures, _) in found.items()}
    run = {"recipe": recipe, "seed": seed, "size": size, "seconds": took, "epochs": done / len(loader), "steps": done}
    return {**run, **figures, "reading": reading, "readings": readings, "probs": probs}


def main() -> None:
    """Train by one recipe; its figures go to stdout as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=180, help="of training (default: 180)")
    parser.add_argument("--epochs", type=int, help="in place of --seconds")
    parser.add_argument("--size", type=int, help="side of the input, pixels (default: the published one)")
    parser.add_argument("--out", type=Path, help="FILE.json or FILE.npz")
    args = parser.parse_args()
    if args.out is not None and args.out.suffix not in (".json", ".npz"):
        parser.error(f"--out is {args.out}; it must end in .json or .npz")
    if not args.seconds > 0:
        parser.error(f"--seconds is {args.seconds:g}; it must be above 0")
    try:
        root = DATA / "coco-mini"
        made = train(
            args.recipe, seed=args.seed, seconds=args.seconds, root=root, weights=IMAGENET, size=args.size, epochs=args.epochs
        )
        probs, text = made.pop("probs"), json.dumps(made, indent=2) + "\n"
        if args.out is not None and args.out.suffix == ".json":
            write_text(args.out, text)
        elif args.out is not None:
            with atomic_path(args.out) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, probs=probs, figures=text)
    except CocotagError as error:
        sys.exit(str(error))
    print(text, end="")


if __name__ == "__main__":
    main()
