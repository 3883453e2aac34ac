"""Limits on the size of an image, checked before it is decoded."""

from __future__ import annotations

from cocotag.errors import ImageError

MAX_PIXELS = 2**28
"""Largest number of pixels that is decoded; the largest phone sensors have 200 million. Pillow's own limit
(`PIL.Image.MAX_IMAGE_PIXELS`, error at 179 million) applies to the formats that it decodes, and half of this to decoders that
hold several copies. Most hold the image once, at 4 bytes per pixel, in addition to the 3 of the result."""

MAX_BYTES = 2**30
"""Largest file that is read, in bytes: larger files are videos or archives."""

MAX_SCANNED = 2**32
"""Largest number of pixels that decoding a JPEG visits in all scans. A progressive JPEG has about ten scans. With thousands of
scans of a few bytes each, a small file would block the decoder (libjpeg-turbo, "Two Issues with the JPEG Standard")."""

MIN_SIDE = 2
"""Shortest side of an image, pixels: 1 x 1 images are web counters and placeholders, with nothing to tag."""


def check_pixels(name: str, width: int, height: int, copies: int = 1, divisor: int = 1) -> None:
    """Check that an image does not have too many pixels.

    Args:
        name: Name of the file for the message.
        width: Pixels.
        height: Pixels.
        copies: Number of copies of the image that its decoder holds in memory.
        divisor: Of both sides, if the image is decoded at reduced scale: the limit holds for what is decoded.

    Raises:
        ImageError: ``too_large``.
    """
    most = MAX_PIXELS // copies
    if width * height // divisor**2 > most:
        raise ImageError("too_large", f"{name}: {width} x {height} pixels, above the limit of {most}. Shrink it.")


def check_size(name: str, width: int, height: int, copies: int = 1, divisor: int = 1) -> None:
    """Check that an image is not too large, as `check_pixels`, and has no side below `MIN_SIDE` (``too_small``)."""
    check_pixels(name, width, height, copies, divisor)
    if min(width, height) < MIN_SIDE:
        raise ImageError("too_small", f"{name}: {width} x {height} pixels; each side must have {MIN_SIDE}. Leave it out.")
