"""The part of an image that a caller needs, so that decoders can do less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Rows = Callable[[int, int], int]
"""Width and height of an image -> number of rows that are needed from its top."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The part of an image that is needed; a decoder that cannot do less returns all of it.

    Attributes:
        min_side: Least number of pixels on the shorter side; None for full size.
        rows: Number of rows that are needed, from the top; None for all.
        orientation: EXIF's number, 1 to 8, for an image without one of its own.
        side: The side to which the image will be shrunk, pixels; None if that is not known. A stored preview that is smaller
            does not stand for the image.
    """

    min_side: int | None = None
    rows: Rows | None = None
    orientation: int = 1
    side: int | None = None
