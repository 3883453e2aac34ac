"""Sidecars, files beside photographs with their keywords: updates and cleans the sidecars of many photographs."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from io import BufferedIOBase
from itertools import groupby
from pathlib import Path

from cocotag.path_text import show
from cocotag.photos.walk import Walk
from cocotag.tagging.decisions.rows import Row
from cocotag.tagging.xmp.in_place import Leftovers, Place
from cocotag.tagging.xmp.packets.document import MAX_BYTES
from cocotag.tagging.xmp.packets.packet import strip
from cocotag.tagging.xmp.packets.reading import has_notes, notes_in
from cocotag.tagging.xmp.packets.record import Record
from cocotag.tagging.xmp.photo_keywords import look_inside
from cocotag.tagging.xmp.siblings import ENDINGS, Naming, Neighbours, Sidecars, existing_sidecars
from cocotag.tagging.xmp.summary import SidecarSummary, apply, counted


def write_sidecars(
    rows: Iterable[Row],
    *,
    naming: Naming = "append",
    dry_run: bool = False,
    show_diff: Callable[[str], None] | None = None,
) -> SidecarSummary:
    """Update the sidecars of some photographs with their tags.

    Outdated keywords of an earlier run are removed. A photograph without tags gets no sidecar, and a sidecar that cocotag
    created for it is removed. Each file is written atomically, and only if something changes.

    Args:
        rows: Rows in the order of the walk; those of one photograph by several models are adjacent. If all rows of a
            photograph are errors, its sidecar is left unchanged.
        naming: Name of a new sidecar of ``IMG.jpg``: ``append`` for ``IMG.jpg.xmp``, ``adobe`` for ``IMG.xmp``.
        dry_run: Write nothing.
        show_diff: Called with the unified diff of each changed sidecar.

    Raises:
        OutputError: The disk is full. All sidecars are intact, including the one being written.
    """
    summary = SidecarSummary(dry_run=dry_run)
    neighbours, leftovers = Neighbours(), Leftovers()
    for photo, of_photo in groupby(rows, key=lambda row: row.path):
        good = [row for row in of_photo if row.status == "ok"]
        if not good:
            summary.skipped += 1
            continue
        with counted(summary):
            sidecars = Sidecars.of(photo, naming, neighbours)
            summary.both += len(sidecars.places) > 1
            summary.hidden += sidecars.hidden
            if not dry_run:
                leftovers.remove_in(photo.parent)
            summary.happened(photo, sidecars.update([tag for row in good for tag in row.tags], summary, show_diff))
    return summary


def untag(
    paths: Sequence[Path | str],
    *,
    listed: BufferedIOBase | None = None,
    dry_run: bool = False,
    show_diff: Callable[[str], None] | None = None,
) -> SidecarSummary:
    """Remove cocotag's keywords from sidecars, and remove sidecars that have nothing else.

    Args:
        paths: Photographs, sidecars, folders (with all subfolders), and globs of these.
        listed: The list of paths that ``-`` stands for, as for `Walk`; missing files in it are counted as failures.
        dry_run: Write nothing.
        show_diff: Called with the unified diff of each changed sidecar.

    Raises:
        DataError: A path does not exist, or a glob has no match.
        OutputError: The disk is full. All files are intact.
    """
    given = Walk(paths, hidden=True, listed=listed).given()
    summary = SidecarSummary(dry_run=dry_run)
    neighbours, leftovers = Neighbours(), Leftovers()
    seen: set[str] = set()
    stripped: dict[Path, bytes] = {}
    for sidecar in (one for path in _existing_paths(given, seen, summary) for one in find_sidecars(path, summary, neighbours)):
        with counted(summary):
            place = Place.look(sidecar)
            if str(place.path) in seen:
                continue
            seen.add(str(place.path))
            if not dry_run:
                leftovers.remove_in(place.path.parent)
            before = place.read(MAX_BYTES)
            name = show(place.path)
            if before is not None and has_notes(before):
                stripped[place.path] = before
                made_of = None
            else:
                made_of = _source(place.path, stripped, neighbours) if before else None
            if before is None or (made_of is None and place.path not in stripped):
                summary.unchanged += before is not None
                continue
            apply(place, before, strip(before, name=name, made_of=made_of).packet, summary, show_diff)
    return summary


def _source(sidecar: Path, stripped: Mapping[Path, bytes], neighbours: Neighbours) -> Record | None:
    """The notes of what a program may have made a sidecar ``IMG.jpg.xmp`` of: ``IMG.xmp``, or the photograph itself."""
    photo = sidecar.with_suffix("")
    if not photo.is_file():
        return None
    adobe = next((one for one in existing_sidecars(photo, neighbours) if one not in (None, sidecar)), None)
    if adobe is not None:
        place = Place.look(adobe)
        if record := notes_in(stripped.get(place.path) or place.read(MAX_BYTES), name=show(adobe)):
            return record
    record = look_inside(photo).notes()
    return record if record is not None and "append" not in record.beside else None


def _existing_paths(given: Iterable[Path], seen: Container[str], summary: SidecarSummary) -> Iterator[Path]:
    for path in given:
        if os.path.lexists(path):
            yield path
        elif str(path) not in seen:  # unless it was removed with its photograph, which was given too
            summary.fail("missing", f"{show(path)} does not exist.")


def find_sidecars(path: Path, summary: SidecarSummary, neighbours: Neighbours) -> Iterator[Path]:
    """The sidecars of a path: itself, those of a photograph, or all in a folder and its subfolders."""
    if path.suffix in ENDINGS and not path.is_dir():
        yield path
        return
    if not path.is_dir():
        own: tuple[Path | None, ...] = ()
        with counted(summary):
            own = existing_sidecars(path, neighbours)
        yield from filter(None, own)
        return
    walked: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        summary.fail("unreadable", f"{show(error.filename)} cannot be listed ({error.strerror}).")

    for folder, folders, names in os.walk(path, followlinks=True, onerror=unreadable):
        try:
            status = Path(folder).stat()
        except OSError as error:  # the folder was removed
            unreadable(error)
            continue
        if (status.st_dev, status.st_ino) in walked:  # a link to a folder that was walked already
            folders.clear()
            continue
        walked.add((status.st_dev, status.st_ino))
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(ENDINGS))
