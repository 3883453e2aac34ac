"""The table of backbones, one row each. Does not import torch; a row names the module of `cocotag.models` that builds it.

To add a backbone, write that module with a function ``make`` and add its row here. Config, command line, weights and stages
take their choices from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cocotag.errors import ConfigError


@dataclass(frozen=True)
class BackboneRow:
    """The properties of a backbone that are needed before it is built.

    Attributes:
        module: Name of a module in ``cocotag.models``. Its ``make(*, width, output_stride, strides, divisor, **options)``
            returns a `cocotag.models.network.Backbone`.
        layer_groups: Number of layer groups including the head; they are numbered from 0 at the input.
        torchvision_weights: torchvision's name of the ImageNet weights; None if torchvision does not have them.
        options: Further arguments of ``make``.
    """

    module: str
    layer_groups: int
    torchvision_weights: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


BACKBONES: dict[str, BackboneRow] = {
    "mobilenet_v2": BackboneRow("mobilenet_v2", 20, "MobileNet_V2_Weights"),
    "mobilenet_v3_small": BackboneRow("mobilenet_v3", 14, "MobileNet_V3_Small_Weights", {"size": "small"}),
    "mobilenet_v3_large": BackboneRow("mobilenet_v3", 18, "MobileNet_V3_Large_Weights", {"size": "large"}),
}

if TYPE_CHECKING:
    BackboneName = str
else:
    BackboneName = Literal[tuple(BACKBONES)]


def backbone_row(name: str) -> BackboneRow:
    """The row of a backbone.

    Raises:
        ConfigError: The table does not have this backbone.
    """
    if name not in BACKBONES:
        raise ConfigError(f"model.name is {name!r}; it must be one of {', '.join(BACKBONES)}.", code="unknown_backbone")
    return BACKBONES[name]
