"""Rebuild coco-mini from COCO 2017: the 467 photographs on which most figures in reports/ were measured.

usage: python scripts/data/make_coco_mini.py COCO_ROOT OUT

COCO_ROOT is the folder that download_coco.sh fills, with both splits. OUT gets `train/` (317 images), `val/` (150) and
`annotations/instances_{train,val}.json`: the images listed in coco_mini_ids.json, copied byte for byte, with their boxes. The
images of `train` come from both of COCO's splits, those of `val` only from val2017.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from cocotag.data.layout import split_paths
from cocotag.errors import CocotagError, DataError, OutputError
from cocotag.files import write_fault

IDS = Path(__file__).resolve().parent / "coco_mini_ids.json"
SOURCES = ("train2017", "val2017")
DOWNLOAD = "Run: bash scripts/data/download_coco.sh"


def make_coco_mini(coco_root: Path, out: Path) -> None:
    """Copy the images of coco-mini and write their annotations; an unfinished OUT is never left behind.

    Args:
        coco_root: COCO 2017 in its own layout.
        out: A folder that does not exist, or an empty one.

    Raises:
        DataError: An annotation file, an image id or an image is missing; the message names the first.
        OutputError: OUT is not empty, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(
            f"{out} exists and is not an empty folder. Choose another folder, or remove it.", code="folder_not_empty"
        )
    wanted: dict[str, list[int]] = json.loads(IDS.read_text(encoding="utf-8"))
    images, annotations, categories = _gather(coco_root, {image_id for ids in wanted.values() for image_id in ids})
    near = out if out.is_dir() else out.parent
    try:
        near.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=near, prefix=f".{out.name}.") as scratch:
            unfinished = Path(scratch) / out.name
            for split, ids in wanted.items():
                annotation_file, image_dir = split_paths(unfinished, split)
                image_dir.mkdir(parents=True)
                annotation_file.parent.mkdir(exist_ok=True)
                for image_id in ids:
                    path, _ = images[image_id]
                    shutil.copyfile(path, image_dir / path.name)
                document = _document(split, [images[i][1] for i in ids], [a for i in ids for a in annotations[i]], categories)
                annotation_file.write_text(json.dumps(document), encoding="utf-8")
            if near == out:
                for child in list(unfinished.iterdir()):
                    child.rename(out / child.name)
            else:
                unfinished.rename(out)
    except OSError as error:
        fault = f"{error.filename or out} cannot be read or written ({error.strerror or error})."
        raise OutputError(f"{fault} Check it and the disk. {out} was not changed.", code=write_fault(error)) from error


def _gather(
    root: Path, wanted: set[int]
) -> tuple[dict[int, tuple[Path, dict[str, Any]]], dict[int, list[dict[str, Any]]], list[dict[str, Any]]]:
    """Find the wanted images in COCO's two splits.

    Returns:
        Image id -> its file and entry; image id -> its annotations in COCO's order; the categories.

    Raises:
        DataError: As `make_coco_mini`.
    """
    images: dict[int, tuple[Path, dict[str, Any]]] = {}
    annotations: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in wanted}
    categories: list[dict[str, Any]] = []
    for split in SOURCES:
        annotation_file, image_dir = split_paths(root, split)
        print(f"reading {annotation_file} ...", file=sys.stderr, flush=True)
        try:
            document = json.loads(annotation_file.read_bytes())
            images |= {i["id"]: (image_dir / i["file_name"], i) for i in document["images"] if i["id"] in wanted}
            for annotation in document["annotations"]:
                if annotation["image_id"] in wanted:
                    annotations[annotation["image_id"]].append(annotation)
            categories = document["categories"]
        except OSError as error:
            raise DataError(
                f"{annotation_file} cannot be read ({error.strerror or error}). {DOWNLOAD} {root}", code="not_readable"
            ) from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"{annotation_file} is not COCO's ({error!r:.100}). Remove it. {DOWNLOAD} {root}", code="not_coco_json"
            ) from None
        del document  # half a GB of JSON, so keep only one in memory
    unknown = sorted(wanted - images.keys())
    if unknown:
        count = f"{len(unknown)} of {len(wanted)} image ids"
        raise DataError(
            f"{root} is not the complete COCO 2017: {count} are missing in {' and '.join(SOURCES)} (first: {unknown[0]}). "
            f"{DOWNLOAD} {root}",
            code="images_missing",
        )
    missing = sorted(path for path, _ in images.values() if not path.is_file())
    if missing:
        count = f"{len(missing)} of {len(wanted)} image files"
        raise DataError(
            f"{root} lacks {count} (first: {missing[0].relative_to(root)}). {DOWNLOAD} {root}", code="images_missing"
        )
    return images, annotations, categories


def _document(
    split: str, images: list[dict[str, Any]], annotations: list[dict[str, Any]], categories: list[dict[str, Any]]
) -> dict[str, Any]:
    """The annotation file: COCO's entries without polygons and URLs, annotations numbered from 1, two decimals."""
    return {
        "info": {
            "description": f"COCO 2017 subset ({split})",
            "url": "https://cocodataset.org",
            "version": "1.0",
            "year": 2017,
        },
        "licenses": [],
        "images": [{key: image[key] for key in ("id", "file_name", "width", "height")} for image in images],
        "annotations": [
            {
                "id": number,
                "image_id": annotation["image_id"],
                "category_id": annotation["category_id"],
                "bbox": [round(value, 2) for value in annotation["bbox"]],
                "area": round(annotation["area"], 2),
                "iscrowd": annotation["iscrowd"],
            }
            for number, annotation in enumerate(annotations, start=1)
        ],
        "categories": [{key: category[key] for key in ("id", "name", "supercategory")} for category in categories],
    }


def main() -> None:
    """Make coco-mini; print an error as one line, with exit status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coco_root", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    try:
        make_coco_mini(args.coco_root, args.out)
    except CocotagError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(args.out)


if __name__ == "__main__":
    main()
