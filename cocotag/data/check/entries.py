"""The doctor's own reader of annotation files, which tolerates faults. Does not read pixels or import torch.

`cocotag.data.annotations` refuses a file at its first fault, so that it is not used for training. This module counts every
fault, keeps the valid entries, and reads boxes and annotation ids too, which the table leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cocotag.data.coco_fields import (
    NO_BOX,
    box,
    id_and_name,
    leaves_folder,
    no_collector,
    only_groups,
    parse_document,
    side,
    unreadable,
)
from cocotag.data.layout import Place, locate_images
from cocotag.errors import DataError
from cocotag.labels import Id, read_id

MAX_EXAMPLES = 20
"""Most examples kept per fault; the count includes all."""


@dataclass(slots=True)
class Tally:
    """The number of occurrences of a fault, and the first examples."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        """Count one more example."""
        self.count += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(example)

    @classmethod
    def of(cls, examples: Iterable[str]) -> Tally:
        """Count all examples."""
        tally = cls()
        for example in examples:
            tally.add(example)
        return tally


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """The valid entries of an annotation file and the faults of the others: ``N`` images, ``A`` annotations, ``C`` classes.

    Attributes:
        names: Names of the classes, in index order.
        file_names: The ``N`` file names, as in the file.
        outside: Whether the name leads out of the image folder, absolute or by ``..``, ``(N,)`` bool.
        sizes: Width and height in pixels from the annotation file, ``(N, 2)`` int32; 0 if it does not have them.
        rows: Row of the image of each annotation that refers to a listed image and class, ``(A,)`` int32.
        classes: Class index of these annotations, ``(A,)`` int32.
        crowd: Whether they are crowds, ``(A,)`` bool.
        boxes: Their left, top, width and height in pixels, ``(A, 4)`` float64; NaN without a box.
        annotation_ids: Their ``A`` ids, as in the file; None without an id.
        annotations: Number of annotations in the file, including invalid ones.
        faults: Code of a finding -> its tally; only faults that occur.
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
        """Targets and known cells, each ``(N, C)`` bool, with the rules of `cocotag.data.annotations.AnnotationTable`."""
        targets = np.zeros((len(self.file_names), len(self.names)), bool)
        targets[self.rows[~self.crowd], self.classes[~self.crowd]] = True
        known = np.ones_like(targets)
        known[self.rows[self.crowd], self.classes[self.crowd]] = False
        return targets, known | targets


def read_entries(path: Path, *, crowd_is_object: bool = False) -> Entries:
    """Read the valid entries of a COCO instances file.

    Args:
        path: The file.
        crowd_is_object: Whether annotations with ``iscrowd`` 1 are objects like any other.

    Raises:
        DataError: The file is not JSON, lacks one of the three lists, or has no valid image or class, so there is nothing to
            check.
    """
    document = _read(path)
    faults: dict[str, Tally] = {}
    groups = only_groups(document["categories"], document["annotations"])
    index_of, names = _categories(document["categories"], groups, faults)
    row_of, file_names, sizes = _images(document["images"], faults)
    if not file_names or not names:
        what = "images" if not file_names else "categories"
        raise DataError(
            f"{path} does not list any valid {what}, so there is nothing to check. Check that it is the right file.",
            code="annotations_empty",
        )
    found = document["annotations"]
    rows, classes = np.empty(len(found), np.int32), np.empty(len(found), np.int32)
    crowd, boxes = np.empty(len(found), bool), np.empty((len(found), 4))
    ids: list[Id | None] = []
    seen: set[Id] = set()
    for position, entry in enumerate(found):
        image, category = (
            (read_id(entry.get("image_id")), read_id(entry.get("category_id"))) if isinstance(entry, dict) else (None, None)
        )
        if image is None or category is None:
            _add(faults, "bad_annotation_entries", f"annotations[{position}]: {entry!r:.60}")
            continue
        own = read_id(entry.get("id"))
        name = f"annotations[{position}]" if own is None else f"id {own}"
        if own is not None:
            if own in seen:
                _add(faults, "duplicate_annotation_ids", name)
            seen.add(own)
        row, index = row_of.get(image, -1), index_of.get(category, -1)
        if row < 0:
            _add_unknown(faults, "annotations_of_unknown_images", f"{name}: image", image, row_of)
        if index < 0:
            _add_unknown(faults, "annotations_of_unknown_categories", f"{name}: category", category, index_of)
        found_box = box(entry.get("bbox"))
        if found_box is None:
            _add(faults, "bad_boxes", f"{name}: {entry['bbox']!r:.60}")
            found_box = NO_BOX
        if row >= 0 and index >= 0:
            number = len(ids)
            rows[number], classes[number], boxes[number] = row, index, found_box
            crowd[number] = bool(entry.get("iscrowd", 0)) and not crowd_is_object
            ids.append(own)
    valid = len(ids)
    return Entries(
        names=names,
        file_names=file_names,
        outside=np.array([leaves_folder(name) for name in file_names], bool),
        sizes=sizes,
        rows=rows[:valid],
        classes=classes[:valid],
        crowd=crowd[:valid],
        boxes=boxes[:valid],
        annotation_ids=ids,
        annotations=len(found),
        faults=faults,
    )


