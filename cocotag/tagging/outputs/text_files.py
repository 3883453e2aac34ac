"""A ``.txt`` beside each image, one tag per line, highest score first. Training tools read such files as captions.

``photo.jpg`` has ``photo.txt``. If two images of a folder would share it (``photo.jpg`` and ``photo.dng``), theirs are
``photo.jpg.txt`` and ``photo.dng.txt``. An image without tags has an empty file, an image that could not be used has no file.

The user's own captions may have the same names. A ``.txt`` that cocotag did not write, or that was changed since, is never
replaced, not even with ``--overwrite`` (`cocotag.tagging.outputs.own_files`).
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
"""Folders that stay open, because a walk returns to a folder after each of its subfolders."""


@dataclass(slots=True)
class TextSummary:
    """Numbers of text files by what happened to them.

    Attributes:
        written: New files, and replaced files of cocotag's.
        unchanged: Files that already had the same content.
        removed: Files of cocotag's that were removed because their image cannot be used any more.
        kept: Files that were not written because the user has a file of that name.
        errors: Files that could not be written.
        first_failures: Messages of the first files among ``kept`` and ``errors``.
    """

    written: int = 0
    unchanged: int = 0
    removed: int = 0
    kept: int = 0
    errors: int = 0
    first_failures: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Number of images whose text file was not written."""
        return self.kept + self.errors

    def to_text(self) -> str:
        """A line of counts, and one line for each of the first failures."""
        counts = {"unchanged": self.unchanged, "removed": self.removed, "kept as yours": self.kept, "failed": self.errors}
        line = ", ".join([f".txt: {self.written} written", *(f"{count} {what}" for what, count in counts.items() if count)])
        return "\n".join([line, *failure_lines(self.first_failures, self.failed)])

    def add_failure(self, message: str) -> None:
        """Record a message, if it is one of the first."""
        if len(self.first_failures) < FIRST_FAILURES:
            self.first_failures.append(show(message))


@dataclass(frozen=True)
class TextFiles:
    """A ``.txt`` beside each image; `cocotag.tagging.decisions.beside.Beside` describes the methods."""

    folder: Path | None = None
    copies: Path | None = None
    changes_photographs = False

    def check(self, context: Context, *, overwrite: bool) -> None:
        """Check that every tag can be a line."""
        check_texts(context)

    def write(self, material: Material) -> Written:
        """Write or update the files."""
        summary = write_texts(material.rows())
        return Written(summary.to_text(), summary.failed)


def check_texts(context: Context) -> None:
    """Check before the work that every tag can be a line.

    Raises:
        OutputError: A tag has a control character, such as a line break.
    """
    bad = next((name for name in context.names() if any(ord(letter) < 32 or letter == "\x7f" for letter in name)), None)
    if bad is not None:
        raise OutputError(
            f"--txt: the class {bad!r} has a control character, so it cannot be a line. Rename it with --rename.",
            code="name_not_writable",
        )


def write_texts(rows: Iterable[Row]) -> TextSummary:
    """Write the text files of images, each atomically.

    Args:
        rows: The rows; those of one image by several models follow each other. If models give the same tag, the highest score
            counts.

    Raises:
        OutputError: The disk is full. Files written before are complete.
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
            f"{image.with_name(name)} was not written by cocotag, so it is kept. Move it away to get cocotag's."
        )
    except (OutputError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"{image.parent} is full: the .txt of {image.name} cannot be written. Free some space.", code="disk_full"
            ) from error
        summary.errors += 1
        reason = (cause.strerror if isinstance(cause, OSError) else None) or error
        summary.add_failure(f"{image}: its .txt file cannot be written ({reason}).")


def _lines(rows: Sequence[Row]) -> bytes:
    """The content of a text file: the tags, highest score first."""
    scores: dict[str, float] = {}
    for tag in (tag for row in rows for tag in row.tags):
        scores[tag.name] = max(tag.score, scores.get(tag.name, 0.0))
    return "".join(f"{name}\n" for name in sorted(scores, key=lambda name: -scores[name])).encode()


class _Folder:
    """A folder of images, with the names of images that would share a text file."""

    def __init__(self, path: Path) -> None:
        self.files = OwnFiles(path)
        self._stems, counts = np.unique(np.asarray(_stems_in(path), np.uint64), return_counts=True)
        self._shared = self._stems[counts > 1]

    def text_of(self, image: str) -> str:
        """The name of an image's text file. If images now share the short name, cocotag's own file of that name is removed.

        Raises:
            OSError: The name is another image's.
        """
        stem, is_image = _stem(image)
        if is_image and not _has(self._shared, _hash(stem)):
            return f"{stem}.txt"
        if _has(self._stems, _hash(image)):
            raise FileExistsError(errno.EEXIST, f"{image}.txt belongs to another image")
        if is_image:
            self.files.remove(f"{stem}.txt")
        return f"{image}.txt"


def _stems_in(folder: Path) -> array[int]:
    """Hashes of the names of all images without their endings; hashes, because a folder may have a million images."""
    stems = array("Q")
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, is_image = _stem(entry.name)
                if is_image:
                    stems.append(_hash(stem))
    except OSError:  # writing to the folder reports the fault
        pass
    return stems


def _stem(image: str) -> tuple[str, bool]:
    """A name without its ending and True, if the ending is an image format's; else the whole name and False."""
    stem, ending = os.path.splitext(image)  # noqa: PTH122 (a million times)
    return (stem, True) if ending.lower() in IMAGE_ENDINGS else (image, False)


def _has(values: NDArray[np.uint64], value: int) -> bool:
    index = np.searchsorted(values, np.uint64(value))
    return bool(index < len(values) and values[index] == value)


def _hash(name: str) -> int:
    """A hash that ignores case, as some file systems do."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(name.casefold()), digest_size=8).digest())
