"""What happened to the sidecars or photographs of a run: counts, the first failures, and what other programs have done."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cocotag.errors import DataError
from cocotag.path_text import show
from cocotag.tagging.decisions.failures import failure_lines
from cocotag.tagging.xmp.in_place import NO_ROOM, LeftAloneError, Place
from cocotag.tagging.xmp.packets.document import decode
from cocotag.tagging.xmp.packets.packet import Update

FIRST_FAILURES = 5
FIRST_NAMES = 5
_EVENTS = {
    "refused": "deleted in another program, and refused from now on",
    "put_back": "put back, since another program had written its own over them; reload them there",
    "reclaimed": "refused before, and yours now that you have given them",
}


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
        heic: HEIC files among the photographs, in which programs with Exiv2 find no keywords.
        refused: Names of keywords that other programs deleted since the last run, once per photograph.
        put_back: Names of keywords that other programs wrote their own over since.
        reclaimed: Names of refused keywords that the user has given since.
        events: The same, one by one with the photograph, for `--json-log`.
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
    heic: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    put_back: Counter[str] = field(default_factory=Counter)
    reclaimed: Counter[str] = field(default_factory=Counter)
    events: list[dict[str, str]] = field(default_factory=list)
    beside: SidecarSummary | None = None
    dry_run: bool = False

    @property
    def ok(self) -> bool:
        """Whether no file failed."""
        return not self.faults

    @property
    def faults(self) -> int:
        """The number of files that failed, with the sidecars of embedded keywords."""
        return self.failed.total() + (self.beside.faults if self.beside is not None else 0)

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
                keywords = "1 keyword" if names.total() == 1 else f"{names.total()} keywords"
                lines.append(f"  {what}: {keywords} ({first}{more})")
        if self.both:
            have = "1 photograph has" if self.both == 1 else f"{self.both} photographs have"
            lines.append(f"  {have} both IMG.jpg.xmp and IMG.xmp; both are written")
        if self.hidden:
            of = "1 photograph" if self.hidden == 1 else f"{self.hidden} photographs"
            lines.append(f"  beside {of} there is an IMG.xmp of another file, which digiKam reads instead of these tags")
        if self.heic:
            files = "1 of them is HEIC" if self.heic == 1 else f"{self.heic} of them are HEIC"
            lines.append(f"  {files}, in which darktable and digiKam may find no keywords: --xmp writes them beside it")
        if self.beside is not None and (
            self.beside.created or self.beside.updated or self.beside.removed or self.beside.failed
        ):
            lines.append(self.beside.to_text())
        return "\n".join(lines)

    def happened(self, photo: Path, updates: Sequence[Update]) -> None:
        """Count what other programs have done to the keywords of one photograph, each once for all its files."""
        for what in _EVENTS:
            names = sorted({name for one in updates for name in getattr(one, what)})
            getattr(self, what).update(names)
            self.events += [{"event": "keyword", "what": what, "keyword": name, "path": str(photo)} for name in names]


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


def diff(path: Path, before: bytes | None, after: bytes | None) -> str:
    """The unified diff of a sidecar's text."""
    old, new = (decode(packet).splitlines() if packet is not None else [] for packet in (before, after))
    old_name, new_name = ("/dev/null" if packet is None else show(path) for packet in (before, after))
    lines = difflib.unified_diff(old, new, old_name, new_name, lineterm="")
    return "".join(f"{line}\n" for line in lines)
