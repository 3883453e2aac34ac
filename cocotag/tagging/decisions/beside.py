"""The interface of an output beside the images: its methods, its inputs and its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cocotag.tagging.decisions.rows import Context, Row
from cocotag.tagging.state.store import State


@dataclass(frozen=True)
class Written:
    """The result of one output beside the images.

    Attributes:
        text: Lines for people; empty if there is nothing to say.
        faults: Files that could not be written.
        events: What happened to single files, for the log in JSON.
    """

    text: str
    faults: int = 0
    events: Sequence[Mapping[str, object]] = ()


@dataclass(frozen=True)
class Material:
    """The inputs of an output beside the images.

    Attributes:
        rows: Makes the rows of all files; may be called several times.
        context: What all rows have in common.
        state: The results; a tables' state that was kept, or a temporary one.
        names: The file that tags were renamed by; None without one.
        paths: The paths that were tagged, as they were given; empty if only the state knows.
        progress: Whether long work may show a bar on stderr.
    """

    rows: Callable[[], Iterator[Row]]
    context: Context
    state: State
    names: Path | None = None
    paths: Sequence[str] = ()
    progress: bool = True


class Beside(Protocol):
    """An output beside the images, or a folder of pages. `cocotag.tagging.outputs.beside` has the table of them."""

    @property
    def folder(self) -> Path | None:
        """Its own folder, which may contain a state; None without one."""

    @property
    def copies(self) -> Path | None:
        """The folder in which it writes copies of the photographs, which are then not tagged; None without one."""

    @property
    def changes_photographs(self) -> bool:
        """Whether it changes the photographs' size and time. Such outputs are written first: others know a file by these."""

    def check(self, context: Context, *, overwrite: bool) -> None:
        """Check before the work that the output can be written.

        Raises:
            CocotagError: It cannot.
        """

    def write(self, material: Material) -> Written:
        """Write the output, or bring it up to date.

        Raises:
            OutputError: The disk is full.
        """
