"""The fields of a COCO instances file, parsed in one place for both of its readers.

`cocotag.data.annotations` is strict and refuses a file at its first fault; `cocotag.data.check.entries` counts faults.
The format: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cocotag.errors import DataError
from cocotag.labels import Id, read_id

LISTS = ("images", "annotations", "categories")
"""The lists that every instances file has."""

NO_BOX = (math.nan,) * 4

_CROWD_FLAGS = {0, 1, None}
_LEAVES = re.compile(r"\A(?:[/\\]|[A-Za-z]:)|(?:\A|[/\\])\.\.(?:[/\\]|\Z)")
"""A name that leaves the image folder, on any system: absolute, with a drive, or through the parent folder."""


@contextlib.contextmanager
def no_collector() -> Iterator[None]:
    """Turn the garbage collector off: searching the millions of containers of a document for cycles doubles the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def parse_document(content: bytes, path: Path) -> dict[str, list[Any]]:
    """The document of an instances file.

    Args:
        content: Of the file.
        path: For messages.

    Raises:
        DataError: ``not_json``, or ``not_coco_json``: it lacks one of the `LISTS`.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}). Download or export it again.", code="not_json") from None
    fault = "is not a JSON object"
    if isinstance(document, dict):
        fault = ", ".join(f"has no list {key!r}" for key in LISTS if not isinstance(document.get(key), list))
        if not fault:
            return document
    raise DataError(
        f"{path} is not a COCO instances file: it {fault}. See https://cocodataset.org/#format-data.", code="not_coco_json"
    )


def unreadable(path: Path, error: OSError) -> DataError:
    """The error for an instances file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} is missing. Check the path.", code="file_missing")
    return DataError(
        f"{path} cannot be read ({error.strerror or error}). Check its permissions and the disk.", code="unreadable"
    )


def id_and_name(entry: object, key: str) -> tuple[Id, str] | None:
    """Id and name of an image (``key`` is ``file_name``) or a category (``name``); None if one is missing or invalid."""
    if not isinstance(entry, dict):
        return None
    number, name = read_id(entry.get("id")), entry.get(key)
    return (number, name) if number is not None and isinstance(name, str) and name else None


def leaves_folder(name: str) -> bool:
    """Whether a file name leads out of its folder, on any system."""
    return _LEAVES.search(name) is not None


def side(value: object) -> int:
    """A width or height, pixels; 0 if the value is invalid."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 < value < 2**31 else 0


def is_crowd_flag(value: object) -> bool:
    """Whether ``iscrowd`` has one of its values: 0, 1 or none."""
    return not isinstance(value, list | dict) and value in _CROWD_FLAGS


def box(value: object) -> tuple[float, ...] | None:
    """The left, top, width and height of a box, pixels.

    Returns:
        `NO_BOX` without a box, which image-level labels may omit; None if it is invalid.
    """
    if value is None or value == []:
        return NO_BOX
    if not isinstance(value, list) or len(value) != 4 or any(type(number) not in (int, float) for number in value):
        return None
    try:
        numbers = tuple(float(number) for number in value)
    except OverflowError:  # an integer of 400 digits
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def box_area(value: object) -> float:
    """Width times height of a box, pixels; 0 without one, if a side is invalid or not above 0, or if it is infinite.

    Looks at the two sides only: it runs for every annotation, and COCO has 860,000.
    """
    if type(value) is list and len(value) == 4 and type(value[2]) in (int, float) and type(value[3]) in (int, float):
        try:
            width, height = float(value[2]), float(value[3])
        except OverflowError:
            return 0.0
        if width > 0 and height > 0 and width * height < math.inf:
            return width * height
    return 0.0


def only_groups(categories: list[Any], annotations: list[Any]) -> set[Id]:
    """Ids of categories that only name a group: others have them as supercategory, and no annotation has them.

    Roboflow writes the name of the project so, as category 0. Such a category is no class.
    """
    names = {parsed: entry for entry in categories if (parsed := id_and_name(entry, "name")) is not None}
    groups = {entry.get("supercategory") for (_, name), entry in names.items() if entry.get("supercategory") != name}
    found = {number for number, name in names if name in groups}
    if found:  # in COCO there are none, so that its annotations need not be looked through
        found -= {read_id(entry.get("category_id")) for entry in annotations if isinstance(entry, dict)}
    return found if len(found) < len(names) else set()


def only_crowds(names: Sequence[str], images: Sequence[int]) -> str:
    """What to do about classes whose only annotations are crowds; empty if there are none.

    Args:
        names: Of the classes without positives.
        images: On how many images each is a crowd.
    """
    found = [f"{name}: on {count} image{'s' * (count != 1)}" for name, count in zip(names, images, strict=True) if count]
    if not found:
        return ""
    return (
        f"{', '.join(found[:3])}{', ...' if len(found) > 3 else ''}, always with iscrowd 1. Some programs write masks so: give "
        "--data.crowd_is_object true, or export polygons."
    )
