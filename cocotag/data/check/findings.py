"""The results of the doctor (`Finding`) and the input of its checks (`Case`). Does not import torch.

A check is a function from a case to findings. An error would stop training or teach wrong labels; a warning would make figures
misleading; a note is for information.
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
"""Odd images beyond this share and count are a systematic fault, for example of the export."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check.

    Attributes:
        severity: ``error`` if training would stop or learn wrong labels, ``warning`` if figures would be misleading, ``note``
            for information.
        code: A stable name for programs.
        what: What was found, in the plural, without the count.
        count: Number of occurrences.
        of: Total that the count refers to; None if there is none.
        examples: The first occurrences, at most `cocotag.data.check.entries.MAX_EXAMPLES`.
        advice: The consequences, and what to do.
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
        """What was found, and how often."""
        return f"{self.what}: {self.count}" + (f" of {self.of}" if self.of is not None else "")

    @property
    def message(self) -> str:
        """The finding in one line, with the first three examples."""
        first = "; ".join(self.examples[:3]) + ("; ..." if self.examples and self.count > 3 else "")
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
        """Lines for a terminal with ``width`` columns: the headline with the code, examples, advice."""
        lines = textwrap.wrap(f"{self.headline}  [{self.code}]", width, initial_indent="  ", **_WHOLE_WORDS)
        if any(len(example) > 30 for example in self.examples):
            more = [f"... and {self.count - 3} more"] if self.count > 3 else []
            texts = [*self.examples[:3], *more, self.advice]
        else:
            joined = ", ".join(example.replace(" ", _GLUE) for example in self.examples[:8])
            texts = [joined + (", ..." if self.count > 8 else ""), self.advice]
        for text in texts:
            lines += textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6, **_WHOLE_WORDS)
        return [line.replace(_GLUE, " ") for line in lines]


_GLUE = "\0"
"""Replaces the spaces of an example to keep it on one line; `shown` removes this character from texts."""
_WHOLE_WORDS: Any = {"break_long_words": False, "break_on_hyphens": False}


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """The input of the checks.

    Attributes:
        root: The data set.
        split: The split.
        image_dir: The folder of its images.
        entries: The contents of its annotation file.
        survey: The measurements of its image files.
        unlisted: Files in the folder that the annotation file does not list, relative names.
        fed: Statistics of the network's inputs; None if no image can be used.
        refusal: Error of the loader that refuses the annotation file; None if it does not.
        unread: Other split -> the reason why it cannot be read and was not compared.
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
    """A text in one line, with characters that are not printable escaped."""
    return text if text.isprintable() else repr(text)


def many(count: int, of: int) -> bool:
    """Whether there are more than a few odd ones (`ODD_SHARE`), which makes a finding more severe."""
    return count >= ODD_COUNT and count > ODD_SHARE * of


def if_any(
    severity: Severity, code: str, what: str, examples: Iterable[str] | Tally, advice: str, of: int | None = None
) -> Iterator[Finding]:
    """Yield a finding if there are examples; ``examples`` must be all of them."""
    tally = examples if isinstance(examples, Tally) else Tally.of(examples)
    if tally.count:
        yield Finding(severity, code, what, tally.count, of, [shown(text) for text in tally.examples], advice)
