"""Where the annotation file and the images of a split are, as COCO and as other programs lay them out.

`find` looks for files by name. `locate_images` then chooses the folder that has the images, and finds files whose names are
written otherwise in the annotation file. Neither reads annotations or pixels.
"""

from __future__ import annotations

import glob
import mmap
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

from cocotag.data.coco_fields import LISTS, leaves_folder, unreadable
from cocotag.errors import DataError

_NAMED = (
    *("annotations/instances_{}.json", "{}/_annotations.coco.json", "{}/labels.json", "{}/result.json"),
    *("{}/annotations.json", "{}/dataset.json", "annotations/labels_{}.json", "annotations/person_keypoints_{}.json"),
    *("annotations/{}.json", "{}.json", "instances_{}.json"),
)
"""Annotation files of a split below the root: of COCO, Roboflow, FiftyOne, Label Studio, supervision, labelme2coco, Datumaro,
and names that people give."""

_SURE = ("annotations/instances_{}.json", "{}/_annotations.coco.json")
"""Files with such names are COCO's; others are looked into."""

_WHOLE = ("labels.json", "result.json", "_annotations.coco.json", "annotations.json", "dataset.json")
"""Annotation files of a whole data set without splits; these stand for the split `WHOLE`."""

WHOLE = "default"
"""The name of the only split of a data set without splits, as Datumaro calls it."""

_SAME = ({"val", "valid", "validation"},)
"""Names of the same split in different programs."""

_OTHER_TASKS = re.compile(r"(annotations/)?(image_info|stuff|panoptic|captions|person_keypoints|labels|instances)_")
_IMAGES = frozenset(
    (
        ".avif",
        ".bmp",
        ".gif",
        ".heic",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".jp2",
        ".png",
        ".ppm",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    )
)
"""Endings of images, one of which a name may lack."""

_END_PARTS = 4  # of a path that are compared to find a file of another machine
_SAMPLE = 64  # file names that are looked for to choose the folder of the images


@dataclass(frozen=True, slots=True)
class Given:
    """What the user says about a data set.

    Attributes:
        annotations: Annotation file; ``{split}`` in it stands for the name of the split. None to find it.
        images: Folder of the images, likewise.
        crowd_is_object: Whether an annotation with ``iscrowd`` 1 is an object like any other.
    """

    annotations: str | None = None
    images: str | None = None
    crowd_is_object: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a split is.

    Attributes:
        split: Its name, as in the file's path.
        annotations: The annotation file.
        folders: Folders that may have the images, the most likely first.
        root: The data set.
        search: Where files are looked for whose names lead elsewhere: the data set, or the folder that the user gave.
        note: What the user should know if the file is not where COCO has it, such as ``train/labels.json``; else empty.
    """

    split: str
    annotations: Path
    folders: tuple[Path, ...]
    root: Path
    search: Path
    note: str = ""


def split_paths(root: Path, split: str) -> tuple[Path, Path]:
    """Annotation file and image folder of a split in COCO's own layout."""
    return root / "annotations" / f"instances_{split}.json", root / split


def find(root: Path, split: str, given: Given | None = None) -> Place:
    """Find the annotation file of a split.

    Args:
        root: The data set.
        split: The split. ``val`` is also found as ``valid`` or ``validation``, and ``train`` as a data set without splits.
        given: What the user says about the files.

    Raises:
        DataError: ``split_missing``; the message names what is there.
    """
    given = given or Given()
    if given.annotations is not None:
        file = Path(given.annotations.replace("{split}", split))
        if not file.is_file():
            raise DataError(f"data.annotations {file} is missing. Check the path.", code="split_missing")
        return _with_images(replace(of_file(file), split=split), split, given)
    own, _ = split_paths(root, split)
    try:
        os.stat(own)  # noqa: PTH116 (tells a folder that may not be read from one without the file)
    except PermissionError as error:
        raise unreadable(own, error) from None
    except OSError:
        pass
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. Check the root.", code="split_missing")
    splits = find_splits(root)
    found = next((name for name in (split, *_others(split)) if name in splits), None)
    if found is None and split == "train" and list(splits) == [WHOLE]:
        found = WHOLE
    if found is None:
        raise _no_split(root, split, splits)
    files = splits[found]
    place = Place(found, files[0], tuple(_image_folders(files[0], root, found)), root, root, _note(root, split, files))
    return _with_images(place, split, given)


