"""Globs of files and folders that a walk skips, and which of them have matched nothing. Looks only at names."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping, Sequence


class Exclusions:
    """Globs of files and folders to skip, with the syntax of `cocotag.photos.walk.Walk`. True if there are any."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Sort the globs by whether they match names, folder names or paths."""
        names: dict[str, str] = {}  # glob of a name -> the pattern that it comes from
        folder_names: dict[str, str] = {}
        self._paths: list[tuple[list[str], bool, str]] = []
        self._idle = dict.fromkeys(patterns)
        for pattern in self._idle:
            folders_only = pattern.endswith("/")
            parts = [part for part in pattern.split("/") if part not in ("", ".")]
            if "/" in pattern.rstrip("/"):
                self._paths.append((parts, folders_only, pattern))
            else:
                (folder_names if folders_only else names).update(dict.fromkeys(parts, pattern))
        self._name, self._folder_name = _AnyOf(names), _AnyOf(folder_names)

    @property
    def idle(self) -> list[str]:
        """The globs that have matched nothing yet, or only names that other globs matched first."""
        return list(self._idle)

    def __bool__(self) -> bool:
        return bool(self._name.patterns or self._folder_name.patterns or self._paths)

    def matches_name(self, name: bytes) -> bool:
        """Whether a file with this name is skipped in every folder."""
        return self._found(self._name.match(name))

    def matches(self, name: bytes, path: bytes, is_folder: bool) -> bool:
        """Whether a file or folder is skipped, by its name and its path below the given folder."""
        if self.matches_name(name):
            return True
        if is_folder and self._found(self._folder_name.match(name)):
            return True
        if not self._paths:
            return False
        parts = os.fsdecode(path).split("/")
        globs = (one for one in self._paths if is_folder or not one[1])
        return self._found(next((pattern for glob, _, pattern in globs if _matches(parts, glob)), None))

    def _found(self, pattern: str | None) -> bool:
        if pattern is not None:
            self._idle.pop(pattern, None)
        return pattern is not None


class _AnyOf:
    """Globs of names in one regular expression, each with the pattern that it comes from."""

    def __init__(self, patterns: Mapping[str, str]) -> None:
        self.patterns = list(patterns.values())
        self._expression = re.compile("|".join(f"({fnmatch.translate(glob)})" for glob in patterns))

    def match(self, name: bytes) -> str | None:
        """The pattern of the first glob that matches."""
        match = self._expression.match(os.fsdecode(name)) if self.patterns else None
        return self.patterns[match.lastindex - 1] if match and match.lastindex else None


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path match a glob; ``**`` matches any number of parts."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