def located(entries: Entries, place: Place) -> tuple[Entries, Path]:
    """The entries with the names of the files that they mean, and the folder that these are relative to."""
    images = locate_images(entries.file_names, place)
    outside = np.zeros(len(images.names), bool)
    outside[images.outside] = True
    return replace(entries, file_names=images.names, outside=outside), images.folder


def _read(path: Path) -> dict[str, list[Any]]:
    with no_collector():
        try:
            content = path.read_bytes()
        except OSError as error:
            raise unreadable(path, error) from None
        return parse_document(content, path)


def _add_unknown(faults: dict[str, Tally], code: str, what: str, number: Id, listed: dict[Id, int]) -> None:
    """Count an id that is not listed, with a hint if it is listed as another type: the text "5" is not the number 5."""
    twin = ""
    if code not in faults or faults[code].count < MAX_EXAMPLES:
        twin = next((f" (the file lists {other!r})" for other in listed if str(other) == str(number)), "")
    _add(faults, code, f"{what} {number!r}{twin}")


def _categories(entries: list[Any], groups: set[Id], faults: dict[str, Tally]) -> tuple[dict[Id, int], list[str]]:
    """Index by id, and the names. Entries with the same name are one class; of two names with one id the first counts."""
    name_of: dict[Id, str] = {}
    names: dict[str, int] = {}
    for position, entry in enumerate(entries):
        parsed = id_and_name(entry, "name")
        if parsed is None:
            _add(faults, "bad_category_entries", f"categories[{position}]: {entry!r:.60}")
            continue
        own, name = parsed
        if own in groups:
            continue
        if name_of.setdefault(own, name) != name:
            _add(faults, "duplicate_category_ids", f"id {own}: {name} and {name_of[own]}")
        elif name in names:
            _add(faults, "duplicate_category_names", f"id {own}: {name}")
        names.setdefault(name, len(names))
    return {own: names[name] for own, name in name_of.items()}, list(names)


def _images(entries: list[Any], faults: dict[str, Tally]) -> tuple[dict[Id, int], list[str], NDArray[np.int32]]:
    """Row by id, file names and sizes; of two images with one id the first gets the annotations."""
    row_of: dict[Id, int] = {}
    names: list[str] = []
    sizes: list[tuple[int, int]] = []
    for position, entry in enumerate(entries):
        parsed = id_and_name(entry, "file_name")
        if parsed is None:
            _add(faults, "bad_image_entries", f"images[{position}]: {entry!r:.60}")
            continue
        own, name = parsed
        if own in row_of:
            _add(faults, "duplicate_image_ids", f"{own}: {name}")
        row_of.setdefault(own, len(names))
        names.append(name)
        sizes.append((side(entry.get("width")), side(entry.get("height"))))
    return row_of, names, np.array(sizes, np.int32).reshape(len(names), 2)


def _add(faults: dict[str, Tally], code: str, example: str) -> None:
    faults.setdefault(code, Tally()).add(example)
