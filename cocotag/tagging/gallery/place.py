"""The folder of a gallery: whose it is, what is where, and what is no longer needed. Knows no rows and no pictures."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cocotag.errors import OutputError
from cocotag.files import atomic_path, probe_folder, write_text
from cocotag.tagging.state.store import NAME as STATE

PAGE = "index.html"
FILES = "cocotag"
"""Folder of all that the page needs: its name is not one that people's own folders have."""

MARKER = ".cocotag-gallery"
"""In that folder: says whose it is, and keeps walks out of it. Beside it people may have photographs, which are walked."""

THUMBS = f"{FILES}/thumbs"

_MARKER_TEXT = "Made by cocotag for ../index.html. Delete both to be rid of them.\n"
_DATA = re.compile(r"data-([0-9a-f]{16}|\d+\.part)")
_THUMB = re.compile(r"([0-9a-f]{16})\.jpg(\.part)?")
_LITTER = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})  # of file managers


def check_gallery(directory: Path | str, *, overwrite: bool = False) -> None:
    """See before the work that a gallery can be written.

    Args:
        directory: Its folder: one that is not there, an empty one, or a gallery. A state may be in it.
        overwrite: Any folder will do. What else is in it stays, but for ``index.html`` and what is called as the files of a
            gallery are.

    Raises:
        OutputError: It is something else, or cannot be written to.
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise OutputError(f"{directory} is a file. --gallery needs a folder: choose another name.")
    try:
        others = [] if overwrite or is_gallery(directory) else sorted(_others(directory))
    except OSError as error:
        raise OutputError(f"{directory} cannot be read ({error.strerror or error}). Choose another folder.") from None
    if others:
        what = f"{directory} is not empty and no gallery of cocotag's (it holds {others[0]!r})"
        raise OutputError(f"{what}. Choose another folder, or add --overwrite.")
    probe_folder(directory)


def is_gallery(directory: Path) -> bool:
    """Whether a gallery was written there, or begun."""
    return (directory / FILES / MARKER).is_file()


def _others(directory: Path) -> Iterator[str]:
    """Names of what is in a folder and neither ours nor litter; nothing if there is no folder."""
    if directory.is_dir():
        for entry in directory.iterdir():
            if entry.name not in _LITTER and entry.name != STATE and not entry.name.startswith(f"{STATE}-"):
                yield entry.name


class Place:
    """The folder of a gallery that is being written.

    Attributes:
        directory: The folder.
        thumbs: Where thumbnails are.
        new_data: Where data are put until the page can use them.
    """

    def __init__(self, directory: Path) -> None:
        """Make the folder and mark it.

        Raises:
            OutputError: It cannot be written.
        """
        self.directory = directory
        self.thumbs = directory / THUMBS
        self.new_data = directory / FILES / f"data-{os.getpid()}.part"
        if not is_gallery(directory):  # before there are pictures
            write_text(directory / FILES / MARKER, _MARKER_TEXT)
        with output_errors(directory):
            self.thumbs.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self.new_data, ignore_errors=True)
            self.new_data.mkdir()

    def publish(self, digest: str, page: str) -> None:
        """Put the new data and the page that uses them in place.

        Args:
            digest: Of the data, 16 hexadecimal digits.
            page: The page, which names it.
        """
        data = self.directory / FILES / data_name(digest)
        with output_errors(data):
            data.mkdir(exist_ok=True)
            for file in sorted(self.new_data.iterdir()):  # the same content, where it is there already
                file.replace(data / file.name)
        with atomic_path(self.directory / PAGE) as temporary:
            temporary.write_text(page, encoding="utf-8", newline="")
        for folder in (self.directory / FILES).iterdir():
            if _DATA.fullmatch(folder.name) and folder.name != data.name:
                shutil.rmtree(folder, ignore_errors=True)

    def abandon(self) -> None:
        """Remove data that no page uses."""
        shutil.rmtree(self.new_data, ignore_errors=True)

    def remove_thumbs_but(self, keys: NDArray[np.uint64]) -> int:
        """Remove the thumbnails that the page does not use.

        Args:
            keys: Of those that it uses.

        Returns:
            How many were removed.
        """
        keys = np.unique(keys)
        removed = 0
        for file, key, is_whole in _thumb_files(self.thumbs):
            if not is_whole or not _has(keys, key):
                with suppress(OSError):
                    os.unlink(file)  # noqa: PTH108 (a million times)
                    removed += is_whole
        for folder in self.thumbs.iterdir():
            with suppress(OSError):  # not empty, or no folder
                folder.rmdir()
        return removed


def thumb_name(key: int) -> str:
    """The file of a thumbnail, in one of 256 folders."""
    digits = f"{key:016x}"
    return f"{digits[:2]}/{digits}.jpg"


def thumb_keys(thumbs: Path) -> Iterator[int]:
    """Keys of the thumbnails that are there."""
    return (key for _, key, is_whole in _thumb_files(thumbs) if is_whole)


def _thumb_files(thumbs: Path) -> Iterator[tuple[str, int, bool]]:
    """Path, key, and whether it is more than a part, of each thumbnail."""
    for folder in thumbs.iterdir():
        if folder.is_dir():
            for name in os.listdir(folder):  # noqa: PTH208 (a million times)
                match = _THUMB.fullmatch(name)
                if match is not None:
                    yield f"{folder}/{name}", int(match[1], 16), match[2] is None


def data_name(digest: str) -> str:
    """The folder of data, within `FILES`."""
    return f"data-{digest}"


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """The disk's errors as one line that names a path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{path} cannot be written ({reason}). Choose another place or free some space.") from error


def _has(values: NDArray[np.uint64], value: int) -> bool:
    place = np.searchsorted(values, np.uint64(value))
    return bool(place < len(values) and values[place] == value)
