"""What a caller wants of a picture, so that no more is decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Rows = Callable[[int, int], int]
"""Told an image's width and height, how many rows are needed from its top."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of a picture; a decoder that cannot do less gives all of it.

    Attributes:
        min_side: Pixels that the shorter side has to keep; None for full size.
        rows: Rows that are needed, from the top; None for all.
        orientation: EXIF's number, 1 to 8, of a picture that says nothing of it itself.
    """

    min_side: int | None = None
    rows: Rows | None = None
    orientation: int = 1
