"""MobileNetV2 whose output stride is a choice: dilation takes the place of strides.

Sandler et al. 2018, https://arxiv.org/abs/1801.04381; dilation in place of stride as in DeepLab, Chen et al. 2017,
https://arxiv.org/abs/1706.05587. Parameter names and shapes are those of torchvision's ``mobilenet_v2``, whose weights fit
at every output stride, because dilation moves a kernel's taps apart without adding any.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

from torch import Tensor, nn

# The paper's table 2: expansion factor, output channels, blocks, stride of the first of them.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM_CHANNELS, LAST_CHANNELS = 32, 1280


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of ``divisor`` that is not more than 10 % below ``channels``, as in the paper's own code."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def conv_norm_act(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch norm, ReLU6; the padding keeps the side at stride 1, whatever the dilation."""
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expand, filter each channel on its own, project; the input is added where shapes allow.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: Of the depthwise convolution.
        dilation: Of the depthwise convolution, which alone has an extent and alone is padded.
        expansion: Channels within, over channels in.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int, dilation: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        layers: list[nn.Module] = [] if expansion == 1 else [conv_norm_act(inputs, hidden, 1)]
        layers += [
            conv_norm_act(hidden, hidden, 3, stride=stride, dilation=dilation, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` -> ``(N, outputs, H / stride, W / stride)``."""
        out = cast(Tensor, self.conv(x))
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """The feature extractor: normalised images to a feature map.

    Args:
        width: Multiplier of all channels; the last layer never falls below the paper's 1,280.
        output_stride: Input side over feature map side: 4, 8, 16 or 32. Once it is reached, later strides become 1 and the
            kernels behind them are dilated, so that each sees as much of the image as before.

    Attributes:
        out_channels: Channels of the feature map.

    Raises:
        ValueError: Another output stride.
    """

    def __init__(self, *, width: float = 1.0, output_stride: int = 32) -> None:
        super().__init__()
        if output_stride not in (4, 8, 16, 32):
            raise ValueError(f"output_stride is {output_stride}; it must be 4, 8, 16 or 32")
        channels = round_channels(STEM_CHANNELS * width)
        blocks: list[nn.Module] = [conv_norm_act(3, channels, 3, stride=2)]
        reached, dilation = 2, 1
        for expansion, outputs, count, first_stride in STAGES:
            for block in range(count):
                wanted = first_stride if block == 0 else 1
                stride = wanted if reached * wanted <= output_stride else 1
                reached *= stride
                # A block that gives up its stride still reads the undilated grid; only what follows is dilated.
                made = round_channels(outputs * width)
                blocks.append(InvertedResidual(channels, made, stride=stride, dilation=dilation, expansion=expansion))
                dilation *= wanted // stride
                channels = made
        self.out_channels = round_channels(LAST_CHANNELS * max(1.0, width))
        blocks.append(conv_norm_act(channels, self.out_channels, 1))
        self.features = nn.Sequential(OrderedDict((str(number), block) for number, block in enumerate(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 3, H, W)`` -> ``(N, out_channels, H / output_stride, W / output_stride)``, sides rounded up."""
        return cast(Tensor, self.features(x))

    def layer_groups(self) -> list[nn.Module]:
        """Stem, the 17 blocks, last convolution: from the input on."""
        return list(self.features)
