"""What the doctor says (`Finding`) and what its checks look at (`Case`). Knows no torch.

A check is a function from a case to findings. An error is what would stop training or teach something false, a warning what
would make figures mislead, a note what is good to know.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cocotag.data.check.entries import Entries, Tally
from cocotag.data.check.fed import FedStatistics
from cocotag.data.check.survey import Survey

Severity = Literal["error", "warning", "note"]

ODD_SHARE, ODD_COUNT = 0.05, 5
"""What is odd in a few images is a fault of how they were made or exported beyond this share and count."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    Attributes:
        severity: ``error`` where training would stop or learn something false, ``warning`` where figures would
            mislead, ``note`` where it is good to know.
        code: A stable name for programs.
        what: What was found, in the plural, without the count.
        count: How many.
        of: Of how many; None where that says nothing.
        examples: The first of them, at most `cocotag.data.check.entries.MAX_EXAMPLES`.
        advice: What follows, and what to do.
    """

    severity: Severity
    code: str
    what: str
    count: int
    of: int | None
    examples: list[str]
    advice: str

    @property
    def headline(self) -> str:
        """What, and how many."""
        return f"{self.what}: {self.count}" + (f" of {self.of}" if self.of is not None else "")

    @property
    def message(self) -> str:
        """All in one line, with the first three examples."""
        first = "; ".join(self.examples[:3]) + ("; ..." if self.count > 3 else "")
        return f"{self.headline} ({first}). {self.advice}" if first else f"{self.headline}. {self.advice}"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "count": self.count,
            "of": self.of,
            "examples": self.examples,
        }

    def to_lines(self, width: int) -> list[str]:
        """For a screen of so many columns: the headline with the code, examples, advice."""
        lines = textwrap.wrap(f"{self.headline}  [{self.code}]", width, initial_indent="  ", **_WHOLE_WORDS)
        if any(len(example) > 30 for example in self.examples):
            more = [f"... and {self.count - 3} more"] if self.count > 3 else []
            texts = [*self.examples[:3], *more, self.advice]
        else:
            whole = ", ".join(example.replace(" ", _GLUE) for example in self.examples[:8])
            texts = [whole + (", ..." if self.count > 8 else ""), self.advice]
        for text in texts:
            lines += textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6, **_WHOLE_WORDS)
        return [line.replace(_GLUE, " ") for line in lines]


_GLUE = "\0"
"""Keeps the words of an example on one line; `shown` leaves none in a text."""
_WHOLE_WORDS: Any = {"break_long_words": False, "break_on_hyphens": False}


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """All that the checks look at.

    Attributes:
        root: The data set.
        split: Which split of it.
        image_dir: The folder of its images.
        entries: Its annotation file.
        survey: Its image files.
        unlisted: Files in the folder that the annotation file does not list, relative names.
        fed: What the network is fed; None where no image can be used.
        refusal: Why the loader refuses the annotation file; None where it does not.
        unread: Other split -> why it cannot be read, so was not compared.
    """

    root: Path
    split: str
    image_dir: Path
    entries: Entries
    survey: Survey
    unlisted: list[str]
    fed: FedStatistics | None
    refusal: str | None
    unread: dict[str, str]

    def names(self, rows: Iterable[int]) -> list[str]:
        """The file names of some rows."""
        return [self.entries.file_names[row] for row in rows]

    def rows_with(self, *faults: str) -> list[int]:
        """The rows whose image has one of these faults."""
        return [row for row, fault in enumerate(self.survey.faults) if fault in faults]


def shown(text: str) -> str:
    """A text that is one line on any screen: what is not printable is escaped."""
    return text if text.isprintable() else repr(text)


def many(count: int, of: int) -> bool:
    """Too many to be odd ones out, `ODD_SHARE`: one step more severe."""
    return count >= ODD_COUNT and count > ODD_SHARE * of


def if_any(
    severity: Severity, code: str, what: str, examples: Iterable[str] | Tally, advice: str, of: int | None = None
) -> Iterator[Finding]:
    """A finding if there is an example; all of them are given."""
    tally = examples if isinstance(examples, Tally) else Tally.of(examples)
    if tally.count:
        yield Finding(severity, code, what, tally.count, of, [shown(text) for text in tally.examples], advice)
