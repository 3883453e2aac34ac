"""Whether a smaller version of a picture shows all of it, to judge by its sides."""

from __future__ import annotations

_TOLERANCE = 0.01


def same_aspect(small: tuple[int, int], large: tuple[int, int]) -> bool:
    """Whether two sizes (width, height) have the same aspect ratio, within 1 % and the rounding of the small one's sides.

    >>> same_aspect((320, 240), (4032, 3024)), same_aspect((1620, 1080), (6000, 4000)), same_aspect((640, 480), (6000, 4000))
    (True, True, False)
    """
    (width, height), (full_width, full_height) = small, large
    if not min(width, height, full_width, full_height):
        return False
    expected = width * full_height / full_width
    return abs(height - expected) <= max(_TOLERANCE * expected, 1)
