"""Sidecars, files beside photographs with their keywords: finds, updates and cleans the sidecar of each photograph.

A photograph ``IMG.jpg`` may have ``IMG.jpg.xmp``, as digiKam, darktable and Immich write it, or ``IMG.xmp``, as Adobe's
programs do. An existing sidecar is updated, whichever name was requested. If both exist, the one with the requested name is
written; the keywords of the other are the user's too. ``IMG.xmp`` belongs to a photograph only if no other picture or film in
the folder has the stem ``IMG``. Beside ``IMG.cr2`` it belongs to the RAW file, as in Adobe's programs, and ``IMG.jpg`` gets its
own ``IMG.jpg.xmp``. If ``IMG.xmp`` names the ending of its file (``photoshop:SidecarForExtension``), that decides.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedIOBase
from itertools import groupby
from pathlib import Path
from typing import Literal

from cocotag.errors import DataError
from cocotag.path_text import show
from cocotag.photos.formats.table import FORMATS, IMAGE_ENDINGS
from cocotag.photos.walk import Walk
from cocotag.tagging.decisions.failures import failure_lines
from cocotag.tagging.decisions.rows import Row
from cocotag.tagging.xmp.document import MAX_BYTES, XmpDocument, decode
from cocotag.tagging.xmp.in_place import NO_ROOM, LeftAloneError, Leftovers, Place
from cocotag.tagging.xmp.keywords import Keyword, given_keywords, own_classes
from cocotag.tagging.xmp.packet import strip, update, user_keywords
from cocotag.tagging.xmp.photo_keywords import keywords_in
from cocotag.tagging.xmp.record import URI

Naming = Literal["append", "adobe"]
FIRST_FAILURES = 5

_RAW = frozenset(
    {
        *FORMATS["RAW"].endings,
        *(".bay", ".cap", ".cs1", ".dcr", ".dcs", ".drf", ".eip", ".fff", ".gpr", ".j6i", ".k25"),
        *(".mdc", ".mfw", ".mos", ".ptx", ".pxn", ".qtk", ".raw", ".rwz", ".srf", ".sti"),
    }
)
"""Endings of camera RAW files, including those that cocotag does not decode."""
_WITH_SIDECARS = _RAW | {
    *IMAGE_ENDINGS,
    *(".afphoto", ".ai", ".clip", ".eps", ".exr", ".hdr", ".insp", ".jxl", ".jxr", ".kra", ".pdf"),
    *(".psb", ".psd", ".svg", ".wdp", ".xcf"),
    *(".3g2", ".3gp", ".avi", ".braw", ".crm", ".insv", ".lrv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".mxf", ".r3d", ".webm", ".wmv"),
}
"""Endings of files that other programs give sidecars, in lower case."""
_NAME = "SidecarForExtension"
_FOR_ENDING = f"{{http://ns.adobe.com/photoshop/1.0/}}{_NAME}"
"""The property with the ending of the file that a sidecar belongs to, without the dot."""
MARKS = tuple(URI.encode(codec) for codec in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"))
"""Bytes in every packet with keywords or notes of cocotag, for each encoding."""
_ENDINGS = (".xmp", ".XMP")


@dataclass(slots=True)
class SidecarSummary:
    """Counts of files by outcome.

    Attributes:
        what: The kind of files, in the plural.
        created: New files.
        updated: Changed files.
        unchanged: Files that were up to date.
        removed: Removed files, which had nothing but cocotag's keywords.
        skipped: Files left unchanged because the photograph could not be tagged.
        failed: Files left unchanged because of an error, by reason.
        first_failures: The messages of the first errors.
        both: Photographs with sidecars of both names.
        dry_run: Nothing was written; the counts are what would happen.
    """

    what: str = "sidecars"
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    first_failures: list[str] = field(default_factory=list)
    both: int = 0
    dry_run: bool = False

    @property
    def ok(self) -> bool:
        """Whether no file failed."""
        return not self.failed

    def fail(self, reason: str, message: object) -> None:
        """Count a failed file, and keep the message if it is one of the first."""
        self.failed[reason] += 1
        if len(self.first_failures) < FIRST_FAILURES:
            self.first_failures.append(str(message))

    def to_text(self) -> str:
        """One line of counts, and one line for each of the first failures."""
        counts = {"new": self.created, "changed": self.updated, "unchanged": self.unchanged, "removed": self.removed}
        counts["skipped, since their photographs could not be tagged"] = self.skipped
        text = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"
        lines = [f"{self.what}{' (dry run)' if self.dry_run else ''}: {text}"]
        if self.failed:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.failed.most_common())
            lines[0] += f"; left unchanged: {reasons}"
            lines += failure_lines(self.first_failures, self.failed.total())
        if self.both:
            have = "1 photograph has" if self.both == 1 else f"{self.both} photographs have"
            lines.append(f"{have} both IMG.jpg.xmp and IMG.xmp. --sidecar-name selects which one is written.")
        return "\n".join(lines)


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
        tags = [tag for row in good for tag in row.tags]
        given, classes = given_keywords(tags), own_classes(tags)
        with counted(summary):
            place, other = choose(photo, naming, neighbours)
            summary.both += other is not None
            if not dry_run:
                leftovers.remove_in(place.path.parent)
            before = place.read(MAX_BYTES)
            after = update(
                before,
                given,
                lambda: elsewhere(photo, other),  # noqa: B023
                name=show(place.path),
                classes=classes,
            ).packet
            _apply(place, before, after, summary, show_diff)
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
    for sidecar in (one for path in _existing_paths(given, seen, summary) for one in find_sidecars(path, summary, neighbours)):
        with counted(summary):
            place = Place.look(sidecar)
            if str(place.path) in seen:
                continue
            seen.add(str(place.path))
            if not dry_run:
                leftovers.remove_in(place.path.parent)
            before = place.read(MAX_BYTES)
            if before is None or not any(mark in before for mark in MARKS):
                summary.unchanged += before is not None
                continue
            _apply(place, before, strip(before, name=show(place.path)).packet, summary, show_diff)
    return summary


def _existing_paths(given: Iterable[Path], seen: Container[str], summary: SidecarSummary) -> Iterator[Path]:
    for path in given:
        if os.path.lexists(path):
            yield path
        elif str(path) not in seen:  # unless it was removed with its photograph, which was given too
            summary.fail("missing", f"{show(path)} does not exist.")


@contextmanager
def counted(summary: SidecarSummary) -> Iterator[None]:
    """Count the error of one file, so that the work continues with the next; a full disk stops everything."""
    try:
        yield
    except LeftAloneError as error:
        summary.fail(error.reason, error)
    except DataError as error:
        summary.fail("damaged", error)
    except OSError as error:
        if error.errno in NO_ROOM or isinstance(error, BrokenPipeError):  # or the reader of the diffs has closed the pipe
            raise
        summary.fail("unreadable", f"{show(error.filename or 'a file')} cannot be read or written ({error.strerror or error}).")


def _apply(
    place: Place, before: bytes | None, after: bytes | None, summary: SidecarSummary, show_diff: Callable[[str], None] | None
) -> None:
    """Write the new contents of a sidecar, if they differ from the old ones."""
    if before == after:
        summary.unchanged += before is not None
        return
    if show_diff is not None:
        show_diff(diff(place.path, before, after))
    if not summary.dry_run:
        if after is None:
            place.remove()
        else:
            place.write(after)
    if before is None:
        summary.created += 1
    elif after is None:
        summary.removed += 1
    else:
        summary.updated += 1


class Neighbours:
    """The other files in a photograph's folder: one listing per folder, cached while its photographs come."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._stems: dict[str, list[str]] = {}

    def owns_stem(self, photo: Path) -> bool:
        """Whether ``IMG.xmp`` is the sidecar of this photograph ``IMG.jpg``, and of no other."""
        if photo.parent != self._folder:
            self._folder, self._stems = photo.parent, {}
            for path in photo.parent.iterdir():
                if path.suffix.lower() in _WITH_SIDECARS:
                    self._stems.setdefault(path.stem, []).append(path.suffix)
        if photo.stem.endswith(tuple(IMAGE_ENDINGS)) and photo.with_name(photo.stem).exists():
            return False  # IMG.jpg.xmp is the sidecar of IMG.jpg, not of IMG.jpg.png
        suffixes = {*self._stems.get(photo.stem, ()), photo.suffix}
        raw = {suffix for suffix in suffixes if suffix.lower() in _RAW}
        return len(suffixes) == 1 or raw == {photo.suffix}


