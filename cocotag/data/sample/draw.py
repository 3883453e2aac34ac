"""Draw the sample data set: choose the objects of each image, and write COCO's own layout. Does not import torch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cocotag.data.layout import split_paths
from cocotag.data.sample.scenes import SUBJECTS, Scene, draw_scene
from cocotag.errors import ConfigError, OutputError
from cocotag.files import write_fault
from cocotag.labels import COCO80

MAX_OBJECTS = 6
"""Most objects in an image."""
EMPTY, DARK = 0.03, 0.04
"""Shares of images without objects and of images taken at night."""
FIRST_ID = {"train": 1, "val": 10_000_001}
"""First image id of each split: the splits do not share ids, as in COCO."""
PAIRS = (("pizza", "bottle"), ("tv", "book"), ("kite", "frisbee"), ("traffic light", "stop sign"), ("donut", "cup"))
"""Classes that often occur together."""


def draw_sample(
    out_dir: Path | str, *, train: int = 1200, val: int = 300, size: int = 160, seed: int = 0, progress: bool = True
) -> None:
    """Draw a data set in COCO's layout: ``OUT/annotations/instances_{train,val}.json``, ``OUT/train/``, ``OUT/val/``.

    The data set has twenty COCO categories with a long tail, each drawn by code, so that a whole training run can be tried
    without a download. The same arguments give the same bytes. The data set is written atomically.

    Args:
        out_dir: A folder that does not exist, or an empty one.
        train: Number of images in the split ``train``.
        val: Number of images in the split ``val``.
        size: Side of the square images, pixels.
        seed: Seed of all randomness.
        progress: Show a progress bar on stderr if that is a terminal.

    Raises:
        ConfigError: A number is out of range.
        OutputError: The folder is not empty, or cannot be written.
    """
    out = Path(out_dir).resolve()
    _check_numbers(train, val, size, seed)
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(
                f"{out} already exists and is not an empty folder. Choose another place, or remove it first.",
                code="output_exists",
            )
        # Beside OUT, so that one rename moves it into place; inside OUT if that exists, because it may be a mount point.
        parent = out if out.is_dir() else out.parent
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=f".{out.name}.") as scratch:
            temporary = Path(scratch) / out.name
            with tqdm(total=train + val, unit="image", disable=None if progress else True) as bar:
                for number, (split, images) in enumerate((("train", train), ("val", val)), start=1):
                    for _ in _write_split(temporary, split, images, size, (seed, number)):
                        bar.update()
            if parent == out:
                for child in ("train", "val", "annotations"):
                    (temporary / child).rename(out / child)
            else:
                temporary.rename(out)
    except OSError as error:
        what = f"{out} cannot be written ({error.strerror or error})."
        raise OutputError(f"{what} Choose another place or free some space.", code=write_fault(error)) from error


def _check_numbers(train: int, val: int, size: int, seed: int) -> None:
    for name, value, least, most in (("train", train, 1, 9_999_999), ("val", val, 1, 9_999_999), ("size", size, 32, 2048)):
        if not least <= value <= most:
            raise ConfigError(f"{name} is {value}; it must be from {least} to {most}.", code="out_of_range")
    if not 0 <= seed < 2**32:
        raise ConfigError(f"seed is {seed}; it must be from 0 to {2**32 - 1}.", code="out_of_range")


def plan_scenes(images: int, rng: np.random.Generator) -> list[Scene]:
    """The planned contents of each image of a split.

    Each class is on ``rate * images`` images, rounded, at least one: the long tail is by design, not by chance.
    """
    settings = np.array([subject.setting for subject in SUBJECTS])
    kinds, kind_of = np.unique(settings, return_inverse=True)
    share = np.bincount(kind_of, [subject.rate for subject in SUBJECTS])
    setting = rng.choice(kinds, images, p=share / share.sum())
    empty = np.zeros(images, bool)
    empty[rng.permutation(images)[: round(EMPTY * images)]] = True
    dark = np.zeros(images, bool)
    dark[rng.permutation(images)[: round(DARK * images)]] = True
    shown = _assign(setting, empty, rng)
    scenes = []
    for row in range(images):
        there = rng.permutation(np.flatnonzero(shown[row])).tolist()
        if there and len(there) < MAX_OBJECTS and rng.random() < 0.3:
            there.append(there[0])
        scenes.append(Scene(tuple(SUBJECTS[index] for index in there), str(setting[row]), bool(dark[row])))
    return scenes


def _assign(setting: NDArray[np.str_], empty: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which subject is on which image, ``(N, C)``: rare classes are placed first, the most common fills empty images."""
    images = len(setting)
    index_of = {subject.name: index for index, subject in enumerate(SUBJECTS)}
    shown = np.zeros((images, len(SUBJECTS)), bool)
    for index in reversed(range(len(SUBJECTS))):
        subject, objects = SUBJECTS[index], shown.sum(axis=1)
        weight = np.where(setting == subject.setting, 1.0, 0.1) * 0.7**objects
        for pair in PAIRS:
            if subject.name in pair:
                partner = pair[1 - pair.index(subject.name)]
                weight[shown[:, index_of[partner]]] *= 10
        if index == 0:
            weight[objects == 0] = 1e6
        weight[empty | (objects >= MAX_OBJECTS - 1)] = 0
        quota = min(max(1, round(subject.rate * images)), int(np.count_nonzero(weight)))
        if quota:
            shown[rng.choice(images, quota, replace=False, p=weight / weight.sum()), index] = True
    return shown


def _write_split(root: Path, split: str, images: int, size: int, seed: tuple[int, int]) -> Iterator[None]:
    """Write a split, yielding after each image. Every image has its own generator, so it is independent of the others."""
    annotation_file, image_dir = split_paths(root, split)
    image_dir.mkdir(parents=True)
    annotation_file.parent.mkdir(exist_ok=True)
    category_id = {category.name: category.id for category in COCO80}
    image_entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, scene in enumerate(plan_scenes(images, np.random.default_rng(seed))):
        image_id = FIRST_ID[split] + index
        picture, objects = draw_scene(scene, size, np.random.default_rng([*seed, index + 1]))
        name = f"{image_id:012d}.jpg"
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
        (image_dir / name).write_bytes(encoded.tobytes())
        image_entries.append({"id": image_id, "file_name": name, "width": size, "height": size, "license": 1})
        for subject, mask in objects:
            annotations.append(
                {
                    "id": FIRST_ID[split] + len(annotations),
                    "image_id": image_id,
                    "category_id": category_id[subject],
                    "bbox": list(cv2.boundingRect(mask.astype(np.uint8))),
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                }
            )
        yield
    drawn = {subject.name for subject in SUBJECTS}
    document = {
        "info": {"description": f"cocotag sample, drawn by code; split {split}, {images} images of {size} px, seed {seed[0]}"},
        "licenses": [{"id": 1, "name": "CC0 1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}],
        "images": image_entries,
        "annotations": annotations,
        "categories": [category for category in COCO80.to_json() if category["name"] in drawn],
    }
    annotation_file.write_text(json.dumps(document), encoding="utf-8")
