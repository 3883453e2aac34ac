"""Sidecars, files beside photographs with their keywords: finds, updates and cleans the sidecar of each photograph.

A photograph ``IMG.jpg`` may have ``IMG.jpg.xmp``, as digiKam, darktable and Immich write it, or ``IMG.xmp``, as Adobe's
programs do. An existing sidecar is updated, whichever name was requested. If both exist, both are written, since programs differ
in which they read. darktable makes ``IMG.jpg.xmp`` of ``IMG.xmp`` or of embedded keywords, without cocotag's notes: then those of
its source say which keywords are cocotag's. ``IMG.xmp`` belongs to a photograph only if no other picture or film in
the folder has the stem ``IMG``. Beside ``IMG.cr2`` it belongs to the RAW file, as in Adobe's programs, and ``IMG.jpg`` gets its
own ``IMG.jpg.xmp``. If ``IMG.xmp`` names the ending of its file (``photoshop:SidecarForExtension``), that decides.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from io import BufferedIOBase
from itertools import groupby
from pathlib import Path
from typing import Literal

from cocotag.errors import DataError
from cocotag.inference.tags import Tag
from cocotag.path_text import show
from cocotag.photos.formats.table import FORMATS, IMAGE_ENDINGS
from cocotag.photos.walk import Walk
from cocotag.tagging.decisions.failures import failure_lines
from cocotag.tagging.decisions.rows import Row
from cocotag.tagging.xmp.document import MAX_BYTES, XmpDocument, decode
from cocotag.tagging.xmp.in_place import NO_ROOM, LeftAloneError, Leftovers, Place
from cocotag.tagging.xmp.keywords import Keyword, given_keywords, own_classes
from cocotag.tagging.xmp.packet import Update, has_notes, is_made_of, notes_in, refusals, strip, update, user_keywords
from cocotag.tagging.xmp.photo_keywords import Inside, look_inside
from cocotag.tagging.xmp.record import Record

Naming = Literal["append", "adobe"]
FIRST_FAILURES = 5
FIRST_NAMES = 5
_EVENTS = {
    "refused": "keywords were deleted in another program, and are refused from now on",
    "put_back": "keywords are put back: another program had written its own over them; reload them there",
    "reclaimed": "refused keywords have been given by you since, and are yours",
}

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
        both: Photographs with sidecars of both names; both are written.
        hidden: Photographs beside an ``IMG.xmp`` of another file, which digiKam reads instead of theirs.
        refused: Names of keywords that other programs deleted since the last run, once per photograph.
        put_back: Names of keywords that other programs wrote their own over since.
        reclaimed: Names of refused keywords that the user has given since.
        beside: The counts of the sidecars that are written with embedded keywords; None if there are none.
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
    hidden: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    put_back: Counter[str] = field(default_factory=Counter)
    reclaimed: Counter[str] = field(default_factory=Counter)
    beside: SidecarSummary | None = None
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
        for counts_of, what in _EVENTS.items():
            names: Counter[str] = getattr(self, counts_of)
            if names:
                first = ", ".join(name for name, _ in names.most_common(FIRST_NAMES))
                more = f" and {len(names) - FIRST_NAMES} more" if len(names) > FIRST_NAMES else ""
                lines.append(f"  {names.total()} {what} ({first}{more})")
        if self.both:
            have = "1 photograph has" if self.both == 1 else f"{self.both} photographs have"
            lines.append(f"  {have} both IMG.jpg.xmp and IMG.xmp; both are written")
        if self.hidden:
            of = "1 photograph" if self.hidden == 1 else f"{self.hidden} photographs"
            lines.append(f"  beside {of} there is an IMG.xmp of another file, which digiKam reads instead of these tags")
        if self.beside is not None and (
            self.beside.created or self.beside.updated or self.beside.removed or self.beside.failed
        ):
            lines.append(self.beside.to_text())
        return "\n".join(lines)

    def happened(self, updates: Sequence[Update]) -> None:
        """Count what other programs have done to the keywords of one photograph, each once for all its files."""
        for counts, names in (
            (self.refused, {name for one in updates for name in one.refused}),
            (self.put_back, {name for one in updates for name in one.put_back}),
            (self.reclaimed, {name for one in updates for name in one.reclaimed}),
        ):
            counts.update(sorted(names))


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
            sidecars.update([tag for row in good for tag in row.tags], summary, show_diff)
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
    stripped: dict[Path, Record | None] = {}
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
                stripped[place.path] = notes_in(before, name=name)
                made_of = None
            else:
                made_of = _source(place.path, stripped, neighbours) if before else None
            if before is None or (made_of is None and place.path not in stripped):
                summary.unchanged += before is not None
                continue
            apply(place, before, strip(before, name=name, made_of=made_of).packet, summary, show_diff)
    return summary


def _source(sidecar: Path, stripped: Mapping[Path, Record | None], neighbours: Neighbours) -> Record | None:
    """The notes of what a program may have made a sidecar ``IMG.jpg.xmp`` of: ``IMG.xmp``, or the photograph itself."""
    photo = sidecar.with_suffix("")
    if not photo.is_file():
        return None
    adobe = next((one for one in _existing_sidecars(photo, neighbours) if one not in (None, sidecar)), None)
    if adobe is not None:
        place = Place.look(adobe)
        if record := stripped.get(place.path) or notes_in(place.read(MAX_BYTES), name=show(adobe)):
            return record
    return look_inside(photo).notes()


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


def apply(
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


@dataclass(frozen=True)
class Sidecars:
    """The sidecars of one photograph.

    Attributes:
        photo: The photograph.
        places: Its existing sidecars, or the one to be made. With both names, ``IMG.jpg.xmp`` and ``IMG.xmp``, both are
            written: programs differ in which they read.
        hidden: Whether there is an ``IMG.xmp`` that belongs to another file.
    """

    photo: Path
    places: tuple[Place, ...]
    hidden: bool = False

    @classmethod
    def of(cls, photo: Path, naming: Naming, neighbours: Neighbours) -> Sidecars:
        """Find them.

        Raises:
            LeftAloneError: The photograph is missing, or a sidecar is not a regular file.
        """
        try:
            photo.stat()
        except OSError as error:
            raise LeftAloneError("missing", f"{show(photo)} cannot be read ({error.strerror or error}).") from None
        found = [path for path in _existing_sidecars(photo, neighbours) if path is not None]
        named = _find_named(photo, photo.stem)
        hidden = named is not None and named not in found
        if found:
            return cls(photo, tuple(map(Place.look, found)), hidden)
        stem = photo.stem if naming == "adobe" and named is None and neighbours.owns_stem(photo) else photo.name
        return cls(photo, (Place.look(photo.with_name(f"{stem}.xmp")),), hidden)

    def update(
        self,
        tags: Sequence[Tag],
        summary: SidecarSummary,
        show_diff: Callable[[str], None] | None = None,
        *,
        inside: Inside | None = None,
        only_ours: bool = False,
    ) -> None:
        """Update them with the photograph's tags.

        Args:
            tags: The tags.
            summary: Receives the counts.
            show_diff: Called with the unified diff of each changed sidecar.
            inside: What is inside the photograph; None to read it.
            only_ours: Leave out sidecars without keywords of cocotag's.
        """
        given, classes = given_keywords(tags), own_classes(tags)
        packets = [place.read(MAX_BYTES) for place in self.places]
        if not given and not any(packets):
            return
        inside = look_inside(self.photo) if inside is None else inside
        read = self._readings(packets, inside)
        refused = [*inside.refused(), *(note for one in read for note in one.refused)]
        updates: list[Update] = []
        for place, before, one in zip(self.places, packets, read, strict=True):
            if only_ours and not one.has_ours:
                continue
            others = [other for other in read if other is not one]
            after = update(
                before,
                given,
                lambda: [*(keyword for other in others for keyword in other.keywords()), *inside.keywords()],  # noqa: B023
                name=show(place.path),
                classes=classes,
                made_of=one.made_of,
                refused=refused,
            )
            apply(place, before, after.packet, summary, show_diff)
            updates.append(after)
        summary.happened(updates)

    def strip_made_of(self, inside: Inside, summary: SidecarSummary, show_diff: Callable[[str], None] | None = None) -> None:
        """Remove cocotag's keywords from those that a program made of the embedded keywords; the others keep their notes."""
        packets = [place.read(MAX_BYTES) for place in self.places]
        for place, before, one in zip(self.places, packets, self._readings(packets, inside), strict=True):
            if before is not None and one.made_of is not None and not has_notes(before):
                after = strip(before, name=one.name, made_of=one.made_of)
                apply(place, before, after.packet, summary, show_diff)

    def refused(self, inside: Inside) -> list[str]:
        """The notes of keywords that are refused in them."""
        packets = [place.read(MAX_BYTES) for place in self.places]
        return [note for one in self._readings(packets, inside) for note in one.refused]

    def keywords(self, inside: Inside) -> list[Keyword]:
        """The user's keywords in them."""
        packets = [place.read(MAX_BYTES) for place in self.places]
        return [keyword for one in self._readings(packets, inside) for keyword in one.keywords()]

    def _readings(self, packets: Sequence[bytes | None], inside: Inside) -> list[_Reading]:
        names = [show(place.path) for place in self.places]
        notes = [
            notes_in(packet, name=name) if packet and has_notes(packet) else None
            for packet, name in zip(packets, names, strict=True)
        ]
        found = next((record for record in notes if record is not None), None)
        if found is None and any(packets):
            found = inside.notes()
        return [
            _Reading(packet, name, found if packet and found and is_made_of(packet, found, name=name) else None)
            for packet, name in zip(packets, names, strict=True)
        ]


@dataclass(frozen=True)
class _Reading:
    """A sidecar's packet, its name in messages, and the notes of what a program may have made it of."""

    packet: bytes | None
    name: str
    made_of: Record | None

    @cached_property
    def refused(self) -> tuple[str, ...]:
        return refusals(self.packet, name=self.name, made_of=self.made_of)

    @property
    def has_ours(self) -> bool:
        return self.packet is not None and (has_notes(self.packet) or self.made_of is not None)

    def keywords(self) -> list[Keyword]:
        return user_keywords(self.packet, name=self.name, made_of=self.made_of) if self.packet else []


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
