"""COCO JSON -> AnnotationTable: image-level labels of one split, as numpy arrays. Does not read pixels or import torch."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
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
    leaves_folder,
    no_collector,
    parse_document,
    side,
    unreadable,
)
from cocotag.errors import DataError
from cocotag.labels import Id, Vocabulary

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


def split_paths(root: Path, split: str) -> tuple[Path, Path]:
    """Annotation file and image folder of a split in COCO's own layout."""
    return root / "annotations" / f"instances_{split}.json", root / split


def load_split(root: Path | str, split: str) -> AnnotationTable:
    """Read ``ROOT/annotations/instances_SPLIT.json``; the images are in ``ROOT/SPLIT/``.

    Raises:
        DataError: The file does not exist (the message names the existing splits), or as `load_annotations`.
    """
    root = Path(root)
    annotations, image_dir = split_paths(root, split)
    if not annotations.is_file():
        splits = sorted(path.stem.removeprefix("instances_") for path in root.glob("annotations/instances_*.json"))
        have = f"It has: {', '.join(splits)}." if splits else "It does not have any annotations/instances_*.json."
        raise DataError(
            f"{annotations} is missing, so {root} has no split {split!r}. {have} Check the root and the split.",
            code="split_missing",
        )
    return load_annotations(annotations, image_dir)


def load_annotations(path: Path | str, image_dir: Path | str | None = None) -> AnnotationTable:
    """Read a COCO instances file.

    Ids may be integers or strings. Categories with the same name become one class, as in `Vocabulary.merge_json`, and a line on
    stderr reports it. An invalid or infinite box has no area. A large file is parsed only once, see
    `cocotag.data.table_cache`.

    Args:
        path: The JSON file.
        image_dir: The folder of its images; by default the one of COCO's layout. The folder is not read.

    Raises:
        DataError: The file cannot be read, is not JSON or not COCO's format, or has an annotation of an unknown image or
            category. The message names the entry, such as ``annotations[17]``.
    """
    path = Path(path)
    if image_dir is None:
        image_dir = path.parent.parent / path.stem.removeprefix("instances_")
    stored = table_cache.load(path)
    table = _unpack(stored, Path(image_dir)) if stored else None
    if table is None or stored is None:
        with no_collector():
            document, stamp = _read_document(path)
            try:
                table, notes = _tabulate(document, Path(image_dir))
            except DataError as error:
                raise DataError(f"{path}: {error}", code=error.code) from None
            del document  # while the garbage collector is off
        stored = _pack(table, notes)
        if stamp is not None:
            table_cache.save(path, stamp, stored)
    for note in stored.facts["notes"]:
        logger.warning("cocotag: %s: %s", path, note)
    return table


def _read_document(path: Path) -> tuple[dict[str, list[Any]], table_cache.Stamp | None]:
    try:
        content, stamp = table_cache.read_stamped(path)
    except OSError as error:
        raise unreadable(path, error) from None
    if stamp is not None and sys.stderr.isatty():
        sys.stderr.write(f"Reading {path.name} ({len(content) / 1e6:.0f} MB); the next start will be faster.\n")
    return parse_document(content, path), stamp


def _tabulate(document: dict[str, list[Any]], image_dir: Path) -> tuple[AnnotationTable, list[str]]:
    """The table, and notes for the user."""
    categories, images, annotations = document["categories"], document["images"], document["annotations"]
    vocabulary, index_of = Vocabulary.merge_json(categories)
    names = [entry["name"] for entry in categories]
    notes = []
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
    try:
        rows, classes, crowd, area = _annotation_arrays(document, row_of, index_of)
    except (KeyError, TypeError) as error:
        raise DataError(
            _first_fault(annotations, row_of, index_of) or f"an annotation is invalid: {error!r}. Export the file again.",
            code="annotation_invalid",
        ) from None

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
        image_dir=image_dir,
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
        if fault := _name_fault(name):
            code, what = fault
            raise DataError(f"images[{row}] is {reprlib.repr(name)}, {what}. Use relative names.", code=code)
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


_FAULT_SIGNS = (b"\0/", b"\\", b":", b"..", b"\xed")
"""Byte strings, one of which is in the UTF-8 (with a NUL in front) of every name that `_name_fault` refuses: a fast check."""


def _name_fault(name: str) -> tuple[str, str] | None:
    """The code and the description of the fault of a file name."""
    if leaves_folder(name):
        return "file_outside_folder", "outside the image folder"
    if len(name) > MAX_NAME or _NO_NAME.search(name):
        return "file_name_invalid", "which is not a possible file name"
    return None


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


def _pack(table: AnnotationTable, notes: list[str]) -> table_cache.Stored:
    """A table in the form of the cache: only the cells with instances or unknown labels, names and string ids as text."""
    cells = np.flatnonzero(table.instances)
    ids = table.image_ids
    return table_cache.Stored(
        facts={"categories": table.vocabulary.to_json(), "notes": notes},
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


def _unpack(stored: table_cache.Stored, image_dir: Path) -> AnnotationTable | None:
    """The table that was packed; None if `_tabulate` cannot have made it."""
    try:
        arrays = stored.arrays
        vocabulary = Vocabulary.from_json(stored.facts["categories"])
        text, ids = arrays["file_names"], arrays["image_ids"]
        names = _from_text(text)
        suspect = max(map(len, names)) > MAX_NAME or any(sign in b"\0" + text.tobytes() for sign in _FAULT_SIGNS)
        shape = len(names), len(vocabulary)
        instances, known = np.zeros(shape, np.uint16), np.ones(shape, bool)
        if not (_is_rising(arrays["cells"]) and _is_rising(arrays["unknown"])):
            return None
        instances.ravel()[arrays["cells"]] = arrays["instances"]
        known.ravel()[arrays["unknown"]] = False
        table = AnnotationTable(
            vocabulary=vocabulary,
            image_dir=image_dir,
            file_names=np.array(names, dtype=np.str_),
            image_ids=ids if ids.dtype == np.int64 else np.array(_from_text(ids), dtype=np.str_),
            targets=instances > 0,
            known=known,
            instances=instances,
            sizes=arrays["sizes"],
            largest=arrays["largest"],
        )
        valid = isinstance(stored.facts["notes"], list) and all(names) and not (suspect and any(map(_name_fault, names)))
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
