"""Formats of values for pages and tables, and plain values for JSON. Does not import pandas or torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

UNDEFINED = "\N{EN DASH}"
"""Shown on a page for an undefined value."""


def plain(value: Any) -> Any:  # noqa: ANN401 (numpy, pandas and nested containers of them)
    """Plain values that ``json.dumps(allow_nan=False)`` takes, from numpy, pandas, paths, dataclasses and containers.

    NaN, infinities and pandas' missing values become None; a data frame becomes a list with one dict per row.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, PurePath):
        return str(value)
    # pandas types are recognised by their attributes: some pages are written where pandas must not be imported.
    if hasattr(value, "columns"):
        return plain(value.to_dict("records"))
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    raise TypeError(f"{type(value).__name__} cannot be converted to JSON.")


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a percentage without the percent sign: 0.617 -> '61.7'."""
    return UNDEFINED if _missing(value) else _minus(f"{100 * float(value):.{digits}f}")  # type: ignore[arg-type]


def signed(value: float | None, digits: int = 1) -> str:
    """A difference of fractions as signed percentage points: 0.021 -> '+2.1', and -0.0001 -> '0.0'."""
    text = percent(value, digits)
    if text == UNDEFINED or not text.strip("0.\N{MINUS SIGN}"):
        return text.removeprefix("\N{MINUS SIGN}")
    return text if text.startswith("\N{MINUS SIGN}") else f"+{text}"


def number(value: float | None) -> str:
    """A count with thousands separators, or a measure with three digits: 1234 -> '1,234', 0.036 -> '0.0360'."""
    if _missing(value):
        return UNDEFINED
    value = float(value)  # type: ignore[arg-type]
    if value.is_integer() or abs(value) >= 100:
        return _minus(f"{value:,.0f}")
    if abs(value) >= 1:
        return _minus(f"{value:.{1 if abs(value) >= 10 else 2}f}")
    return _minus(f"{value:#.3g}")


def interval(bounds: tuple[float | None, float | None] | None) -> str:
    """The two ends of an interval as percentages: (0.58, 0.641) -> '58.0 – 64.1'."""
    if bounds is None or any(_missing(bound) for bound in bounds):
        return UNDEFINED
    return f"{percent(bounds[0])} \N{EN DASH} {percent(bounds[1])}"


def shorten(text: str, most: int = 60) -> str:
    """The class name, cut to at most ``most`` characters: names may be of any length, and a page must not be."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _missing(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text
