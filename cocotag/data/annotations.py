"""COCO JSON -> AnnotationTable: who is on which image, in numpy. Knows no pixels and no torch."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import json
import logging
import math
import re
import reprlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cocotag.data import table_cache
from cocotag.errors import DataError
from cocotag.labels import Id, Vocabulary, read_id

MAX_NAME = 4096
"""Characters of a file name with its folders: no more fit into a path of Linux."""
_LEAVES = re.compile(r"\A(?:[/\\]|[A-Za-z]:)|(?:\A|[/\\])\.\.(?:[/\\]|\Z)")
"""A name that leaves the image folder, on any system: absolute, with a drive, or through the folder above."""
_NO_NAME = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
"""What no file name has; the other halves of surrogate pairs stand for bytes that are no UTF-8, as Python lists them."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationTable:
    """The image-level labels of one split: ``N`` images, ``C`` classes.

    Numpy throughout, so that loader workers share it instead of copying Python objects.

    Attributes:
        vocabulary: The classes, in index order.
        image_dir: The folder that ``file_names`` are relative to.
        file_names: ``(N,)`` str.
        image_ids: ``(N,)`` int64, the file's; str where those are strings.
        targets: Multi-hot, ``(N, C)`` bool. An image without annotations is a row of zeros: a negative for all.
        known: ``(N, C)`` bool, False where nobody can say: a class whose annotations there are all crowds.
        instances: Objects of the class on the image, crowds left out, ``(N, C)`` uint16.
        sizes: Width and height in pixels as the file says, ``(N, 2)`` int32; 0 where it does not.
        largest: Area of the largest object's box over the image's, ``(N,)`` float32, at most 1; 0 without objects, NaN without
            sizes.
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
        """Images on which each class is known to be, ``(C,)``."""
        positives: NDArray[np.int64] = (self.targets & self.known).sum(axis=0)
        return positives

    @property
    def nbytes(self) -> int:
        """Memory that the arrays take, bytes."""
        return sum(getattr(self, name).nbytes for name in PER_IMAGE)

    def path(self, row: int) -> Path:
        """Where the image of a row is."""
        return self.image_dir / str(self.file_names[row])

    def paths(self) -> list[Path]:
        """Where all images are, in row order."""
        return [self.image_dir / name for name in self.file_names.tolist()]

    def names_sha256(self) -> str:
        """Which images these are, whatever their order: SHA-256 of the sorted file names, hexadecimal."""
        return hashlib.sha256("\n".join(sorted(self.file_names.tolist())).encode("utf-8", "surrogatepass")).hexdigest()

    def take(self, rows: NDArray[Any] | Sequence[int]) -> AnnotationTable:
        """The table of some rows, in the order given (indices or a mask)."""
        rows = np.asarray(rows)
        return replace(self, **{name: getattr(self, name)[rows] for name in PER_IMAGE})


PER_IMAGE = ("file_names", "image_ids", "targets", "known", "instances", "sizes", "largest")
"""The arrays of a table, each with a row for an image."""


def split_paths(root: Path, split: str) -> tuple[Path, Path]:
    """Annotation file and image folder of a split in COCO's own layout."""
    return root / "annotations" / f"instances_{split}.json", root / split


def load_split(root: Path | str, split: str) -> AnnotationTable:
    """Read ``ROOT/annotations/instances_SPLIT.json``; the images are in ``ROOT/SPLIT/``.

    Raises:
        DataError: No such file (the message names the splits that are there), or as `load_annotations`.
    """
    root = Path(root)
    annotations, image_dir = split_paths(root, split)
    if not annotations.is_file():
        there = sorted(path.stem.removeprefix("instances_") for path in root.glob("annotations/instances_*.json"))
        have = f"It has: {', '.join(there)}." if there else "It has no annotations/instances_*.json at all."
        raise DataError(f"{annotations} is missing, so {root} has no split {split!r}. {have} Check the root and the split.")
    return load_annotations(annotations, image_dir)


