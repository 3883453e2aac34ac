"""Given paths -> image files, a part of a folder at a time, in an order that depends on names alone. Opens no image."""

from __future__ import annotations

import fnmatch
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

from cocotag.errors import DataError
from cocotag.photos.exclusions import Exclusions
from cocotag.photos.formats.table import FORMATS, IMAGE_ENDINGS

GALLERY = ".cocotag-gallery"
"""A file that marks a folder as a gallery: its pictures are copies, and not walked."""

UNFINISHED = ".cocotag-"
"""How a file's name begins in which a photograph or sidecar is being changed: not taken out of a folder, nor by a glob."""

PART = 1000
"""Most files that are handed out together."""

MOST_ENDINGS = 1000  # that are counted one by one; files that are numbered by their endings would fill the memory
OTHER_ENDINGS = "other endings"

_ENDINGS = frozenset(os.fsencode(ending[1:]) for ending in IMAGE_ENDINGS)
_RAW_ENDINGS = frozenset(os.fsencode(ending[1:]) for ending in FORMATS["RAW"].endings)
_MAGIC = re.compile(r"[*?\[]")
_OURS = frozenset({b"state", b"state-wal"})  # nobody wonders about these
_GALLERY, _UNFINISHED = os.fsencode(GALLERY), os.fsencode(UNFINISHED)
_FOLDER = b"\0"  # behind a folder's name while it is sorted: so "a" still comes before "a.jpg"
_LIST_BLOCK = 2**16  # bytes of a list that are read at once, at most


@dataclass(frozen=True, slots=True)
class Part:
    """Some files of one folder.

    Attributes:
        folder: The path given and the way from there; empty for files beside where we are.
        names: The files' names; more than one are sorted by their bytes unless they came from a list.
    """

    folder: bytes
    names: list[bytes]

    @property
    def prefix(self) -> bytes:
        """What a name is put behind to make a path."""
        return _join(self.folder, b"")


