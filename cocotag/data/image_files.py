"""Checks that the image files of a table exist and lie inside their data set. Does not read pixels or import torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cocotag.data.annotations import AnnotationTable, split_paths
from cocotag.errors import DataError


def check_files(table: AnnotationTable, places: Sequence[tuple[str, str]]) -> None:
    """Check before training that the images of a table exist, and that none is a link out of its data set.

    Args:
        table: The images.
        places: Root and split of each of their data sets.

    Raises:
        DataError: Images are missing or are links out of their data set; the message has their number and the first.
    """
    existing, links = _listed(table)
    missing = [path for path in table.paths() if str(path) not in existing]
    if missing:
        root, split = _data_set_of(missing[0], places)
        raise DataError(
            f"The annotations of split {split!r} name {len(missing)} files that are not in {table.image_dir} "
            f"(first: {missing[0].relative_to(table.image_dir)}). Check the folder, or run: "
            f"cocotag check {root} --split {split}",
            code="images_missing",
        )
    _refuse_links(table, places, links)


def refuse_links(table: AnnotationTable, places: Sequence[tuple[str, str]]) -> None:
    """Check that no image is a link out of its data set.

    Folders may be links: users keep COCO's images in one place like this. A link of a single file out of the data set is how
    an untrusted data set would make the program read other files.

    Args:
        table: The images.
        places: Root and split of each of their data sets.

    Raises:
        DataError: There are such links; the message has their number and the first.
    """
    _refuse_links(table, places, _listed(table)[1])


def _listed(table: AnnotationTable) -> tuple[set[str], set[str]]:
    """The paths in the folders of the images, and which of them are links."""
    # One listing per folder instead of one call per file: COCO's folder has 118,287 files.
    existing, links = set[str](), set[str]()
    for entry in (entry for folder in _folders(table) if folder.is_dir() for entry in os.scandir(folder)):
        existing.add(entry.path)
        if entry.is_symlink():
            links.add(entry.path)
    return existing, links


def _folders(table: AnnotationTable) -> set[Path]:
    return {path.parent for path in table.paths()}


def _refuse_links(table: AnnotationTable, places: Sequence[tuple[str, str]], links: set[str]) -> None:
    outside = {folder for folder in _folders(table) if not _is_inside(folder, *_data_set_of(folder, places))}
    leaving = [
        path
        for path in table.paths()
        if path.parent in outside or (str(path) in links and not _is_inside(path, *_data_set_of(path, places)))
    ]
    if leaving:
        first = f"{leaving[0]} -> {os.path.realpath(leaving[0])}"
        raise DataError(
            f"{len(leaving)} images are links to files outside their data set (first: {first}). Such links are not followed. "
            "Copy the files there, or make the image folder itself the link.",
            code="links_outside",
        )


def _data_set_of(path: Path, places: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Root and split of the data set of an image."""
    of = (place for place in places if path.is_relative_to(os.path.abspath(split_paths(Path(place[0]), place[1])[1])))  # noqa: PTH100
    return next(of, places[0])


def _is_inside(link: Path, root: str, split: str) -> bool:
    """Whether a link leads to a file of its own data set: below its root, or in its image folder, which may be a link."""
    inside = (Path(root).resolve(), split_paths(Path(root), split)[1].resolve())
    target = Path(os.path.realpath(link))  # unlike `resolve`, accepts a link to itself: decoding reports the error
    return any(target.is_relative_to(folder) for folder in inside)
