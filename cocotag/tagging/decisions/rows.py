"""What outputs are made of: a row for every file, and what all rows have in common. Knows no form and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cocotag.inference.tags import Tag
from cocotag.labels import Vocabulary
from cocotag.tagging.decisions.rename import Rename, Renamed


@dataclass(frozen=True, slots=True)
class Row:
    """What one file came to.

    Attributes:
        path: As it was given, or the given folder and the way from there.
        status: ``ok``, or the reason why there are no tags, such as ``truncated``.
        tags: Highest score first.
        error: The one-line message; empty where the status is ``ok``.
        probs: All probabilities, ``(C,)``; None where the image could not be used.
        model: Which of several models this is of; empty where there is one.
    """

    path: Path
    status: str = "ok"
    tags: tuple[Tag, ...] = ()
    error: str = ""
    probs: NDArray[np.floating] | None = None
    model: str = ""


@dataclass(frozen=True)
class Context:
    """What all rows have in common.

    Attributes:
        vocabularies: The bundle's own classes, of each model by its name in the rows; by ``""`` where there is one.
        thresholds: What tags were decided by, of each model, ``(C,)``.
        made_by: Of each model what made its rows, as plain JSON: ``bundle``, ``sha256``, ``cocotag``.
        several: There is a row for each model of every file, and its name in it.
        total: Rows that will come; 0 if nobody knows.
        all_scores: Write every class's score as well, where the form has room.
        rename: What the tags are called; None for the bundle's own names.
    """

    vocabularies: Mapping[str, Vocabulary]
    thresholds: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    made_by: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    several: bool = False
    total: int = 0
    all_scores: bool = False
    rename: Rename | None = None

    @cached_property
    def _renamed(self) -> dict[str, Renamed]:
        return {model: self.rename.of(own) for model, own in self.vocabularies.items()} if self.rename else {}

    def tags(self, model: str) -> Vocabulary:
        """What the tags of a model's rows may be, after renaming."""
        return self._renamed[model].vocabulary if self.rename else self.vocabularies[model]

    def names(self) -> list[str]:
        """What any tag of any model may be called, each once."""
        return list(dict.fromkeys(name for model in self.vocabularies for name in self.tags(model).names))

    def scores(self, row: Row) -> NDArray[np.floating] | None:
        """All scores of a row, of the classes that `tags` has; of merged ones the highest."""
        if row.probs is None or self.rename is None:
            return row.probs
        return self._renamed[row.model].merge(row.probs)

    def about(self) -> dict[str, Any]:
        """What made the rows, as plain JSON, for the forms that have a place for it."""
        thresholds = {
            model: dict(zip(self.vocabularies[model].names, map(float, values), strict=True))
            for model, values in self.thresholds.items()
        }
        return {"made_by": {model: dict(one) for model, one in self.made_by.items()}, "thresholds": thresholds}


class Form(Protocol):
    """A table that is being written to a file of its own."""

    def __init__(self, path: Path, context: Context) -> None:
        """Open the file."""

    @staticmethod
    def check(out: Path, context: Context) -> None:
        """Check before the work, and again before the file takes its place, that the table can be written.

        Raises:
            CocotagError: It cannot.
        """

    def write(self, rows: Sequence[Row]) -> None:
        """Write some more rows."""

    def close(self) -> None:
        """Complete the file."""

    def abandon(self) -> None:
        """Let go of the file, which will be removed."""