class Walk:
    """The image files under some paths; an iterator of parts of folders, to be gone through once.

    A folder is walked with all below it, sorted by name, and gives its files with a known ending. Links to folders are
    followed; each folder is walked once however many ways lead there, so loops end. A folder that may not be listed is given
    itself, as a file would be, so that it gets its error. Nothing but the names in one folder at a time, the folders that are
    open and the numbers of those that were walked is held. A gallery of cocotag's is not walked.

    Camera RAW files in a folder are taken where the extra ``raw`` is installed, each for itself, also beside a JPEG of the
    same name. Where it is not, they are left out: each would only fail, and most who shoot RAW and JPEG have the picture
    anyway.

    Attributes:
        skipped: Files in the folders that are no images, by their ending in lower case; empty for none.
        raw_left_out: Camera RAW files that were left out.
    """

    def __init__(
        self,
        paths: Iterable[Path | str],
        *,
        exclude: Sequence[str] = (),
        hidden: bool = False,
        apart: Iterable[Path] = (),
        listed: io.BufferedIOBase | None = None,
        left_out: list[Path] | None = None,
    ) -> None:
        """Look at the paths; nothing is walked yet.

        Args:
            paths: Files, folders, and globs that no shell has expanded (``**`` is any number of folders). A file is taken
                whatever its ending; what matches a glob is taken as if it had been found in a folder.
            exclude: Globs of what to leave out. One without a slash is held against every name; one with a slash against the
                way from the given folder, where ``*`` stays within a name and ``**`` is any number of folders. A slash at the
                end means folders alone. What is left out of folders is all that is in them; a given folder is not left out.
            hidden: Take files and folders that begin with a dot too. Those that are named are taken anyway.
            apart: Folders never to go into.
            listed: What a path ``-`` stands for: paths one a line, or ended by NUL if there is one. They may not exist: each
                gets its own error then. A carriage return at a line's end is Windows' and no part of the name, unless there is
                a file of that name. None where ``-`` is a file.
            left_out: Gets the camera RAW files that are left out.

        Raises:
            DataError: One of the paths does not exist or is an empty text, or a glob has no match.
        """
        given = list(paths)
        if "" in given:
            raise DataError("an empty path was given. Give a folder or an image; . is the current folder.")
        starts = [os.fsencode(Path(path)) for path in given]
        self.skipped: Counter[str] = Counter()
        self.raw_left_out = 0
        self._exclude = Exclusions(exclude)
        self._hidden = hidden
        self._listed = listed
        self._left_out = left_out
        self._named = frozenset(starts)
        self._endings = _ENDINGS if FORMATS["RAW"].available() else _ENDINGS - _RAW_ENDINGS
        self._walked: dict[int, set[int]] = {}
        for folder in apart:
            if folder.is_dir():
                self._is_new(os.fsencode(folder))
        self._starts = starts
        missing = [os.fsdecode(start) for start in starts if not self._exists(start)]
        if missing:
            counted = f"{len(missing)} of {len(starts)} paths do not exist or match nothing. Check them."
            counted = counted if len(starts) > 1 else "this path does not exist or matches nothing. Check it."
            raise DataError(f"{', '.join(map(repr, missing[:3]))}: {counted}")

    @property
    def idle_exclusions(self) -> list[str]:
        """The globs of ``exclude`` that have left nothing out so far, or nothing that others had not."""
        return self._exclude.idle

    def __iter__(self) -> Iterator[Part]:
        for start in self._starts:
            if self._is_list(start):
                yield from self._list()
            else:
                named = os.path.lexists(start)
                for path in (start,) if named else self._glob(start):
                    yield from self._start(path, named=named)

    def given(self) -> Iterator[Path]:
        """The files and folders that the paths stand for, globs and the list among them, instead of the images in them."""
        for start in self._starts:
            if self._is_list(start):
                assert self._listed is not None
                found: Iterable[bytes] = (path for paths in _read_list(self._listed) for path in paths)
            else:
                found = (start,) if os.path.lexists(start) else self._glob(start)
            yield from (Path(os.fsdecode(path)) for path in found)

    def _exists(self, start: bytes) -> bool:
        return self._is_list(start) or os.path.lexists(start) or any(True for _ in self._glob(start))

    def _is_list(self, start: bytes) -> bool:
        return start == b"-" and self._listed is not None

    def _start(self, path: bytes, *, named: bool) -> Iterator[Part]:
        folder, name = os.path.split(path)
        if os.path.isdir(path):  # noqa: PTH112 (bytes)
            yield from self._walk(b"" if path == b"." else path)
        elif not self._exclude.matches_name(name) and (named or self._is_image(folder, name)):
            yield Part(folder, [name])

    def _list(self) -> Iterator[Part]:
        assert self._listed is not None
        for paths in _read_list(self._listed):
            for folder, group in groupby(paths, lambda path: os.path.split(path)[0]):
                names: list[bytes] = []
                for path in group:
                    name = path[len(_join(folder, b"")) :]
                    if os.path.isdir(path):  # noqa: PTH112 (bytes)
                        yield from self._start(path, named=True)
                    elif not self._exclude.matches_name(name):
                        names.append(name)
                yield from (Part(folder, names[place : place + PART]) for place in range(0, len(names), PART))

    def _walk(self, start: bytes) -> Iterator[Part]:
        """A folder and all below it. Not recursive: folders can be nested deeper than Python's calls."""
        opened: list[_Opened] = []
        path, way = start, b""
        while True:
            try:
                opened.append(_Opened(path, way, self._entries(path, way)))
            except OSError:
                above, name = os.path.split(path or b".")
                yield Part(above, [name])  # to decode it will say why
            below = b""
            while opened and not below:
                folder, way, entries = opened[-1]
                names: list[bytes] = []
                for name in islice(entries, PART):
                    if name.endswith(_FOLDER):
                        below = name.removesuffix(_FOLDER)
                        break
                    names.append(name)
                if names:
                    yield Part(folder, names)
                if not below and len(names) < PART:
                    opened.pop()
            if not below:
                return
            path, way = _join(folder, below), _join(way, below)

    def _entries(self, folder: bytes, way: bytes) -> Iterator[bytes]:
        """What is taken of a folder, sorted; names of folders end in `_FOLDER`. Nothing if it was walked already.

        Raises:
            OSError: It cannot be listed, or no longer.
        """
        if not self._is_new(folder or b"."):
            return iter(())
        names: list[bytes] = []
        for entry in _scan(folder):
            name = entry.name
            if name == _GALLERY:
                return iter(())
            if name.startswith(b".") and not self._hidden:
                continue
            is_folder = _is_folder(entry)
            if self._exclude and self._exclude.matches(name, _join(way, name), is_folder):
                continue
            if is_folder:
                names.append(name + _FOLDER)
            elif self._is_image(folder, name):
                names.append(name)
        names.sort()
        return iter(names)

    def _is_image(self, folder: bytes, name: bytes) -> bool:
        """Whether a file that nobody named is taken, by its ending; if not, it is counted."""
        if name.startswith(_UNFINISHED):
            return False
        stem, _, ending = name.rpartition(b".")
        ending = ending.lower() if stem else b""
        if ending in self._endings:
            return True
        if ending in _OURS:
            return False
        if ending not in _RAW_ENDINGS:
            shown = f".{os.fsdecode(ending)}" if ending else ""
            self.skipped[shown if shown in self.skipped or len(self.skipped) < MOST_ENDINGS else OTHER_ENDINGS] += 1
            return False
        path = _join(folder, name)
        if path in self._named:  # so it is taken when the folder is walked too
            return True
        self.raw_left_out += 1
        if self._left_out is not None:
            self._left_out.append(Path(os.fsdecode(path)))
        return False

    def _is_new(self, folder: bytes) -> bool:
        status = os.stat(folder)  # noqa: PTH116 (bytes)
        walked = self._walked.setdefault(status.st_dev, set())
        before = len(walked)
        walked.add(status.st_ino)
        return len(walked) > before

    def _glob(self, pattern: bytes) -> Iterator[bytes]:
        text = os.fsdecode(pattern)
        if not _MAGIC.search(text):
            return iter(())
        return self._expand(b"/" if text.startswith("/") else b"", [part for part in text.split("/") if part])

    def _expand(self, folder: bytes, parts: Sequence[str]) -> Iterator[bytes]:
        """What matches a glob below a folder, sorted. What lies in a folder that matches is not given again."""
        part, *rest = parts
        if part == "**" and not rest:
            yield folder or b"."
        elif part == "**":
            yield from self._expand(folder, rest)
            for name in self._folders(folder):
                if name.startswith(b".") and not self._hidden:
                    continue
                if len(rest) > 1 or not fnmatch.fnmatchcase(os.fsdecode(name), rest[0]):
                    yield from self._expand(_join(folder, name), parts)
        elif not _MAGIC.search(part):
            path = _join(folder, os.fsencode(part))
            if rest or os.path.lexists(path):
                yield from self._expand(path, rest) if rest else (path,)
        else:
            for name in self._folders(folder) if rest else self._names(folder):
                hidden = name.startswith(b".") and not (self._hidden or part.startswith("."))
                if not hidden and fnmatch.fnmatchcase(os.fsdecode(name), part):
                    path = _join(folder, name)
                    yield from self._expand(path, rest) if rest else (path,)

    def _names(self, folder: bytes) -> list[bytes]:
        try:
            return sorted(entry.name for entry in _scan(folder))
        except OSError:
            return []

    def _folders(self, folder: bytes) -> list[bytes]:
        """The real folders in one: a glob follows no links, so it ends."""
        try:
            return sorted(entry.name for entry in _scan(folder) if entry.is_dir(follow_symlinks=False))
        except OSError:
            return []


