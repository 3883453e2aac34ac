"""EXIF orientation: reading and undoing it."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

_DIGITS = tuple("12345678")
TRANSPOSED = range(5, 9)
"""Orientations of images that are stored with rows and columns exchanged."""


def exif_orientation(exif: Image.Exif, otherwise: int = 1) -> int:
    """The orientation in an EXIF block, 1 to 8.

    EXIF says that it is a 16-bit integer (SHORT). Some programs write another type, which other readers follow too.

    Args:
        exif: The loaded block.
        otherwise: Result if the block has no orientation.

    Returns:
        The number; 1 if it is invalid.
    """
    value = exif.get(ExifTags.Base.Orientation, otherwise)
    if isinstance(value, bytes):  # BYTE or UNDEFINED
        value = value[0] if len(value) == 1 else 1
    if isinstance(value, str):  # ASCII
        value = int(value) if value in _DIGITS else 1
    return next((number for number in range(1, 9) if number == value), 1)  # 6.0 and 6/1 are 6


def block_orientation(block: bytes, otherwise: int = 1) -> int:
    """As `exif_orientation`, from the bytes of a block; a damaged block counts as one without an orientation."""
    exif = Image.Exif()
    try:
        exif.load(block)
    except (SyntaxError, ValueError, struct.error):  # the image itself may be intact
        exif = Image.Exif()
    return exif_orientation(exif, otherwise)


def image_orientation(image: Image.Image) -> int:
    """The orientation of an open Pillow image, 1 to 8; 1 if it is missing, invalid or damaged."""
    try:
        return exif_orientation(image.getexif())
    except (SyntaxError, ValueError, struct.error):
        return 1


def turned(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The image with an EXIF orientation, 1 to 8, undone (CIPA DC-008, section 4.6.4); a view."""
    if orientation in TRANSPOSED:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image
