"""The normalisation built into every network: ImageNet's mean and standard deviation. Does not depend on torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IMAGENET_MEAN = (0.485, 0.456, 0.406)


IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's pixels divided by 255, R G B; the published weights were trained with them."""


def normalize(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Normalise images as the network does.

    Args:
        images: RGB ``(..., 3)``, 0..255.

    Returns:
        float32 of the same shape, with about zero mean and unit variance.
    """
    mean, std = (255 * np.asarray(values, np.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return np.asarray((images.astype(np.float32) - mean) / std, np.float32)
