"""The folder of a gallery: its owner, its layout, and the removal of unused files. Does not depend on rows or pictures."""

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
from cocotag.files import atomic_path, probe_folder, write_fault, write_text
from cocotag.tagging.state.store import NAME as STATE

PAGE = "index.html"
FILES = "cocotag"
"""Subfolder with the files of the page; a name that users' own folders are unlikely to have."""

MARKER = ".cocotag-gallery"
"""File in that subfolder that marks it as cocotag's, so that walks skip it. Photographs beside the subfolder are walked."""

THUMBS = f"{FILES}/thumbs"

_MARKER_TEXT = "Written by cocotag for ../index.html. To remove the gallery, delete both.\n"
_DATA = re.compile(r"data-([0-9a-f]{16}|\d+\.part)")
_THUMB = re.compile(r"([0-9a-f]{16})\.jpg(\.part)?")
_LITTER = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})  # of file managers


def check_gallery(directory: Path | str, *, overwrite: bool = False) -> None:
    """Check before the work that a gallery can be written.

    Args:
        directory: Its folder, which must be missing, empty or a gallery. It may contain a state.
        overwrite: Accept any folder. Other files in it are kept, except ``index.html`` and files with the names of a
            gallery's files.

    Raises:
        OutputError: The folder has other files, is not a folder or is not writable.
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise OutputError(f"{directory} is a file, but --gallery needs a folder. Choose another name.", code="not_a_folder")
    try:
        others = [] if overwrite or is_gallery(directory) else sorted(_others(directory))
    except OSError as error:
        raise OutputError(
            f"{directory} cannot be read ({error.strerror or error}). Choose another folder.", code="not_readable"
        ) from None
    if others:
        raise OutputError(
            f"{directory} is not empty and is not a cocotag gallery (it contains {others[0]!r}). Choose another folder, or add "
            "--overwrite.",
            code="folder_not_empty",
        )
    probe_folder(directory)


def is_gallery(directory: Path) -> bool:
    """Whether the folder has a complete or unfinished gallery."""
    return (directory / FILES / MARKER).is_file()


def _others(directory: Path) -> Iterator[str]:
    """Names of the other files in a folder, without states and files of file managers; empty if the folder is missing."""
    if directory.is_dir():
        for entry in directory.iterdir():
            if entry.name not in _LITTER and entry.name != STATE and not entry.name.startswith(f"{STATE}-"):
                yield entry.name


class Place:
    """The folder of a gallery that is being written.

    Attributes:
        directory: The folder.
        thumbs: Folder of the thumbnails.
        new_data: Folder of the data until they are published.
    """

    def __init__(self, directory: Path) -> None:
        """Create the folder and its marker.

        Raises:
            OutputError: The folder cannot be written.
        """
        self.directory = directory
        self.thumbs = directory / THUMBS
        self.new_data = directory / FILES / f"data-{os.getpid()}.part"
        if not is_gallery(directory):  # before any thumbnail, so that no walk finds one
            write_text(directory / FILES / MARKER, _MARKER_TEXT)
        with output_errors(directory):
            self.thumbs.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self.new_data, ignore_errors=True)
            self.new_data.mkdir()

    def publish(self, digest: str, page: str) -> None:
        """Move the new data to their final folder and write the page that uses them.

        Args:
            digest: Digest of the data, 16 hexadecimal digits.
            page: The text of the page, which refers to the digest.
        """
        data = self.directory / FILES / data_name(digest)
        with output_errors(data):
            data.mkdir(exist_ok=True)
            for file in sorted(self.new_data.iterdir()):  # an existing file has the same content
                file.replace(data / file.name)
        with atomic_path(self.directory / PAGE) as temporary:
            temporary.write_text(page, encoding="utf-8", newline="")
        for folder in (self.directory / FILES).iterdir():
            if _DATA.fullmatch(folder.name) and folder.name != data.name:
                shutil.rmtree(folder, ignore_errors=True)

    def abandon(self) -> None:
        """Remove the unpublished data."""
        shutil.rmtree(self.new_data, ignore_errors=True)

    def remove_thumbs_but(self, keys: NDArray[np.uint64]) -> int:
        """Remove the thumbnails that the page does not use.

        Args:
            keys: Keys of the thumbnails that it uses.

        Returns:
            Number of removed thumbnails.
        """
        keys = np.unique(keys)
        removed = 0
        for file, key, is_whole in _thumb_files(self.thumbs):
            if not is_whole or not _has(keys, key):
                with suppress(OSError):
                    os.unlink(file)  # noqa: PTH108 (a million times)
                    removed += is_whole
        for folder in self.thumbs.iterdir():
            with suppress(OSError):  # not empty, or not a folder
                folder.rmdir()
        return removed


def thumb_name(key: int) -> str:
    """The relative path of a thumbnail, in one of 256 folders."""
    digits = f"{key:016x}"
    return f"{digits[:2]}/{digits}.jpg"


def thumb_keys(thumbs: Path) -> Iterator[int]:
    """Keys of the existing thumbnails."""
    return (key for _, key, is_whole in _thumb_files(thumbs) if is_whole)


def _thumb_files(thumbs: Path) -> Iterator[tuple[str, int, bool]]:
    """Path and key of each thumbnail, and whether it is complete."""
    for folder in thumbs.iterdir():
        if folder.is_dir():
            for name in os.listdir(folder):  # noqa: PTH208 (a million times)
                match = _THUMB.fullmatch(name)
                if match is not None:
                    yield f"{folder}/{name}", int(match[1], 16), match[2] is None


def data_name(digest: str) -> str:
    """The name of the data folder within `FILES`."""
    return f"data-{digest}"


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a one-line OutputError that names a path."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}). Choose another place or free some space.",
            code=write_fault(error),
        ) from error


def _has(values: NDArray[np.uint64], value: int) -> bool:
    index = np.searchsorted(values, np.uint64(value))
    return bool(index < len(values) and values[index] == value)
