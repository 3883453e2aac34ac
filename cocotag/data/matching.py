"""Which class of one data set is which of another: by name, and by alias files. Knows no images and no labels.

A class is the learned class of exactly its name; else of the name that the alias file gives it; else, where the file has no
entry for it, of a name that differs in case, spaces, underscores or hyphens only. An alias of null says that it is none of
them. Several classes may be one learned class.
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
from cocotag.labels import COCO80, Category, Vocabulary, fold

Columns = NDArray[np.int64]
"""The learned class of each class of a data set, -1 where it is none, ``(C,)``."""


@dataclass(frozen=True, slots=True)
class Aliases:
    """What an alias file says of a data set.

    Attributes:
        names: Name of a class there -> what it is called among the learned classes; None if it is none of them.
        known: Classes there that somebody looked for on every image; None if the file does not say.
    """

    names: Mapping[str, str | None] = field(default_factory=dict)
    known: Sequence[str] | None = None


def load_aliases(name: str, key: str = "aliases") -> Aliases:
    """Read an alias file: a mapping ``names``, and perhaps a list ``known``.

    Args:
        name: Path, or the name of one that comes with cocotag.
        key: What named it, for the message.

    Raises:
        ConfigError: There is no such file, or it is something else.
    """
    path = find_config(key, name, "aliases")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{key}: {path} is not readable as YAML ({' '.join(str(error).split())}).") from None
    names = document.get("names") if isinstance(document, dict) else None
    if not isinstance(names, dict) or set(document) - {"names", "known"}:
        raise ConfigError(f"{key}: {path} is no alias file: a mapping 'names' (and perhaps a list 'known') is needed.")
    for theirs, ours in names.items():
        if not isinstance(theirs, str) or not isinstance(ours, str | None):
            raise ConfigError(f"{key}: {path} has the entry {theirs!r}: {ours!r}, which YAML does not read as text. Quote it.")
    known = document.get("known")
    if known is not None and not (isinstance(known, list) and all(isinstance(one, str) for one in known)):
        raise ConfigError(f"{key}: known in {path} is {known!r:.100}, it must be a list of names.")
    return Aliases(names, known)


def match_classes(
    sources: Sequence[tuple[Vocabulary, Aliases]], classes: str | Sequence[str]
) -> tuple[Vocabulary, list[Columns]]:
    """Choose the learned classes, and find them in each data set.

    Args:
        sources: The classes of each data set, and what they are called here.
        classes: ``own`` (the first one's), ``union`` (all), ``coco80``, or names. In a union a class keeps its id where no
            earlier one has it, else it gets a new one above all; so the data set whose ids matter comes first. In a list,
            COCO's names have COCO's ids and the others keep theirs where that is free.

    Raises:
        DataError: A name of the list is in no data set.
    """
    learned = _Classes()
    if classes == "coco80":
        learned = _Classes(COCO80.categories)
    elif classes not in ("own", "union"):
        learned = _Classes(_listed(sources, classes))
    columns = [
        learned.columns(theirs, aliases, add=classes == "union" or (classes == "own" and not number))
        for number, (theirs, aliases) in enumerate(sources)
    ]
    return Vocabulary(tuple(learned.categories)), columns


def find_classes(learned: Vocabulary, theirs: Vocabulary, aliases: Aliases) -> Columns:
    """Find classes that were chosen before in another data set."""
    return _Classes(learned.categories).columns(theirs, aliases)


class _Classes:
    """The learned classes, as they come together."""

    def __init__(self, categories: Sequence[Category] = ()) -> None:
        self.categories: list[Category] = list(categories)
        self.index = {category.name: index for index, category in enumerate(self.categories)}

    def add(self, category: Category) -> int:
        """One more class; its index."""
        taken = {one.id for one in self.categories}
        if category.id in taken:
            category = replace(category, id=1 + max((one for one in taken if isinstance(one, int)), default=0))
        self.categories.append(category)
        self.index[category.name] = len(self.categories) - 1
        return len(self.categories) - 1

    def columns(self, theirs: Vocabulary, aliases: Aliases, *, add: bool = False) -> Columns:
        """Find the classes of a data set; with ``add`` those that are none become one."""
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
            raise DataError(f"data.classes names {name!r}, which is in no source (there is {near} ...). Check the name.")
    coco = {category.name: category for category in COCO80}
    made = _Classes()
    for name in sorted(names, key=lambda name: name not in coco):  # COCO's ids are given out first
        made.add(coco.get(name) or replace(found[names.index(name)], name=name))
    return [made.categories[made.index[name]] for name in names]
