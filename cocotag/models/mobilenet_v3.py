"""MobileNetV3, small and large, with a configurable output stride: dilation replaces strides.

Howard et al. 2019, https://arxiv.org/abs/1905.02244. Parameter names and shapes are those of torchvision's
``mobilenet_v3_small`` and ``mobilenet_v3_large``; their weights fit at every output stride.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal, NamedTuple, cast

from torch import Tensor, nn

from cocotag.models.blocks import STRIDES, Feature, Place, SqueezeExcite, Strides, conv_norm_act, round_channels


class Bneck(NamedTuple):
    """A row of the paper's tables 1 and 2."""

    kernel: int
    expanded: int  # hidden channels
    outputs: int
    squeezes: bool
    activation: Literal["RE", "HS"]
    halves: bool


LARGE = (
    Bneck(3, 16, 16, False, "RE", False),
    Bneck(3, 64, 24, False, "RE", True),
    Bneck(3, 72, 24, False, "RE", False),
    Bneck(5, 72, 40, True, "RE", True),
    Bneck(5, 120, 40, True, "RE", False),
    Bneck(5, 120, 40, True, "RE", False),
    Bneck(3, 240, 80, False, "HS", True),
    Bneck(3, 200, 80, False, "HS", False),
    Bneck(3, 184, 80, False, "HS", False),
    Bneck(3, 184, 80, False, "HS", False),
    Bneck(3, 480, 112, True, "HS", False),
    Bneck(3, 672, 112, True, "HS", False),
    Bneck(5, 672, 160, True, "HS", True),
    Bneck(5, 960, 160, True, "HS", False),
    Bneck(5, 960, 160, True, "HS", False),
)
SMALL = (
    Bneck(3, 16, 16, True, "RE", True),
    Bneck(3, 72, 24, False, "RE", True),
    Bneck(3, 88, 24, False, "RE", False),
    Bneck(5, 96, 40, True, "HS", True),
    Bneck(5, 240, 40, True, "HS", False),
    Bneck(5, 240, 40, True, "HS", False),
    Bneck(5, 120, 48, True, "HS", False),
    Bneck(5, 144, 48, True, "HS", False),
    Bneck(5, 288, 96, True, "HS", True),
    Bneck(5, 576, 96, True, "HS", False),
    Bneck(5, 576, 96, True, "HS", False),
)
TABLES = {"small": SMALL, "large": LARGE}
STEM_CHANNELS = 16
HIDDEN_CHANNELS = {"small": 1024, "large": 1280}  # of the layer between pooling and classifier
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "RE": partial(nn.ReLU, inplace=True),
    "HS": partial(nn.Hardswish, inplace=True),
}
# As in the paper: running statistics over many batches, and an epsilon that is not 0 in half precision.
norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution, squeeze-and-excitation, project; the input is added if the shapes match.

    Args:
        inputs: Channels in.
        row: Row of the table; its channels are already multiplied by the width.
        place: Stride and dilation of the depthwise convolution, the only one that is larger than 1 x 1 and padded.
        squeezed: Hidden channels of squeeze-and-excitation.
    """

    def __init__(self, inputs: int, row: Bneck, place: Place, squeezed: int) -> None:
        super().__init__()
        self.residual = not place.halves and inputs == row.outputs
        make = partial(conv_norm_act, norm=norm, activation=ACTIVATIONS[row.activation])
        layers: list[nn.Module] = [] if row.expanded == inputs else [make(inputs, row.expanded, 1)]
        layers.append(
            make(row.expanded, row.expanded, row.kernel, stride=place.stride, dilation=place.dilation, groups=row.expanded)
        )
        if row.squeezes:
            layers.append(SqueezeExcite(row.expanded, squeezed))
        layers.append(conv_norm_act(row.expanded, row.outputs, 1, norm=norm, activation=None))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` -> ``(N, outputs, H / stride, W / stride)``."""
        out = cast(Tensor, self.block(x))
        return x + out if self.residual else out

    def last_norm(self) -> nn.BatchNorm2d:
        """The last norm of the residual branch."""
        return cast(nn.BatchNorm2d, cast(nn.Sequential, self.block[-1])[1])


class MobileNetV3(nn.Module):
    """The feature extractor: normalised images to a feature map.

    Args:
        size: ``small`` or ``large``.
        width: Multiplier of all channels.
        output_stride: Largest ratio of input side to feature map side: 4, 8, 16 or 32; see `Strides`.
        strides: Strides of the stem and of the four stages that halve the feature map in the paper.
        divisor: Channels are rounded to multiples of it.

    Attributes:
        out_channels: Channels of the feature map.
        hidden_channels: Channels of the paper's layer between pooling and classifier.
        feature_info: Channels and stride of the output of each of `layer_groups`.
        torchvision_head: Parameter of a linear head -> torchvision's name for it.

    Raises:
        ValueError: The size, the output stride or a stride is invalid.
    """

    torchvision_head: ClassVar[Mapping[str, str]] = {
        "head.hidden.weight": "classifier.0.weight",
        "head.hidden.bias": "classifier.0.bias",
        "head.linear.weight": "classifier.3.weight",
        "head.linear.bias": "classifier.3.bias",
    }

    def __init__(
        self,
        size: Literal["small", "large"],
        *,
        width: float = 1.0,
        output_stride: int = 32,
        strides: Sequence[int] = STRIDES,
        divisor: int = 8,
    ) -> None:
        super().__init__()
        if size not in TABLES:
            raise ValueError(f"size is {size!r}; it must be small or large")
        places = Strides(strides, output_stride)

        def scaled(channels: int) -> int:
            return round_channels(channels * width, divisor)

        channels = scaled(STEM_CHANNELS)
        hard_swish = ACTIVATIONS["HS"]
        blocks: list[nn.Module] = [
            conv_norm_act(3, channels, 3, stride=places.next(halves=True).stride, norm=norm, activation=hard_swish)
        ]
        info = [Feature(channels, places.reached)]
        for plain in TABLES[size]:
            row = plain._replace(expanded=scaled(plain.expanded), outputs=scaled(plain.outputs))
            squeezed = round_channels(row.expanded // 4, divisor)
            blocks.append(InvertedResidual(channels, row, places.next(halves=row.halves), squeezed))
            channels = row.outputs
            info.append(Feature(channels, places.reached))
        self.out_channels = 6 * channels
        self.hidden_channels = scaled(HIDDEN_CHANNELS[size])
        blocks.append(conv_norm_act(channels, self.out_channels, 1, norm=norm, activation=hard_swish))
        self.feature_info = (*info, Feature(self.out_channels, places.reached))
        self.features = nn.Sequential(OrderedDict((str(number), block) for number, block in enumerate(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images ``(N, 3, H, W)`` -> ``(N, out_channels, H / stride, W / stride)``, sides rounded up."""
        return cast(Tensor, self.features(x))

    def layer_groups(self) -> list[nn.Module]:
        """The stem, the 11 or 15 blocks and the last convolution, in order from the input."""
        return list(self.features)

    def branch_norms(self) -> list[nn.BatchNorm2d]:
        """The last norm of each residual branch."""
        return [block.last_norm() for block in self.features if isinstance(block, InvertedResidual) and block.residual]


make = MobileNetV3