def choose(photo: Path, naming: Naming, neighbours: Neighbours) -> tuple[Place, Path | None]:
    """The existing or new sidecar of a photograph, and the one with the other name if both exist.

    Raises:
        LeftAloneError: The photograph is missing, or the sidecar is not a regular file.
    """
    try:
        photo.stat()
    except OSError as error:
        raise LeftAloneError("missing", f"{show(photo)} cannot be read ({error.strerror or error}).") from None
    appended, adobe = _existing_sidecars(photo, neighbours)
    order = (adobe, appended) if naming == "adobe" else (appended, adobe)
    if found := [path for path in order if path is not None]:
        return Place.look(found[0]), found[1] if len(found) > 1 else None
    free = _find_named(photo, photo.stem) is None and neighbours.owns_stem(photo)
    stem = photo.stem if naming == "adobe" and free else photo.name
    return Place.look(photo.with_name(f"{stem}.xmp")), None


def _existing_sidecars(photo: Path, neighbours: Neighbours) -> tuple[Path | None, Path | None]:
    """The existing sidecars that belong to a photograph, by each name."""
    appended, adobe = _find_named(photo, photo.name), _find_named(photo, photo.stem)
    if adobe == appended or (adobe is not None and not _belongs(adobe, photo, neighbours)):
        adobe = None
    return appended, adobe


