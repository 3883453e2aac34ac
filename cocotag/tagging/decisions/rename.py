"""``--rename names.yaml``: what people call the classes: translated, merged, left out, put under others.

A YAML mapping of names, of classes and of groups (supercategories):

    dog: Hund                      # translate
    cup: Tasse
    wine glass: Tasse              # merge: one tag, the highest score
    person: null                   # leave out
    horse: Natur|Tiere|Pferd       # name and hierarchy, the topmost first; "|Pferd" is under nothing
    animal: Tiere                  # a group, for the classes that do not say where they belong
    kitchen: null                  # leave out the classes of a group, but for those that have an entry

What has no entry keeps its name; entries are applied at once, so ``cat: dog`` and ``dog: cat`` swap them. A name that is a
class's and a group's renames both. Names are taken as they are written, ``2024`` and ``2:30`` too; a new name that YAML reads
as a boolean, such as ``no`` or ``on``, must be in quotes, for it might be meant to leave the class out.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from cocotag.errors import ConfigError
from cocotag.inference.tags import Tag
from cocotag.labels import Category, Vocabulary, fold

LEVELS = "|"
"""Between the levels of a hierarchy, as in ``lr:hierarchicalSubject``."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_BOOL, _NULL = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"


@dataclass(frozen=True, slots=True)
class Renamed:
    """A vocabulary under its new names.

    Attributes:
        vocabulary: What tags may be called, ``(K,)``; id of each of its first class.
        columns: Where each old class went, ``(C,)``; -1 where it is left out.
    """

    vocabulary: Vocabulary
    columns: NDArray[np.intp]

    def merge(self, probs: NDArray[np.floating]) -> NDArray[np.floating]:
        """Scores of the old classes, ``(..., C)``, as those of the new, ``(..., K)``: the highest of each."""
        order = np.argsort(self.columns, kind="stable")[np.count_nonzero(self.columns < 0) :]
        starts = np.searchsorted(self.columns[order], np.arange(len(self.vocabulary)))
        merged: NDArray[np.floating] = np.maximum.reduceat(probs[..., order], starts, axis=-1)
        return merged


@dataclass(frozen=True, slots=True)
class Rename:
    """New names.

    Attributes:
        called: By a class's name and supercategory its new ones; None where it is left out.
    """

    called: Mapping[tuple[str, str], tuple[str, str] | None]

    def apply(self, tags: Iterable[Tag]) -> tuple[Tag, ...]:
        """Rename tags, highest score first; of those that come to one name the first stays, with its id."""
        named: dict[str, Tag] = {}
        for tag in tags:
            called = self.called.get((tag.name, tag.supercategory), (tag.name, tag.supercategory))
            if called is not None:
                first = named.setdefault(called[0], replace(tag, name=called[0], supercategory=called[1]))
                named[called[0]] = replace(first, classes=(*first.classes, tag.name))
        return tuple(named.values())

    def of(self, own: Vocabulary) -> Renamed:
        """A vocabulary under its new names."""
        made: dict[str, Category] = {}
        columns = np.full(len(own), -1)
        for index, category in enumerate(own):
            called = self.called.get((category.name, category.supercategory), (category.name, category.supercategory))
            if called is not None:
                made.setdefault(called[0], Category(category.id, *called))
                columns[index] = list(made).index(called[0])
        return Renamed(Vocabulary(tuple(made.values())), columns)


def levels(tag: Tag | Category) -> tuple[str, ...]:
    """The hierarchy of a tag, the topmost first and its name last: its supercategory is above it, if it has another name.

    >>> levels(Tag("dog", 0.9, 18, "animal")), levels(Tag("person", 0.9, 1, "person"))
    (('animal', 'dog'), ('person',))
    """
    names = [name for name in f"{tag.supercategory}{LEVELS}{tag.name}".split(LEVELS) if name]
    same = len(names) > 1 and names[-2].casefold() == names[-1].casefold()
    return (*names[:-2], names[-1]) if same else tuple(names)


