"""Match the classes of data sets by name and by alias files. Does not depend on images or labels.

A class matches the trained class with exactly its name; else the one with the name that the alias file gives it; else, if the
file has no entry for it, the one whose name differs only in case, spaces, underscores or hyphens. An alias of null means that
it matches none. Several classes may match the same trained class.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import yaml
from numpy.typing import NDArray

from cocotag.config import find_config
from cocotag.errors import ConfigError, DataError
from cocotag.files import read_config_text
from cocotag.labels import COCO80, Category, Vocabulary, fold

Columns = NDArray[np.int64]
"""Index of the trained class of each class of a data set, -1 for none, ``(C,)``."""


@dataclass(frozen=True, slots=True)
class Aliases:
    """The contents of an alias file for a data set.

    Attributes:
        names: Name of a class of the data set -> its name among the trained classes; None for none of them.
        known: Classes that are annotated exhaustively in the data set; None if the file does not list them.
    """

    names: Mapping[str, str | None] = field(default_factory=dict)
    known: Sequence[str] | None = None


def load_aliases(name: str, key: str = "aliases") -> Aliases:
    """Read an alias file: a mapping ``names``, and optionally a list ``known``.

    Args:
        name: Path, or the name of a file that comes with cocotag.
        key: The field that names it, for the message.

    Raises:
        ConfigError: The file does not exist or is not an alias file.
    """
    path = find_config(key, name, "aliases")
    text = read_config_text(path, f"{key}:")
    try:
        document = yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{key}: {path} cannot be read as YAML ({' '.join(str(error).split())}).", code="not_yaml") from None
    names = document.get("names") if isinstance(document, dict) else None
    if not isinstance(names, dict) or set(document) - {"names", "known"}:
        raise ConfigError(
            f"{key}: {path} is not an alias file. It needs a mapping 'names', and may have a list 'known'.",
            code="alias_file_invalid",
        )
    for theirs, ours in names.items():
        if not isinstance(theirs, str) or not isinstance(ours, str | None):
            raise ConfigError(
                f"{key}: {path} has the entry {theirs!r}: {ours!r}, which YAML does not read as text. Quote it.",
                code="alias_file_invalid",
            )
    known = document.get("known")
    if known is not None and not (isinstance(known, list) and all(isinstance(one, str) for one in known)):
        raise ConfigError(f"{key}: known in {path} is {known!r:.100}; it must be a list of names.", code="alias_file_invalid")
    return Aliases(names, known)


def match_classes(
    sources: Sequence[tuple[Vocabulary, Aliases]], classes: str | Sequence[str]
) -> tuple[Vocabulary, list[Columns]]:
    """Choose the trained classes, and match the classes of each data set to them.

    Args:
        sources: The classes of each data set, and its aliases.
        classes: ``own`` (those of the first data set), ``union`` (all), ``coco80``, or names. In a union a class keeps its id
            if it is still free, else it gets a new one above all others; the data set whose ids matter should come first. In a
            list, COCO's names have COCO's ids and the others keep theirs if they are free.

    Raises:
        DataError: A name of the list is not in any data set.
    """
    trained = _Classes()
    if classes == "coco80":
        trained = _Classes(COCO80.categories)
    elif classes not in ("own", "union"):
        trained = _Classes(_listed(sources, classes))
    columns = [
        trained.columns(theirs, aliases, add=classes == "union" or (classes == "own" and not number))
        for number, (theirs, aliases) in enumerate(sources)
    ]
    return Vocabulary(tuple(trained.categories)), columns


def find_classes(learned: Vocabulary, theirs: Vocabulary, aliases: Aliases) -> Columns:
    """Match the classes of another data set to trained classes that were chosen before."""
    return _Classes(learned.categories).columns(theirs, aliases)


class _Classes:
    """The trained classes while they are collected."""

    def __init__(self, categories: Sequence[Category] = ()) -> None:
        self.categories: list[Category] = list(categories)
        self.index = {category.name: index for index, category in enumerate(self.categories)}

    def add(self, category: Category) -> int:
        """Add a class and return its index."""
        taken = {one.id for one in self.categories}
        if category.id in taken:
            category = replace(category, id=1 + max((one for one in taken if isinstance(one, int)), default=0))
        self.categories.append(category)
        self.index[category.name] = len(self.categories) - 1
        return len(self.categories) - 1

    def columns(self, theirs: Vocabulary, aliases: Aliases, *, add: bool = False) -> Columns:
        """Match the classes of a data set; with ``add``, classes without a match are added."""
        times = Counter(map(fold, self.index))
        loosely = {fold(name): index for name, index in self.index.items() if times[fold(name)] == 1}
        loose_aliases = {fold(name): called for name, called in aliases.names.items()}
        columns = np.full(len(theirs), -1)
        for own, category in enumerate(theirs):
            called = aliases.names.get(category.name, loose_aliases.get(fold(category.name), category.name))
            if called is None:
                continue
            for found in (self.index.get(category.name), self.index.get(called), loosely.get(fold(called))):
                if found is not None:
                    columns[own] = found
                    break
            else:
                if add:
                    columns[own] = self.add(replace(category, name=called))
        return columns


def _listed(sources: Sequence[tuple[Vocabulary, Aliases]], names: Sequence[str]) -> list[Category]:
    """The categories of a list of names: COCO's for COCO's names, else those of the first data set that has them."""
    wanted = Vocabulary(tuple(Category(index, name) for index, name in enumerate(names)))
    found: dict[int, Category] = {}
    for theirs, aliases in sources:
        for index, category in zip(find_classes(wanted, theirs, aliases).tolist(), theirs, strict=True):
            found.setdefault(index, category)
    for index, name in enumerate(names):
        if index not in found:
            there = sorted({one for theirs, _ in sources for one in theirs.names})
            near = ", ".join(difflib.get_close_matches(name, there, 1) or there[:3])
            raise DataError(
                f"data.classes names {name!r}, which no source has (there is {near} ...). Check the name.",
                code="unknown_class",
            )
    coco = {category.name: category for category in COCO80}
    listed = _Classes()
    for name in sorted(names, key=lambda name: name not in coco):  # COCO's ids are assigned first
        listed.add(coco.get(name) or replace(found[names.index(name)], name=name))
    return [listed.categories[listed.index[name]] for name in names]
