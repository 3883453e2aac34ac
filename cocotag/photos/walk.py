"""Given paths -> image files, a part of a folder at a time, in an order that depends only on names. Does not open images."""

from __future__ import annotations

import codecs
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
"""Name of a file that marks a folder as a gallery: its images are copies, so it is not walked."""

UNFINISHED = ".cocotag-"
"""Prefix of temporary files in which a photograph or sidecar is being changed: they are never found in folders or by globs."""

PART = 1000
"""Largest number of files in one `Part`."""

MOST_ENDINGS = 1000  # counted separately; files numbered by their endings would otherwise fill the memory
OTHER_ENDINGS = "other endings"

_ENDINGS = frozenset(os.fsencode(ending[1:]) for ending in IMAGE_ENDINGS)
_RAW_ENDINGS = frozenset(os.fsencode(ending[1:]) for ending in FORMATS["RAW"].endings)
_SYSTEM_FOLDERS = frozenset(
    (b"@eadir", b"#recycle", b"@recycle", b"@recently-snapshot", b"$recycle.bin", b"#snapshot", b".thumbnails")
)
"""In lower case. Synology, QNAP and Windows make them: thumbnails, recycle bins and snapshots."""
_BOMS = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xef\xbb\xbf", "utf-8"))
_MAGIC = re.compile(r"[*?\[]")
_OURS = frozenset({b"state", b"state-wal"})  # cocotag's own files are not reported as skipped
_GALLERY, _UNFINISHED = os.fsencode(GALLERY), os.fsencode(UNFINISHED)
_FOLDER = b"\0"  # suffix of a folder's name while sorting, so that "a" still comes before "a.jpg"
_LIST_BLOCK = 2**16  # bytes of a list to read at once, at most


@dataclass(frozen=True, slots=True)
class Part:
    """Some files of one folder.

    Attributes:
        folder: The given path and the path below it; empty for files in the current folder.
        names: The files' names, sorted by their bytes unless they come from a list.
    """

    folder: bytes
    names: list[bytes]

    @property
    def prefix(self) -> bytes:
        """The prefix that turns a name into a path."""
        return _join(self.folder, b"")