def _belongs(sidecar: Path, photo: Path, neighbours: Neighbours) -> bool:
    """Whether ``IMG.xmp`` belongs to a photograph ``IMG.jpg``."""
    ending = _named_ending(sidecar)
    return ending.casefold() == photo.suffix[1:].casefold() if ending else neighbours.owns_stem(photo)


def _named_ending(sidecar: Path) -> str:
    """The ending that a sidecar names as that of its file, without the dot; empty if it names none or cannot be read."""
    with suppress(LeftAloneError, DataError):  # writing will name the fault
        packet = Place.look(sidecar).read(MAX_BYTES) or b""
        if _NAME in decode(packet):
            root = XmpDocument.read(packet, str(sidecar)).root
            values = (one.get(_FOR_ENDING) or (one.text if one.tag == _FOR_ENDING else None) for one in root.iter())
            return next((value.strip().lstrip(".") for value in values if value), "")
    return ""


def _find_named(photo: Path, stem: str) -> Path | None:
    return next((path for ending in _ENDINGS if os.path.lexists(path := photo.with_name(stem + ending))), None)


def elsewhere(photo: Path, other: Path | None) -> list[Keyword]:
    """The user's keywords in the photograph itself and in a further sidecar."""
    packet = Place.look(other).read(MAX_BYTES) if other is not None else None
    return [*(user_keywords(packet, name=str(other)) if packet else ()), *keywords_in(photo)]


def find_sidecars(path: Path, summary: SidecarSummary, neighbours: Neighbours) -> Iterator[Path]:
    """The sidecars of a path: itself, those of a photograph, or all in a folder and its subfolders."""
    if path.suffix in _ENDINGS and not path.is_dir():
        yield path
        return
    if not path.is_dir():
        own: tuple[Path | None, ...] = ()
        with counted(summary):
            own = _existing_sidecars(path, neighbours)
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
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(_ENDINGS))


def diff(path: Path, before: bytes | None, after: bytes | None) -> str:
    """The unified diff of a sidecar's text."""
    old, new = (decode(packet).splitlines() if packet is not None else [] for packet in (before, after))
    old_name, new_name = ("/dev/null" if packet is None else show(path) for packet in (before, after))
    lines = difflib.unified_diff(old, new, old_name, new_name, lineterm="")
    return "".join(f"{line}\n" for line in lines)
