"""COCO JSON -> AnnotationTable: image-level labels of one split, as numpy arrays. Does not read pixels or import torch."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import re
import reprlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cocotag.data import table_cache
from cocotag.data.coco_fields import (
    box_area,
    id_and_name,
    is_crowd_flag,
    no_collector,
    only_groups,
    parse_document,
    side,
    unreadable,
)
from cocotag.data.layout import Given, Place, find, locate_images, of_file
from cocotag.errors import DataError
from cocotag.labels import Id, Vocabulary, read_id

MAX_NAME = 4096
"""Most characters of a file name with its folders: the limit of a path on Linux."""
_NO_NAME = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
"""Characters that no file name has; the other surrogates stand for bytes that are not UTF-8, as Python lists them."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationTable:
    """The image-level labels of one split: ``N`` images, ``C`` classes.

    All arrays are numpy, so that loader workers share them instead of copying Python objects.

    Attributes:
        vocabulary: The classes, in index order.
        image_dir: The folder that ``file_names`` are relative to.
        file_names: File names, ``(N,)`` str.
        image_ids: Ids of the annotation file, ``(N,)`` int64, or str if they are strings.
        targets: Multi-hot, ``(N, C)`` bool. An image without annotations is a row of zeros: a negative of every class.
        known: ``(N, C)`` bool, False where the label is unknown: all annotations of the class on the image are crowds.
        instances: Number of objects of the class on the image without crowds, ``(N, C)`` uint16.
        sizes: Width and height in pixels from the annotation file, ``(N, 2)`` int32; 0 if it does not have them.
        largest: Area of the largest object's box divided by the area of the image, ``(N,)`` float32, at most 1; 0 without
            objects, NaN without sizes.
    """

    vocabulary: Vocabulary
    image_dir: Path
    file_names: NDArray[np.str_]
    image_ids: NDArray[np.int64] | NDArray[np.str_]
    targets: NDArray[np.bool_]
    known: NDArray[np.bool_]
    instances: NDArray[np.uint16]
    sizes: NDArray[np.int32]
    largest: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.file_names)

    @property
    def positives(self) -> NDArray[np.int64]:
        """Number of images on which each class is known to be present, ``(C,)``."""
        positives: NDArray[np.int64] = (self.targets & self.known).sum(axis=0)
        return positives

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, bytes."""
        return sum(getattr(self, name).nbytes for name in PER_IMAGE)

    def path(self, row: int) -> Path:
        """The path of the image in a row."""
        return self.image_dir / str(self.file_names[row])

    def paths(self) -> list[Path]:
        """The paths of all images, in row order."""
        return [self.image_dir / name for name in self.file_names.tolist()]

    def names_sha256(self) -> str:
        """A fingerprint of the set of images: SHA-256 of the sorted file names, hexadecimal."""
        return hashlib.sha256("\n".join(sorted(self.file_names.tolist())).encode("utf-8", "surrogatepass")).hexdigest()

    def take(self, rows: NDArray[Any] | Sequence[int]) -> AnnotationTable:
        """The table of some rows, in the given order (indices or a mask)."""
        rows = np.asarray(rows)
        return replace(self, **{name: getattr(self, name)[rows] for name in PER_IMAGE})


PER_IMAGE = ("file_names", "image_ids", "targets", "known", "instances", "sizes", "largest")
"""The arrays of a table that have one row per image."""


def load_split(root: Path | str, split: str, given: Given | None = None) -> AnnotationTable:
    """Read a split of a data set, in COCO's own layout or in that of another program, see `cocotag.data.layout`.

    Args:
        root: The data set.
        split: The split.
        given: What the user says about the data set.

    Raises:
        DataError: There is no such split (the message names the existing ones), or as `load_annotations`.
    """
    place = find(Path(root), split, given)
    if place.note:
        _say_once(place.annotations, f"split {split!r} is read from {place.note}")
    return _load(place, crowd_is_object=given is not None and given.crowd_is_object)


def load_annotations(
    path: Path | str, image_dir: Path | str | None = None, *, crowd_is_object: bool = False
) -> AnnotationTable:
    """Read a COCO instances file.

    Ids may be integers or strings; annotations without one are numbered. Categories with the same name become one class, as in
    `Vocabulary.merge_json`; a category that only names a group of others is no class. A line on stderr reports both, and names
    of files that are found under other names. An invalid or infinite box has no area. A large file is parsed only once, see
    `cocotag.data.table_cache`.

    Args:
        path: The JSON file.
        image_dir: The folder of its images; None to find it.
        crowd_is_object: Whether annotations with ``iscrowd`` 1 are objects like any other.

    Raises:
        DataError: The file cannot be read, is not JSON or not COCO's format, or has an annotation of an unknown image or
            category. The message names the entry, such as ``annotations[17]``.
    """
    place = of_file(Path(path))
    place = replace(place, annotations=Path(path))
    if image_dir is not None:
        place = replace(place, folders=(Path(image_dir),))
    return _load(place, crowd_is_object=crowd_is_object)


def _load(place: Place, *, crowd_is_object: bool) -> AnnotationTable:
    path = place.annotations
    stored = table_cache.load(path)
    table = _unpack(stored, crowd_is_object=crowd_is_object) if stored else None
    images = locate_images(table.file_names.tolist(), place) if table else None
    if table is None or stored is None or images is None or images.outside:  # a cache is not believed in what is refused
        table, stored = _parse(path, crowd_is_object=crowd_is_object)
        images = locate_images(table.file_names.tolist(), place)
    for note in (*stored.facts["notes"], *images.notes):
        _say_once(path, f"{path}: {note}")
    if images.outside:
        row = images.outside[0]
        raise DataError(
            f"{path}: images[{row}] is {reprlib.repr(images.names[row])}, outside the image folder, and {place.root} does not "
            "have exactly one file of that name. Use relative names.",
            code="file_outside_folder",
        )
    return replace(table, image_dir=images.folder, file_names=np.array(images.names, dtype=np.str_))


def _parse(path: Path, *, crowd_is_object: bool) -> tuple[AnnotationTable, table_cache.Stored]:
    """Read the file itself, and write its cache."""
    with no_collector():
        document, stamp = _read_document(path)
        try:
            table, notes = _tabulate(document, crowd_is_object=crowd_is_object)
        except DataError as error:
            raise DataError(f"{path}: {error}", code=error.code) from None
        del document  # while the garbage collector is off
    stored = _pack(table, notes, crowd_is_object=crowd_is_object)
    if stamp is not None:
        table_cache.save(path, stamp, stored)
    return table, stored


_said: set[tuple[str, str]] = set()


def _say_once(file: Path, note: str) -> None:
    """Tell the user something about a file; a run reads a split several times, by relative and absolute path."""
    key = os.path.realpath(file), note.removeprefix(str(file))
    if key not in _said:
        _said.add(key)
        logger.warning("cocotag: %s", note)


def _read_document(path: Path) -> tuple[dict[str, list[Any]], table_cache.Stamp | None]:
    try:
        content, stamp = table_cache.read_stamped(path)
    except OSError as error:
        raise unreadable(path, error) from None
    if stamp is not None and sys.stderr.isatty():
        sys.stderr.write(f"Reading {path.name} ({len(content) / 1e6:.0f} MB); the next start will be faster.\n")
    return parse_document(content, path), stamp


def _tabulate(document: dict[str, list[Any]], *, crowd_is_object: bool) -> tuple[AnnotationTable, list[str]]:
    """The table, with an empty image folder, and notes for the user."""
    categories, images, annotations = document["categories"], document["images"], document["annotations"]
    groups = only_groups(categories, annotations)
    notes = []
    if groups:
        grouping = [entry for entry in categories if isinstance(entry, dict) and read_id(entry.get("id")) in groups]
        categories = [entry for entry in categories if entry not in grouping]
        listed = ", ".join(repr(entry["name"]) for entry in grouping)
        notes.append(f"{listed} only {'names a group' if len(groups) == 1 else 'name groups'} of other categories: no class.")
    vocabulary, index_of = Vocabulary.merge_json(categories)
    names = [entry["name"] for entry in categories]
    if merged := len(names) - len(vocabulary):
        first = next(name for position, name in enumerate(names) if name in names[:position])
        notes.append(f"{merged} categories have the name of an earlier category and are merged with it (first: {first!r}).")
    for what, entries in (("images", images), ("categories", categories)):
        if not entries:
            raise DataError(
                f"the list of {what} is empty, so there is nothing to do. Check that it is the right file.",
                code="annotations_empty",
            )
    row_of = _image_rows(images)
    if not all("id" in entry for entry in annotations if isinstance(entry, dict)):
        for number, entry in enumerate(annotations, 1):
            if isinstance(entry, dict):
                entry["id"] = number  # nothing here depends on it, but the index does
    try:
        rows, classes, crowd, area = _annotation_arrays(document, row_of, index_of)
    except (KeyError, TypeError) as error:
        raise DataError(
            _first_fault(annotations, row_of, index_of) or f"an annotation is invalid: {error!r}. Export the file again.",
            code="annotation_invalid",
        ) from None

    crowd &= not crowd_is_object
    shape = len(images), len(vocabulary)
    cells = rows * len(vocabulary) + classes
    counts = np.bincount(cells[~crowd], minlength=shape[0] * shape[1]).reshape(shape)
    targets = counts > 0
    known = np.ones(shape, bool)
    known[rows[crowd], classes[crowd]] = targets[rows[crowd], classes[crowd]]
    sizes = np.array([(side(image.get("width")), side(image.get("height"))) for image in images], np.int32)
    largest = np.zeros(len(images), np.float64)
    np.maximum.at(largest, rows[~crowd], area[~crowd])
    pixels = sizes.prod(axis=1, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.where(pixels > 0, np.minimum(largest / pixels, 1), np.nan)
    table = AnnotationTable(
        vocabulary=vocabulary,
        image_dir=Path(),
        file_names=np.array([image["file_name"] for image in images], dtype=np.str_),
        image_ids=np.array(list(row_of)),
        targets=targets,
        known=known,
        instances=np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16),
        sizes=sizes,
        largest=largest.astype(np.float32),
    )
    return table, notes


def _image_rows(images: list[Any]) -> dict[Id, int]:
    """Id -> row, in the order of the rows."""
    row_of: dict[Id, int] = {}
    for row, image in enumerate(images):
        entry = id_and_name(image, "file_name")
        if entry is None:
            raise DataError(
                f"images[{row}] is {reprlib.repr(image)}: an id (integer or string) and a file_name are needed.",
                code="image_entry_invalid",
            )
        number, name = entry
        if _is_no_name(name):
            raise DataError(
                f"images[{row}] is {reprlib.repr(name)}, which is not a possible file name. Use relative names.",
                code="file_name_invalid",
            )
        earlier = row_of.setdefault(number, row)
        if earlier != row:
            raise DataError(
                f"images[{row}] has the id {number!r} of images[{earlier}]. Remove one of the two entries.",
                code="image_id_duplicate",
            )
    kinds = [type(number) for number in row_of]
    if len(set(kinds)) > 1:
        row = next(row for row, kind in enumerate(kinds) if kind is not kinds[0])
        raise DataError(
            f"images[{row}] and images[0] have ids of different types. Use only integers or only strings.",
            code="image_ids_mixed",
        )
    return row_of


def _is_no_name(name: str) -> bool:
    return len(name) > MAX_NAME or _NO_NAME.search(name) is not None


def _index(document: dict[str, list[Any]]) -> Any:  # noqa: ANN401 (pycocotools is untyped)
    """Index with pycocotools, the format's reference reader, without its output on stdout, which is for results."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = document
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _annotation_arrays(
    document: dict[str, list[Any]], row_of: dict[Id, int], index_of: dict[Id, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64]]:
    """Row, class index, crowd flag and box area of every annotation, each ``(A,)``, grouped by image.

    Raises:
        KeyError, TypeError: An annotation is invalid; `_first_fault` finds it.
    """
    of_image = _index(document).imgToAnns
    groups = [of_image.get(number, ()) for number in row_of]
    annotations = list(chain.from_iterable(groups))
    categories = [annotation["category_id"] for annotation in annotations]
    flags = [annotation.get("iscrowd") for annotation in annotations]
    if len(annotations) < len(document["annotations"]):
        raise KeyError("image_id")
    if bool in {*map(type, categories), *(type(annotation["image_id"]) for annotation in annotations)}:
        raise TypeError("true and false are not ids, although they equal 1 and 0")
    if not all(map(is_crowd_flag, set(flags))):
        raise TypeError("iscrowd")
    rows = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    classes = np.fromiter((index_of[number] for number in categories), np.int64, len(categories))
    crowd = np.fromiter((flag == 1 for flag in flags), bool, len(flags))
    area = np.fromiter((box_area(annotation.get("bbox")) for annotation in annotations), np.float64, len(annotations))
    return rows, classes, crowd, area


