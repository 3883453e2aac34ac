"""The brightness of an image. Does not depend on files."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def brightness(rgb: NDArray[np.uint8]) -> float:
    """Mean luma of an RGB image ``(H, W, 3)``, Rec. 601, 0 (black) to 255."""
    return float(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY).mean())
