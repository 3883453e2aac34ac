"""COCO JSON -> AnnotationTable: who is on which image, in numpy. Knows no pixels and no torch."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cocotag.errors import DataError
from cocotag.labels import Vocabulary


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationTable:
    """The image-level labels of one split: ``N`` images, ``C`` classes.

    Numpy throughout, so that loader workers share it instead of copying Python objects.

    Attributes:
        vocabulary: The classes, in index order.
        image_dir: The folder that ``file_names`` are relative to.
        file_names: ``(N,)`` str.
        image_ids: ``(N,)`` int64, COCO's.
        targets: Multi-hot, ``(N, C)`` bool. An image without annotations is a row of zeros: a negative for all.
        known: ``(N, C)`` bool, False where nobody can say: a class whose annotations there are all crowds.
        instances: Objects of the class on the image, crowds left out, ``(N, C)`` uint16.
        sizes: Width and height in pixels as the file says, ``(N, 2)`` int32; 0 where it does not.
        largest: Area of the largest object over the image's area, ``(N,)`` float32; 0 without objects, NaN without sizes.
    """

    vocabulary: Vocabulary
    image_dir: Path
    file_names: NDArray[np.str_]
    image_ids: NDArray[np.int64]
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
        per_image = ("file_names", "image_ids", "targets", "known", "instances", "sizes", "largest")
        return replace(self, **{name: getattr(self, name)[rows] for name in per_image})


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

    Args:
        path: The JSON file.
        image_dir: The folder of its images; the file's own by COCO's layout if not given. It is not looked into.

    Raises:
        DataError: Not readable, not JSON, not COCO's format, or an annotation of an unknown image or category.
    """
    path = Path(path)
    if image_dir is None:
        image_dir = path.parent.parent / path.stem.removeprefix("instances_")
    document = _read_document(path)
    try:
        vocabulary = Vocabulary.from_json(document["categories"])
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if not document["images"]:
        raise DataError(f"{path} lists no images, so there is nothing to do. Check that it is the right file.")
    _check_images(path, document["images"])
    coco = _index(path, document)
    image_ids = np.fromiter((image["id"] for image in document["images"]), np.int64, len(document["images"]))
    row_of = {image_id: row for row, image_id in enumerate(image_ids.tolist())}
    if len(row_of) < len(image_ids):
        twice = next(i for i in image_ids.tolist() if (image_ids == i).sum() > 1)
        raise DataError(f"{path} lists image id {twice} twice. Remove one of the two entries.")
    index_of = vocabulary.index_by_id()
    rows, classes, crowd, area = _annotation_arrays(path, coco.dataset["annotations"], row_of, index_of)

    shape = len(image_ids), len(vocabulary)
    instances = np.zeros(shape, np.int64)
    np.add.at(instances, (rows[~crowd], classes[~crowd]), 1)
    targets = instances > 0
    known = np.ones(shape, bool)
    known[rows[crowd], classes[crowd]] = targets[rows[crowd], classes[crowd]]
    sizes = np.array([(_whole(i.get("width")), _whole(i.get("height"))) for i in document["images"]], np.int32)
    largest = np.zeros(len(image_ids), np.float64)
    np.maximum.at(largest, rows[~crowd], area[~crowd])
    pixels = sizes.prod(axis=1, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.where(pixels > 0, largest / pixels, np.nan)
    return AnnotationTable(
        vocabulary=vocabulary,
        image_dir=Path(image_dir),
        file_names=np.array([image["file_name"] for image in document["images"]], dtype=np.str_),
        image_ids=image_ids,
        targets=targets,
        known=known,
        instances=np.minimum(instances, np.iinfo(np.uint16).max).astype(np.uint16),
        sizes=sizes,
        largest=largest.astype(np.float32),
    )


def _whole(value: object) -> int:
    return value if type(value) is int and 0 < value < 2**31 else 0


def _read_document(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            document = json.load(file)
    except FileNotFoundError:
        raise DataError(f"{path} is missing. Check the path.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable as JSON ({error}). Download or export it again.") from None
    wrong = "is not a JSON object"
    if isinstance(document, dict):
        keys = ("images", "annotations", "categories")
        wrong = ", ".join(f"has no list {key!r}" for key in keys if not isinstance(document.get(key), list))
        if not wrong:
            return document
    raise DataError(f"{path} is not a COCO instances file: it {wrong}. See https://cocodataset.org/#format-data.")


def _check_images(path: Path, images: list[Any]) -> None:
    for place, image in enumerate(images):
        good = isinstance(image, dict) and type(image.get("id")) is int and isinstance(image.get("file_name"), str)
        good = good and abs(image["id"]) < 2**63
        if not good or not image["file_name"]:
            raise DataError(f"{path}: images[{place}] is {image!r:.100}: an integer id and a file_name are needed.")
        name = image["file_name"].replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/"):
            raise DataError(f"{path}: images[{place}] is {image['file_name']!r}, outside the image folder. Use relative names.")


def _index(path: Path, document: dict[str, Any]) -> Any:  # noqa: ANN401 (pycocotools is untyped)
    """Index through pycocotools, the format's reference reader. It prints to stdout, which is for results."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = document
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: an annotation lacks image_id, category_id or id ({error!r}). Export it again.") from None
    return coco


def _annotation_arrays(
    path: Path, annotations: list[dict[str, Any]], row_of: dict[int, int], index_of: dict[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64]]:
    """Row, class index, crowd flag and area of every annotation, each ``(A,)``."""
    rows = np.empty(len(annotations), np.int64)
    classes = np.empty(len(annotations), np.int64)
    for place, annotation in enumerate(annotations):
        try:
            rows[place] = row_of[annotation["image_id"]]
            classes[place] = index_of[annotation["category_id"]]
        except (KeyError, TypeError):
            image, category = annotation.get("image_id"), annotation.get("category_id")
            what = f"image {image!r}" if image not in row_of else f"category {category!r}"
            raise DataError(
                f"{path}: annotations[{place}] (id {annotation.get('id')!r}) names {what}, which the file does not list. "
                "Remove the annotation or add what it names."
            ) from None
    crowd = np.fromiter((bool(annotation.get("iscrowd", 0)) for annotation in annotations), bool, len(annotations))
    area = np.fromiter((_box_area(annotation) for annotation in annotations), np.float64, len(annotations))
    return rows, classes, crowd, area


def _box_area(annotation: dict[str, Any]) -> float:
    box = annotation.get("bbox")
    if isinstance(box, list) and len(box) == 4 and all(isinstance(value, int | float) for value in box):
        with contextlib.suppress(OverflowError):  # an integer of 400 digits is no box
            return max(0.0, float(box[2])) * max(0.0, float(box[3]))
    return 0.0