class _Opened(NamedTuple):
    """A folder that is being walked: its path, the way to it from the given folder, and what is left of it."""

    folder: bytes
    way: bytes
    entries: Iterator[bytes]


def find_images(paths: Iterable[Path | str], *, left_out: list[Path] | None = None) -> Iterator[Path]:
    """Find the image files under some paths, as `Walk` does by default.

    Args:
        paths: Files, folders and globs; a file is always taken.
        left_out: Gets the camera RAW files that are left out.

    Returns:
        The files, each as the path given and the way from there.

    Raises:
        DataError: One of the paths does not exist. Raised at once, before anything is walked.
    """
    walk = Walk(paths, left_out=left_out)
    return (Path(os.fsdecode(part.prefix + name)) for part in walk for name in part.names)


def _join(folder: bytes, name: bytes) -> bytes:
    return folder + name if folder in (b"", b"/") else folder + b"/" + name


def _scan(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
    with os.scandir(folder or b".") as entries:
        yield from entries


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, say; to decode it will say so
        return False


def _read_list(stream: io.BufferedIOBase) -> Iterator[list[bytes]]:
    """The paths of a list, as many at a time as have come: whoever writes it may be slow."""
    separator, rest = b"", b""
    while block := stream.read1(_LIST_BLOCK):
        rest += block
        if not separator:  # a NUL is never in a path, a line break may be
            separator = next((sign for sign in (b"\0", b"\n") if sign in rest), b"")
        if separator:
            *paths, rest = rest.split(separator)
            yield _as_given(paths, separator)
    yield _as_given([rest], separator)


def _as_given(paths: Iterable[bytes], separator: bytes) -> list[bytes]:
    if separator != b"\0":
        paths = map(_without_return, paths)
    return [_normal(path) for path in paths if path]


def _without_return(line: bytes) -> bytes:
    """Without the carriage return that ends a line on Windows, where it is not the name's own."""
    return line[:-1] if line.endswith(b"\r") and not os.path.lexists(line) else line


def _normal(path: bytes) -> bytes:
    return os.fsencode(Path(os.fsdecode(path)))
