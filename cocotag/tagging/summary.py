"""What a run of ``cocotag tag`` came to, in counts: for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

FIRST_FAILURES = 3
FIRST_ENDINGS = 5
INSTALL_RAW = "pip install 'cocotag[raw]'"


@dataclass(slots=True)
class TagSummary:
    """What a run came to.

    Attributes:
        ok: Files that are tagged, be it with no tag.
        failed: Files that could not be, by reason.
        first_failures: The messages of the first of them.
        known: Files of both that were known from an earlier run.
        skipped: Files in the folders that are no images, by their ending.
        raw_left_out: Camera RAW files that were left out, as `Walk` says; no fault, for they often lie beside a JPEG.
        seconds: From the first file to the last, wall clock.
        models: Taggers that each file was given to.
        runs_on: What they ran on; empty if they do not say.
        stopped: By Ctrl-C, before all files were done.
    """

    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    first_failures: list[str] = field(default_factory=list)
    known: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    raw_left_out: int = 0
    seconds: float = 0.0
    models: int = 1
    runs_on: str = ""
    stopped: bool = False

    @property
    def total(self) -> int:
        """Files in all."""
        return self.ok + self.failed.total()

    def to_text(self) -> str:
        """A line of counts, and one for each of the first failures."""
        by = f" by {self.models} models" if self.models > 1 else ""
        new = self.total - self.known
        rate = new / self.seconds if self.seconds else 0.0
        on = f" on {self.runs_on}" if self.runs_on and new else ""
        known = f", {self.known} known from before" if self.known else ""
        counts = f"{self.ok} of {self.total} images tagged{by}{known}"
        lines = [f"{counts} in {self.seconds:.1f} s{f' ({rate:.1f} images/s{on})' if new else ''}"]
        if self.failed:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.failed.most_common())
            lines[0] += f"; failed: {reasons}"
            lines += failure_lines(self.first_failures, self.failed.total())
        if self.skipped:
            some = ", ".join(f"{count} {ending or 'without'}" for ending, count in self.skipped.most_common(FIRST_ENDINGS))
            some += ", ..." if len(self.skipped) > FIRST_ENDINGS else ""
            lines.append(f"{self.skipped.total()} other files left alone, by ending: {some}")
        if self.raw_left_out:
            lines.append(f"{self.raw_left_out} camera RAW files left out. To tag them too: {INSTALL_RAW}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        counts = {"files": self.total, "ok": self.ok, "failed": dict(self.failed), "known": self.known}
        rest = {
            "first_failures": self.first_failures,
            "skipped": dict(self.skipped),
            "raw_left_out": self.raw_left_out,
            "seconds": round(self.seconds, 3),
        }
        return {**counts, **rest, "runs_on": self.runs_on, "stopped": self.stopped}


def failure_lines(first: Sequence[str], total: int) -> list[str]:
    """The messages of the first failures, a line each, and how many there are more."""
    more = total - len(first)
    return [f"  {message}" for message in first] + ([f"  and {more} more"] if more else [])