class Walk:
    """The image files under some paths: an iterable of parts of folders that can be iterated once.

    A folder is walked recursively, sorted by name, and yields its files with the ending of an image format. Links to folders
    are followed. Each folder is walked once however many links lead to it, and never inside itself, so loops end. A folder
    without list permission is yielded like a file, so that decoding it reports the error. Memory holds only the names of one
    folder, the open folders and the paths of walked folders. Galleries of cocotag are not walked.

    Folders that systems make among photographs, with thumbnails and deleted files (`is_system_folder`), are skipped unless they
    are given themselves or ``hidden`` is set.

    Camera RAW files in a folder are yielded if the extra ``raw`` is installed, even beside a JPEG of the same name. Without
    the extra they are skipped: each would only fail, and most users who shoot RAW and JPEG have the JPEG anyway.

    Attributes:
        skipped: Number of files in the folders that are not images, by ending in lower case; an empty key for no ending.
        raw_left_out: Number of camera RAW files that were skipped.
        system_folders: Number of system folders that were skipped, by name.
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
        """Check that the paths exist; walking starts with the iteration.

        Args:
            paths: Files, folders, and globs that the shell has not expanded (``**`` matches any number of folders). A given
                file is always yielded, whatever its ending; the matches of a glob are treated as if found in a folder.
            exclude: Globs of files and folders to skip. A glob without a slash matches every name. A glob with a slash matches
                the path below the given folder, where ``*`` matches within a name and ``**`` any number of folders. A slash at
                the end matches only folders. A skipped folder is skipped with all its contents; a given folder is never
                skipped.
            hidden: Include files and folders whose names begin with a dot, and system folders. Given ones are always included.
            apart: Folders that are never walked.
            listed: The stream that a path ``-`` stands for: one path per line, or paths ended by NUL if the stream contains a
                NUL. Paths that do not exist are yielded too, so that each gets its own error. A carriage return at the end of
                a line is Windows' and not part of the name, unless a file with that name exists. None if ``-`` is a file.
            left_out: Receives the camera RAW files that are skipped.

        Raises:
            DataError: A path is empty or does not exist, or a glob has no match.
        """
        given = list(paths)
        if "" in given:
            raise DataError("A path is empty. Give a folder or an image; . is the current folder.", code="path_empty")
        starts = [os.fsencode(Path(path)) for path in given]
        self.skipped: Counter[str] = Counter()
        self.raw_left_out = 0
        self.system_folders: Counter[str] = Counter()
        self._exclude = Exclusions(exclude)
        self._hidden = hidden
        self._listed = listed
        self._left_out = left_out
        self._named = frozenset(starts)
        self._endings = _ENDINGS if FORMATS["RAW"].available() else _ENDINGS - _RAW_ENDINGS
        self._walked: set[bytes] = set()
        for folder in apart:
            if folder.is_dir():
                self._is_new(os.path.realpath(os.fsencode(folder)))
        self._starts = starts
        missing = [os.fsdecode(start) for start in starts if not self._exists(start)]
        if missing:
            counted = f"{len(missing)} of {len(starts)} paths do not exist or match nothing. Check them."
            counted = counted if len(starts) > 1 else "this path does not exist or matches nothing. Check it."
            raise DataError(f"{', '.join(map(repr, missing[:3]))}: {counted}", code="path_missing")

    @property
    def idle_exclusions(self) -> list[str]:
        """The globs of ``exclude`` that have matched nothing so far, or only names that other globs matched first."""
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
        """The files and folders themselves, with globs and the list expanded, instead of the images in them."""
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
                yield from (Part(folder, names[first : first + PART]) for first in range(0, len(names), PART))

    def _walk(self, start: bytes) -> Iterator[Part]:
        """Walk a folder and everything below it. Iterative: folders can be nested deeper than Python's recursion limit."""
        opened: list[_Opened] = []
        path, below_start = start, b""
        real = os.path.realpath(path or b".")
        while True:
            try:
                identity = _identity(path)
                loops = any(one.identity == identity for one in opened)
                entries = iter(()) if loops or not self._is_new(real) else self._entries(path, below_start)
                opened.append(_Opened(path, below_start, real, identity, entries))
            except OSError:
                above, name = os.path.split(path or b".")
                yield Part(above, [name])  # decoding it will report the error
            below = b""
            while opened and not below:
                folder, below_start, real, _, entries = opened[-1]
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
            path, below_start = _join(folder, below), _join(below_start, below)
            # Resolving looks at every folder above, too: that is needed for links alone.
            real = os.path.realpath(path) if os.path.islink(path) else _join(real, below)  # noqa: PTH114 (bytes)

    def _entries(self, folder: bytes, below_start: bytes) -> Iterator[bytes]:
        """The images and folders in a folder, sorted; names of folders end in `_FOLDER`.

        Args:
            folder: Its path.
            below_start: Its path below the given folder.

        Raises:
            OSError: The folder cannot be listed, or no longer.
        """
        names: list[bytes] = []
        for entry in _scan(folder):
            name = entry.name
            if name == _GALLERY:
                return iter(())
            if name.startswith(b".") and not self._hidden:
                continue
            is_folder = _is_folder(entry)
            if self._exclude and self._exclude.matches(name, _join(below_start, name), is_folder):
                continue
            if is_folder and not self._hidden and is_system_folder(name, folder):
                self.system_folders[os.fsdecode(name)] += 1
            elif is_folder:
                names.append(name + _FOLDER)
            elif self._is_image(folder, name):
                names.append(name)
        names.sort()
        return iter(names)

    def _is_image(self, folder: bytes, name: bytes) -> bool:
        """Whether a file that was not given itself is an image, by its ending; if not, it is counted as skipped."""
        if name.startswith(_UNFINISHED):
            return False
        stem, _, ending = name.rpartition(b".")
        ending = ending.lower() if stem else b""
        if ending in self._endings:
            return True
        if ending in _OURS:
            return False
        if ending not in _RAW_ENDINGS:
            key = f".{os.fsdecode(ending)}" if ending else ""
            self.skipped[key if key in self.skipped or len(self.skipped) < MOST_ENDINGS else OTHER_ENDINGS] += 1
            return False
        path = _join(folder, name)
        if path in self._named:  # a file that was given itself is an image when its folder is walked too
            return True
        self.raw_left_out += 1
        if self._left_out is not None:
            self._left_out.append(Path(os.fsdecode(path)))
        return False

    def _is_new(self, real: bytes) -> bool:
        """Whether a resolved path was not walked before. Inode numbers would not tell: union mounts repeat them."""
        before = len(self._walked)
        self._walked.add(real)
        return len(self._walked) > before

    def _glob(self, pattern: bytes) -> Iterator[bytes]:
        text = os.fsdecode(pattern)
        if not _MAGIC.search(text):
            return iter(())
        return self._expand(b"/" if text.startswith("/") else b"", [part for part in text.split("/") if part])

    def _expand(self, folder: bytes, parts: Sequence[str]) -> Iterator[bytes]:
        """The matches of a glob below a folder, sorted. The contents of a folder that matches are not yielded again."""
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
        """The real folders in a folder: a glob does not follow links, so that it ends."""
        try:
            return sorted(entry.name for entry in _scan(folder) if entry.is_dir(follow_symlinks=False))
        except OSError:
            return []


