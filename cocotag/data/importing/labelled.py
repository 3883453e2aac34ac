"""Users' own labels in three forms -> labelled images: a CSV table, class folders, keywords of photographs.

Each reader takes the size of every image from its header, and lists the images that cannot be used by name. Does not depend on
COCO or torch.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, TypeVar

from tqdm import tqdm

from cocotag.data.importing.cells import looks_like_list, tags_of_list
from cocotag.errors import ConfigError, DataError, ImageError
from cocotag.photos.exclusions import Exclusions
from cocotag.photos.formats.table import IMAGE_ENDINGS
from cocotag.photos.header import read_header
from cocotag.photos.keywords import read_keywords
from cocotag.photos.walk import find_images, is_system_folder

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Usual names of splits -> cocotag's names."""
DELIMITERS = ",;\t"
"""Delimiters of CSV tables: Excel uses the second if numbers have a decimal comma, and the third in its text export."""
SEPARATORS = ";|,"
"""Separators of the tags in a cell, the most reliable first: a tag may contain a comma if another one separates."""

_ESCAPED_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")
"""A byte of a path that is not UTF-8, as ``cocotag tag`` writes it."""

_EXCEL_SEPARATOR = re.compile(r'"?sep=([,;|\t])"?\r?\n', re.IGNORECASE)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One image with its tags.

    Attributes:
        path: Its path.
        name: Its name in the data set: the path below the common folder of all images, with ``/``.
        width: Pixels, upright.
        height: Pixels, upright.
        tags: Its tags as written, apart from white space; empty if it was annotated and shows none of the classes.
        split: Its split in the source; empty if the source has none.
    """

    path: Path
    name: str
    width: int
    height: int
    tags: tuple[str, ...]
    split: str = ""


@dataclass(slots=True)
class Found:
    """The contents of a source.

    Attributes:
        images: The usable images, in the source's order.
        left_out: Reason -> names of the entries that cannot be used.
        notes: Sentences about how the source was interpreted.
    """

    images: list[Labelled] = field(default_factory=list)
    left_out: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)

    def to_text(self) -> str:
        """The entries that were left out, by reason, with the first names."""
        return "; ".join(f"{reason}: {len(names)} ({first_names(names)})" for reason, names in self.left_out.items())


def read_csv(
    path: Path | str, *, images: Path | str | None = None, separator: str | None = None, progress: bool = True
) -> Found:
    """Read a table with the columns ``path`` and ``tags``, and optionally ``split``; other columns are ignored.

    The table is UTF-8, or UTF-16 with a byte order mark, with commas, semicolons or tabs between the columns; Excel's first
    line ``sep=;`` is read. A row without tags is an image that shows none of the classes. A cell may be a list, see
    `cocotag.data.importing.cells.tags_of_list`. The output of ``cocotag tag`` can be read: its rows with another ``status``
    than ``ok`` are left out.

    Instead of ``tags``, the table may have one column per class with 0 and 1, behind a column with the file names.

    Args:
        path: The table.
        images: Folder that the paths in the table are relative to; by default the folder of the table.
        separator: Separator of the tags in a cell; by default the first of `SEPARATORS` that occurs in any cell.
        progress: Show a progress bar on stderr if that is a terminal.

    Raises:
        ConfigError: ``separator`` is empty.
        DataError: The table cannot be read, or nothing in it can be used.
    """
    if separator == "":
        raise ConfigError(
            "--separator is empty. Give the character between the tags of a cell, or leave it out.", code="separator_empty"
        )
    path, found = Path(path), Found()
    base = path.parent if images is None else Path(images)
    rows = list(_rows(path, found))
    cells = [row["tags"] for row in rows if isinstance(row["tags"], str)]
    if separator is None:
        separator = next((one for one in SEPARATORS if any(one in cell for cell in cells)), SEPARATORS[0])
        if any(separator in cell for cell in cells):
            found.notes.append(f"Tags are split at {separator!r}. To change this, use --separator.")
    splits = any(row["split"] for row in rows)
    paths = [_existing(base, row["path"]) for row in rows]
    folder = Path(os.path.commonpath([os.path.abspath(file.parent) for file in paths])) if paths else base  # noqa: PTH100
    for row, file in _bar(list(zip(rows, paths, strict=True)), progress):
        split = _split_name(row["split"]) if splits else ""
        if split is None:
            found.left_out["with an invalid split"].append(row["path"])
            continue
        name = Path(os.path.abspath(file)).relative_to(folder)  # noqa: PTH100 (links are followed only to read)
        tags = row["tags"].split(separator) if isinstance(row["tags"], str) else row["tags"]
        _add(found, file, name, tags, split)
    advice = (
        f"Paths are relative to {base}. To change this, use --images DIR." if found.left_out["missing"] else "Check the table."
    )
    return _checked(found, path, advice)


def read_folders(root: Path | str, *, exclude: Sequence[str] = (), progress: bool = True) -> Found:
    """Read class folders: every image under ``ROOT/NAME/`` has the tag NAME.

    If ``ROOT`` has only folders named train, val, test (or validation, ...), and these contain the class folders, they are the
    splits.

    Args:
        root: The folder.
        exclude: Globs of files and folders to skip, as for `cocotag.photos.walk.Walk`.
        progress: Show a progress bar on stderr if that is a terminal.

    Raises:
        DataError: There are no class folders, or none of their images can be used.
    """
    root, found = Path(root), Found()
    skipped = Exclusions(exclude)
    folders = _folders(root, skipped)
    if not folders:
        raise DataError(
            f"{root} has no folders, so there are no classes. Put the images of each class into a folder with its name.",
            code="no_class_folders",
        )
    parents = {root: ""}
    if all(_split_of(folder) and _folders(folder, skipped) and not _loose(folder) for folder in folders):
        parents = {folder: _split_of(folder) for folder in folders}
    found.left_out["in no class folder"] += map(str, _loose(root))
    files: list[tuple[Path, Path, str]] = []
    for parent, split in parents.items():
        for folder in _folders(parent, skipped):
            images = list(find_images([folder], exclude=exclude))
            files += [(file, folder, split) for file in images]
            if not images:
                found.left_out["class folder without images"].append(str(folder))
    for file, folder, split in _bar(files, progress):
        _add(found, file, file.relative_to(folder.parent), [folder.name], split)
    return _checked(found, root, "Check that the folders have images with the usual endings.")


def read_photographs(
    root: Path | str,
    *,
    keep_untagged: bool = False,
    split_keywords: str | None = None,
    exclude: Sequence[str] = (),
    progress: bool = True,
) -> Found:
    """Read the keywords of all photographs under a folder with `cocotag.photos.keywords.read_keywords`.

    Args:
        root: The folder.
        keep_untagged: Keep photographs without keywords as negatives of every class; by default they count as not annotated
            and are left out.
        split_keywords: Separator of several tags in one keyword; None takes each keyword as one tag.
        exclude: Globs of files and folders to skip, as for `cocotag.photos.walk.Walk`.
        progress: Show a progress bar on stderr if that is a terminal.

    Raises:
        DataError: No photograph can be used.
    """
    root, found = Path(root), Found()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. Give the folder of the photographs.", code="not_a_folder")
    for file in _bar(list(find_images([root], exclude=exclude)), progress):
        _add(found, file, file.relative_to(root), None, "", split_keywords)
    joined = [tag for image in found.images for tag in image.tags if "," in tag]
    if joined and split_keywords is None:
        found.notes.append(f"Keywords with a comma, taken as one tag: {len(joined)} ({joined[0]!r}). Or use --split-keywords ,")
    untagged = [image.name for image in found.images if not image.tags]
    if untagged and not keep_untagged:
        found.images = [image for image in found.images if image.tags]
        hint = "To keep them as images without tags, use --keep-untagged"
        found.notes.append(f"Photographs without a keyword, left out: {len(untagged)} ({first_names(untagged)}). {hint}.")
    return _checked(found, root, "Add keywords in a photo program first, and let it write them to the files.")


def _add(
    found: Found, file: Path, name: Path, tags: Iterable[str] | None, split: str, split_keywords: str | None = None
) -> None:
    """Add an image with its tags, or with its keywords if no tags are given; if it cannot be used, record the reason."""
    try:
        header = read_header(file, metadata=tags is None)
        words = read_keywords(file, header) if tags is None else tags
        if split_keywords:
            words = [part for word in words for part in word.split(split_keywords)]
    except ImageError as error:
        found.left_out[error.reason].append(str(file))
    except DataError:
        found.left_out["with unreadable keywords"].append(str(file))
    else:
        clean = tuple(dict.fromkeys(filter(None, map(_clean, words))))
        found.images.append(Labelled(file, name.as_posix(), header.width, header.height, clean, split))


def _checked(found: Found, source: Path, advice: str) -> Found:
    """The contents of a source, after checking that an image has a tag."""
    found.left_out = defaultdict(list, {reason: names for reason, names in found.left_out.items() if names})
    if any(image.tags for image in found.images):
        return found
    left_out = f" Left out: {found.to_text()}." if found.left_out else ""
    raise DataError(
        f"{source} has no usable image with a tag.{left_out} {' '.join([*found.notes, advice])}", code="no_tagged_images"
    )


class _Row(TypedDict):
    """A row of a table; ``tags`` is text with separators, or the tags of a list; ``split`` is empty without such a column."""

    path: str
    tags: str | list[str]
    split: str


def _rows(path: Path, found: Found) -> Iterator[_Row]:
    """The usable rows of a table."""
    text = _text(path)
    delimiter = max(DELIMITERS, key=text.split("\n", 1)[0].count)
    if excel := _EXCEL_SEPARATOR.match(text):
        delimiter, text = excel[1], text[excel.end() :]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        first = next(reader, [])
        header = [cell.strip().casefold() for cell in first]
        if "tags" not in header and (table := list(reader)) and _is_matrix(table, len(header)):
            yield from _matrix_rows([cell.strip() for cell in first], table, found)
            return
        if header.count("path") != 1 or header.count("tags") != 1:
            columns = ", ".join(header)[:100] or "none"
            raise DataError(
                f"{path} needs the columns path and tags, once each, in its first line. It has: {columns}.",
                code="columns_missing",
            )
        own = {"status", "scores"} <= set(header)  # a table of `cocotag tag`
        needed = max(header.index("path"), header.index("tags"))
        for cells in reader:
            row = dict(zip(header, cells, strict=False))
            if not any(map(str.strip, cells)):
                continue
            if any(map(str.strip, cells[len(header) :])):
                found.left_out["with more cells than columns: quote cells that have commas"].append(f"line {reader.line_num}")
            elif len(cells) <= needed:
                found.left_out["with too few cells"].append(f"line {reader.line_num}")
            elif not row["path"].strip():
                found.left_out["without a path"].append(f"line {reader.line_num}")
            elif own and row.get("status") != "ok":
                found.left_out[f"with status {row.get('status')}"].append(row["path"])
            else:
                try:
                    tags: str | list[str] = tags_of_list(row["tags"]) if looks_like_list(row["tags"]) else row["tags"]
                except ValueError:
                    found.left_out["with a cell that looks like a list, but is not one of names"].append(
                        f"line {reader.line_num}"
                    )
                    continue
                yield {"path": row["path"].strip(), "tags": tags, "split": row.get("split", "").strip()}
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: cannot be read as CSV ({error}). Export the table again.", code="not_csv"
        ) from None


def _is_matrix(table: Sequence[Sequence[str]], columns: int) -> bool:
    """Whether a table has file names, then one column per class with 0 and 1."""
    rows = [row for row in table if any(map(str.strip, row))]
    return columns > 1 and all(len(row) == columns and {cell.strip() for cell in row[1:]} <= {"0", "1"} for row in rows)


def _matrix_rows(header: Sequence[str], table: Sequence[Sequence[str]], found: Found) -> Iterator[_Row]:
    found.notes.append(f"The table has one column per class: {len(header) - 1} classes.")
    for row in table:
        if any(map(str.strip, row)):
            tags = [name for name, cell in zip(header[1:], row[1:], strict=True) if cell.strip() == "1"]
            yield {"path": row[0].strip(), "tags": tags, "split": ""}


def _text(path: Path) -> str:
    """The text of a table in UTF-8, or in UTF-16 with a byte order mark, as Excel and PowerShell write it."""
    try:
        data = path.read_bytes()
        return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError as error:
        if error.encoding != "utf-8":
            raise DataError(f"{path} begins as UTF-16, but is not ({error}). Save it as UTF-8.", code="not_utf8") from None
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8, so names would be wrong. "
            "Save the table as 'CSV UTF-8', or convert it with iconv.",
            code="not_utf8",
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Check the path.", code="not_readable") from None


def _existing(base: Path, text: str) -> Path:
    """The file of a cell: the path as written, else with Windows' separators, the other Unicode form, or escaped bytes."""
    slashes = text.replace("\\", "/")
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    escaped = _ESCAPED_BYTE.sub(lambda match: chr(0xDC00 + int(match[1], 16)), text)
    for written in (text, slashes, composed, decomposed, escaped):
        if os.path.lexists(base / written):
            return base / written
    return base / text


