"""MobileNetV2 with a configurable output stride: dilation replaces strides.

Sandler et al. 2018, https://arxiv.org/abs/1801.04381. Parameter names and shapes are those of torchvision's
``mobilenet_v2``. Its weights fit at every output stride, because dilation moves a kernel's taps apart without adding any.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

from torch import Tensor, nn

from cocotag.models.blocks import STRIDES, Feature, Place, Strides, conv_norm_act, round_channels

# The paper's table 2: expansion factor, output channels, number of blocks, stride of the first block.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM_CHANNELS, LAST_CHANNELS = 32, 1280


class InvertedResidual(nn.Module):
    """Inverted residual block: expand, depthwise convolution, project; the input is added if the shapes match.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        place: Stride and dilation of the depthwise convolution, the only one that is larger than 1 x 1 and padded.
        expansion: Hidden channels divided by channels in.
    """

    def __init__(self, inputs: int, outputs: int, place: Place, *, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = not place.halves and inputs == outputs
        layers: list[nn.Module] = [] if expansion == 1 else [conv_norm_act(inputs, hidden, 1)]
        layers += [
            conv_norm_act(hidden, hidden, 3, stride=place.stride, dilation=place.dilation, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` -> ``(N, outputs, H / stride, W / stride)``."""
        out = cast(Tensor, self.conv(x))
        return x + out if self.residual else out

    def last_norm(self) -> nn.BatchNorm2d:
        """The last norm of the residual branch."""
        return cast(nn.BatchNorm2d, self.conv[-1])


class MobileNetV2(nn.Module):
    """The feature extractor: normalised images to a feature map.

    Args:
        width: Multiplier of all channels; the last layer never falls below the paper's 1,280.
        output_stride: Largest ratio of input side to feature map side: 4, 8, 16 or 32; see `Strides`.
        strides: Strides of the stem and of the four stages that halve the feature map in the paper.
        divisor: Channels are rounded to multiples of it.

    Attributes:
        out_channels: Channels of the feature map.
        hidden_channels: None: the paper has no layer between pooling and classifier.
        feature_info: Channels and stride of the output of each of `layer_groups`.
        torchvision_head: Parameter of a linear head -> torchvision's name for it.

    Raises:
        ValueError: The output stride or a stride is invalid.
    """

    hidden_channels: int | None = None
    torchvision_head: ClassVar[Mapping[str, str]] = {
        "head.linear.weight": "classifier.1.weight",
        "head.linear.bias": "classifier.1.bias",
    }

    def __init__(
        self, *, width: float = 1.0, output_stride: int = 32, strides: Sequence[int] = STRIDES, divisor: int = 8
    ) -> None:
        super().__init__()
        places = Strides(strides, output_stride)
        channels = round_channels(STEM_CHANNELS * width, divisor)
        blocks: list[nn.Module] = [conv_norm_act(3, channels, 3, stride=places.next(halves=True).stride)]
        info = [Feature(channels, places.reached)]
        for expansion, outputs, count, first_stride in STAGES:
            for block in range(count):
                rounded = round_channels(outputs * width, divisor)
                place = places.next(halves=block == 0 and first_stride == 2)
                blocks.append(InvertedResidual(channels, rounded, place, expansion=expansion))
                channels = rounded
                info.append(Feature(channels, places.reached))
        self.out_channels = round_channels(LAST_CHANNELS * max(1.0, width), divisor)
        blocks.append(conv_norm_act(channels, self.out_channels, 1))
        self.feature_info = (*info, Feature(self.out_channels, places.reached))
        self.features = nn.Sequential(OrderedDict((str(number), block) for number, block in enumerate(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images ``(N, 3, H, W)`` -> ``(N, out_channels, H / stride, W / stride)``, sides rounded up."""
        return cast(Tensor, self.features(x))

    def layer_groups(self) -> list[nn.Module]:
        """The stem, the 17 blocks and the last convolution, in order from the input."""
        return list(self.features)

    def branch_norms(self) -> list[nn.BatchNorm2d]:
        """The last norm of each residual branch."""
        return [block.last_norm() for block in self.features if isinstance(block, InvertedResidual) and block.residual]


make = MobileNetV2
