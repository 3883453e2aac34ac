"""Labelled images -> a data set in COCO's own layout: duplicates merged, classes named, splits assigned.

The data set is written atomically, and the images stay where they are: the data set has hard links to them, or copies. Does not
read pixels or import torch.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cocotag.data.importing.labelled import Found, Labelled, first_names
from cocotag.data.layout import split_paths
from cocotag.data.split import stratified_holdout
from cocotag.errors import ConfigError, DataError, OutputError
from cocotag.files import write_fault
from cocotag.labels import COCO80, Category, Vocabulary

FIRST_OWN_ID = 1001
"""First category id of classes that are not COCO's; its things and stuff go up to 200."""
TAIL_BYTES = 4096
"""Bytes at the end of two files of equal length that are compared first, because ends differ more often than headers."""


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """The result of an import.

    Attributes:
        out: The data set.
        splits: Number of images per split.
        classes: Number of images per class, in index order.
        untagged: Number of images without a tag, which are negatives of every class.
        held_out: Whether the split ``val`` was created by the import.
        linked: Number of images that are hard links to the originals; the others are copies.
        notes: Sentences about how the source was interpreted.
        left_out: Entries that could not be used, by reason with the first names; may be empty.
    """

    out: Path
    splits: dict[str, int]
    classes: dict[str, int]
    untagged: int
    held_out: bool
    linked: int
    notes: tuple[str, ...]
    left_out: str

    @property
    def ok(self) -> bool:
        """Whether nothing was left out."""
        return not self.left_out

    def to_text(self) -> str:
        """A few lines for people."""
        images = sum(self.splits.values())
        splits = ", ".join(f"{count} in {split}" for split, count in self.splits.items())
        ranked = sorted(self.classes.items(), key=lambda item: -item[1])
        counts = ", ".join(f"{name} {count}" for name, count in ranked[:5])
        if len(ranked) > 5:
            counts += f", ..., {ranked[-1][0]} {ranked[-1][1]}"
        coco = len(self.classes.keys() & set(COCO80.names))
        lines = [
            f"{images} images: {splits}{' (held out, stratified by class)' if self.held_out else ''}.",
            f"{len(ranked)} classes, {coco} of them COCO's: {counts}.",
        ]
        if self.untagged:
            lines.append(f"Images without a tag, kept as negatives of every class: {self.untagged}.")
        if self.linked:
            lines.append(f"Hard links, which take no space; editing an original in place changes both: {self.linked}.")
        if images > self.linked:
            lines.append(f"Copies: {images - self.linked}.")
        if "val" not in self.splits:
            other = next((split for split in self.splits if split != "train"), "null")
            lines.append(f"There is no split val. Train with --data.val_split {other}.")
        lines += self.notes
        if self.left_out:
            lines.append(f"Left out: {self.left_out}.")
        return "\n".join(lines)


def refuse_place(out: Path | str, source: Path | str | None = None) -> None:
    """Check that the folder of a new data set does not exist and lies outside the folder of the source images.

    Raises:
        OutputError: It exists, or lies in the source folder.
    """
    out = Path(out)
    if out.exists() or out.is_symlink():
        raise OutputError(f"{out} already exists. Choose another place, or remove it first.", code="output_exists")
    if source is not None and Path(source).resolve() in out.resolve().parents:
        raise OutputError(
            f"{out} is inside {source}, so the next import would read its images too. Choose a place outside.",
            code="output_inside_source",
        )


def import_labels(
    found: Found,
    out: Path | str,
    *,
    val: float | None = None,
    seed: int = 0,
    min_images: int = 1,
    copy: bool = False,
    progress: bool = True,
) -> ImportSummary:
    """Write ``OUT/annotations/instances_SPLIT.json`` and ``OUT/SPLIT/`` for labelled images.

    A tag on an image becomes one box that covers the whole image, which is how COCO's format stores image labels. A class with
    the name of one of COCO's 80 gets its id and supercategory. Spellings that differ in case become one class. Files with the
    same bytes become one image with the tags of all, so that no copy is in both splits (unless the source itself put it there:
    see ``cocotag check``). The same images give the same bytes.

    Args:
        found: The images, from a reader of `cocotag.data.importing.labelled`.
        out: A folder that does not exist.
        val: Share of the images that is held out as the split ``val``, in [0, 1); by default a fifth, unless the source has
            splits.
        seed: Seed that selects the held-out images.
        min_images: Least number of images of a class; rarer tags are dropped.
        copy: Copy even if a hard link is possible.
        progress: Show a progress bar on stderr if that is a terminal.

    Raises:
        ConfigError: ``val`` or ``seed`` is out of range, or the source has splits and ``val`` is given.
        DataError: There are too few images for two splits, no class is left, or there is no split ``train``.
        OutputError: ``out`` already exists or cannot be written.
    """
    out = Path(out)
    refuse_place(out)
    if seed < 0:
        raise ConfigError(f"--seed is {seed}; it must be at least 0.", code="out_of_range")
    images, notes = _join_copies(found.images, progress)
    images, vocabulary, renamed = _classes(images, min_images)
    index_of = vocabulary.index_by_name()
    targets = np.zeros((len(images), len(vocabulary)), bool)
    for row, image in enumerate(images):
        targets[row, [index_of[tag] for tag in image.tags]] = True
    held_out = not any(image.split for image in images)
    splits = _hold_out(images, targets, val, seed) if held_out else _given_splits(images, val)
    linked = _write(out, splits, vocabulary, copy=copy, progress=progress)
    return ImportSummary(
        out=out,
        splits={split: len(members) for split, members in splits.items()},
        classes=dict(zip(vocabulary.names, targets.sum(axis=0).tolist(), strict=True)),
        untagged=int((~targets.any(axis=1)).sum()),
        held_out=held_out and "val" in splits,
        linked=linked,
        notes=(*found.notes, *notes, *renamed),
        left_out=found.to_text(),
    )


