"""Sidecars, files beside photographs that hold their keywords: which one a photograph has, bringing it up to date, and back.

A photograph ``IMG.jpg`` may have ``IMG.jpg.xmp``, as digiKam, darktable and Immich write it, or ``IMG.xmp``, as Adobe's
programs do. One that is there is updated, whichever was asked for. Where both are, it is the one whose kind was asked for; the
keywords of the other are the user's too. ``IMG.xmp`` is a photograph's own only if no other picture there is called ``IMG``;
beside ``IMG.cr2`` it is the RAW file's, as Adobe's programs have it, and ``IMG.jpg`` gets its own ``IMG.jpg.xmp``.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
from cocotag.tagging.xmp.document import MAX_BYTES, decode
from cocotag.tagging.xmp.in_place import NO_ROOM, LeftAloneError, Leftovers, Place
from cocotag.tagging.xmp.keywords import Keyword, given_keywords, own_classes
from cocotag.tagging.xmp.packet import strip, update, user_keywords
from cocotag.tagging.xmp.photo_keywords import keywords_in
from cocotag.tagging.xmp.record import URI

Naming = Literal["append", "adobe"]
FIRST_FAILURES = 5

_RAW = frozenset(FORMATS["RAW"].endings)
MARKS = tuple(URI.encode(codec) for codec in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"))
"""What stands in any packet that holds something of ours, in every encoding."""
_ENDINGS = (".xmp", ".XMP")


@dataclass(slots=True)
class SidecarSummary:
    """What became of the files.

    Attributes:
        what: What is counted, in the plural.
        created: Made anew.
        updated: Changed.
        unchanged: As they should be already.
        removed: Taken away, for there was nothing but cocotag's in them.
        skipped: Left as they are because the photograph could not be tagged.
        failed: Left as they are because something was wrong, by reason.
        first_failures: The messages of the first of them.
        both: Photographs with sidecars of both names.
        dry_run: Nothing was written: it is what would have been.
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
        """Nothing was wrong."""
        return not self.failed

    def fail(self, reason: str, message: object) -> None:
        """Count a file that was left as it is, and keep the message if it is one of the first."""
        self.failed[reason] += 1
        if len(self.first_failures) < FIRST_FAILURES:
            self.first_failures.append(str(message))

    def to_text(self) -> str:
        """A line of counts, and one for each of the first failures."""
        counts = {"new": self.created, "changed": self.updated, "unchanged": self.unchanged, "removed": self.removed}
        counts["skipped, as their photographs could not be tagged"] = self.skipped
        told = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"
        lines = [f"{self.what}{', would be' if self.dry_run else ''}: {told}"]
        if self.failed:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.failed.most_common())
            lines[0] += f"; left as they are: {reasons}"
            lines += failure_lines(self.first_failures, self.failed.total())
        if self.both:
            have = "1 photograph has" if self.both == 1 else f"{self.both} photographs have"
            lines.append(f"{have} both IMG.jpg.xmp and IMG.xmp; see --sidecar-name for which is written.")
        return "\n".join(lines)


def write_sidecars(
    rows: Iterable[Row],
    *,
    naming: Naming = "append",
    dry_run: bool = False,
    show_diff: Callable[[str], None] | None = None,
) -> SidecarSummary:
    """Bring the sidecars of some photographs up to date with their tags.

    Tagging again with other tags takes the former ones out. A photograph without tags gets no sidecar, and one that cocotag
    had made for it goes. Each file is written whole or not at all, and not touched if nothing in it would change.

    Args:
        rows: In the order of the walk; those of one photograph, of several models, one behind the other. Where all of a
            photograph's rows are errors its sidecar stays as it is.
        naming: What a new sidecar of ``IMG.jpg`` is called: ``append`` makes ``IMG.jpg.xmp``, ``adobe`` makes ``IMG.xmp``.
        dry_run: Write nothing.
        show_diff: Gets what changes in each sidecar, as a unified diff.

    Raises:
        OutputError: The disk is full. The sidecars so far are whole, and so is the one it happened at.
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
            _settle(place, before, after, summary, show_diff)
    return summary


def untag(
    paths: Sequence[Path | str],
    *,
    listed: BufferedIOBase | None = None,
    dry_run: bool = False,
    show_diff: Callable[[str], None] | None = None,
) -> SidecarSummary:
    """Take out of sidecars what cocotag put in, and remove those that hold nothing else.

    Args:
        paths: Photographs, sidecars, folders that are walked with all below them, and globs of these.
        listed: What a path ``-`` stands for, as for `Walk`; those of it that do not exist are failures.
        dry_run: Write nothing.
        show_diff: Gets what changes in each sidecar, as a unified diff.

    Raises:
        DataError: One of the paths does not exist, or a glob has no match.
        OutputError: The disk is full. What is done so far is whole.
    """
    given = Walk(paths, hidden=True, listed=listed).given()
    summary = SidecarSummary(dry_run=dry_run)
    neighbours, leftovers = Neighbours(), Leftovers()
    seen: set[str] = set()
    for sidecar in (one for path in _there_still(given, seen, summary) for one in find_sidecars(path, summary, neighbours)):
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
            _settle(place, before, strip(before, name=show(place.path)).packet, summary, show_diff)
    return summary


def _there_still(given: Iterable[Path], seen: Container[str], summary: SidecarSummary) -> Iterator[Path]:
    for path in given:
        if os.path.lexists(path):
            yield path
        elif str(path) not in seen:  # it was not removed with its photograph, which was named too
            summary.fail("missing", f"{show(path)} is not there.")


@contextmanager
def counted(summary: SidecarSummary) -> Iterator[None]:
    """Count what is wrong with one file, so that the next one gets its turn; a full disk stops all."""
    try:
        yield
    except LeftAloneError as error:
        summary.fail(error.reason, error)
    except DataError as error:
        summary.fail("damaged", error)
    except OSError as error:
        if error.errno in NO_ROOM or isinstance(error, BrokenPipeError):  # or whoever read the differences has gone
            raise
        summary.fail("unreadable", f"{show(error.filename or 'a file')} cannot be read or written ({error.strerror or error}).")


def _settle(
    place: Place, before: bytes | None, after: bytes | None, summary: SidecarSummary, show_diff: Callable[[str], None] | None
) -> None:
    """Write what is to be in a place, if that is not what is there."""
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
    """What else is in the folder of a photograph: one listing a folder, kept while photographs of it come."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._stems: dict[str, list[str]] = {}

    def owns_stem(self, photo: Path) -> bool:
        """Is ``IMG.xmp`` the sidecar of this photograph ``IMG.jpg``, and of no other?"""
        if photo.parent != self._folder:
            self._folder, self._stems = photo.parent, {}
            for path in photo.parent.iterdir():
                if path.suffix.lower() in IMAGE_ENDINGS:
                    self._stems.setdefault(path.stem, []).append(path.suffix)
        if photo.stem.endswith(tuple(IMAGE_ENDINGS)) and photo.with_name(photo.stem).exists():
            return False  # IMG.jpg.xmp is the sidecar of IMG.jpg, not of IMG.jpg.png
        suffixes = {*self._stems.get(photo.stem, ()), photo.suffix}
        raw = {suffix for suffix in suffixes if suffix.lower() in _RAW}
        return len(suffixes) == 1 or raw == {photo.suffix}


