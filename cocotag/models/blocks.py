"""Building blocks of the MobileNets: channel rounding, strides and dilation, convolution blocks, squeeze-and-excitation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = (2, 2, 2, 2, 2)
"""The strides of the papers' networks: the stem and the first block of four stages halve the feature map."""


relu6 = partial(nn.ReLU6, inplace=True)


class Feature(NamedTuple):
    """Channels and stride of the output of a layer group."""

    channels: int
    stride: int
    """Side of the network's input divided by the side of this feature map."""


class Place(NamedTuple):
    """Stride and dilation of one block."""

    stride: int
    dilation: int
    halves: bool
    """Whether the block halves the feature map, or would if the output stride were not reached. Such a block never has a
    shortcut, dilated or not, so that the same weights give the same network."""


class Strides:
    """Assigns stride and dilation to every block, from the input on.

    Once the output stride is reached, later strides become 1 and the kernels after them are dilated. Each kernel then sees as
    much of the image as before, and the weights keep their meaning; Chen et al. 2017, https://arxiv.org/abs/1706.05587.

    Args:
        strides: The five strides in the positions of `STRIDES`, each 1 or 2; a 1 causes no dilation.
        output_stride: Largest product of the strides: 4, 8, 16 or 32.

    Attributes:
        reached: Product of the strides so far.

    Raises:
        ValueError: A number is invalid.
    """

    def __init__(self, strides: Sequence[int] = STRIDES, output_stride: int = 32) -> None:
        if output_stride not in (4, 8, 16, 32):
            raise ValueError(f"output_stride is {output_stride}; it must be 4, 8, 16 or 32")
        if len(strides) != len(STRIDES) or not set(strides) <= {1, 2}:
            raise ValueError(f"strides are {list(strides)}; five are needed, each 1 or 2")
        self.output_stride = output_stride
        self.reached = 1
        self.dilation = 1
        self._remaining = iter(strides)

    def next(self, *, halves: bool) -> Place:
        """Stride and dilation of the next block; ``halves`` is True for the five blocks that have a stride in `STRIDES`.

        A block that gives up its stride still reads the undilated grid; only the blocks after it are dilated.
        """
        wanted = next(self._remaining) if halves else 1
        stride = wanted if self.reached * wanted <= self.output_stride else 1
        dilation = self.dilation
        self.reached *= stride
        self.dilation *= wanted // stride
        return Place(stride, dilation, wanted > 1)


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of ``divisor`` that is not more than 10 % below ``channels``, as in the MobileNetV2 paper's code.

    With ``divisor`` 1 this is plain rounding.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def conv_norm_act(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    activation: Callable[[], nn.Module] | None = relu6,
) -> nn.Sequential:
    """Convolution, norm and activation; the padding keeps the side of the feature map at stride 1, whatever the dilation."""
    padding = dilation * (kernel - 1) // 2
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False), norm(outputs)]
    return nn.Sequential(*layers, *([activation()] if activation is not None else []))


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: weight each channel by a function of the global averages of all channels.

    Hu et al. 2017, https://arxiv.org/abs/1709.01507, with the hard sigmoid of MobileNetV3.

    Args:
        channels: Channels in and out.
        squeezed: Channels of the hidden layer.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Weight the channels of a feature map; ``(N, channels, H, W)`` in and out."""
        pooled = x.mean(dim=(2, 3), keepdim=True)
        weights = F.hardsigmoid(cast(Tensor, self.fc2(F.relu(self.fc1(pooled)))))
        return x * weights
