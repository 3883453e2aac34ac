"""What an annotation file holds, faults and all: the doctor's own look at it. Knows no pixels and no torch.

`cocotag.data.annotations` refuses a file at its first fault, so that nobody trains on it. Here every fault is counted,
what is sound is kept, and boxes and ids are looked at, which the table leaves out.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cocotag.errors import DataError
from cocotag.labels import Id, read_id

MAX_EXAMPLES = 20
"""Examples kept of a fault; its count is of all."""


@dataclass(slots=True)
class Tally:
    """How often something was met, and the first few places."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(example)

    @classmethod
    def of(cls, examples: Iterable[str]) -> Tally:
        """Count them all."""
        tally = cls()
        for example in examples:
            tally.add(example)
        return tally


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """The sound entries of an annotation file and the faults of the others: ``N`` images, ``A`` annotations, ``C`` classes.

    Attributes:
        names: Of the classes, in index order.
        file_names: ``N`` of them, as they stand in the file.
        outside: Names that lead out of the image folder, absolute or by ``..``, ``(N,)`` bool.
        sizes: Width and height in pixels as the file says, ``(N, 2)`` int32; 0 where it does not.
        rows: The image of each annotation that points to one and to a class, ``(A,)`` int32.
        classes: Its class index, ``(A,)`` int32.
        crowd: Whether it is a crowd, ``(A,)`` bool.
        boxes: Its left, top, width and height in pixels, ``(A, 4)`` float64; NaN where it has none.
        annotation_ids: As they stand in the file, ``A`` of them, None where there is none.
        annotations: How many annotations the file has, sound or not.
        faults: Code of a finding -> what was met; only what was met.
    """

    names: list[str]
    file_names: list[str]
    outside: NDArray[np.bool_]
    sizes: NDArray[np.int32]
    rows: NDArray[np.int32]
    classes: NDArray[np.int32]
    crowd: NDArray[np.bool_]
    boxes: NDArray[np.float64]
    annotation_ids: list[Id | None]
    annotations: int
    faults: dict[str, Tally]

    def labels(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Targets and known cells, each ``(N, C)`` bool, by the rules of `cocotag.data.annotations.AnnotationTable`."""
        targets = np.zeros((len(self.file_names), len(self.names)), bool)
        targets[self.rows[~self.crowd], self.classes[~self.crowd]] = True
        known = np.ones_like(targets)
        known[self.rows[self.crowd], self.classes[self.crowd]] = False
        return targets, known | targets


def read_entries(path: Path) -> Entries:
    """Read a COCO instances file as far as it can be read.

    Raises:
        DataError: It is not JSON, has not the three lists, or no usable image or class, so there is nothing to look at.
    """
    document = _read(path)
    faults: dict[str, Tally] = {}
    index_of, names = _categories(document["categories"], faults)
    row_of, file_names, sizes = _images(document["images"], faults)
    if not file_names or not names:
        what = "images" if not file_names else "categories"
        raise DataError(f"{path} lists no usable {what}, so there is nothing to check. Is it the right file?")
    found = document["annotations"]
    rows, classes = np.empty(len(found), np.int32), np.empty(len(found), np.int32)
    crowd, boxes = np.empty(len(found), bool), np.empty((len(found), 4))
    ids: list[Id | None] = []
    seen: set[Id] = set()
    for place, entry in enumerate(found):
        image, category = (
            (read_id(entry.get("image_id")), read_id(entry.get("category_id"))) if isinstance(entry, dict) else (None, None)
        )
        if image is None or category is None:
            _add(faults, "bad_annotation_entries", f"annotations[{place}]: {entry!r:.60}")
            continue
        own = read_id(entry.get("id"))
        name = f"annotations[{place}]" if own is None else f"id {own}"
        if own is not None:
            if own in seen:
                _add(faults, "duplicate_annotation_ids", name)
            seen.add(own)
        row, index = row_of.get(image, -1), index_of.get(category, -1)
        if row < 0:
            _add(faults, "annotations_of_unknown_images", f"{name}: image {image}")
        if index < 0:
            _add(faults, "annotations_of_unknown_categories", f"{name}: category {category}")
        box = _box(entry.get("bbox"))
        if box is None:
            _add(faults, "bad_boxes", f"{name}: {entry['bbox']!r:.60}")
            box = _NO_BOX
        if row >= 0 and index >= 0:
            at = len(ids)
            rows[at], classes[at], crowd[at], boxes[at] = row, index, bool(entry.get("iscrowd", 0)), box
            ids.append(own)
    kept = len(ids)
    return Entries(
        names=names,
        file_names=file_names,
        outside=np.array([_leads_outside(name) for name in file_names], bool),
        sizes=sizes,
        rows=rows[:kept],
        classes=classes[:kept],
        crowd=crowd[:kept],
        boxes=boxes[:kept],
        annotation_ids=ids,
        annotations=len(found),
        faults=faults,
    )


def _read(path: Path) -> dict[str, list[Any]]:
    collects = gc.isenabled()
    gc.disable()  # looking for cycles in millions of objects that have none doubles the time
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} is missing. Check the path.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable as JSON ({error}). Download or export it again.") from None
    finally:
        if collects:
            gc.enable()
    lists = document if isinstance(document, dict) else {}
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(lists.get(key), list)]
    if missing:
        raise DataError(f"{path} is not a COCO instances file: it has no list {missing[0]!r}. Check that it is the right file.")
    return lists


def _categories(entries: list[Any], faults: dict[str, Tally]) -> tuple[dict[Id, int], list[str]]:
    """Index by id, and the names. Entries of one name are one class; of two names with one id the first has it."""
    name_of: dict[Id, str] = {}
    names: dict[str, int] = {}
    for place, entry in enumerate(entries):
        own, name = (read_id(entry.get("id")), entry.get("name")) if isinstance(entry, dict) else (None, None)
        if own is None or not isinstance(name, str) or not name:
            _add(faults, "bad_category_entries", f"categories[{place}]: {entry!r:.60}")
            continue
        if name_of.setdefault(own, name) != name:
            _add(faults, "duplicate_category_ids", f"id {own}: {name} and {name_of[own]}")
        elif name in names:
            _add(faults, "duplicate_category_names", f"id {own}: {name}")
        names.setdefault(name, len(names))
    return {own: names[name] for own, name in name_of.items()}, list(names)


def _images(entries: list[Any], faults: dict[str, Tally]) -> tuple[dict[Id, int], list[str], NDArray[np.int32]]:
    """Row by id, file names and sizes; of two images with one id the first has the annotations."""
    row_of: dict[Id, int] = {}
    names: list[str] = []
    sizes: list[tuple[int, int]] = []
    for place, entry in enumerate(entries):
        own, name = (read_id(entry.get("id")), entry.get("file_name")) if isinstance(entry, dict) else (None, None)
        if own is None or not isinstance(name, str) or not name:
            _add(faults, "bad_image_entries", f"images[{place}]: {entry!r:.60}")
            continue
        if own in row_of:
            _add(faults, "duplicate_image_ids", f"{own}: {name}")
        row_of.setdefault(own, len(names))
        names.append(name)
        sizes.append((_pixels(entry.get("width")), _pixels(entry.get("height"))))
    return row_of, names, np.array(sizes, np.int32).reshape(len(names), 2)


def _pixels(value: object) -> int:
    return int(value) if type(value) in (int, float) and 0 < value < 2**31 and value == int(value) else 0  # type: ignore[operator, call-overload]


_NO_BOX = (math.nan,) * 4


def _box(value: object) -> tuple[float, ...] | None:
    """The four numbers; NaN where there is no box, which image-level labels may leave out; None for what is no box."""
    if value is None or value == []:
        return _NO_BOX
    if not isinstance(value, list) or len(value) != 4 or any(type(number) not in (int, float) for number in value):
        return None
    try:
        box = tuple(float(number) for number in value)
    except OverflowError:  # an integer of 400 digits
        return None
    return box if all(map(math.isfinite, box)) else None


def _leads_outside(name: str) -> bool:
    """True of an absolute name (on any system) and of one with ``..`` in it."""
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or parts[0] == "" or parts[0][1:2] == ":"


def _add(faults: dict[str, Tally], code: str, example: str) -> None:
    faults.setdefault(code, Tally()).add(example)
