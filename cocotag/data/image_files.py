"""Are the image files of a table there, and its data set's own? No pixels, no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cocotag.data.annotations import AnnotationTable, split_paths
from cocotag.errors import DataError


def check_files(table: AnnotationTable, places: Sequence[tuple[str, str]]) -> None:
    """See that the images of a table are there, before the first is wanted, and that none is a link out of its data set.

    Args:
        table: The images.
        places: Root and split of each data set that they are from.

    Raises:
        DataError: How many are not there or lead out of it, and the first.
    """
    there, links = _listed(table)
    missing = [path for path in table.paths() if str(path) not in there]
    if missing:
        root, split = _place_of(missing[0], places)
        raise DataError(
            f"The annotations of split {split!r} name {len(missing)} files that are not in {table.image_dir} "
            f"(first: {missing[0].relative_to(table.image_dir)}). Check the folder, or run: "
            f"cocotag check {root} --split {split}"
        )
    _refuse_links(table, places, links)


def refuse_links(table: AnnotationTable, places: Sequence[tuple[str, str]]) -> None:
    """Refuse images that are links out of their data set.

    Folders may be links: that is how people keep COCO's images in one place. A single file that leads elsewhere is what a
    data set from a stranger would bring along to have something else read.

    Args:
        table: The images.
        places: Root and split of each data set that they are from.

    Raises:
        DataError: How many, and the first.
    """
    _refuse_links(table, places, _listed(table)[1])


def _listed(table: AnnotationTable) -> tuple[set[str], set[str]]:
    """What is in the folders of the images, and which of it are links."""
    # One listing a folder, not one look a file: COCO's folder holds 118,287.
    there, links = set[str](), set[str]()
    for entry in (entry for folder in _folders(table) if folder.is_dir() for entry in os.scandir(folder)):
        there.add(entry.path)
        if entry.is_symlink():
            links.add(entry.path)
    return there, links


def _folders(table: AnnotationTable) -> set[Path]:
    return {path.parent for path in table.paths()}


def _refuse_links(table: AnnotationTable, places: Sequence[tuple[str, str]], links: set[str]) -> None:
    away = {folder for folder in _folders(table) if not _stays(folder, *_place_of(folder, places))}
    leaving = [
        path
        for path in table.paths()
        if path.parent in away or (str(path) in links and not _stays(path, *_place_of(path, places)))
    ]
    if leaving:
        first = f"{leaving[0]} -> {os.path.realpath(leaving[0])}"
        raise DataError(
            f"{len(leaving)} images are links to files outside their data set (first: {first}), which are "
            "not followed. Copy the files there, or make the folder of the images the link."
        )


def _place_of(path: Path, places: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Root and split of the data set that an image is from."""
    of = (place for place in places if path.is_relative_to(os.path.abspath(split_paths(Path(place[0]), place[1])[1])))  # noqa: PTH100
    return next(of, places[0])


def _stays(link: Path, root: str, split: str) -> bool:
    """Whether a link leads to a file of its own data set: below its root, or in its image folder, which may be a link."""
    inside = (Path(root).resolve(), split_paths(Path(root), split)[1].resolve())
    target = Path(os.path.realpath(link))  # unlike `resolve` no error where a link leads to itself: decoding will tell
    return any(target.is_relative_to(folder) for folder in inside)