def find_splits(root: Path, given: Given | None = None) -> dict[str, list[Path]]:
    """The splits of a data set -> their annotation files, the one that is used first."""
    splits: defaultdict[str, list[Path]] = defaultdict(list)
    if given is not None and given.annotations is not None:
        for name, path in _by_placeholder(given.annotations):
            splits[name].append(path)
        return splits
    for pattern in _NAMED:
        before, after = pattern.split("{}")
        for file in sorted(root.glob(f"{before}*{after}")):
            relative = file.relative_to(root).as_posix()
            name = relative.removeprefix(before).removesuffix(after)
            other_task = pattern in ("annotations/{}.json", "{}.json") and _OTHER_TASKS.match(relative)
            if other_task or relative in _WHOLE or not name or name.startswith("."):
                continue
            # A file of another task beside COCO's own need not be looked into: COCO's have hundreds of megabytes.
            beside = any(file.parent == other.parent for other in splits[name])
            if not beside and file.is_file() and (pattern in _SURE or _looks_like_coco(file)):
                splits[name].append(file)
    if not splits:
        splits[WHOLE] = [root / name for name in _WHOLE if (root / name).is_file() and _looks_like_coco(root / name)]
    return {name: files for name, files in splits.items() if files}


def _by_placeholder(pattern: str) -> Iterator[tuple[str, Path]]:
    """The splits whose annotation files a pattern with ``{split}`` names; none if it has no placeholder."""
    before, *rest = map(re.escape, pattern.split("{split}"))
    if not rest:
        return
    name = re.compile(before + "(?P<split>[^/]+)" + "(?P=split)".join(rest))
    for path in sorted(glob.glob("*".join(map(glob.escape, pattern.split("{split}"))))):  # noqa: PTH207 (any folder)
        if match := name.fullmatch(path):
            yield match["split"], Path(path)


def _looks_like_coco(file: Path) -> bool:
    """Whether a JSON file has COCO's lists, without parsing it."""
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(content.find(b'"%s"' % name.encode()) >= 0 for name in LISTS)
    except (OSError, ValueError):  # ValueError: an empty file
        return False


def of_file(annotations: Path) -> Place:
    """The place of an annotation file that is given by its path."""
    file = Path(os.path.abspath(annotations))  # noqa: PTH100 (keeps the user's links)
    root, split = file.parent, file.parent.name
    if file.name not in _WHOLE:
        root, split = next(_by_pattern(file), (root, file.stem))
    return Place(split, file, tuple(_image_folders(file, root, split)), root, root)


def _by_pattern(file: Path) -> Iterator[tuple[Path, str]]:
    """Root and split of an annotation file by each pattern that its path follows."""
    for pattern in _NAMED:
        before, after = pattern.split("{}")
        depth = pattern.count("/")
        relative = "/".join(file.parts[-depth - 1 :])
        if relative.startswith(before) and relative.endswith(after):
            yield file.parents[depth], relative.removeprefix(before).removesuffix(after)


def _others(split: str) -> Iterator[str]:
    for names in _SAME:
        if split in names:
            yield from sorted(names - {split})


def _image_folders(file: Path, root: Path, split: str) -> Iterator[Path]:
    """Folders that may have the images of an annotation file; each once, the most likely first."""
    beside = file.parent
    folders = [root / split, root / "images" / split, beside / "images", beside / "data", beside]
    yield from dict.fromkeys([*folders, root / "images", root / "data", root])


def _with_images(place: Place, split: str, given: Given) -> Place:
    if given.images is None:
        return place
    folder = Path(given.images.replace("{split}", split))
    if not folder.is_dir():
        raise DataError(f"data.images {folder} is not a folder. Check the path.", code="not_a_folder")
    return replace(place, folders=(folder,), search=folder)


