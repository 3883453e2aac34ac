"""Summary of a run of ``cocotag tag``: counts for people and for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from cocotag.tagging.decisions.failures import failure_lines

FIRST_ENDINGS = 5
INSTALL_RAW = "pip install 'cocotag[raw]'"


@dataclass(slots=True)
class TagSummary:
    """Counts of a run.

    Attributes:
        ok: Tagged files, including those without any tag.
        failed: Failed files, by reason.
        first_failures: The messages of the first failures.
        known: Unchanged files, tagged or failed, whose result an earlier run has cached.
        known_failed: Failed files among ``known``.
        skipped: Files in the folders that are not images, by ending.
        raw_left_out: Camera RAW files that were left out, see `Walk`; not an error, since a JPEG is often beside them.
        system_folders: Folders of systems that were left out, see `Walk`, by name.
        idle_exclusions: Globs of exclusions that matched nothing.
        seconds: Wall-clock time of the run.
        models: Number of taggers.
        runs_on: The device of the taggers, or an empty string.
        stopped: Whether Ctrl-C stopped the run before all files were done.
    """

    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    first_failures: list[str] = field(default_factory=list)
    known: int = 0
    known_failed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    raw_left_out: int = 0
    system_folders: Counter[str] = field(default_factory=Counter)
    idle_exclusions: list[str] = field(default_factory=list)
    seconds: float = 0.0
    models: int = 1
    runs_on: str = ""
    stopped: bool = False

    @property
    def total(self) -> int:
        """Number of all files."""
        return self.ok + self.failed.total()

    def to_text(self) -> str:
        """One line of counts, and one line for each of the first failures."""
        by = f" by {self.models} models" if self.models > 1 else ""
        tagged_now = self.ok - (self.known - self.known_failed)
        rate = (self.total - self.known) / self.seconds if self.seconds else 0.0
        on = f" on {self.runs_on}" if self.runs_on else ""
        known = f", {self.known} unchanged" if self.known else ""
        counts = f"{self.ok} of {counted(self.total, 'file')} tagged{by}{known}"
        lines = [f"{counts} in {self.seconds:.1f} s{f' ({rate:.1f} images/s{on})' if tagged_now else ''}"]
        if self.failed:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.failed.most_common())
            lines[0] += f"; failed: {reasons}"
            lines += failure_lines(self.first_failures, self.failed.total())
        if self.skipped:
            lines.append(skipped_text(self.skipped))
        if self.raw_left_out:
            them = "it" if self.raw_left_out == 1 else "them"
            lines.append(f"{counted(self.raw_left_out, 'camera RAW file')} left out. To tag {them} too: {INSTALL_RAW}")
        if self.system_folders:
            names = ", ".join(f"{count} {name}" for name, count in self.system_folders.most_common(FIRST_ENDINGS))
            number = counted(self.system_folders.total(), "folder")
            lines.append(f"{number} with thumbnails or deleted files left out ({names}). To tag them too: --hidden")
        for glob in self.idle_exclusions:
            hint = " A pattern with a slash matches the path below the given folder." if "/" in glob.rstrip("/") else ""
            lines.append(f"--exclude {glob!r} matched nothing.{hint}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        counts = {"files": self.total, "ok": self.ok, "failed": dict(self.failed), "known": self.known}
        rest = {
            "first_failures": self.first_failures,
            "skipped": dict(self.skipped),
            "raw_left_out": self.raw_left_out,
            "system_folders": dict(self.system_folders),
            "idle_exclusions": self.idle_exclusions,
            "seconds": round(self.seconds, 3),
        }
        return {**counts, **rest, "runs_on": self.runs_on, "stopped": self.stopped}


def counted(number: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def skipped_text(skipped: Counter[str]) -> str:
    """The number of files that are not images, with their endings."""
    some = ", ".join(f"{count} {ending or 'without'}" for ending, count in skipped.most_common(FIRST_ENDINGS))
    some += ", ..." if len(skipped) > FIRST_ENDINGS else ""
    return f"{counted(skipped.total(), 'other file')} skipped, by ending: {some}"
