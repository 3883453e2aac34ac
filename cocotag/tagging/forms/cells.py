"""What a path and a score are as text, the same in every form. Knows no rows and no files."""

from __future__ import annotations

import os
import re
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
"""What a spreadsheet may take for the beginning of a formula, the full-width forms of the first four too.

https://owasp.org/www-community/attacks/CSV_Injection
"""

_CHANGED = re.compile(rf"[\s{re.escape(FORMULA)}]|[\d\s.,:/+eE%-]*$|(?!.*\.[^\W\d]\w*$)(?!\.\.?/)(?!\D*/\D*$)", re.DOTALL)
"""What a spreadsheet would not leave alone: formulas, white space in front, numbers; without an ending ``TRUE``, ``May-1``."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_LOOKS_ESCAPED = re.compile(r"\\ud[89a-f][0-9a-f]{2}")
_TO_ESCAPE = re.compile("(\\\\*)(?:([\ud800-\udfff])|(?=ud[89a-f][0-9a-f]{2}))")
_ESCAPED = re.compile(r"(\\+)(ud[89a-f][0-9a-f]{2})")


def path_text(path: Path) -> str:
    r"""A path as it is written everywhere: UTF-8, and no cell that a spreadsheet would change or run.

    A byte that is not UTF-8 is written ``\udcXX``. A backslash before what only looks so is doubled. A path that begins as
    a formula does, or that could be a number, a date or a word with a meaning (so any without an ending, unless it has a
    slash and no digit), gets ``./`` in front, which names the same file.
    """
    text = str(path)
    if _SURROGATE.search(text) or _LOOKS_ESCAPED.search(text):
        text = _TO_ESCAPE.sub(_escape, text)
    return f"./{text}" if _CHANGED.match(text) and not path.is_absolute() else text


def text_path(text: str) -> Path:
    r"""The path that `path_text` wrote.

    >>> import os
    >>> path = Path(os.fsdecode(b"=caf\xe9.jpg"))
    >>> path_text(path)
    './=caf\\udce9.jpg'
    >>> text_path(path_text(path)) == path
    True
    """
    return Path(_ESCAPED.sub(_unescape, text))


def plain_text(text: str) -> str:
    r"""A message that may name a path, as UTF-8: halves of surrogate pairs become ``\udXXX``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def show(path: Path | str) -> str:
    """A path or a message for people, with whatever a terminal could take for a command escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _escape(match: re.Match[str]) -> str:
    backslashes, surrogate = match.groups()
    return backslashes * 2 + (f"\\u{ord(surrogate):04x}" if surrogate else "")


def _unescape(match: re.Match[str]) -> str:
    pairs, odd = divmod(len(match[1]), 2)
    return "\\" * pairs + (chr(int(match[2][1:], 16)) if odd else match[2])


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
