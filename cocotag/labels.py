"""The classes of a data set: category id <-> index <-> name. Does not depend on images or torch."""

from __future__ import annotations

import re
import reprlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cocotag.errors import DataError

Id = int | str
"""An id in a COCO file: an integer, or a string in the files of some tools. Ids keep their type."""

_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
"""Characters that a report cannot contain: NUL, and surrogates, which UTF-8 cannot encode."""


def read_id(value: object) -> Id | None:
    """An id from JSON: a 64-bit integer (``7.0`` is 7) or a string of at most 255 characters; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 2**63 else None
    return value if isinstance(value, str) and len(value) <= 255 and not _NOT_TEXT.search(value) else None


@dataclass(frozen=True, slots=True)
class Category:
    """One class: its id in the annotation file (COCO's ids have gaps), its name and its supercategory."""

    id: Id
    name: str
    supercategory: str = ""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The classes of a data set or a model, in the order of their index (0..C-1)."""

    categories: tuple[Category, ...]

    def __post_init__(self) -> None:
        """Check that ids and names are unique: two classes with the same one could not be distinguished later."""
        for what, values in (("id", self.ids), ("name", self.names)):
            seen: set[Id] = set()
            twice = next((value for value in values if value in seen or seen.add(value)), None)  # type: ignore[func-returns-value]
            if twice is not None:
                raise DataError(
                    f"Two categories have the {what} {twice!r}. Rename or merge one of them.", code="category_duplicate"
                )

    def __len__(self) -> int:
        return len(self.categories)

    def __iter__(self) -> Iterator[Category]:
        return iter(self.categories)

    @property
    def ids(self) -> list[Id]:
        """Category ids by index."""
        return [category.id for category in self.categories]

    @property
    def names(self) -> list[str]:
        """Names by index."""
        return [category.name for category in self.categories]

    @property
    def supercategories(self) -> list[str]:
        """Supercategories by index; empty where there is none."""
        return [category.supercategory for category in self.categories]

    def index_by_name(self) -> dict[str, int]:
        """Class name -> class index."""
        return {category.name: index for index, category in enumerate(self.categories)}

    def to_json(self) -> list[dict[str, Any]]:
        """As COCO's ``categories`` list."""
        return [asdict(category) for category in self.categories]

    @classmethod
    def from_json(cls, categories: Iterable[Mapping[str, Any]]) -> Vocabulary:
        """Read COCO's ``categories`` list, in its order.

        Raises:
            DataError: An entry lacks an id or a name, or two entries have the same id or name.
        """
        return cls(tuple(_category(position, entry) for position, entry in enumerate(categories)))

    @classmethod
    def merge_json(cls, categories: Iterable[Mapping[str, Any]]) -> tuple[Vocabulary, dict[Id, int]]:
        """Read a ``categories`` list in which names may repeat: entries with the same name become one class.

        Tags are names, so two classes with the same name could not be distinguished later. The class takes its id and
        supercategory from its first entry.

        Returns:
            The vocabulary, and a mapping from every listed id to its class index.

        Raises:
            DataError: An entry lacks an id or a name, or one id has two names.
        """
        classes: dict[str, Category] = {}
        name_of: dict[Id, str] = {}
        for position, entry in enumerate(categories):
            category = _category(position, entry)
            name = name_of.setdefault(category.id, category.name)
            if name != category.name:
                raise DataError(
                    f"categories[{position}] has the id {category.id!r} of an earlier category, but the name "
                    f"{category.name!r} instead of {name!r}. Give it an id of its own.",
                    code="category_duplicate",
                )
            classes.setdefault(category.name, category)
        vocabulary = cls(tuple(classes.values()))
        index_of = vocabulary.index_by_name()
        return vocabulary, {number: index_of[name] for number, name in name_of.items()}


def _category(position: int, entry: object) -> Category:
    if isinstance(entry, Mapping):
        number, name, supercategory = read_id(entry.get("id")), entry.get("name"), entry.get("supercategory")
        if number is not None and isinstance(name, str) and name and not _NOT_TEXT.search(name):
            valid = isinstance(supercategory, str) and not _NOT_TEXT.search(supercategory)
            return Category(number, name, str(supercategory) if valid else "")
    raise DataError(
        f"categories[{position}] is {reprlib.repr(entry)}: an id (integer or string) and a name are needed.",
        code="category_invalid",
    )


def _coco80() -> Vocabulary:
    groups = {
        "person": "1 person",
        "vehicle": "2 bicycle, 3 car, 4 motorcycle, 5 airplane, 6 bus, 7 train, 8 truck, 9 boat",
        "outdoor": "10 traffic light, 11 fire hydrant, 13 stop sign, 14 parking meter, 15 bench",
        "animal": "16 bird, 17 cat, 18 dog, 19 horse, 20 sheep, 21 cow, 22 elephant, 23 bear, 24 zebra, 25 giraffe",
        "accessory": "27 backpack, 28 umbrella, 31 handbag, 32 tie, 33 suitcase",
        "sports": "34 frisbee, 35 skis, 36 snowboard, 37 sports ball, 38 kite, 39 baseball bat, 40 baseball glove, "
        "41 skateboard, 42 surfboard, 43 tennis racket",
        "kitchen": "44 bottle, 46 wine glass, 47 cup, 48 fork, 49 knife, 50 spoon, 51 bowl",
        "food": "52 banana, 53 apple, 54 sandwich, 55 orange, 56 broccoli, 57 carrot, 58 hot dog, 59 pizza, 60 donut, 61 cake",
        "furniture": "62 chair, 63 couch, 64 potted plant, 65 bed, 67 dining table, 70 toilet",
        "electronic": "72 tv, 73 laptop, 74 mouse, 75 remote, 76 keyboard, 77 cell phone",
        "appliance": "78 microwave, 79 oven, 80 toaster, 81 sink, 82 refrigerator",
        "indoor": "84 book, 85 clock, 86 vase, 87 scissors, 88 teddy bear, 89 hair drier, 90 toothbrush",
    }
    categories = []
    for supercategory, entries in groups.items():
        for entry in entries.split(", "):
            number, name = entry.split(" ", 1)
            categories.append(Category(int(number), name, supercategory))
    return Vocabulary(tuple(categories))


COCO80 = _coco80()
"""COCO's 80 categories with the ids of the 2014 and 2017 releases, https://cocodataset.org."""


def fold(name: str) -> str:
    """A name without the usual spelling variants: case, spaces, underscores, hyphens, Unicode's forms of the same letter."""
    return "".join(c for c in unicodedata.normalize("NFKC", name).casefold() if not c.isspace() and c not in "_-")