def _join_copies(images: Sequence[Labelled], progress: bool) -> tuple[list[Labelled], list[str]]:
    """Merge files with the same bytes within a split into one image with the tags of all, at the position of the first."""
    groups: list[list[int]] = [list(range(len(images)))]
    keys: tuple[Callable[[Labelled], Hashable], ...] = (lambda image: (image.split, _length(image)), _tail, _sha256)
    for key in keys:  # each is more expensive and only compares files that are equal in the keys before
        total = sum(map(len, groups))
        with tqdm(total=total, unit="image", desc="compare", delay=1, disable=None if progress else True) as bar:
            groups = [same for group in groups for same in _alike(images, group, key, bar)]
    if not groups:
        return list(images), []
    tags_of = {group[0]: tuple(dict.fromkeys(tag for row in group for tag in images[row].tags)) for group in groups}
    again = {row for group in groups for row in group[1:]}
    kept = [replace(image, tags=tags_of.get(row, image.tags)) for row, image in enumerate(images) if row not in again]
    example = first_names([str(images[row].path) for row in groups[0]])
    return kept, [f"Duplicate files: {len(again)} ({example}); one image is kept, with the tags of all."]


def _alike(
    images: Sequence[Labelled], rows: list[int], key: Callable[[Labelled], Hashable], bar: tqdm[NoReturn]
) -> list[list[int]]:
    """Groups of two or more rows with an equal key."""
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for row in rows:
        groups[key(images[row])].append(row)
        bar.update()
    return [group for group in groups.values() if len(group) > 1]


def _length(image: Labelled) -> int:
    return image.path.stat().st_size


def _tail(image: Labelled) -> bytes:
    with image.path.open("rb") as file:
        file.seek(max(0, _length(image) - TAIL_BYTES))
        return hashlib.sha256(file.read()).digest()


def _sha256(image: Labelled) -> bytes:
    with image.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _classes(images: Sequence[Labelled], min_images: int) -> tuple[list[Labelled], Vocabulary, list[str]]:
    """The images with the names of classes as tags, the classes (COCO's first, then by name), and notes on changes."""
    spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for image in images:
        for tag in image.tags:
            spellings[tag.casefold()][tag] += 1
    counts = Counter(key for image in images for key in {tag.casefold() for tag in image.tags})
    kept = sorted(key for key, count in counts.items() if count >= min_images)
    rare = sorted(counts.keys() - set(kept))
    if not kept:
        raise DataError(
            f"Every tag is on fewer than {min_images} images, so no class is left. Lower --min-images.",
            code="no_classes_left",
        )
    coco = {category.name: category for category in COCO80 if category.name in kept}
    # The most frequent spelling; of several, the first in order of characters.
    name_of = {
        key: key if key in coco else min(spellings[key].items(), key=lambda item: (-item[1], item[0]))[0] for key in kept
    }
    own = [name_of[key] for key in kept if key not in coco]
    vocabulary = Vocabulary((*coco.values(), *(Category(FIRST_OWN_ID + number, name) for number, name in enumerate(own))))
    notes = []
    changed = [
        f"{name_of[key]} for {first_names(sorted(spellings[key]))}" for key in kept if set(spellings[key]) != {name_of[key]}
    ]
    if changed:
        notes.append(f"Classes with other spellings: {len(changed)} ({'; '.join(changed[:3])}{'; ...' * (len(changed) > 3)}).")
    if rare:
        notes.append(f"Tags on fewer than {min_images} images, which were dropped: {len(rare)} ({first_names(rare)}).")
    named = [
        replace(image, tags=tuple(dict.fromkeys(name_of[tag.casefold()] for tag in image.tags if tag.casefold() in name_of)))
        for image in images
    ]
    return named, vocabulary, notes


