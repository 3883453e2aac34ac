"""``--rename names.yaml``: the user's names of classes, to translate, merge, omit and group them.

A YAML mapping from the names of classes and groups (supercategories) to new names:

    dog: Hund                      # translate
    cup: Tasse
    wine glass: Tasse              # merge: one tag, the highest score
    person: null                   # omit
    horse: Natur|Tiere|Pferd       # hierarchy and name, the top level first; "|Pferd" has no group
    animal: Tiere                  # a group, for its classes without a hierarchy of their own
    kitchen: null                  # omit the classes of a group that have no entry

A name without an entry is kept. All entries apply at once, so ``cat: dog`` and ``dog: cat`` swap them. An entry for a name
shared by a class and a group renames both. Names are taken literally, also ``2024`` and ``2:30``. A new name that YAML reads
as a boolean, such as ``no`` or ``on``, must be in quotes, since it may be meant to omit the class.
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
from cocotag.files import read_config_text
from cocotag.inference.tags import Tag
from cocotag.labels import Category, Vocabulary, fold

LEVELS = "|"
"""Separator of the levels of a hierarchy, as in ``lr:hierarchicalSubject``."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_BOOL, _NULL = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"


@dataclass(frozen=True, slots=True)
class Renamed:
    """A vocabulary with its new names.

    Attributes:
        vocabulary: The new names, ``(K,)``; each has the id of its first class.
        columns: Index of the new name of each old class, ``(C,)``; -1 for omitted classes.
    """

    vocabulary: Vocabulary
    columns: NDArray[np.intp]

    def merge(self, probs: NDArray[np.floating]) -> NDArray[np.floating]:
        """Scores of the new names, ``(..., K)``, from those of the old classes, ``(..., C)``: the highest of each."""
        order = np.argsort(self.columns, kind="stable")[np.count_nonzero(self.columns < 0) :]
        starts = np.searchsorted(self.columns[order], np.arange(len(self.vocabulary)))
        merged: NDArray[np.floating] = np.maximum.reduceat(probs[..., order], starts, axis=-1)
        return merged


@dataclass(frozen=True, slots=True)
class Rename:
    """New names of classes.

    Attributes:
        called: Name and supercategory of a class -> the new ones; None for an omitted class.
    """

    called: Mapping[tuple[str, str], tuple[str, str] | None]

    def apply(self, tags: Iterable[Tag]) -> tuple[Tag, ...]:
        """The renamed tags, highest score first; of tags with the same new name, the first stays, with its id."""
        named: dict[str, Tag] = {}
        for tag in tags:
            called = self.called.get((tag.name, tag.supercategory), (tag.name, tag.supercategory))
            if called is not None:
                first = named.setdefault(called[0], replace(tag, name=called[0], supercategory=called[1]))
                named[called[0]] = replace(first, classes=(*first.classes, tag.name))
        return tuple(named.values())

    def of(self, own: Vocabulary) -> Renamed:
        """A vocabulary with its new names."""
        renamed: dict[str, Category] = {}
        columns = np.full(len(own), -1)
        for index, category in enumerate(own):
            called = self.called.get((category.name, category.supercategory), (category.name, category.supercategory))
            if called is not None:
                renamed.setdefault(called[0], Category(category.id, *called))
                columns[index] = list(renamed).index(called[0])
        return Renamed(Vocabulary(tuple(renamed.values())), columns)


def levels(tag: Tag | Category) -> tuple[str, ...]:
    """The hierarchy of a tag, top level first and its name last; the supercategory is a level if it differs from the name.

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
        vocabularies: The vocabularies of all bundles; each name in the file must be in one of them.

    Raises:
        ConfigError: The file does not exist or is not a mapping of names, a name is not a class or group, or names
            contradict each other.
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
        raise ConfigError(f"--rename {path} omits every class, so there would be no tags. Omit fewer.", code="no_classes_left")
    return Rename({own: new if new is None else (new[0], groups_of[new[0]]) for own, new in called.items()})


_Called = tuple[str, str, bool]
"""New name, new group, and whether the entry of the class itself sets the group."""


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
    """New name -> its group: the one set by the file, else that of the first class with this name."""
    found: dict[str, tuple[str, bool]] = {}
    for name, group, explicit in filter(None, called):
        earlier, earlier_explicit = found.setdefault(name, (group, explicit))
        if explicit and earlier_explicit and group != earlier:
            groups = " and under ".join(repr(one) if one else "no group" for one in (earlier, group))
            raise ConfigError(
                f"--rename {path} has {name!r} under {groups}. Choose one, or give one of them another name.",
                code="conflicting_groups",
            )
        if explicit and not earlier_explicit:
            found[name] = group, explicit
    return {name: group for name, (group, _) in found.items()}


def _read(path: Path) -> dict[str, str | None]:
    text = read_config_text(path, "--rename")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        hint = " A name that begins with | must be in quotes." if "block scalar" in str(error) else ""
        raise ConfigError(
            f"--rename {path} cannot be read as YAML ({' '.join(str(error).split())}).{hint}", code="not_yaml"
        ) from None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(
            f"--rename {path} must be a mapping, with a line such as 'dog: Hund' for each name.", code="not_a_mapping"
        )
    entries: dict[str, str | None] = {}
    for key, value in root.value:
        where = f"--rename {path}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{where}: a list or mapping cannot be the name of a class.", code="name_invalid")
        if key.value in entries:
            raise ConfigError(f"{where}: {key.value!r} has more than one entry. Keep one of them.", code="name_duplicate")
        entries[key.value] = _new_name(where, key.value, value)
    return entries


def _new_name(where: str, old: str, value: yaml.Node) -> str | None:
    if not isinstance(value, yaml.ScalarNode):
        raise ConfigError(
            f"{where}: the new name of {old!r} is a list or mapping. Write a name, or null to omit the class.",
            code="name_invalid",
        )
    if value.tag == _BOOL:
        what = f"YAML reads {value.value} as a boolean, not as a name"
        raise ConfigError(
            f'{where}: {what}. Write {old}: "{value.value}" for the name, or {old}: null to omit the class.',
            code="name_is_boolean",
        )
    if value.tag == _NULL:
        if not value.value:
            raise ConfigError(f"{where}: {old!r} has no new name. Write one, or null to omit the class.", code="name_missing")
        return None
    names = [name.strip() for name in value.value.split(LEVELS)]
    if not all(names[1:]) or not names[-1] or _CONTROL.search(value.value):
        raise ConfigError(
            f"{where}: {value.value!r} is not a valid name. A name is one line, with text after each {LEVELS}.",
            code="name_invalid",
        )
    return LEVELS.join(names)


def _check_known(path: Path, entries: Iterable[str], classes: set[str], groups: set[str]) -> None:
    unknown = [name for name in entries if name not in classes and name not in groups]
    if unknown:
        names = {fold(name): name for name in sorted(groups | classes)}
        hints = [_hint(name, names) for name in unknown[:5]]
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise ConfigError(
            f"--rename {path} has names that are not classes of the model: {', '.join(hints)}{more}. Correct the names.",
            code="unknown_class",
        )


def _hint(name: str, names: Mapping[str, str]) -> str:
    near: Sequence[str] = difflib.get_close_matches(fold(name), list(names), 3)
    return f"{name!r} (did you mean {' or '.join(repr(names[one]) for one in near)}?)" if near else repr(name)
