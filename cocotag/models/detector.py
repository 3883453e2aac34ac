"""A tagger built from a detector: torchvision's SSDlite320 MobileNetV3-Large, trained on COCO.

The probability of a tag is the highest score of its class over all anchors, that is the score of the best detection of
torchvision without its thresholds. Boxes are not computed. Howard et al. 2019, https://arxiv.org/abs/1905.02244; Liu et al.
2015, https://arxiv.org/abs/1512.02325.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights, ssdlite320_mobilenet_v3_large

from cocotag.errors import ConfigError
from cocotag.labels import COCO80
from cocotag.models.weights import check_shape, read_weights

IMAGE_SIZE = 320
CLASSES = 91
"""Classes of the detector: the background, and COCO's category ids with their gaps."""


class DetectorTagger(nn.Module):
    """A network from images to the highest score of each of the 80 classes.

    Args:
        detector: torchvision's ``ssdlite320_mobilenet_v3_large``.
    """

    mean: Tensor
    std: Tensor
    columns: Tensor

    def __init__(self, detector: Any) -> None:  # noqa: ANN401 (torch does not type the parts of a module)
        super().__init__()
        self.backbone: nn.Module = detector.backbone
        self.classify: nn.Module = detector.head.classification_head
        transform = detector.transform
        self.register_buffer("mean", 255 * torch.tensor(transform.image_mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(transform.image_std).view(1, 3, 1, 1))
        self.register_buffer("columns", torch.tensor([int(category.id) for category in COCO80]))

    def forward(self, images: Tensor) -> Tensor:
        """Uint8 RGB ``(N, 320, 320, 3)``, 0..255 -> probs ``(N, 80)``."""
        x = ((images.permute(0, 3, 1, 2).float() - self.mean) / self.std).contiguous()
        logits: Tensor = self.classify(list(self.backbone(x).values()))  # (N, anchors, 91)
        return logits.softmax(dim=2).amax(dim=1)[:, self.columns]


def build_detector(weights: str | None = None) -> nn.Module:
    """Torchvision's detector with weights.

    Args:
        weights: A file with its state dict; None downloads the weights that torchvision publishes.

    Raises:
        ConfigError: The weights cannot be downloaded or are not a state dict, or a parameter is missing or has another shape;
            the message names the first.
    """
    detector: nn.Module = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)
    if weights is None:
        try:
            state = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError) as error:  # no network, or a download cut short
            raise ConfigError(
                f"torchvision could not download the detector's weights ({error}). Download "
                f"{SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.url} elsewhere and give the file with --weights FILE.",
                code="download_failed",
            ) from None
    else:
        state = read_weights(Path(weights), "--weights")
    for name, own in detector.state_dict().items():
        if name not in state:
            raise ConfigError(
                f"--weights: {weights} has no {name}, so it is not a state dict of ssdlite320_mobilenet_v3_large.",
                code="weights_mismatch",
            )
        check_shape("--weights", str(weights), name, state[name], own)
    detector.load_state_dict({name: state[name] for name in detector.state_dict()})
    return detector.eval()
