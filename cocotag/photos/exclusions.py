"""Globs of files and folders that a walk leaves out, and which of them left nothing out. Looks at names alone."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping, Sequence


class Exclusions:
    """Globs of what to leave out, as `cocotag.photos.walk.Walk` says. True if there are any."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Sort the globs by what they are held against."""
        names: dict[str, str] = {}  # what is held against the names -> the pattern
        folder_names: dict[str, str] = {}
        self._ways: list[tuple[list[str], bool, str]] = []
        self._idle = dict.fromkeys(patterns)
        for pattern in self._idle:
            folders_alone = pattern.endswith("/")
            parts = [part for part in pattern.split("/") if part not in ("", ".")]
            if "/" in pattern.rstrip("/"):
                self._ways.append((parts, folders_alone, pattern))
            else:
                (folder_names if folders_alone else names).update(dict.fromkeys(parts, pattern))
        self._name, self._folder_name = _AnyOf(names), _AnyOf(folder_names)

    @property
    def idle(self) -> list[str]:
        """The globs that have matched nothing yet, or nothing before others did."""
        return list(self._idle)

    def __bool__(self) -> bool:
        return bool(self._name.patterns or self._folder_name.patterns or self._ways)

    def matches_name(self, name: bytes) -> bool:
        """Whether a file of this name is left out wherever it lies."""
        return self._found(self._name.match(name))

    def matches(self, name: bytes, way: bytes, is_folder: bool) -> bool:
        """Whether a file or folder is left out, by its name and the way to it from the given folder."""
        if self.matches_name(name):
            return True
        if is_folder and self._found(self._folder_name.match(name)):
            return True
        if not self._ways:
            return False
        parts = os.fsdecode(way).split("/")
        asked = (one for one in self._ways if is_folder or not one[1])
        return self._found(next((pattern for glob, _, pattern in asked if _matches(parts, glob)), None))

    def _found(self, pattern: str | None) -> bool:
        if pattern is not None:
            self._idle.pop(pattern, None)
        return pattern is not None


class _AnyOf:
    """Globs of names in one expression, each with the pattern that it was made of."""

    def __init__(self, patterns: Mapping[str, str]) -> None:
        self.patterns = list(patterns.values())
        self._expression = re.compile("|".join(f"({fnmatch.translate(glob)})" for glob in patterns))

    def match(self, name: bytes) -> str | None:
        """The pattern of the first glob that matches."""
        match = self._expression.match(os.fsdecode(name)) if self.patterns else None
        return self.patterns[match.lastindex - 1] if match and match.lastindex else None


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a way, name by name, matches a glob; ``**`` is any number of names."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[place:], pattern[1:]) for place in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
