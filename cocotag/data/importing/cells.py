"""Cells of tables that hold several tags: text with separators, or a list as other programs write it."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

_NUMPY = re.compile(r"""\[(?:\s*(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))*\s*\]""")
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_ARRAY = re.compile(r"array\((.*?)(?:,\s*dtype=[^)]*)?\)", re.DOTALL)


def looks_like_list(cell: str) -> bool:
    """Whether a cell is in the brackets of a list or an object."""
    text = cell.strip()
    return (text[:1], text[-1:]) in (("[", "]"), ("{", "}")) or _ARRAY.fullmatch(text) is not None


def tags_of_list(cell: str) -> list[str]:
    """The tags of a cell that `looks_like_list`.

    JSON, Python's lists, tuples and sets, numpy's arrays as text, and Label Studio's ``{"choices": [...]}``, also in a list.

    >>> tags_of_list('["cup", "cat"]'), tags_of_list("['cup' 'cat']"), tags_of_list('{"choices": ["cup"]}'), tags_of_list("[]")
    (['cup', 'cat'], ['cup', 'cat'], ['cup'], [])

    Raises:
        ValueError: The cell is another kind of list, or not one.
    """
    text = cell.strip()
    if array := _ARRAY.fullmatch(text):
        text = array[1].strip()
    return _tags(_value(text))


def _value(text: str) -> Any:  # noqa: ANN401 (any plain value)
    try:
        return json.loads(text)
    except ValueError:
        pass
    if _NUMPY.fullmatch(text):  # before Python, which would join strings that stand side by side
        return [ast.literal_eval(part) for part in _QUOTED.findall(text)]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"{text[:60]} is not a list of names") from None


def _tags(value: Any) -> list[str]:  # noqa: ANN401 (any plain value)
    if isinstance(value, dict):
        if set(value) != {"choices"}:
            raise ValueError("an object without choices")
        value = value["choices"]
        return [value] if isinstance(value, str) else _tags(value)
    if not isinstance(value, list | tuple | set):
        raise ValueError("not a list")
    if value and all(isinstance(one, dict) for one in value):
        return [tag for one in value for tag in _tags(one)]
    if not all(isinstance(one, str) for one in value):
        raise ValueError("a list of something else than names")
    return sorted(value) if isinstance(value, set) else list(value)