def load_annotations(path: Path | str, image_dir: Path | str | None = None) -> AnnotationTable:
    """Read a COCO instances file.

    Ids may be integers or strings. Categories of one name are one class, as `Vocabulary.merge_json` says, and a line on stderr
    tells so. A box that is none, or not finite, has no area. A large file is read once: `cocotag.data.table_cache`.

    Args:
        path: The JSON file.
        image_dir: The folder of its images; the file's own by COCO's layout if not given. It is not looked into.

    Raises:
        DataError: Not readable, not JSON, not COCO's format, or an annotation of an unknown image or category. The message
            names the place, such as ``annotations[17]``.
    """
    path = Path(path)
    if image_dir is None:
        image_dir = path.parent.parent / path.stem.removeprefix("instances_")
    stored = table_cache.load(path)
    table = _unpack(stored, Path(image_dir)) if stored else None
    if table is None or stored is None:
        with _no_collector():
            document, stamp = _read_document(path)
            try:
                table, notes = _tabulate(document, Path(image_dir))
            except DataError as error:
                raise DataError(f"{path}: {error}") from None
            del document  # while nobody looks for cycles in it
        stored = _pack(table, notes)
        if stamp is not None:
            table_cache.save(path, stamp, stored)
    for note in stored.facts["notes"]:
        logger.warning("cocotag: %s: %s", path, note)
    return table


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Keep Python from looking for cycles: a document is millions of containers without one, and looking doubles the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read_document(path: Path) -> tuple[dict[str, Any], table_cache.Stamp | None]:
    try:
        content, stamp = table_cache.read_stamped(path)
        if stamp is not None and sys.stderr.isatty():
            sys.stderr.write(f"Reading {path.name} ({len(content) / 1e6:.0f} MB); the next start will be quicker.\n")
        document = json.loads(content)
    except FileNotFoundError:
        raise DataError(f"{path} is missing. Check the path.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable as JSON ({error}). Download or export it again.") from None
    wrong = "is not a JSON object"
    if isinstance(document, dict):
        keys = ("images", "annotations", "categories")
        wrong = ", ".join(f"has no list {key!r}" for key in keys if not isinstance(document.get(key), list))
        if not wrong:
            return document, stamp
    raise DataError(f"{path} is not a COCO instances file: it {wrong}. See https://cocodataset.org/#format-data.")


def _tabulate(document: dict[str, list[Any]], image_dir: Path) -> tuple[AnnotationTable, list[str]]:
    """The table, and what the user should know of it."""
    categories, images, annotations = document["categories"], document["images"], document["annotations"]
    vocabulary, index_of = Vocabulary.merge_json(categories)
    names = [entry["name"] for entry in categories]
    notes = []
    if merged := len(names) - len(vocabulary):
        first = next(name for place, name in enumerate(names) if name in names[:place])
        notes.append(f"{merged} categories have the name of an earlier one and are one class with it (first: {first!r}).")
    for what, entries in (("images", images), ("categories", categories)):
        if not entries:
            raise DataError(f"it lists no {what}, so there is nothing to do. Check that it is the right file.")
    row_of = _image_rows(images)
    try:
        rows, classes, crowd, area = _annotation_arrays(document, row_of, index_of)
    except (KeyError, TypeError) as error:
        raise DataError(_first_fault(annotations, row_of, index_of) or f"an annotation cannot be used: {error!r}") from None

    shape = len(images), len(vocabulary)
    cells = rows * len(vocabulary) + classes
    counts = np.bincount(cells[~crowd], minlength=shape[0] * shape[1]).reshape(shape)
    targets = counts > 0
    known = np.ones(shape, bool)
    known[rows[crowd], classes[crowd]] = targets[rows[crowd], classes[crowd]]
    sizes = np.array([(_whole(image.get("width")), _whole(image.get("height"))) for image in images], np.int32)
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


