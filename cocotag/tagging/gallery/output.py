"""The gallery as an output of `cocotag tag` and `cocotag retag`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cocotag.tagging.decisions.beside import Material, Written
from cocotag.tagging.decisions.rows import Context
from cocotag.tagging.gallery.place import check_gallery
from cocotag.tagging.gallery.write import write_gallery


@dataclass(frozen=True)
class Gallery:
    """Static pages in ``folder``; `cocotag.tagging.decisions.beside.Beside` describes the methods."""

    folder: Path
    copies: Path | None = None
    changes_photographs = False

    def __post_init__(self) -> None:
        """Take a text for the folder too."""
        object.__setattr__(self, "folder", Path(self.folder))

    def check(self, context: Context, *, overwrite: bool) -> None:
        """Check that the folder can hold a gallery."""
        check_gallery(self.folder, overwrite=overwrite)

    def write(self, material: Material) -> Written:
        """Write or update the pages and thumbnails."""
        summary = write_gallery(
            material.rows,
            self.folder,
            material.context,
            progress=material.progress,
            state=material.state.path,
            names=material.names,
        )
        return Written(summary.to_text(), summary.failed)