def _given_splits(images: Sequence[Labelled], val: float | None) -> dict[str, list[Labelled]]:
    splits = {split: [image for image in images if image.split == split] for split in dict.fromkeys(i.split for i in images)}
    if val is not None:
        raise ConfigError(f"The source has splits of its own ({', '.join(splits)}). Leave --val out.", code="val_not_allowed")
    if "train" not in splits:
        raise DataError(
            f"The source has the splits {', '.join(splits)}, but no split train. Rename one of them to train.",
            code="train_split_missing",
        )
    return {"train": splits.pop("train"), **splits}


def _hold_out(
    images: Sequence[Labelled], targets: NDArray[np.bool_], val: float | None, seed: int
) -> dict[str, list[Labelled]]:
    share = 0.2 if val is None else val
    if not 0 <= share < 1:
        raise ConfigError(
            f"--val is {share}, the share of images to hold out; it must be at least 0 and below 1.", code="out_of_range"
        )
    held_out = stratified_holdout(targets, share, seed) if share else np.zeros(len(images), bool)
    if held_out.all() or (share and not held_out.any()):
        raise DataError(
            f"{len(images)} images are too few to hold out a share of {share:g}. Give more images, or --val 0.",
            code="too_few_images",
        )
    train, validation = (
        [image for image, selected in zip(images, side, strict=True) if selected] for side in (~held_out, held_out)
    )
    return {"train": train, "val": validation} if validation else {"train": train}


def _write(out: Path, splits: dict[str, list[Labelled]], vocabulary: Vocabulary, *, copy: bool, progress: bool) -> int:
    """Write the data set into a temporary folder, then rename it.

    Returns:
        Number of images that are hard links.
    """
    linked = images_before = boxes_before = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch,
            tqdm(total=sum(map(len, splits.values())), unit="image", desc="write", disable=None if progress else True) as bar,
        ):
            temporary = Path(scratch) / out.name
            for split, images in splits.items():
                annotation_file, image_dir = split_paths(temporary, split)
                annotation_file.parent.mkdir(parents=True, exist_ok=True)
                names = _unique_names(images)
                for image, name in zip(images, names, strict=True):
                    linked += _link_or_copy(image.path, image_dir / name, copy)
                    bar.update()
                document: dict[str, Any] = {
                    "info": {"description": f"{split}: tags of whole images, imported by cocotag; every box is its image."},
                    **_lists(images, names, vocabulary, images_before + 1, boxes_before + 1),
                    "categories": vocabulary.to_json(),
                }
                annotation_file.write_text(json.dumps(document), encoding="utf-8")
                images_before += len(images)
                boxes_before += len(document["annotations"])
            refuse_place(out)
            temporary.rename(out)
    except OSError as error:
        what = f"{error.filename or out} cannot be read or written ({error.strerror or error}), so {out} is not created."
        raise OutputError(f"{what} Choose another place or free some space.", code=write_fault(error)) from error
    return linked


def _lists(
    images: Sequence[Labelled], names: Sequence[str], vocabulary: Vocabulary, image_id: int, box_id: int
) -> dict[str, list[dict[str, Any]]]:
    """COCO's ``images`` and ``annotations`` of a split; ids count up from the given ones, so splits do not share them."""
    category_id = {category.name: category.id for category in vocabulary}
    entries = [
        {"id": number, "file_name": name, "width": image.width, "height": image.height}
        for number, (name, image) in enumerate(zip(names, images, strict=True), start=image_id)
    ]
    tags = [(number, image, tag) for number, image in enumerate(images, start=image_id) for tag in image.tags]
    annotations = [
        {
            "id": number,
            "image_id": of,
            "category_id": category_id[tag],
            "bbox": [0, 0, image.width, image.height],
            "segmentation": [[0, 0, image.width, 0, image.width, image.height, 0, image.height]],
            "area": image.width * image.height,
            "iscrowd": 0,
        }
        for number, (of, image, tag) in enumerate(tags, start=box_id)
    ]
    return {"images": entries, "annotations": annotations}


def _unique_names(images: Sequence[Labelled]) -> list[str]:
    """A name for each image that is unique on any file system: some ignore case, or the Unicode form of é."""
    taken: set[str] = set()
    names = []
    for image in images:
        path, number = Path(re.sub(r"\A([A-Za-z]):", r"\1_", image.name.replace("\\", "_"))), 1  # C: would be a drive
        unique = path
        while (key := unicodedata.normalize("NFC", unique.as_posix()).casefold()) in taken:
            number += 1
            unique = path.with_name(f"{path.stem}-{number}{path.suffix}")
        taken.add(key)
        names.append(unique.as_posix())
    return names


def _link_or_copy(source: Path, target: Path, copy: bool) -> bool:
    """Make a hard link, or a copy if the file system does not allow one. True if linked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # never overwrite another image, even if this file system treats different names as equal
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    source = source.resolve()  # a hard link to a symbolic link would be a symbolic link again
    if not copy:
        try:
            target.hardlink_to(source)
        except OSError:
            pass
        else:
            return True
    shutil.copyfile(source, target)
    return False