def _whole(value: object) -> int:
    """A side in pixels; 0 for what is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 < value < 2**31 else 0


def _image_rows(images: list[Any]) -> dict[Id, int]:
    """Id -> row, in the order of the rows."""
    row_of: dict[Id, int] = {}
    for place, image in enumerate(images):
        number = read_id(image.get("id")) if isinstance(image, dict) else None
        if number is None or not isinstance(image.get("file_name"), str) or not image["file_name"]:
            raise DataError(f"images[{place}] is {reprlib.repr(image)}: an id (integer or string) and a file_name are needed.")
        if fault := _name_fault(image["file_name"]):
            raise DataError(f"images[{place}] is {reprlib.repr(image['file_name'])}, {fault}. Use relative names.")
        earlier = row_of.setdefault(number, place)
        if earlier != place:
            raise DataError(f"images[{place}] has the id {number!r} of images[{earlier}]. Remove one of the two entries.")
    kinds = [type(number) for number in row_of]
    if len(set(kinds)) > 1:
        place = next(place for place, kind in enumerate(kinds) if kind is not kinds[0])
        raise DataError(f"images[{place}] has an id of another kind than images[0]: use integers or strings for all.")
    return row_of


_FAULT_SIGNS = (b"\0/", b"\\", b":", b"..", b"\xed")
"""One of these is in the UTF-8 of every name that `_name_fault` refuses, with a NUL before it. Looking so costs no time."""


def _name_fault(name: str) -> str | None:
    if _LEAVES.search(name):
        return "outside the image folder"
    if len(name) > MAX_NAME or _NO_NAME.search(name):
        return "which no file can be called"
    return None


def _index(document: dict[str, list[Any]]) -> Any:  # noqa: ANN401 (pycocotools is untyped)
    """Index through pycocotools, the format's reference reader. It prints to stdout, which is for results."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = document
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _annotation_arrays(
    document: dict[str, list[Any]], row_of: dict[Id, int], index_of: dict[Id, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64]]:
    """Row, class index, crowd flag and box area of every annotation, each ``(A,)``, image by image.

    Raises:
        KeyError, TypeError: An annotation is one that `_first_fault` finds.
    """
    of_image = _index(document).imgToAnns
    groups = [of_image.get(number, ()) for number in row_of]
    annotations = list(chain.from_iterable(groups))
    categories = [annotation["category_id"] for annotation in annotations]
    flags = [annotation.get("iscrowd") for annotation in annotations]
    if len(annotations) < len(document["annotations"]):
        raise KeyError("image_id")
    if bool in {*map(type, categories), *(type(annotation["image_id"]) for annotation in annotations)}:
        raise TypeError("true and false are no ids, though they equal 1 and 0")
    if not set(flags) <= _CROWD_FLAGS:
        raise TypeError("iscrowd")
    rows = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    classes = np.fromiter((index_of[number] for number in categories), np.int64, len(categories))
    crowd = np.fromiter((flag == 1 for flag in flags), bool, len(flags))
    area = np.fromiter((_box_area(annotation.get("bbox")) for annotation in annotations), np.float64, len(annotations))
    return rows, classes, crowd, area


_CROWD_FLAGS = {0, 1, None}


def _box_area(box: object) -> float:
    if type(box) is list and len(box) == 4 and type(box[2]) in (int, float) and type(box[3]) in (int, float):
        try:
            width, height = float(box[2]), float(box[3])
        except OverflowError:  # an integer of 400 digits is no box
            return 0.0
        if width > 0 and height > 0 and width * height < math.inf:
            return width * height
    return 0.0


def _first_fault(annotations: list[Any], row_of: dict[Id, int], index_of: dict[Id, int]) -> str | None:
    """What is wrong with the first annotation that cannot be used."""
    for place, annotation in enumerate(annotations):
        where = f"annotations[{place}]"
        if not isinstance(annotation, dict):
            return f"{where} is {reprlib.repr(annotation)}, not an object. Export it again."
        for key, listed in (("image_id", row_of), ("category_id", index_of)):
            value = annotation.get(key)
            if isinstance(value, bool | list | dict) or value not in listed:
                twin = next((f", though it lists {number!r}" for number in listed if str(number) == str(value)), "")
                return (
                    f"{where} (id {reprlib.repr(annotation.get('id'))}) names {key.removesuffix('_id')} {reprlib.repr(value)}, "
                    f"which the file does not list{twin}. Remove the annotation or add what it names."
                )
        if isinstance(annotation.get("id", []), list | dict):
            return f"{where} has no id. Export it again."
        flag = annotation.get("iscrowd")
        if isinstance(flag, list | dict) or flag not in _CROWD_FLAGS:
            return f"{where} has iscrowd {reprlib.repr(flag)}: 0 or 1 is needed."
    return None


def _pack(table: AnnotationTable, notes: list[str]) -> table_cache.Stored:
    """A table as the cache keeps it: of the cells only those that say something, names and string ids as text."""
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
    """The table that was packed; None if it is not one that `_tabulate` makes, whoever wrote it."""
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
        sound = isinstance(stored.facts["notes"], list) and all(names) and not (suspect and any(map(_name_fault, names)))
        sound = sound and table.image_ids.shape == table.largest.shape == shape[:1] and table.sizes.shape == (shape[0], 2)
        sound = sound and table.largest.dtype == np.float32 and table.sizes.dtype == np.int32
    except (KeyError, TypeError, ValueError, IndexError, DataError):
        return None
    return table if sound else None


def _is_rising(places: NDArray[Any]) -> bool:
    """Whether these are indices as `numpy.flatnonzero` gives them."""
    return places.ndim == 1 and places.dtype == np.int64 and bool((np.diff(places, prepend=-1) > 0).all())


def _to_text(strings: list[str]) -> NDArray[np.uint8]:
    return np.frombuffer("\0".join(strings).encode("utf-8", "surrogatepass"), np.uint8)


def _from_text(text: NDArray[Any]) -> list[str]:
    return text.tobytes().decode("utf-8", "surrogatepass").split("\0")
