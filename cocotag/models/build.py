"""ModelConfig -> network with its weights. This is the only module that connects config and network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cocotag.backbones import backbone_row
from cocotag.config import ModelConfig
from cocotag.errors import ConfigError
from cocotag.models.heads import HEADS, Head, Prior
from cocotag.models.network import Backbone, TaggerNetwork
from cocotag.models.weights import Loaded, load_weights

FIRST_PRIOR = 0.03  # if the config asks for each class's own share, but there are no data


def build_network(
    config: ModelConfig, num_classes: int, *, exclusive: bool = False, shares: Sequence[float] | None = None
) -> TaggerNetwork:
    """Build and initialise the network; `load` then loads the weights that the config names.

    Args:
        config: The model part of a training config.
        num_classes: Number of logits; the config's own ``num_classes`` must agree if it is set.
        exclusive: Whether every image has exactly one of the classes.
        shares: Share of positives of each class in training, in (0, 1), if the config takes them as first probabilities.

    Raises:
        ConfigError: The numbers of classes disagree.
    """
    if config.num_classes not in (None, num_classes):
        raise ConfigError(
            f"model.num_classes is {config.num_classes}, but the data have {num_classes} classes. Leave it out.",
            code="class_count_mismatch",
        )
    backbone = _backbone(config)
    initialise(backbone, config.initialisation)
    prior: Prior = shares or FIRST_PRIOR if isinstance(config.prior, str) else config.prior
    head = _head(config, cast(Backbone, backbone), num_classes, prior)
    if config.initialisation == "original":
        initialise_as_original(head)
    return TaggerNetwork(backbone, head, exclusive=exclusive).to(memory_format=torch.channels_last)


def load(
    network: TaggerNetwork, config: ModelConfig, classes: Sequence[str], imagenet: NDArray[np.int64] | None = None
) -> Loaded | None:
    """Load the weights that the config names; None if it names none.

    Args:
        network: The network of `build_network`.
        config: The model part of a training config.
        classes: Names of the network's classes.
        imagenet: As for `load_weights`.

    Raises:
        ConfigError: As `load_weights`.
    """
    if config.weights is None:
        return None
    carried = classes if config.carry_classes else None
    return load_weights(network, config.weights, architecture=config.name, classes=carried, imagenet=imagenet)


def _backbone(config: ModelConfig) -> nn.Module:
    row = backbone_row(config.name)
    make: Callable[..., nn.Module] = import_module(f"cocotag.models.{row.module}").make
    return make(
        **row.options,
        width=config.width,
        output_stride=config.output_stride,
        strides=config.strides,
        divisor=config.channel_divisor,
    )


def _head(config: ModelConfig, backbone: Backbone, classes: int, prior: Prior) -> Head:
    if config.head not in HEADS:
        raise ConfigError(f"model.head is {config.head!r}; it must be one of {', '.join(HEADS)}.", code="unknown_head")
    row = HEADS[config.head]
    options = {name: getattr(config, key) for name, key in row.options.items()}
    if row.takes_hidden:
        options["hidden"] = backbone.hidden_channels
    return row.make(backbone.out_channels, classes, dropout=config.dropout, prior=prior, **options)


def initialise(backbone: nn.Module, kind: Literal["zero_branches", "original"]) -> None:
    """Initialise convolutions after He et al., the weights of the norms with one and their biases with zero.

    He et al. 2015, https://arxiv.org/abs/1502.01852, by fan-out, which keeps the variance of the gradients constant. With
    ``zero_branches`` the last norm of each residual branch starts at zero. The network then starts shallow and deepens as it
    learns (Goyal et al. 2017, section 5.1, https://arxiv.org/abs/1706.02677): a short training from scratch gets much
    further.
    """
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    if kind == "zero_branches":
        for norm in cast(Backbone, backbone).branch_norms():
            nn.init.zeros_(norm.weight)


def initialise_as_original(head: nn.Module) -> None:
    """Initialise linear layers with Normal(0, 1) and their biases with zero, as in the code that cocotag grew from."""
    for module in head.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight)
            nn.init.zeros_(module.bias)
