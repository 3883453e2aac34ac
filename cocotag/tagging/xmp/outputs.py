"""Sidecars and embedded keywords as outputs of `cocotag tag` and `cocotag retag`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from cocotag.errors import ConfigError
from cocotag.tagging.decisions.beside import Material, Written
from cocotag.tagging.decisions.rows import Context
from cocotag.tagging.state.stamps import was_rewritten
from cocotag.tagging.xmp.embed import embed_keywords
from cocotag.tagging.xmp.exiftool import find_exiftool
from cocotag.tagging.xmp.siblings import Naming
from cocotag.tagging.xmp.sidecars import write_sidecars


@dataclass(frozen=True)
class Sidecars:
    """XMP sidecars beside the photographs; `cocotag.tagging.decisions.beside.Beside` describes the methods.

    Attributes:
        naming: ``append`` for IMG.jpg.xmp, ``adobe`` for IMG.xmp.
    """

    naming: Naming = "append"
    folder: Path | None = None
    copies: Path | None = None
    changes_photographs = False

    def __post_init__(self) -> None:
        """Refuse an unknown naming.

        Raises:
            ConfigError: It is not one of the two.
        """
        if self.naming not in get_args(Naming):
            raise ConfigError(
                f"naming is {self.naming!r}; it must be one of {', '.join(get_args(Naming))}.", code="unknown_naming"
            )

    def check(self, context: Context, *, overwrite: bool) -> None:
        """Any tag can be a keyword."""

    def write(self, material: Material) -> Written:
        """Write or update the sidecars."""
        summary = write_sidecars(material.rows(), naming=self.naming)
        return Written(summary.to_text(), summary.faults, summary.events)


@dataclass(frozen=True)
class Embedded:
    """Keywords in the photographs, or in copies; `cocotag.tagging.decisions.beside.Beside` describes the methods.

    Attributes:
        copies: Folder of the copies; None changes the photographs themselves.
        backup: Whether a changed photograph is kept as it was, as ``IMG.jpg_original``.
    """

    copies: Path | None = None
    backup: bool = True
    folder: Path | None = None
    changes_photographs = True

    def __post_init__(self) -> None:
        """Take a text for the folder too."""
        if self.copies is not None:
            object.__setattr__(self, "copies", Path(self.copies))

    def check(self, context: Context, *, overwrite: bool) -> None:
        """Check that exiftool is installed."""
        find_exiftool()

    def write(self, material: Material) -> Written:
        """Write the keywords, and give the state the new sizes and times of the changed photographs."""
        state = material.state
        summary = embed_keywords(
            material.rows(),
            into=self.copies,
            given=list(map(Path, material.paths)),
            backup=self.backup,
            changed=lambda path: was_rewritten(path, state),
        )
        state.commit()
        return Written(summary.to_text(), summary.faults, summary.events)
