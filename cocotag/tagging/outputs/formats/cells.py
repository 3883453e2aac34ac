"""The text of a score, the same in every format. Does not depend on rows or files."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=2**16)  # the number of float16 values
def score_text(score: float) -> str:
    """The shortest decimal number that rounds to the same float16. Tags are decided on it, so a later decision agrees."""
    return np.format_float_positional(np.float16(score), trim="0")


def shortest(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """The numbers of `score_text`: the float16 0.89990234 becomes 0.9, so that ``score >= 0.9`` is true."""
    return _shortest_of_float16()[scores.astype(np.float16).view(np.uint16)]


@cache
def _shortest_of_float16() -> NDArray[np.float64]:
    """Bits of a float16 -> shortest number, ``(65536,)``; NaN outside 0 to 1, which a probability never reaches."""
    one = int(np.float16(1).view(np.uint16))
    values = np.arange(one + 1, dtype=np.uint16).view(np.float16)
    table = np.full(2**16, np.nan)
    table[: one + 1] = [float(np.format_float_positional(value, trim="0")) for value in values]
    table[np.float16(-0.0).view(np.uint16)] = 0.0
    return table