def _note(root: Path, split: str, files: Sequence[Path]) -> str:
    """What was taken, if it is not what COCO's layout says; and what else could be meant."""
    taken = files[0].relative_to(root).as_posix()
    others = [file.relative_to(root).as_posix() for file in files[1:]]
    if taken == f"annotations/instances_{split}.json" and not others:
        return ""
    rest = f", not {' or '.join(others)}" if others else ""
    return f"{taken}{rest}"


def _no_split(root: Path, split: str, splits: dict[str, list[Path]]) -> DataError:
    if list(splits) == [WHOLE]:
        file = splits[WHOLE][0].relative_to(root)
        have = f"It has one annotation file, {file}, which is split {WHOLE!r} (in training also the train split)."
        advice = "To train without a val split, give --data.val_split null."
    elif len(splits) == 1:
        have = f"It has only {next(iter(splits))}."
        advice = f"Check the split.{' To train without a val split, give --data.val_split null.' if split == 'val' else ''}"
    elif splits:
        have, advice = f"It has: {', '.join(sorted(splits))}.", "Check the root and the split."
    else:
        files = sorted(path.relative_to(root).as_posix() for path in _json_files(root))
        have = f"The JSON files there are: {', '.join(files[:5])}{', ...' if len(files) > 5 else ''}." if files else ""
        have = have or "There are no JSON files in it."
        advice = (
            f"Name the right one with --data.annotations FILE --data.images DIR, or call it annotations/instances_{split}.json."
            if files
            else "Check the root."
        )
    where = root / "annotations" / f"instances_{split}.json"
    return DataError(f"{root} has no split {split!r} ({where} is missing). {have} {advice}", code="split_missing")


def _json_files(root: Path) -> Iterator[Path]:
    for pattern in ("*.json", "*/*.json"):
        yield from root.glob(pattern)


@dataclass(frozen=True, slots=True)
class Images:
    """The images of an annotation file.

    Attributes:
        folder: The folder that ``names`` are relative to.
        names: File name of each image; as it was listed if there is no such file.
        outside: Numbers of the names that lead out of the folder, absolute or by ``..``; these are not found.
        notes: Sentences for the user about names that were written otherwise.
    """

    folder: Path
    names: list[str]
    outside: list[int]
    notes: list[str]


