"""Writes a gallery from rows and photographs: thumbnails, data and page."""

from __future__ import annotations

import os
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cocotag import __version__
from cocotag.tagging.decisions.rows import Context, Row
from cocotag.tagging.gallery.chunks import FLOOR, Chunks, addresses
from cocotag.tagging.gallery.page import render
from cocotag.tagging.gallery.place import FILES, PAGE, THUMBS, Place, data_name
from cocotag.tagging.gallery.thumbnails import Thumbnail, Thumbnails
from cocotag.tagging.state.store import NAME as STATE


@dataclass(frozen=True, slots=True)
class GallerySummary:
    """Counts of a gallery that was written.

    Attributes:
        page: The page to open.
        images: Number of images on it.
        errors: Number of files on it that could not be tagged.
        made: Number of new thumbnails.
        kept: Number of existing thumbnails in use.
        unread: Number of these whose photograph cannot be read now.
        removed: Number of removed thumbnails, of photographs that changed or are no longer in the gallery.
        failed: Number of images without a thumbnail, since the photograph cannot be read now.
    """

    page: Path
    images: int
    errors: int
    made: int
    kept: int
    unread: int
    removed: int
    failed: int

    def to_text(self) -> str:
        """One line of counts, and lines about photographs that cannot be read now."""
        counts = {"kept": self.kept, "removed": self.removed, "missing": self.failed}
        thumbs = ", ".join([f"{self.made} made", *(f"{count} {what}" for what, count in counts.items() if count)])
        errors = f", {self.errors} not tagged" if self.errors else ""
        lines = [f"gallery: {self.images} images{errors}; thumbnails: {thumbs}. Open {self.page}"]
        if self.unread:
            lines.append(f"Photographs that cannot be read now: {self.unread}. Their existing thumbnails are kept.")
        if self.failed:
            what = f"Photographs that cannot be read now and have no thumbnail: {self.failed}"
            lines.append(f"{what}. Make them available, for example plug in their disk, and run the command again.")
        return "\n".join(lines)


def write_gallery(
    rows: Callable[[], Iterable[Row]],
    directory: Path | str,
    context: Context,
    *,
    progress: bool = False,
    state: Path | None = None,
    names: Path | None = None,
) -> GallerySummary:
    """Write or update a gallery. An existing page works until the new one replaces it.

    Args:
        rows: Returns the rows; called once. The rows of one file by several models are adjacent, in the order of the models.
        directory: A folder that `check_gallery` has accepted.
        context: What all rows have in common.
        progress: Show a progress bar if stderr is a terminal.
        state: The state with the rows: the page then shows the command that applies a threshold chosen on it.
        names: The file by which tags were renamed.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    place = Place(Path(directory))
    thumbnails = Thumbnails(place.thumbs)
    chunks = Chunks(place.new_data, place.directory, context)
    keys = array("Q")

    def take(group: list[Row], thumbnail: Thumbnail) -> None:
        key = thumbnails.end(thumbnail) if group[0].status == "ok" else 0
        if key:
            keys.append(key)
        chunks.add(group, key)
        bar.update()

    total = context.total // max(1, len(context.vocabularies)) or None
    disable = None if progress else True  # None: unless stderr is a terminal
    bar = tqdm(total=total, desc="gallery", unit="image", disable=disable, dynamic_ncols=True, leave=False)
    in_progress: deque[tuple[list[Row], Thumbnail]] = deque()
    try:
        for path, some in groupby(rows(), attrgetter("path")):
            group = list(some)
            in_progress.append((group, thumbnails.start(path) if group[0].status == "ok" else Thumbnail(0)))
            if len(in_progress) > thumbnails.at_once:
                take(*in_progress.popleft())
        while in_progress:
            take(*in_progress.popleft())
        digest = chunks.close()
        place.publish(digest, _page(chunks, digest, None if state is None else _keeping(place, chunks, state, names)))
    finally:
        bar.close()
        thumbnails.close()
        place.abandon()
    removed = place.remove_thumbs_but(np.asarray(keys, np.uint64))
    return GallerySummary(
        page=place.directory / PAGE,
        images=chunks.images,
        errors=chunks.errors,
        made=thumbnails.made,
        kept=thumbnails.kept,
        unread=thumbnails.unread,
        removed=removed,
        failed=thumbnails.failed,
    )


def _keeping(place: Place, chunks: Chunks, state: Path, names: Path | None) -> dict[str, Any]:
    """The addresses that the page needs for the command that applies a threshold."""
    page_folder = os.path.abspath(place.directory)  # noqa: PTH100 (as in chunks)
    own = state.name == STATE and os.path.realpath(state.parent) == os.path.realpath(place.directory)
    return {
        "state": addresses(place.directory if own else state, page_folder),
        "gallery": addresses(place.directory, page_folder),
        "names": names and addresses(names, page_folder),
        "start": addresses(".", page_folder) if chunks.relative else None,
    }


def _page(chunks: Chunks, digest: str, keeping: dict[str, Any] | None) -> str:
    models = [model.about() for model in chunks.models]
    about: dict[str, Any] = {
        "images": chunks.images,
        "errors": chunks.errors,
        "chunks": chunks.count,
        "data": f"{FILES}/{data_name(digest)}/",
        "thumbs": f"{THUMBS}/",
        "floor": FLOOR,
        "keeping": keeping,
        "models": models,
    }
    tagged = [
        (
            model["name"],
            [(name, count) for (name, _), count in zip(model["classes"], scores.tagged.tolist(), strict=True) if count],
        )
        for model, scores in zip(models, chunks.models, strict=True)
    ]
    return render(
        about,
        images=chunks.images,
        errors=chunks.errors,
        first_errors=chunks.first_errors,
        tagged=[(name, sorted(counts, key=lambda one: -one[1])) for name, counts in tagged],
        bundles=list(dict.fromkeys(filter(None, (model["bundle"] for model in models)))),
        several=len(models) > 1,
        version=__version__,
        floor=FLOOR,
    )
