"""TaggerNetwork: normalisation, backbone, head. Takes uint8 images and returns logits; preprocessing is part of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol, cast

import torch
from torch import Tensor, nn

from cocotag.models.blocks import Feature
from cocotag.models.heads import Head
from cocotag.models.normalization import IMAGENET_MEAN, IMAGENET_STD


class Backbone(Protocol):
    """The interface of a backbone beyond that of a module."""

    out_channels: int
    hidden_channels: int | None
    feature_info: tuple[Feature, ...]
    torchvision_head: ClassVar[Mapping[str, str]]

    def layer_groups(self) -> list[nn.Module]:
        """The parts of the backbone in order from the input."""
        ...

    def branch_norms(self) -> list[nn.BatchNorm2d]:
        """The last norm of each residual branch, which may start at zero."""
        ...


class Normalize(nn.Module):
    """uint8 RGB ``(N, H, W, 3)``, 0..255 -> float32 ``(N, 3, H, W)`` with about zero mean and unit variance."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Constants of the published weights, not learned: not part of the state dict.
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return (images.permute(0, 3, 1, 2).float() - self.mean) / self.std


class TaggerNetwork(nn.Module):
    """A network from images to one logit per class.

    Args:
        backbone: Normalised images -> feature map; has ``layer_groups()``.
        head: Feature map -> logits.
        exclusive: Whether every image has exactly one of the classes.
    """

    def __init__(self, backbone: nn.Module, head: Head, *, exclusive: bool = False) -> None:
        super().__init__()
        self.exclusive = exclusive
        self.normalize = Normalize()
        self.backbone = backbone
        self.head = head

    def forward_features(self, images: Tensor) -> Tensor:
        """uint8 ``(N, H, W, 3)`` -> feature map ``(N, channels, h, w)``."""
        x = self.normalize(images)
        # Permuted NHWC is channels-last already, but must be declared so; ONNX has no strides and needs plain NCHW.
        layout = torch.contiguous_format if torch.compiler.is_exporting() else torch.channels_last
        x = x.contiguous(memory_format=layout)
        return cast(Tensor, self.backbone(x))

    def forward(self, images: Tensor) -> Tensor:
        """Uint8 RGB ``(N, H, W, 3)``, 0..255 -> logits ``(N, C)``."""
        return cast(Tensor, self.head(self.forward_features(images)))

    def forward_reduced(self, images: Tensor) -> Tensor:
        """Uint8 RGB ``(N, H, W, 3)`` -> the features that the head uses, ``(N, ...)``; `forward_head` does the rest."""
        return self.head.reduce(self.forward_features(images))

    def forward_head(self, reduced: Tensor) -> Tensor:
        """The output of `forward_reduced` -> logits ``(N, C)``."""
        return self.head.score(reduced)

    def probs(self, logits: Tensor) -> Tensor:
        """Logits -> probabilities, ``(N, C)`` float32: independent ones, or adding up to 1 if the classes are exclusive."""
        return logits.float().softmax(dim=1) if self.exclusive else logits.float().sigmoid()

    @property
    def feature_info(self) -> tuple[Feature, ...]:
        """Channels and stride of the output of each layer group except the head."""
        return cast(Backbone, self.backbone).feature_info

    def layer_groups(self) -> list[nn.Module]:
        """The parts that are frozen and trained as units, in order from the input; the head is the last."""
        return [*cast(Backbone, self.backbone).layer_groups(), self.head]
