"""Paths and messages as text: in a table, in JSON, on a terminal."""

from __future__ import annotations

import os
import re
from pathlib import Path

FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
"""Characters that a spreadsheet may take for the start of a formula, including the full-width forms of the first four.

https://owasp.org/www-community/attacks/CSV_Injection
"""


_CHANGED = re.compile(rf"[\s{re.escape(FORMULA)}]|[\d\s.,:/+eE%-]*$|(?!.*\.[^\W\d]\w*$)(?!\.\.?/)(?!\D*/\D*$)", re.DOTALL)
"""Text that a spreadsheet would change: formulas, leading white space, numbers; without an ending ``TRUE``, ``May-1``."""


_SURROGATE = re.compile("[\ud800-\udfff]")


_LOOKS_ESCAPED = re.compile(r"\\ud[89a-f][0-9a-f]{2}")


_TO_ESCAPE = re.compile("(\\\\*)(?:([\ud800-\udfff])|(?=ud[89a-f][0-9a-f]{2}))")


_ESCAPED = re.compile(r"(\\+)(ud[89a-f][0-9a-f]{2})")


def path_text(path: Path) -> str:
    r"""A path as it is written in every output: UTF-8, and never a cell that a spreadsheet would change or run.

    A byte that is not UTF-8 is written as ``\udcXX``. A backslash before text that only looks like this is doubled. A path
    that begins like a formula, or could be read as a number, a date or a keyword, gets ``./`` in front, which names the same
    file. This includes every path without an ending, unless it has a slash and no digit.
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
    """A path or a message for people, in which control sequences of terminals are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _escape(match: re.Match[str]) -> str:
    backslashes, surrogate = match.groups()
    return backslashes * 2 + (f"\\u{ord(surrogate):04x}" if surrogate else "")


def _unescape(match: re.Match[str]) -> str:
    pairs, odd = divmod(len(match[1]), 2)
    return "\\" * pairs + (chr(int(match[2][1:], 16)) if odd else match[2])