def _split_name(text: str) -> str | None:
    """The name of a split in cocotag; None if it is not a possible folder beside ``annotations/``."""
    name = SPLIT_NAMES.get(text.casefold(), text)
    return name if re.fullmatch(r"(?!(?i:annotations)$)\w[\w.-]*", name) else None


def _split_of(folder: Path) -> str:
    return SPLIT_NAMES.get(folder.name.casefold(), "")


def _folders(root: Path, exclude: Exclusions) -> list[Path]:
    """The folders in a folder that can be classes or splits."""
    found = [(path, os.fsencode(path.name)) for path in _entries(root) if path.is_dir()]
    return [
        path
        for path, name in found
        if not is_system_folder(name, os.fsencode(root)) and not exclude.matches(name, name, is_folder=True)
    ]


def _loose(root: Path) -> list[Path]:
    """The images directly in a folder."""
    return [path for path in _entries(root) if path.suffix.lower() in IMAGE_ENDINGS and not path.is_dir()]


def _entries(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{root} cannot be listed ({error.strerror or error}). Check the path.", code="not_readable") from None


def _clean(tag: str) -> str:
    """A tag in a canonical spelling: macOS decomposes accents in file names, and tables have extra spaces.

    Bytes of a folder's name that are not UTF-8 become U+FFFD, because class names are written to UTF-8 files.
    """
    text = tag.replace("\0", " ").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return unicodedata.normalize("NFC", " ".join(text.split()))


def first_names(names: Sequence[str]) -> str:
    """The first three names for a one-line message: line breaks and bytes that are not UTF-8 are escaped."""
    printable = [name if name.isprintable() else repr(name) for name in names[:3]]
    return ", ".join(printable) + (", ..." if len(names) > 3 else "")


def _bar(items: list[T], progress: bool) -> Iterable[T]:
    return tqdm(items, unit="image", desc="read", disable=None if progress else True)
