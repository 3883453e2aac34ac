"""Pictures -> small JPEG ``data:`` addresses, which a page carries in itself. Knows no page."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from cocotag.photos.decode import decode

SIDE, QUALITY = 112, 60
"""Pixels of the longest side and JPEG quality: about 4 kB a photograph in base64, and a person still sees what is on it."""


def thumbnail(path: Path | str | bytes, *, side: int = SIDE, quality: int = QUALITY) -> str:
    """Shrink an image file, upright and in its own proportions.

    Args:
        path: Any image file that `cocotag.photos.decode.decode` reads, or its bytes.
        side: Pixels of the longer side; a smaller picture keeps its size.
        quality: Of the JPEG, 1 to 100.

    Returns:
        A ``data:image/jpeg;base64,`` address.

    Raises:
        ImageError: As `cocotag.photos.decode.decode`.
    """
    # The shorter side keeps at least what the longer is shrunk to, so the reduced decode never has to be blown up again.
    return data_uri(shrink(decode(path, min_side=side, headroom=1), side), quality=quality)


def shrink(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """``(H, W, 3)`` uint8 with the longer side at most ``side`` pixels, averaged over the area; proportions are kept."""
    height, width = rgb.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (width, height):
        return rgb
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def data_uri(rgb: NDArray[np.uint8], *, quality: int = QUALITY) -> str:
    """An RGB picture ``(H, W, 3)`` uint8 as a JPEG address, no file and no request."""
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=quality, colorspace="RGB", colorsubsampling="420")
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
