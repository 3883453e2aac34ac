"""A ``.txt`` beside each image, one tag a line, highest score first: what tools for training read as captions.

``photo.jpg`` has ``photo.txt``; where two images of a folder would share it (``photo.jpg`` and ``photo.dng``) theirs are
``photo.jpg.txt`` and ``photo.dng.txt``. An image without a tag has an empty one, an image that could not be used none.

People's own captions are called so too: a ``.txt`` that cocotag did not write, or that was changed since, is never replaced,
whatever is said about overwriting elsewhere (`cocotag.tagging.outputs.own_files`).
"""

from __future__ import annotations

import errno
import hashlib
import os
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cocotag.errors import OutputError
from cocotag.path_text import show
from cocotag.photos.formats.table import IMAGE_ENDINGS
from cocotag.tagging.decisions.beside import Material, Written
from cocotag.tagging.decisions.failures import FIRST_FAILURES, failure_lines
from cocotag.tagging.decisions.rows import Context, Row
from cocotag.tagging.outputs.own_files import NotOursError, OwnFiles

_OPEN_FOLDERS = 16
"""A walk comes back to a folder after each folder in it."""


@dataclass(slots=True)
class TextSummary:
    """What became of the texts.

    Attributes:
        written: New, or in the place of one of cocotag's own.
        unchanged: There already, letter for letter.
        removed: Cocotag's own, of images that cannot be used any more.
        kept: Not written, for there is one that cocotag did not write.
        errors: Not written, for the folder does not let it.
        first_failures: Messages of the first of the last two.
    """

    written: int = 0
    unchanged: int = 0
    removed: int = 0
    kept: int = 0
    errors: int = 0
    first_failures: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Images that should have a text of cocotag's and have none."""
        return self.kept + self.errors

    def to_text(self) -> str:
        """A line of counts, and one for each of the first failures."""
        counts = {"unchanged": self.unchanged, "removed": self.removed, "kept as yours": self.kept, "failed": self.errors}
        line = ", ".join([f".txt: {self.written} written", *(f"{count} {what}" for what, count in counts.items() if count)])
        return "\n".join([line, *failure_lines(self.first_failures, self.failed)])

    def add_failure(self, message: str) -> None:
        """Note a message, if it is one of the first."""
        if len(self.first_failures) < FIRST_FAILURES:
            self.first_failures.append(show(message))


@dataclass(frozen=True)
class TextFiles:
    """A ``.txt`` beside each image; `cocotag.tagging.decisions.beside.Beside` describes the methods."""

    folder: Path | None = None
    changes_photographs = False

    def check(self, context: Context, *, overwrite: bool) -> None:
        """Check that every tag can be a line."""
        check_texts(context)

    def write(self, material: Material) -> Written:
        """Write or update the files."""
        summary = write_texts(material.rows())
        return Written(summary.to_text(), summary.failed)


def check_texts(context: Context) -> None:
    """See before the work that every tag can be a line.

    Raises:
        OutputError: One has a control character, such as a line break.
    """
    bad = next((name for name in context.names() if any(ord(letter) < 32 or letter == "\x7f" for letter in name)), None)
    if bad is not None:
        raise OutputError(f"--txt: the class {bad!r} has a control character, so it is no line. Rename it with --rename.")


def write_texts(rows: Iterable[Row]) -> TextSummary:
    """Write the texts of images, each whole or not at all.

    Args:
        rows: Those of one image by several models one after the other; of tags of one name the highest score counts.

    Raises:
        OutputError: The disk is full. What was written till then is whole.
    """
    summary = TextSummary()
    folders: OrderedDict[Path, _Folder] = OrderedDict()
    try:
        for path, group in groupby(rows, attrgetter("path")):
            parent = path.parent
            if parent not in folders:
                if len(folders) == _OPEN_FOLDERS:
                    folders.popitem(last=False)[1].files.close()
                folders[parent] = _Folder(parent)
            folders.move_to_end(parent)
            _write_text(folders[parent], path, list(group), summary)
    finally:
        for folder in folders.values():
            folder.files.close()
    return summary


def _write_text(folder: _Folder, image: Path, rows: Sequence[Row], summary: TextSummary) -> None:
    try:
        name = folder.text_of(image.name)
        if all(row.status == "ok" for row in rows):
            if folder.files.write(name, _lines(rows)):
                summary.written += 1
            else:
                summary.unchanged += 1
        elif folder.files.remove(name):
            summary.removed += 1
    except NotOursError:
        summary.kept += 1
        summary.add_failure(
            f"{image.with_name(name)} was not written by cocotag, so it stays. Move it away to have one written."
        )
    except (OutputError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"{image.parent} is full: the .txt of {image.name} cannot be written. Free some space."
            ) from error
        summary.errors += 1
        reason = (cause.strerror if isinstance(cause, OSError) else None) or error
        summary.add_failure(f"{image}: its .txt cannot be written ({reason}).")


def _lines(rows: Sequence[Row]) -> bytes:
    """The tags, highest score first."""
    scores: dict[str, float] = {}
    for tag in (tag for row in rows for tag in row.tags):
        scores[tag.name] = max(tag.score, scores.get(tag.name, 0.0))
    return "".join(f"{name}\n" for name in sorted(scores, key=lambda name: -scores[name])).encode()


class _Folder:
    """A folder of images: which of them would share a text."""

    def __init__(self, path: Path) -> None:
        self.files = OwnFiles(path)
        self._stems, counts = np.unique(np.asarray(_stems_in(path), np.uint64), return_counts=True)
        self._shared = self._stems[counts > 1]

    def text_of(self, image: str) -> str:
        """The name of an image's text; cocotag's own of the time before it was shared is removed.

        Raises:
            OSError: It is another image's.
        """
        stem, known = _stem(image)
        if known and not _has(self._shared, _hash(stem)):
            return f"{stem}.txt"
        if _has(self._stems, _hash(image)):
            raise FileExistsError(errno.EEXIST, f"{image}.txt is another image's")
        if known:
            self.files.remove(f"{stem}.txt")
        return f"{image}.txt"


def _stems_in(folder: Path) -> array[int]:
    """Hashes of the names of all images, without their endings: a folder may have a million."""
    stems = array("Q")
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, known = _stem(entry.name)
                if known:
                    stems.append(_hash(stem))
    except OSError:  # nor can it be written to, then
        pass
    return stems


def _stem(image: str) -> tuple[str, bool]:
    """A name without its ending, and whether that is one of images; with it if it is not."""
    stem, ending = os.path.splitext(image)  # noqa: PTH122 (a million times)
    return (stem, True) if ending.lower() in IMAGE_ENDINGS else (image, False)


def _has(values: NDArray[np.uint64], value: int) -> bool:
    place = np.searchsorted(values, np.uint64(value))
    return bool(place < len(values) and values[place] == value)


def _hash(name: str) -> int:
    """Not of case: some disks do not tell it apart."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(name.casefold()), digest_size=8).digest())
