"""Checks that the image files of a table exist and lie inside their data set. Does not read pixels or import torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cocotag.data.annotations import AnnotationTable
from cocotag.errors import DataError

ON_LINKS = (
    "Copy the files there, make the image folder itself the link, or give the folder of the files with --data.images DIR."
)
"""What to do about links out of a data set."""


class Source(NamedTuple):
    """A split that images come from.

    Attributes:
        root: Folder of its data set.
        split: Its name.
        image_dir: Folder of its images.
    """

    root: Path
    split: str
    image_dir: Path


def check_files(table: AnnotationTable, sources: Sequence[Source]) -> None:
    """Check before training that the images of a table exist, and that none is a link out of its data set.

    Args:
        table: The images.
        sources: The splits that they come from.

    Raises:
        DataError: Images are missing or are links out of their data set; the message has their number and the first.
    """
    existing, links = _listed(table)
    missing = [path for path in table.paths() if str(path) not in existing]
    if missing:
        source = _source_of(missing[0], sources)
        raise DataError(
            f"The annotations of split {source.split!r} name {len(missing)} files that are not in {table.image_dir} "
            f"(first: {missing[0].relative_to(table.image_dir)}). Check the folder, give it with --data.images DIR, or run: "
            f"cocotag check {source.root} --split {source.split}",
            code="images_missing",
        )
    _refuse_links(table, sources, links)


def refuse_links(table: AnnotationTable, sources: Sequence[Source]) -> None:
    """Check that no image is a link out of its data set.

    Folders may be links: users keep COCO's images in one place like this. A link of a single file out of the data set is how
    an untrusted data set would make the program read other files.

    Args:
        table: The images.
        sources: The splits that they come from.

    Raises:
        DataError: There are such links; the message has their number and the first.
    """
    _refuse_links(table, sources, _listed(table)[1])


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


def _refuse_links(table: AnnotationTable, sources: Sequence[Source], links: set[str]) -> None:
    outside = {folder for folder in _folders(table) if not _is_inside(folder, _source_of(folder, sources))}
    leaving = [
        path
        for path in table.paths()
        if path.parent in outside or (str(path) in links and not _is_inside(path, _source_of(path, sources)))
    ]
    if leaving:
        first = f"{leaving[0]} -> {os.path.realpath(leaving[0])}"
        raise DataError(
            f"{len(leaving)} images are links to files outside their data set (first: {first}). Such links are not followed. "
            f"{ON_LINKS}",
            code="links_outside",
        )


def _source_of(path: Path, sources: Sequence[Source]) -> Source:
    """The split that an image comes from."""
    of = (source for source in sources if path.is_relative_to(os.path.abspath(source.image_dir)))  # noqa: PTH100
    return next(of, sources[0])


def _is_inside(link: Path, source: Source) -> bool:
    """Whether a link leads to a file of its own data set: below its root, or in its image folder, which may be a link."""
    inside = (source.root.resolve(), source.image_dir.resolve())
    target = Path(os.path.realpath(link))  # unlike `resolve`, accepts a link to itself: decoding reports the error
    return any(target.is_relative_to(folder) for folder in inside)
