"""The rows of an output, one per file, and their common context. Does not depend on an output format or a network."""

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
    """The result of one file by one model.

    Attributes:
        path: The given path, or the path below a given folder.
        status: ``ok``, or the error's code, such as ``truncated``.
        tags: The tags, highest score first.
        error: The error's message; empty if the status is ``ok``.
        probs: All probabilities, ``(C,)``; None if the image could not be used.
        model: The model's name among several; empty for a single model.
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
        vocabularies: Model name in the rows -> the bundle's own classes; the name is ``""`` for a single model.
        thresholds: Model name -> the thresholds that decided its tags, ``(C,)``.
        made_by: Model name -> its bundle, as plain JSON: ``bundle``, ``sha256``, ``cocotag``.
        several: Whether there are several models: then each file has one row per model, with the model's name.
        total: Expected number of rows; 0 if unknown.
        all_scores: Write the scores of all classes too, if the format can hold them.
        rename: New names of the tags; None for the bundle's names.
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
        """The possible tags of a model's rows, after renaming."""
        return self._renamed[model].vocabulary if self.rename else self.vocabularies[model]

    def names(self) -> list[str]:
        """The names of all possible tags of all models, each once."""
        return list(dict.fromkeys(name for model in self.vocabularies for name in self.tags(model).names))

    def scores(self, row: Row) -> NDArray[np.floating] | None:
        """The scores of a row for the classes of `tags`; the highest score for merged classes."""
        if row.probs is None or self.rename is None:
            return row.probs
        return self._renamed[row.model].merge(row.probs)

    def about(self) -> dict[str, Any]:
        """Bundles and thresholds of the rows as plain JSON, for formats that store metadata."""
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
