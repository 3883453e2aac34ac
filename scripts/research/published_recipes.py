"""This module helped to make reports/study.md once; it is not part of continuous integration.

It has the training recipes of three publications on multi-label tagging, value by value, in cocotag's own code;
`recreations.py` trains with them. With only 317 photographs, all recipes change in three ways: a schedule has fewer steps at
its published fractions; pixels are normalised as the ImageNet weights need them; unknown cells (crowds) are ignored. Each
recipe documents its other changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import SGD, Adam, Optimizer
from torchvision.transforms import v2

from cocotag import losses
from cocotag.config import ModelConfig
from cocotag.models.network import TaggerNetwork

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        model: The network; its size and weights are filled in.
        size: Published side of the square input, pixels.
        batch: Images a step.
        augment: Side -> the steps from an image, in Pillow's form, to an input of that side.
        start: Gives a new head its published first values.
        optimizer: Of all parameters; the rates are the highest.
        pace: Sets the rates for the part of the training that is done, 0 to 1.
        loss: Logits, targets and known, each ``(N, C)`` -> scalar.
        pretrained: Whether it begins with the ImageNet weights.
        decay: Of a moving average of the weights, which is scored beside them; None for none.
    """

    model: ModelConfig
    size: int
    batch: int
    augment: Callable[[int], list[Any]]
    start: Callable[[Any], None]
    optimizer: Callable[[TaggerNetwork], Optimizer]
    pace: Callable[[Optimizer, float], None]
    loss: Loss
    pretrained: bool = True
    decay: float | None = None