def load_rename(path: Path | str, vocabularies: Iterable[Vocabulary]) -> Rename:
    """Read new names.

    Args:
        path: The YAML file.
        vocabularies: Of every bundle whose tags are to be renamed; a name must be of one of them.

    Raises:
        ConfigError: No such file, not a mapping of names, a name that is of no class or group, or names that contradict
            each other.
    """
    vocabularies = list(vocabularies)
    entries = _read(Path(path))
    classes = {name for one in vocabularies for name in one.names}
    groups = {group for one in vocabularies for group in one.supercategories if group}
    _check_known(Path(path), entries, classes, groups)
    called = {
        (category.name, category.supercategory): _called(category, entries, classes) for one in vocabularies for category in one
    }
    groups_of = _one_group_each(Path(path), called.values())
    if not groups_of:
        raise ConfigError(f"--rename {path} leaves out every class, so there would be no tags. Leave out fewer.")
    return Rename({own: new if new is None else (new[0], groups_of[new[0]]) for own, new in called.items()})


_Called = tuple[str, str, bool]
"""New name, new group, and whether the file says so of this very class."""


def _called(category: Category, entries: Mapping[str, str | None], classes: set[str]) -> _Called | None:
    group = entries.get(category.supercategory, category.supercategory)
    if category.name in entries:
        entry = entries[category.name]
        if entry is None:
            return None
        *above, name = entry.split(LEVELS)
        if above:
            return name, LEVELS.join(filter(None, above)), True
    elif group is None and category.supercategory not in classes:
        return None
    else:
        name = category.name
    return name, category.supercategory if group is None else group, False


def _one_group_each(path: Path, called: Iterable[_Called | None]) -> dict[str, str]:
    """New name -> its group: what the file says, else that of the first class that is called so."""
    found: dict[str, tuple[str, bool]] = {}
    for name, group, said in filter(None, called):
        there, said_there = found.setdefault(name, (group, said))
        if said and said_there and group != there:
            places = " and under ".join(repr(one) if one else "nothing" for one in (there, group))
            raise ConfigError(f"--rename {path} has {name!r} under {places}. Choose one, or give one of them another name.")
        if said and not said_there:
            found[name] = group, said
    return {name: group for name, (group, _) in found.items()}


def _read(path: Path) -> dict[str, str | None]:
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        hint = " A name that begins with | must be in quotes." if "block scalar" in str(error) else ""
        raise ConfigError(f"--rename {path} is not readable as YAML ({' '.join(str(error).split())}).{hint}") from None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"--rename {path} must be a mapping, a line such as 'dog: Hund' for each name.")
    entries: dict[str, str | None] = {}
    for key, value in root.value:
        where = f"--rename {path}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{where}: a list or mapping is no name of a class.")
        if key.value in entries:
            raise ConfigError(f"{where}: {key.value!r} has an entry already. Keep one of them.")
        entries[key.value] = _new_name(where, key.value, value)
    return entries


def _new_name(where: str, old: str, value: yaml.Node) -> str | None:
    if not isinstance(value, yaml.ScalarNode):
        raise ConfigError(f"{where}: {old!r} is given a list or mapping; give it a name, or null to leave it out.")
    if value.tag == _BOOL:
        what = f"YAML reads {value.value} as a boolean, not as a name"
        raise ConfigError(f'{where}: {what}. Write {old}: "{value.value}" for the name, or {old}: null to leave it out.')
    if value.tag == _NULL:
        if not value.value:
            raise ConfigError(f"{where}: {old!r} has no new name yet. Write one, or null to leave it out.")
        return None
    names = [name.strip() for name in value.value.split(LEVELS)]
    if not all(names[1:]) or not names[-1] or _CONTROL.search(value.value):
        raise ConfigError(f"{where}: {value.value!r} is no name: it must be one line, with something after each {LEVELS}.")
    return LEVELS.join(names)


def _check_known(path: Path, entries: Iterable[str], classes: set[str], groups: set[str]) -> None:
    unknown = [name for name in entries if name not in classes and name not in groups]
    if unknown:
        there = {fold(name): name for name in sorted(groups | classes)}
        hints = [_hint(name, there) for name in unknown[:5]]
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise ConfigError(f"--rename {path} names what is no class of the model: {', '.join(hints)}{more}. Correct the names.")


def _hint(name: str, there: Mapping[str, str]) -> str:
    near: Sequence[str] = difflib.get_close_matches(fold(name), list(there), 3)
    return f"{name!r} (did you mean {' or '.join(repr(there[one]) for one in near)}?)" if near else repr(name)