def _first_fault(annotations: list[Any], row_of: dict[Id, int], index_of: dict[Id, int]) -> str | None:
    """The fault of the first invalid annotation, as a message."""
    for position, annotation in enumerate(annotations):
        where = f"annotations[{position}]"
        if not isinstance(annotation, dict):
            return f"{where} is {reprlib.repr(annotation)}, not an object. Export the file again."
        for key, listed in (("image_id", row_of), ("category_id", index_of)):
            value = annotation.get(key)
            if isinstance(value, bool | list | dict) or value not in listed:
                twin = next((f" (but it lists {number!r})" for number in listed if str(number) == str(value)), "")
                return (
                    f"{where} (id {reprlib.repr(annotation.get('id'))}) names {key.removesuffix('_id')} {reprlib.repr(value)}, "
                    f"which the file does not list{twin}. Remove the annotation, or add the missing entry."
                )
        if isinstance(annotation.get("id", []), list | dict):
            return f"{where} has no valid id. Export the file again."
        flag = annotation.get("iscrowd")
        if not is_crowd_flag(flag):
            return f"{where} has iscrowd {reprlib.repr(flag)}; it must be 0 or 1."
    return None


def _pack(table: AnnotationTable, notes: list[str], *, crowd_is_object: bool) -> table_cache.Stored:
    """A table in the form of the cache: only the cells with instances or unknown labels, names and string ids as text."""
    cells = np.flatnonzero(table.instances)
    ids = table.image_ids
    return table_cache.Stored(
        facts={"categories": table.vocabulary.to_json(), "notes": notes, "crowd_is_object": crowd_is_object},
        arrays={
            "file_names": _to_text(table.file_names.tolist()),
            "image_ids": ids if ids.dtype.kind == "i" else _to_text(ids.tolist()),
            "cells": cells,
            "instances": table.instances.ravel()[cells],
            "unknown": np.flatnonzero(~table.known),
            "sizes": table.sizes,
            "largest": table.largest,
        },
    )


