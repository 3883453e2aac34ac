"""What a path and a score are as text, the same in every form. Knows no rows and no files."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=2**16)  # as many float16 as there are
def score_text(score: float) -> str:
    """The shortest number that gives back the float16 that tags are decided on, so that who decides again agrees."""
    return np.format_float_positional(np.float16(score), trim="0")


def shortest(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """As `score_text`, but numbers: so 0.9 is written, and ``score >= 0.9`` is true, where the float16 is 0.89990234."""
    return _shortest_of_float16()[scores.astype(np.float16).view(np.uint16)]


@cache
def _shortest_of_float16() -> NDArray[np.float64]:
    """By the bits of a float16, for those from 0 to 1; the others are none that a probability has."""
    one = int(np.float16(1).view(np.uint16))
    values = np.arange(one + 1, dtype=np.uint16).view(np.float16)
    table = np.full(2**16, np.nan)
    table[: one + 1] = [float(np.format_float_positional(value, trim="0")) for value in values]
    table[np.float16(-0.0).view(np.uint16)] = 0.0
    return table
