"""The first failures of many files, as lines for people."""

from __future__ import annotations

from collections.abc import Sequence

FIRST_FAILURES = 3


def failure_lines(first: Sequence[str], total: int) -> list[str]:
    """The messages of the first failures, one per line, and the number of further ones."""
    more = total - len(first)
    return [f"  {message}" for message in first] + ([f"  and {more} more"] if more else [])