def choose(photo: Path, naming: Naming, neighbours: Neighbours) -> tuple[Place, Path | None]:
    """The sidecar of a photograph, there or to be made, and the one of the other name where both are.

    Raises:
        LeftAloneError: The photograph has gone, or what has a sidecar's name is none.
    """
    try:
        photo.stat()
    except OSError as error:
        raise LeftAloneError("missing", f"{show(photo)} cannot be read ({error.strerror or error}).") from None
    appended, adobe = _own(photo, neighbours)
    order = (adobe, appended) if naming == "adobe" else (appended, adobe)
    if found := [path for path in order if path is not None]:
        return Place.look(found[0]), found[1] if len(found) > 1 else None
    stem = photo.stem if naming == "adobe" and neighbours.owns_stem(photo) else photo.name
    return Place.look(photo.with_name(f"{stem}.xmp")), None


def _own(photo: Path, neighbours: Neighbours) -> tuple[Path | None, Path | None]:
    """The sidecars there that are a photograph's own, of either name."""
    appended, adobe = _there(photo, photo.name), _there(photo, photo.stem)
    if adobe == appended or (adobe is not None and not neighbours.owns_stem(photo)):
        adobe = None
    return appended, adobe


def _there(photo: Path, stem: str) -> Path | None:
    return next((path for ending in _ENDINGS if os.path.lexists(path := photo.with_name(stem + ending))), None)


def elsewhere(photo: Path, other: Path | None) -> list[Keyword]:
    """The user's keywords in the photograph itself and in a further sidecar."""
    packet = Place.look(other).read(MAX_BYTES) if other is not None else None
    return [*(user_keywords(packet, name=str(other)) if packet else ()), *keywords_in(photo)]


def find_sidecars(path: Path, summary: SidecarSummary, neighbours: Neighbours) -> Iterator[Path]:
    """The sidecars that a path stands for: itself, those of a photograph, or all in a folder and those below."""
    if path.suffix in _ENDINGS and not path.is_dir():
        yield path
        return
    if not path.is_dir():
        own: tuple[Path | None, ...] = ()
        with counted(summary):
            own = _own(path, neighbours)
        yield from filter(None, own)
        return
    walked: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        summary.fail("unreadable", f"{show(error.filename)} cannot be listed ({error.strerror}).")

    for folder, folders, names in os.walk(path, followlinks=True, onerror=unreadable):
        try:
            status = Path(folder).stat()
        except OSError as error:  # it has gone
            unreadable(error)
            continue
        if (status.st_dev, status.st_ino) in walked:  # a link that leads back
            folders.clear()
            continue
        walked.add((status.st_dev, status.st_ino))
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(_ENDINGS))


def diff(path: Path, before: bytes | None, after: bytes | None) -> str:
    """What changes in a sidecar, as a unified diff of its text."""
    old, new = (decode(packet).splitlines() if packet is not None else [] for packet in (before, after))
    old_name, new_name = ("/dev/null" if packet is None else show(path) for packet in (before, after))
    lines = difflib.unified_diff(old, new, old_name, new_name, lineterm="")
    return "".join(f"{line}\n" for line in lines)
