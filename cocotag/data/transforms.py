"""Training augmentation. The only file that knows albumentations; evaluation and tagging never come here."""

from __future__ import annotations

import math
import os
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or the import asks the network for a newer version
import albumentations as A

Augment = Literal["standard", "plain", "none"]


class Augmentation:
    """Augments one image, the same way for the same seed.

    Args:
        kind: ``standard``: random resized crop, flip, brightness, contrast, saturation and hue. ``plain``: shift by up to an
            eighth and flip, for images about as small as the input. ``none``: nothing.
        size: Side of the square input, pixels.
        min_crop: Smallest area of the random crop, as a fraction of the image.

    Attributes:
        min_side: Pixels that the shorter side needs, so that the smallest crop is not enlarged.
    """

    def __init__(self, kind: Augment, *, size: int, min_crop: float = 0.5) -> None:
        self.kind = kind
        self.min_side = math.ceil(size / math.sqrt(min_crop)) if kind == "standard" else size
        steps: list[Any] = []
        if kind == "standard":
            steps = [
                A.RandomResizedCrop((size, size), scale=(min_crop, 1.0), ratio=(3 / 4, 4 / 3), interpolation=cv2.INTER_AREA),
                A.HorizontalFlip(p=0.5),
                A.ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(-0.03, 0.03), p=0.8),
            ]
        elif kind == "plain":
            margin = max(1, size // 8)
            steps = [
                A.Pad(margin, border_mode=cv2.BORDER_REFLECT_101),
                A.RandomCrop(size, size),
                A.HorizontalFlip(p=0.5),
            ]
        self._steps = A.Compose(steps)

    def __call__(self, image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        """RGB uint8 ``(H, W, 3)`` -> augmented; ``standard`` gives ``(size, size, 3)``, the others keep the shape."""
        if self.kind == "none":
            return image
        self._steps.set_random_seed(seed)
        made: NDArray[np.uint8] = self._steps(image=image)["image"]
        return made
