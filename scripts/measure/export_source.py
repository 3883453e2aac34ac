"""The data set that the exports of other programs start from, and the files that some of them read it from.

Knows no program; runs in each program's environment, without cocotag.
"""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SPLITS = ("train", "val")


class Photo:
    """A photograph of the source: its file, size in pixels, and objects as (class, [x, y, width, height])."""

    def __init__(self, path: Path, image: dict[str, Any], objects: list[tuple[str, list[float]]]) -> None:
        self.path = path
        self.width: int = image["width"]
        self.height: int = image["height"]
        self.objects = objects


class Source:
    """A data set in COCO's own layout, with boxes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.classes: list[str] = []
        self.photos: dict[str, list[Photo]] = {}
        for split in SPLITS:
            document = json.loads(self.annotations(split).read_text(encoding="utf-8"))
            names = {category["id"]: category["name"] for category in document["categories"]}
            self.classes = list(names.values())
            objects: dict[int, list[tuple[str, list[float]]]] = {image["id"]: [] for image in document["images"]}
            for entry in document["annotations"]:
                objects[entry["image_id"]].append((names[entry["category_id"]], entry["bbox"]))
            self.photos[split] = [
                Photo(root / split / image["file_name"], image, objects[image["id"]]) for image in document["images"]
            ]

    def annotations(self, split: str) -> Path:
        """The annotation file of a split."""
        return self.root / "annotations" / f"instances_{split}.json"

    def copy_photos(self, split: str, folder: Path) -> Path:
        """Copy the photographs of a split, as the user does for a program that writes only JSON; return the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for photo in self.photos[split]:
            shutil.copyfile(photo.path, folder / photo.path.name)
        return folder


# What programs read


def write_yolo(source: Source, folder: Path) -> Iterator[tuple[str, Path]]:
    """Write each split as YOLO text files: ``SPLIT/labels``, ``SPLIT/images``, ``SPLIT/data.yaml``; yield split and folder."""
    for split in SPLITS:
        (folder / split / "labels").mkdir(parents=True)
        source.copy_photos(split, folder / split / "images")
        for photo in source.photos[split]:
            lines = [
                f"{source.classes.index(name)} {(x + width / 2) / photo.width:.6f} {(y + height / 2) / photo.height:.6f} "
                f"{width / photo.width:.6f} {height / photo.height:.6f}\n"
                for name, (x, y, width, height) in photo.objects
            ]
            (folder / split / "labels" / f"{photo.path.stem}.txt").write_text("".join(lines))
        names = "".join(f"  {number}: {name}\n" for number, name in enumerate(source.classes))
        yaml = f"path: .\ntrain: images\nval: images\nnc: {len(source.classes)}\nnames:\n{names}"
        for place in (folder / split, folder / split / "labels"):
            (place / "data.yaml").write_text(yaml)
        yield split, folder / split


def write_voc(source: Source, folder: Path) -> Iterator[tuple[str, Path]]:
    """Write each split as Pascal VOC's XML, one file per photograph; yield split and folder."""
    for split in SPLITS:
        (folder / split).mkdir(parents=True)
        for photo in source.photos[split]:
            root = ElementTree.Element("annotation")
            ElementTree.SubElement(root, "filename").text = photo.path.name
            size = ElementTree.SubElement(root, "size")
            for name, pixels in (("width", photo.width), ("height", photo.height), ("depth", 3)):
                ElementTree.SubElement(size, name).text = str(pixels)
            for name, (x, y, width, height) in photo.objects:
                node = ElementTree.SubElement(root, "object")
                ElementTree.SubElement(node, "name").text = name
                box = ElementTree.SubElement(node, "bndbox")
                for corner, value in (("xmin", x), ("ymin", y), ("xmax", x + width), ("ymax", y + height)):
                    ElementTree.SubElement(box, corner).text = str(round(value))
            ElementTree.ElementTree(root).write(folder / split / f"{photo.path.stem}.xml", encoding="utf-8")
        yield split, folder / split
