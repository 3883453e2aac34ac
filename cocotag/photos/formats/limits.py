"""How large a picture may be, checked before it is decoded."""

from __future__ import annotations

from cocotag.errors import ImageError

MAX_PIXELS = 2**28
"""Most pixels that are decoded, looked at before decoding: the largest phone sensors have 200 million. Pillow's own guard
(`PIL.Image.MAX_IMAGE_PIXELS`, error at 179 million) holds for the formats that it decodes, and half of this for
decoders that hold several copies. Most hold the picture once, at 4 bytes a pixel, beside the 3 of the result."""

MAX_BYTES = 2**30
"""Largest file that is read: what is larger is a film or an archive."""

MAX_SCANNED = 2**32
"""Most pixels that decoding a JPEG passes over. A progressive JPEG goes over the picture in about ten scans; with thousands,
of a few bytes each, a small file would keep the decoder busy for ever (libjpeg-turbo, "Two Issues with the JPEG Standard")."""

MIN_SIDE = 2
"""Shortest side that is a picture, pixels: 1 x 1 images are web counters and placeholders, with nothing to tag."""


def check_pixels(name: str, width: int, height: int, copies: int = 1) -> None:
    """Refuse a picture with more pixels than are decoded.

    Args:
        name: Of the file, for the message.
        width: Pixels.
        height: Pixels.
        copies: How many copies of the picture its decoder holds while it works.

    Raises:
        ImageError: ``too_large``.
    """
    most = MAX_PIXELS // copies
    if width * height > most:
        raise ImageError("too_large", f"{name}: {width} x {height} pixels, more than {most} in all. Shrink it.")


def check_size(name: str, width: int, height: int, copies: int = 1) -> None:
    """Refuse a picture that is too large, as `check_pixels`, or has a side below `MIN_SIDE` (``too_small``)."""
    check_pixels(name, width, height, copies)
    if min(width, height) < MIN_SIDE:
        raise ImageError("too_small", f"{name}: {width} x {height} pixels; each side needs {MIN_SIDE}. Leave it out.")