def locate_images(names: Sequence[str], place: Place) -> Images:
    """Choose the folder of the images, and find files whose names are written otherwise.

    A name is taken as it is if such a file exists. Else a file is looked for that has the same name in another form of Unicode
    or with a suffix; for a name that leads out of the folder (absolute, or by ``..``), the file at that path if it is in the
    data set, or the one with this name below it. Where several files could be meant, none is taken.

    Args:
        names: File names of the annotation file.
        place: Of the annotation file.
    """
    inside = [name for name in names if not leaves_folder(name)]
    sample = inside[:: max(1, len(inside) // _SAMPLE)][:_SAMPLE]
    sample += [name for name in inside if not name.isascii()]  # they may be written otherwise, each by itself
    folder, have = _best(place.folders, sample)
    outside = [number for number, name in enumerate(names) if leaves_folder(name)]
    if have == len(sample) and not outside:
        return Images(folder, list(names), [], [])
    return _found_otherwise(list(names), outside, folder, place.search)


def _best(folders: Sequence[Path], sample: Sequence[str]) -> tuple[Path, int]:
    """The folder with most of some files, and how many it has; the first that has all is taken without looking further."""
    counts: list[tuple[int, Path]] = []
    for folder in folders:
        if folder.is_dir():
            counts.append((sum(os.path.lexists(folder / name) for name in sample), folder))
            if counts[-1][0] == len(sample) and sample:
                break
    have, best = max(counts, key=lambda one: one[0], default=(0, folders[0]))
    return (best, have) if have else (folders[0], 0)


def _found_otherwise(names: list[str], outside: list[int], folder: Path, root: Path) -> Images:
    notes = []
    if outside:
        found = dict(_by_path(names, outside, root))
        if found:
            base = folder if all(path.is_relative_to(folder) for path in found.values()) else root
            if base != folder:  # then the others are relative to it too
                prefix = "" if folder == root else f"{os.path.relpath(folder, root)}/"
                names = [name if number in found else prefix + name for number, name in enumerate(names)]
            first = next(iter(found))
            notes.append(
                f"{len(found)} file names lead out of the folder; the files are found in {root} by their names (first: "
                f"{names[first]!r} is {found[first].relative_to(root)})"
            )
            for number, path in found.items():
                names[number] = path.relative_to(base).as_posix()
            folder = base
            outside = [number for number in outside if number not in found]
    other = dict(_by_spelling(names, set(outside), folder))
    if other:
        first = next(iter(other))
        notes.append(
            f"{len(other)} file names are written otherwise than those of the files, which are taken (first: "
            f"{other[first]!r} for {names[first]!r})"
        )
        for number, name in other.items():
            names[number] = name
    return Images(folder, names, outside, notes)


def _by_path(names: Sequence[str], numbers: Iterable[int], root: Path) -> Iterator[tuple[int, Path]]:
    """Number of a name that leads out of the folder -> the file in the data set that it means, if there is just one."""
    real = root.resolve()
    below: defaultdict[tuple[str, ...], list[Path]] | None = None
    for number in numbers:
        path = Path(names[number])
        if path.is_absolute() and path.resolve().is_relative_to(real) and path.is_file():
            yield number, root / path.resolve().relative_to(real)
            continue
        below = _ends(root) if below is None else below
        parts = PureWindowsPath(names[number]).parts  # both kinds of slashes
        for length in range(min(len(parts), _END_PARTS), 0, -1):
            if found := below.get(parts[-length:]):
                if len(found) == 1:
                    yield number, found[0]
                break


def _ends(root: Path) -> defaultdict[tuple[str, ...], list[Path]]:
    """The last one to `_END_PARTS` parts of each path below a folder -> the files."""
    ends: defaultdict[tuple[str, ...], list[Path]] = defaultdict(list)
    for top, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in files:
            path = Path(top, file)
            for length in range(1, _END_PARTS + 1):
                ends[path.parts[-length:]].append(path)
    return ends


def _by_spelling(names: Sequence[str], refused: set[int], folder: Path) -> Iterator[tuple[int, str]]:
    """Number of a missing name -> the one file with that name in another form of Unicode, or with a suffix.

    macOS and unpacked archives often write ``é`` as two characters (decomposed, NFD), annotation tools as one (composed, NFC):
    Unicode Standard Annex 15. A file that is listed by its own name is not taken for another.
    """
    listed = set(names)
    below: dict[str, dict[str, list[str]]] = {}
    for number, name in enumerate(names):
        if number in refused or os.path.lexists(folder / name):
            continue
        candidates = [""]
        for part in name.split("/"):
            candidates = [
                f"{above}/{own}".lstrip("/") for above in candidates for own in _spelled_alike(folder, above, part, below)
            ]
        if len(candidates) == 1 and candidates[0] not in listed:
            yield number, candidates[0]


def _spelled_alike(folder: Path, above: str, name: str, below: dict[str, dict[str, list[str]]]) -> list[str]:
    """The entries of a folder with a name in any form of Unicode, or with that stem; ``below`` keeps the listings."""
    if above not in below:
        below[above] = defaultdict(list)
        with suppress(OSError):
            for entry in sorted(os.listdir(folder / above)):  # noqa: PTH208 (names only)
                composed = unicodedata.normalize("NFC", entry)
                stem, dot, ending = composed.rpartition(".")
                below[above][composed].append(entry)
                if dot and f".{ending.lower()}" in _IMAGES and Path(stem).suffix.lower() not in _IMAGES:
                    below[above][stem].append(entry)
    return below[above].get(unicodedata.normalize("NFC", name), [])