class _Opened(NamedTuple):
    """A folder that is being walked: its path, also below the given folder and resolved, its inode, its remaining entries."""

    folder: bytes
    below_start: bytes
    real: bytes
    identity: tuple[int, int]
    entries: Iterator[bytes]


def find_images(
    paths: Iterable[Path | str], *, exclude: Sequence[str] = (), left_out: list[Path] | None = None
) -> Iterator[Path]:
    """Find the image files under some paths, as `Walk` does by default.

    Args:
        paths: Files, folders and globs; a given file is always yielded.
        exclude: Globs of files and folders to skip, as for `Walk`.
        left_out: Receives the camera RAW files that are skipped.

    Returns:
        The files, each as the given path and the path below it.

    Raises:
        DataError: One of the paths does not exist. Raised at once, before walking starts.
    """
    walk = Walk(paths, exclude=exclude, left_out=left_out)
    return (Path(os.fsdecode(part.prefix + name)) for part in walk for name in part.names)


def is_system_folder(name: bytes, parent: bytes = b"") -> bool:
    """Whether a folder holds what a system keeps among photographs: thumbnails, deleted files, snapshots, derivatives.

    Args:
        name: Its name.
        parent: The path of the folder that it lies in. Of an Apple Photos library only the originals are photographs.
    """
    in_library = parent.lower().endswith(b".photoslibrary")
    return name.lower() in _SYSTEM_FOLDERS or (in_library and name not in (b"originals", b"Masters"))


def _identity(folder: bytes) -> tuple[int, int]:
    status = os.stat(folder or b".")  # noqa: PTH116 (bytes)
    return status.st_dev, status.st_ino


def _join(folder: bytes, name: bytes) -> bytes:
    return folder + name if folder in (b"", b"/") else folder + b"/" + name


def _scan(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
    with os.scandir(folder or b".") as entries:
        yield from entries


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # for example a link that leads to itself; decoding it will report the error
        return False


def _read_list(stream: io.BufferedIOBase) -> Iterator[list[bytes]]:
    """Yield the paths of a list as they arrive, because the program that writes it may be slow."""
    separator, rest = b"", b""
    for block in _in_file_system_bytes(stream):
        rest += block
        if not separator:  # a path never contains a NUL, but may contain a line break
            separator = next((character for character in (b"\0", b"\n") if character in rest), b"")
        if separator:
            *paths, rest = rest.split(separator)
            yield _as_given(paths, separator)
    yield _as_given([rest], separator)


def _in_file_system_bytes(stream: io.BufferedIOBase) -> Iterator[bytes]:
    """The blocks of a list as bytes of paths. A byte order mark says that they are text, as PowerShell writes it.

    Raises:
        DataError: The text is damaged.
    """
    start = b""
    while len(start) < 3 and (block := stream.read1(_LIST_BLOCK)):
        start += block
    mark, encoding = next(((mark, encoding) for mark, encoding in _BOMS if start.startswith(mark)), (b"", ""))
    if not encoding:
        yield start
        while block := stream.read1(_LIST_BLOCK):
            yield block
        return
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape" if encoding == "utf-8" else "strict")
    block = start[len(mark) :]
    try:
        yield os.fsencode(decoder.decode(block))
        while block := stream.read1(_LIST_BLOCK):
            yield os.fsencode(decoder.decode(block))
        yield os.fsencode(decoder.decode(b"", final=True))
    except UnicodeError as error:
        raise DataError(
            f"The list begins as {encoding.upper()}, but is not ({error}). Write it as UTF-8.", code="list_not_decodable"
        ) from None


def _as_given(paths: Iterable[bytes], separator: bytes) -> list[bytes]:
    if separator != b"\0":
        paths = map(_without_return, paths)
    return [_normal(path) for path in paths if path]


def _without_return(line: bytes) -> bytes:
    """The line without the carriage return that Windows adds, unless it is part of an existing file's name."""
    return line[:-1] if line.endswith(b"\r") and not os.path.lexists(line) else line


def _normal(path: bytes) -> bytes:
    return os.fsencode(Path(os.fsdecode(path)))
