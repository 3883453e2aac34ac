"""This module helped to make reports/study.md once; it is not part of continuous integration.

It trains heads on cached features and scores them on folds, which answers most questions of scripts/research/study.py. The
backbone is frozen with its ImageNet weights. It processes ten augmentations of every photograph once per input size (cocotag's
own augmentation; the first is the photograph itself, the second its mirror image). After that, a head trains in seconds, as in
`cocotag train`: with the same heads, losses, rates, optimiser and moving average.
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from cocotag.config import LossConfig, ModelConfig
from cocotag.data.annotations import AnnotationTable, load_split
from cocotag.data.frequency import repeat_factors, shares
from cocotag.data.loading.dataset import EpochSampler, TaggedImages
from cocotag.data.loading.transforms import Augmentation
from cocotag.data.matching import find_classes, load_aliases
from cocotag.data.split import stratified_holdout
from cocotag.labels import Category, Vocabulary
from cocotag.models.build import build_network, load
from cocotag.models.heads import CSRAHead, Head, LinearHead
from cocotag.models.weights import CARRIED, imagenet_classes
from cocotag.photos.decode import load_square
from cocotag.thresholds import choose_thresholds
from cocotag.training.loop.ema import ramped
from cocotag.training.loop.loss import Loss
from cocotag.training.loop.schedule import CURVES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "measure"))
from measured_run import DATA, IMAGENET

ROOT = DATA / "coco-mini"
VIEWS = 10
FOLDS = 3
SEEDS = (0, 1, 2)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Recipe:
    """How a head is trained; the defaults are what every question starts from."""

    size: int = 320
    head: str = "csra"
    csra_weight: float = 0.2
    csra_heads: int = 1
    decoder_width: int = 256
    dropout: float = 0.2
    prior: float | str = 0.04
    carried: float = 0.5  # how strongly ImageNet's classifier speaks at first
    loss: LossConfig = field(default_factory=LossConfig)
    views: int = VIEWS
    repeat_below: float | None = None
    ema: float | None = 0.9997
    epochs: int = 20
    lr: float = 2e-3
    curve: str = "one_cycle"
    weight_decay: float = 0.01
    batch: int = 32

    def key(self) -> str:
        """What tells it from any other: all that is not the default."""
        own, usual = asdict(self), asdict(Recipe())
        return str({name: value for name, value in own.items() if value != usual[name]})


class Photographs:
    """The photographs of a split with the features of all their views, for one input size.

    Args:
        split: Of coco-mini.
        size: Side of the square input, pixels.
        folder: Where features are kept from one start to the next.
        views: Of each photograph.
    """

    def __init__(self, split: str, size: int, folder: Path, views: int) -> None:
        self.table: AnnotationTable = load_split(ROOT, split)
        self.size = size
        self.views = views
        file = folder / f"{split}-{size}-{views}.pt"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.save(self._compute(split), file.with_suffix(".part"))
            file.with_suffix(".part").rename(file)
        self.maps: Tensor = torch.load(file, weights_only=True, mmap=True)  # (views * N, 1280, h, w) bfloat16, view by view

    def __len__(self) -> int:
        return len(self.table)

    @torch.no_grad()
    def _compute(self, split: str) -> Tensor:
        config = ModelConfig(image_size=self.size, weights=str(IMAGENET))
        network = build_network(config, len(self.table.vocabulary)).eval()
        load(network, config, self.table.vocabulary.names)
        augmentation = Augmentation("standard", size=self.size)
        drawn = TaggedImages(self.table, image_size=self.size, augmentation=augmentation, seed=0)
        count, made = len(self.table), []
        for start in tqdm(range(0, self.views * count, 32), desc=f"features of {split} at {self.size} px", file=sys.stderr):
            images = []
            for item in range(start, min(start + 32, self.views * count)):
                view, row = divmod(item, count)
                if view < 2:
                    image = load_square(self.table.path(row), self.size)
                    images.append(np.ascontiguousarray(image[:, ::-1]) if view else image)
                else:
                    images.append(drawn[item][0])
            with torch.autocast("cpu", torch.bfloat16):
                made.append(network.forward_features(torch.from_numpy(np.stack(images))).bfloat16().contiguous())
        return torch.cat(made)


def fold_of(table: AnnotationTable, seed: int) -> NDArray[np.int64]:
    """Which fold each photograph is held out in, ``(N,)``; every class is dealt out evenly where it can be."""
    strata = table.targets & table.known
    folds = np.zeros(len(table), np.int64)
    for number in range(FOLDS - 1):
        left = np.flatnonzero(folds == number)
        held = stratified_holdout(strata[left], 1 / (FOLDS - number), seed)
        folds[left[~held]] = number + 1
    return folds


def start(recipe: Recipe, table: AnnotationTable) -> Head:
    """The head as it begins, with what the ImageNet classifier knows if the recipe wants that."""
    torch.manual_seed(0)
    config = ModelConfig(
        image_size=recipe.size,
        head=recipe.head,  # type: ignore[arg-type]
        csra_weight=recipe.csra_weight,
        csra_heads=recipe.csra_heads,
        decoder_width=recipe.decoder_width,
        dropout=recipe.dropout,
        prior=recipe.prior,  # type: ignore[arg-type]
        weights=str(IMAGENET),
    )
    share = shares(table.positives, table.known.sum(axis=0)).tolist()
    network = build_network(config, len(table.vocabulary), shares=share)
    imagenet = Vocabulary(tuple(Category(index, name) for index, name in enumerate(imagenet_classes())))
    load(network, config, table.vocabulary.names, find_classes(table.vocabulary, imagenet, load_aliases("imagenet")))
    if isinstance(network.head, CSRAHead):
        network.head.weight.data *= recipe.carried / CARRIED
    elif isinstance(network.head, LinearHead):
        network.head.linear.weight.data *= recipe.carried / CARRIED
    return network.head


def learn(recipe: Recipe, photographs: Photographs, rows: NDArray[np.intp], seed: int) -> Head:
    """A head that has learned from some of the photographs."""
    table = photographs.table.take(rows)
    head = start(recipe, table).train()
    loss = Loss(recipe.loss, table.positives, table.known.sum(axis=0))
    decayed = [parameter for parameter in head.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in head.parameters() if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
    average = AveragedModel(head, use_buffers=True)
    factors = None
    if recipe.repeat_below is not None:
        factors = repeat_factors(table.targets, table.known, recipe.repeat_below)
    sampler = EpochSampler(len(table), seed, factors=factors)
    batches = len(sampler) // recipe.batch
    step = 0
    for epoch in range(recipe.epochs):
        sampler.set_epoch(epoch)
        items = np.array(list(sampler))
        for batch in range(batches):
            torch.manual_seed(seed * 1_000_003 + step)
            chosen = items[batch * recipe.batch : (batch + 1) * recipe.batch]
            own = chosen % len(table)
            view = torch.randint(recipe.views, (len(own),)).numpy()
            maps = photographs.maps[torch.from_numpy(view * len(photographs) + rows[own])]
            with torch.autocast("cpu", torch.bfloat16):
                logits = head(maps)
            value = loss(logits, torch.from_numpy(table.targets[own]), torch.from_numpy(table.known[own]))
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * CURVES[recipe.curve](step / max(1, recipe.epochs * batches - 1))
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            if recipe.ema is not None:
                rate = 1 - ramped(recipe.ema, step)
                average.multi_avg_fn = lambda kept, new, _, rate=rate: _lerp(kept, new, rate)
                average.update_parameters(head)
            step += 1
    return cast(Head, average.module if recipe.ema is not None else head).eval()


def _lerp(kept: list[Tensor], new: list[Tensor], rate: float) -> None:
    if kept[0].is_floating_point():
        torch._foreach_lerp_(kept, new, rate)
    else:
        torch._foreach_copy_(kept, new)


@torch.no_grad()
def probabilities(head: Head, photographs: Photographs, rows: NDArray[np.intp]) -> Floats:
    """Of the photographs as they are, ``(len(rows), C)``."""
    out = []
    for part in np.array_split(rows, math.ceil(len(rows) / 64)):
        with torch.autocast("cpu", torch.bfloat16):
            logits = head(photographs.maps[torch.from_numpy(part)])
        out.append(logits.float().sigmoid().numpy())
    return np.concatenate(out).astype(np.float16).astype(np.float32)


@dataclass(frozen=True)
class Scored:
    """One seed of a recipe: probabilities and the thresholds that were chosen elsewhere.

    Attributes:
        held: Of every train photograph, by the head that did not learn from its fold, ``(N, C)``.
        held_thresholds: Of each fold's photographs, chosen on the other folds', ``(N, C)``.
        val: Of the val photographs, by a head that learned from all of train.
        val_thresholds: Chosen on ``held``, ``(C,)``.
    """

    held: Floats
    held_thresholds: Floats
    val: Floats
    val_thresholds: Floats

    def on_folds(self) -> tuple[Floats, NDArray[np.bool_]]:
        """Probabilities and decisions on train."""
        return self.held, np.asarray(self.held >= self.held_thresholds)

    def on_val(self) -> tuple[Floats, NDArray[np.bool_]]:
        """Probabilities and decisions on val."""
        return self.val, np.asarray(self.val >= self.val_thresholds)


def run(recipe: Recipe, train: Photographs, val: Photographs, seed: int) -> Scored:
    """Train on the folds and on all, and score."""
    folds = fold_of(train.table, seed)
    held = np.zeros(train.table.targets.shape, np.float32)
    for number in range(FOLDS):
        inside = np.flatnonzero(folds == number)
        held[inside] = probabilities(learn(recipe, train, np.flatnonzero(folds != number), seed), train, inside)
    thresholds = np.zeros_like(held)
    for number in range(FOLDS):
        others = folds != number
        thresholds[folds == number] = choose_thresholds(
            held[others], train.table.targets[others], train.table.known[others]
        ).values
    everything = np.arange(len(train))
    shown = probabilities(learn(recipe, train, everything, seed), val, np.arange(len(val)))
    return Scored(held, thresholds, shown, choose_thresholds(held, train.table.targets, train.table.known).values)
