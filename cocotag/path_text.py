"""A path or a message as text: in a table, in JSON, on a terminal. Knows no rows and no files."""

from __future__ import annotations

import os
import re
from pathlib import Path

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
