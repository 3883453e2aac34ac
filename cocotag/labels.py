"""What the classes are called: category id <-> index <-> name. Knows no images and no torch."""

from __future__ import annotations

import re
import reprlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cocotag.errors import DataError

Id = int | str
"""What COCO files number things by: integers, and strings in the files of some tools. They are kept as they are."""

_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
"""What no report can be written with: NUL, and halves of surrogate pairs, which are in no UTF-8."""


def read_id(value: object) -> Id | None:
    """An id from JSON: an integer of 64 bits (``7.0`` is 7) or a string of up to 255 characters; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 2**63 else None
    return value if isinstance(value, str) and len(value) <= 255 and not _NOT_TEXT.search(value) else None


@dataclass(frozen=True, slots=True)
class Category:
    """One class: the id that its file gives it (COCO's have gaps), its name and the group it belongs to."""

    id: Id
    name: str
    supercategory: str = ""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The classes of a data set or a model, in the order of their index (0..C-1)."""

    categories: tuple[Category, ...]

    def __post_init__(self) -> None:
        """Refuse two classes with one id or one name: neither could be told apart afterwards."""
        for what, values in (("id", self.ids), ("name", self.names)):
            seen: set[Id] = set()
            twice = next((value for value in values if value in seen or seen.add(value)), None)  # type: ignore[func-returns-value]
            if twice is not None:
                raise DataError(f"Two categories have the {what} {twice!r}. Rename or merge one of them.")

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

    def index_by_id(self) -> dict[Id, int]:
        """Category id -> class index."""
        return {category.id: index for index, category in enumerate(self.categories)}

    def index_by_name(self) -> dict[str, int]:
        """Class name -> class index."""
        return {category.name: index for index, category in enumerate(self.categories)}

    def to_json(self) -> list[dict[str, Any]]:
        """COCO's own ``categories`` list."""
        return [asdict(category) for category in self.categories]

    @classmethod
    def from_json(cls, categories: Iterable[Mapping[str, Any]]) -> Vocabulary:
        """From COCO's ``categories`` list, in its order.

        Raises:
            DataError: An entry without an id or a name, or two of one id or name.
        """
        return cls(tuple(_category(place, entry) for place, entry in enumerate(categories)))

    @classmethod
    def merge_json(cls, categories: Iterable[Mapping[str, Any]]) -> tuple[Vocabulary, dict[Id, int]]:
        """From a ``categories`` list in which names may repeat: entries of one name are one class.

        A tagger knows a class by its name, so two of one name could not be told apart afterwards. Id and supercategory of
        the class are its first entry's.

        Returns:
            The vocabulary, and every listed id -> class index.

        Raises:
            DataError: An entry without an id or a name, or one id with two names.
        """
        classes: dict[str, Category] = {}
        name_of: dict[Id, str] = {}
        for place, entry in enumerate(categories):
            category = _category(place, entry)
            name = name_of.setdefault(category.id, category.name)
            if name != category.name:
                raise DataError(
                    f"categories[{place}] has the id {category.id!r} of an earlier one and another name, {category.name!r} "
                    f"for {name!r}. Give it an id of its own."
                )
            classes.setdefault(category.name, category)
        vocabulary = cls(tuple(classes.values()))
        index_of = vocabulary.index_by_name()
        return vocabulary, {number: index_of[name] for number, name in name_of.items()}


def _category(place: int, entry: object) -> Category:
    if isinstance(entry, Mapping):
        number, name, supercategory = read_id(entry.get("id")), entry.get("name"), entry.get("supercategory")
        if number is not None and isinstance(name, str) and name and not _NOT_TEXT.search(name):
            told = isinstance(supercategory, str) and not _NOT_TEXT.search(supercategory)
            return Category(number, name, str(supercategory) if told else "")
    raise DataError(f"categories[{place}] is {reprlib.repr(entry)}: an id (integer or string) and a name are needed.")


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
    made = []
    for supercategory, entries in groups.items():
        for entry in entries.split(", "):
            number, name = entry.split(" ", 1)
            made.append(Category(int(number), name, supercategory))
    return Vocabulary(tuple(made))


COCO80 = _coco80()
"""COCO's 80 categories as the 2014 and 2017 releases number them, https://cocodataset.org."""


def fold(name: str) -> str:
    """A name without what people write differently: case, spaces, underscores, hyphens, Unicode's forms of one letter."""
    return "".join(c for c in unicodedata.normalize("NFKC", name).casefold() if not c.isspace() and c not in "_-")
