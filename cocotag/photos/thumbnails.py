"""Images -> small JPEG ``data:`` URIs that can be embedded in a page. Does not depend on pages."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from cocotag.photos.decode import decode

SIDE, QUALITY = 112, 60
"""Pixels of the longer side and JPEG quality: about 4 kB per photograph in base64, and its objects can still be recognised."""


def thumbnail(path: Path | str | bytes, *, side: int = SIDE, quality: int = QUALITY) -> str:
    """Make a thumbnail of an image file, upright and with its aspect ratio.

    Args:
        path: Any image file that `cocotag.photos.decode.decode` reads, or its bytes.
        side: Pixels of the longer side; a smaller image keeps its size.
        quality: JPEG quality, 1 to 100.

    Returns:
        A ``data:image/jpeg;base64,`` URI.

    Raises:
        ImageError: As `cocotag.photos.decode.decode`.
    """
    # The reduced decode keeps at least `side` pixels on the shorter side, so it is never enlarged again.
    return data_uri(shrink(decode(path, min_side=side, headroom=1), side), quality=quality)


def shrink(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Shrink ``(H, W, 3)`` uint8 by area averaging so that the longer side has at most ``side`` pixels; keeps proportions."""
    height, width = rgb.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (width, height):
        return rgb
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def data_uri(rgb: NDArray[np.uint8], *, quality: int = QUALITY) -> str:
    """An RGB image ``(H, W, 3)`` uint8 as a JPEG ``data:`` URI, which needs no file and no request."""
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=quality, colorspace="RGB", colorsubsampling="420")
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