def asl() -> Recipe:
    """Ben-Baruch, Ridnik et al. 2021, https://arxiv.org/abs/2009.14119; values of train.py in github.com/Alibaba-MIIL/ASL.

    As there: asymmetric loss, summed, gammas 4 and 0, clip 0.05, no gradient through the focusing; Adam, highest rate 1e-4,
    decay 1e-4 on all but biases and norms, added to the gradient; one cycle that rises for 0.2; moving average 0.9997 from the
    first step on, batch norms' statistics with the rest, and of it and the plain weights the better one counts; square resize,
    Cutout of half the side in a random colour on every image, RandAugment, no flip; a linear layer on the average, no dropout,
    weights from normal(0, 0.01) (TResNet's); everything learns, at one rate; 224 px, the script's default (the paper's best
    figures are at 448).

    Adapted: the batch is 32 instead of 128, or an epoch would have 3 steps. After a few hundred steps the average still is
    mostly what it began with (0.9997^600 = 0.84), and the published code has no ramp: its figures stand under ``readings``, and
    the better of the two on the tune images is the result. The script plans 80 epochs and ends after 41, at two thirds of the
    highest rate, where the average does the cooling; here it cannot, so the cycle is completed: the kinder reading. RandAugment
    has torchvision's list of operations: two in a row, each with a chance of 0.5 and a strength of 1 to 9 of 10, as in the
    package that the script imports.
    """

    def optimizer(network: TaggerNetwork) -> Optimizer:
        weights = [p for p in network.parameters() if p.ndim > 1]
        others = [p for p in network.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": 1e-4}, {"params": others, "weight_decay": 0.0}]
        return Adam(groups, lr=1e-4, fused=True)

    def start(head: Any) -> None:  # noqa: ANN401 (LinearHead)
        bound = 1 / math.sqrt(head.linear.in_features)  # torch's own for a bias
        nn.init.normal_(head.linear.weight, std=0.01)
        nn.init.uniform_(head.linear.bias, -bound, bound)

    strengths = [v2.RandAugment(num_ops=1, magnitude=strength, num_magnitude_bins=10, fill=128) for strength in range(1, 10)]
    operation = v2.RandomApply([v2.RandomChoice(strengths)], p=0.5)
    return Recipe(
        model=ModelConfig(dropout=0.0, prior=0.5),
        size=224,
        batch=32,
        augment=lambda size: [v2.Resize((size, size)), Cutout(0.5), operation, operation],
        start=start,
        optimizer=optimizer,
        pace=one_cycle,
        loss=summed(losses.asymmetric, gamma_neg=4.0, gamma_pos=0.0, shift=0.05),
        decay=0.9997,
    )


def csra(epochs: int = 10) -> Recipe:
    """Zhu and Wu 2021, https://arxiv.org/abs/2108.02456; values of main.py and pipeline/ in github.com/Kevinz-code/CSRA.

    As there: 4 heads at a weight of 0.5 (README, ResNet-101 on COCO), scores divided by the norm of the class's weights, no
    bias, no dropout, weights uniform as torch starts a 1 x 1 convolution; binary cross-entropy, the mean; SGD with momentum
    0.9, rates 0.01 for the backbone and 0.1 for the head, decay 1e-4 on everything; batch 16; flip, then a crop of 0.7 to 1 of
    the area; 448 px; everything learns.

    Adapted: the rates rise in a straight line for 2 epochs of 5,174 steps, and fall to a tenth after every 5, for 30. Shrunk to
    a few hundred steps, all of that (``csra_30``) leaves a tenth of them at the full rates, and most at rates that change
    nothing. The kinder reading, ``csra``, is the first 10, before the rates are a hundredth. Either way the rise, 10,000 steps
    there, is over in a few dozen here, at rates that then overshoot: the head has no bias, and begins with everything likely.

    Args:
        epochs: Published epochs that the training here stands for.
    """

    def optimizer(network: TaggerNetwork) -> Optimizer:
        groups = [{"params": network.backbone.parameters(), "lr": 0.01}, {"params": network.head.parameters(), "lr": 0.1}]
        return SGD(groups, momentum=0.9, weight_decay=1e-4, fused=True)

    def start(head: Any) -> None:  # noqa: ANN401 (CSRAHead)
        bound = 1 / math.sqrt(head.weight.shape[2])
        nn.init.uniform_(head.weight, -bound, bound)
        parametrize.register_parametrization(head, "weight", UnitNorm())
        head.bias.requires_grad_(False)  # 0, since the prior is 0.5

    return Recipe(
        model=ModelConfig(head="csra", csra_heads=4, csra_weight=0.5, dropout=0.0, prior=0.5),
        size=448,
        batch=16,
        augment=lambda size: [v2.RandomHorizontalFlip(), v2.RandomResizedCrop(size, scale=(0.7, 1.0))],
        start=start,
        optimizer=optimizer,
        pace=partial(warm_up_and_steps, epochs=epochs),
        loss=losses.bce,
    )


def original() -> Recipe:
    """The hobby reimplementation that cocotag grew from; its network is that of configs/coco_original.yaml.

    As there: output stride 4, He's initialisation, normal(0, 1) for the last layer, biases 0, dropout 0.2, from scratch; Adam
    at 1e-3 throughout, no decay; focal loss, summed, gamma 2, no alpha; batch 32; resize to 256 px, flip, brightness times 0.8
    to 1.2.

    Adapted: nothing. But an image costs 9.0 G multiply-adds (0.3 G at stride 32 and 224 px), so that minutes on a CPU are an
    epoch or two, or a part of one: ``epochs`` says how much.
    """
    return Recipe(
        model=ModelConfig(output_stride=4, initialisation="original", dropout=0.2, prior=0.5),
        size=256,
        batch=32,
        augment=lambda size: [v2.Resize((size, size)), v2.RandomHorizontalFlip(), v2.ColorJitter(brightness=0.2)],
        start=lambda head: None,
        optimizer=lambda network: Adam(network.parameters(), lr=1e-3, fused=True),
        pace=lambda optimizer, part: None,
        loss=summed(losses.focal, gamma=2.0, alpha=None),
        pretrained=False,
    )


def summed(loss: Callable[..., Tensor], **options: float | None) -> Loss:
    """One of our losses, which are means, as the sum over known cells."""
    return lambda logits, targets, known: known.sum() * loss(logits, targets, known, **options)


def one_cycle(optimizer: Optimizer, part: float) -> None:
    """As OneCycleLR with ``pct_start`` 0.2: rates from 1/25 up, then to 1/250,000; Adam's first beta goes the other way."""
    rising = part < 0.2
    cosine = (1 - math.cos(math.pi * (part / 0.2 if rising else (1 - part) / 0.8))) / 2  # 0 to 1, and back
    low = 1 / 25 if rising else 1 / 25 / 1e4
    for group in optimizer.param_groups:
        group["lr"] = group["highest"] * (low + (1 - low) * cosine)
        group["betas"] = (0.95 - 0.1 * cosine, group["betas"][1])


def warm_up_and_steps(optimizer: Optimizer, part: float, *, epochs: int) -> None:
    """A straight rise for 2 of the epochs, and a tenth after every 5."""
    for group in optimizer.param_groups:
        group["lr"] = group["highest"] * min(1.0, part * epochs / 2) * 0.1 ** int(part * epochs / 5)


class UnitNorm(nn.Module):
    """Weights ``(heads, classes, channels)`` -> each class's divided by their norm."""

    def forward(self, weight: Tensor) -> Tensor:
        """See the class."""
        return F.normalize(weight, dim=2)


class Cutout:
    """Paints a rectangle about a random pixel in a random colour; what would lie outside is cut off.

    DeVries and Taylor 2017, https://arxiv.org/abs/1708.04552; the colour is ASL's.

    Args:
        share: Of the image's sides, that the rectangle's take; between a quarter and all of it is inside.
    """

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, image: Image.Image) -> Image.Image:
        """A new image; the draws are torch's."""
        spans = []
        for side in image.size:
            middle, half = int(torch.randint(side, ())), round(self.share * side / 2)
            spans.append((max(0, middle - half), min(side, middle + half)))
        (left, right), (top, bottom) = spans
        made = image.copy()
        made.paste(tuple(torch.randint(256, (3,)).tolist()), (left, top, right, bottom))
        return made


RECIPES = {"asl": asl(), "csra": csra(), "csra_30": csra(30), "original": original()}
