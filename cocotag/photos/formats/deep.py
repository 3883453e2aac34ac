"""16-bit images that hold fewer bits, such as the 12 of a scientific camera: scaled by what the file says.

Two kinds are in use, and the declaration does not tell them apart: the samples are scaled up to 16 bits, as PNG requires, or
they are stored as they came, and the image looks black. An image counts as stored as it came if no sample exceeds the declared
bits. Without a declaration nothing is scaled.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cocotag.photos.formats.orientation import image_orientation, turned

_FULL = 16


def scaled(data: bytes, kind: str, bits: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image, scaled to 0..255 if its samples have only the declared bits.

    Args:
        data: The file: 16 bits per sample, grey or RGB, already decoded once without an error.
        kind: Pillow's name of its format.
        bits: Declared number of bits; 0 if the file says nothing.
        image: The image as Pillow decodes it, ``(H, W, 3)`` RGB, upright. Pillow keeps only the upper 8 bits of colour.

    Returns:
        ``(H, W, 3)`` RGB uint8, upright, contiguous.
    """
    if not 0 < bits < _FULL or image.max(initial=0) >> max(0, bits - 8):
        return image
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16 or (samples.ndim == 3 and samples.shape[2] != 3) or samples.max() >> bits:
        return image
    levels = np.rint(samples * (255 / (2**bits - 1))).astype(np.uint8)
    rgb = np.repeat(levels[:, :, None], 3, axis=2) if levels.ndim == 2 else levels[:, :, ::-1]
    if kind == "TIFF":  # OpenCV has applied its orientation, but no other format's
        return np.ascontiguousarray(rgb)
    with Image.open(io.BytesIO(data), formats=[kind]) as opened:
        return np.ascontiguousarray(turned(rgb, image_orientation(opened)))