def _unpack(stored: table_cache.Stored, *, crowd_is_object: bool) -> AnnotationTable | None:
    """The table that was packed, with an empty image folder; None if `_tabulate` cannot have made it, or made it otherwise."""
    try:
        if stored.facts["crowd_is_object"] is not crowd_is_object:
            return None
        arrays = stored.arrays
        vocabulary = Vocabulary.from_json(stored.facts["categories"])
        text, ids = arrays["file_names"], arrays["image_ids"]
        names = _from_text(text)
        suspect = max(map(len, names)) > MAX_NAME or b"\xed" in text.tobytes()  # surrogates in UTF-8
        shape = len(names), len(vocabulary)
        instances, known = np.zeros(shape, np.uint16), np.ones(shape, bool)
        if not (_is_rising(arrays["cells"]) and _is_rising(arrays["unknown"])):
            return None
        instances.ravel()[arrays["cells"]] = arrays["instances"]
        known.ravel()[arrays["unknown"]] = False
        table = AnnotationTable(
            vocabulary=vocabulary,
            image_dir=Path(),
            file_names=np.array(names, dtype=np.str_),
            image_ids=ids if ids.dtype == np.int64 else np.array(_from_text(ids), dtype=np.str_),
            targets=instances > 0,
            known=known,
            instances=instances,
            sizes=arrays["sizes"],
            largest=arrays["largest"],
        )
        valid = isinstance(stored.facts["notes"], list) and all(names) and not (suspect and any(map(_is_no_name, names)))
        valid = valid and table.image_ids.shape == table.largest.shape == shape[:1] and table.sizes.shape == (shape[0], 2)
        valid = valid and table.largest.dtype == np.float32 and table.sizes.dtype == np.int32
    except (KeyError, TypeError, ValueError, IndexError, DataError):
        return None
    return table if valid else None


def _is_rising(indices: NDArray[Any]) -> bool:
    """Whether these are indices as `numpy.flatnonzero` returns them."""
    return indices.ndim == 1 and indices.dtype == np.int64 and bool((np.diff(indices, prepend=-1) > 0).all())


def _to_text(strings: list[str]) -> NDArray[np.uint8]:
    return np.frombuffer("\0".join(strings).encode("utf-8", "surrogatepass"), np.uint8)


def _from_text(text: NDArray[Any]) -> list[str]:
    return text.tobytes().decode("utf-8", "surrogatepass").split("\0")
