"""Several data sets -> one table: classes matched by name, images by path. Does not read pixels or import torch.

**Known cells.** A cell of the table is positive if any source labels the class on the image. It is negative if a source that
annotates the class exhaustively lists the image without the label. All other cells are unknown. The exhaustive classes of a
source are those with at least one annotation, or those that its config or alias file lists under ``known``. A class that a
source lists but never annotates, or does not list at all, is unknown there, not negative. A class that is only a crowd on an
image stays unknown.

**Shared images.** An image that two sources list, by the same path after links to folders are resolved, becomes one row with
the labels of both. A positive label wins over a negative one. An image without known cells is left out.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cocotag.config import SourceConfig
from cocotag.data.annotations import AnnotationTable, load_split
from cocotag.data.layout import Given
from cocotag.data.matching import Aliases, Columns, find_classes, load_aliases, match_classes
from cocotag.errors import DataError
from cocotag.labels import Vocabulary

Bools = NDArray[np.bool_]
SHOWN_CLASSES = 10
"""Most class names in a line for people; the record has all."""


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A record of how one source was used.

    Attributes:
        root: Its folder, as in the config.
        split: Its split.
        images: Number of images in the split.
        shared: Number of images that an earlier source has too.
        left_out: Number of images without known cells among the trained classes.
        classes: Trained class -> its names in the source.
        unmapped: Classes of the source that match no trained class -> number of their annotated objects.
        looked_for: Trained classes that the source annotates exhaustively: no label means absent.
        only_positive: Trained classes that the source labels, but not exhaustively.
        unknown: Trained classes without any labels in the source.
        sha256: Hash of its file names, as `AnnotationTable.names_sha256`.
    """

    root: str
    split: str
    images: int
    shared: int
    left_out: int
    classes: dict[str, list[str]]
    unmapped: dict[str, int]
    looked_for: list[str]
    only_positive: list[str]
    unknown: list[str]
    sha256: str

    @property
    def name(self) -> str:
        """The folder's own name and the split."""
        return f"{Path(self.root).name}/{self.split}"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    def to_text(self) -> str:
        """One line for a terminal."""
        unmapped = [f"{name}: {count}" for name, count in sorted(self.unmapped.items(), key=lambda item: -item[1])]
        parts = [f"{self.images} images, {len(self.looked_for) + len(self.only_positive)} of the trained classes"]
        parts += [f"{self.shared} images are also in an earlier source"] * bool(self.shared)
        parts += [f"{self.left_out} images left out, because none of their labels is known"] * bool(self.left_out)
        parts += [f"only labels count, not missing labels: {some_classes(self.only_positive)}"] * bool(self.only_positive)
        parts += [f"unknown here: {some_classes(self.unknown)}"] * bool(self.unknown)
        parts += [f"not trained, with number of objects: {some_classes(unmapped)}"] * bool(unmapped)
        return f"{self.name}: {'; '.join(parts)}."


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Several sources joined into one table.

    Attributes:
        table: Their images; ``file_names`` are relative to the common parent of all image folders.
        records: The record of each source.
        members: Which sources have the image, ``(N, S)`` bool.
        image_dirs: The image folder of each source.
    """

    table: AnnotationTable
    records: list[SourceRecord]
    members: Bools
    image_dirs: list[Path]

    def to_lines(self) -> list[str]:
        """Lines for a terminal: one per source, and warnings about classes that cannot be trained."""
        table, names = self.table, np.array(self.table.vocabulary.names)
        never = names[table.positives == 0].tolist()
        always = names[(table.positives > 0) & ~(table.known & ~table.targets).any(axis=0)].tolist()
        lines = [f"source {record.to_text()}" for record in self.records]
        if never:
            lines.append(f"No source labels {some_classes(never)}, so training cannot learn them.")
        if always:
            lines.append(
                f"No source has negatives of {some_classes(always)}, so the network would predict them on every image. "
                "Add a source that annotates them exhaustively, or list them under its known."
            )
        return lines


def join_sources(
    sources: Sequence[SourceConfig], classes: str | Sequence[str] = "own", *, given: Given | None = None
) -> Joined:
    """Read several data sets into one table.

    Args:
        sources: The data sets, at least one.
        classes: The vocabulary: ``own`` (the classes of the first source), ``union`` (of all), ``coco80``, or names; see
            `match_classes`.
        given: What the user says about all of them.

    Raises:
        ConfigError: An alias file is missing or invalid.
        DataError: A split is missing or not in COCO's format, a source has no class in common with the vocabulary, no source
            has a name of the list, or ``known`` names a class that its source does not have.
    """
    aliases = [
        load_aliases(source.aliases, f"data.sources[{number}].aliases") if source.aliases else Aliases()
        for number, source in enumerate(sources)
    ]
    tables = [load_split(source.root, source.split, given) for source in sources]
    vocabulary, columns = match_classes([(t.vocabulary, a) for t, a in zip(tables, aliases, strict=True)], classes)
    image_dir, file_names, rows = _images(tables)
    count, width = len(file_names), len(vocabulary)
    targets, absent, doubtful = np.zeros((3, count, width), bool)
    instances, sizes = np.zeros((count, width), np.uint16), np.zeros((count, 2), np.int32)
    largest = np.full(count, np.nan, np.float32)
    members = np.zeros((count, len(sources)), bool)
    records = []
    for number, (source, table, row, column) in enumerate(zip(sources, tables, rows, columns, strict=True)):
        part = _Part.of(table, column, vocabulary, f"{source.root}, split {source.split!r},")
        looked = _looked(table, column, width, _known(number, source, table, aliases[number]))
        # .at, because a source may list an image twice.
        np.logical_or.at(targets, row, part.targets)
        np.logical_or.at(absent, row, looked & ~part.targets & ~part.doubtful)
        np.logical_or.at(doubtful, row, part.doubtful)
        np.maximum.at(instances, row, part.instances)
        np.fmax.at(largest, row, table.largest)
        new = ~sizes[row].all(axis=1)
        sizes[row[new]] = table.sizes[new]
        shared = int(members[np.unique(row)].any(axis=1).sum())
        members[row, number] = True
        records.append(_record(source, table, column, vocabulary, shared, looked, np.asarray(part.targets.any(axis=0))))
    known: Bools = targets | (absent & ~doubtful)
    use = np.asarray(known.any(axis=1))
    joined = AnnotationTable(
        vocabulary=vocabulary,
        image_dir=image_dir,
        file_names=np.array(file_names, np.str_),
        image_ids=_image_ids(tables, rows, count),
        targets=targets,
        known=known,
        instances=instances,
        sizes=sizes,
        largest=largest,
    )
    records = [replace(record, left_out=int((~use[row]).sum())) for record, row in zip(records, rows, strict=True)]
    return Joined(joined if use.all() else joined.take(use), records, members[use], [table.image_dir for table in tables])


def align(
    table: AnnotationTable,
    vocabulary: Vocabulary,
    *,
    name: str,
    aliases: Aliases | None = None,
    looked_for: Sequence[str] | None = None,
) -> AnnotationTable:
    """The table of another split in the trained classes; every image is kept.

    Args:
        table: The split, in its own classes.
        vocabulary: The trained classes.
        name: Name of the split in messages.
        aliases: Aliases of its data set.
        looked_for: Trained classes that are annotated exhaustively, as in `SourceRecord`; None takes the list of the aliases,
            else all classes of the split.

    Raises:
        DataError: There is no class in common.
    """
    aliases = aliases or Aliases()
    column = find_classes(vocabulary, table.vocabulary, aliases)
    part = _Part.of(table, column, vocabulary, name)
    if looked_for is None:
        own = np.array([aliases.known is None or one in aliases.known for one in table.vocabulary.names])
        looked = _looked(table, column, len(vocabulary), own)
    else:
        looked = np.isin(np.arange(len(vocabulary)), column) & np.isin(vocabulary.names, looked_for)
    known = part.targets | (looked & ~part.doubtful)
    return replace(table, vocabulary=vocabulary, targets=part.targets, known=known, instances=part.instances)


def in_classes_of(
    main: AnnotationTable, main_name: str, other: AnnotationTable, name: str, *, say: Callable[[str], None]
) -> AnnotationTable:
    """The table of another split in the classes of the main one, matched by name; ``say`` hears of classes that differ.

    Raises:
        DataError: There is no class in common.
    """
    if main.vocabulary.ids == other.vocabulary.ids and main.vocabulary.names == other.vocabulary.names:
        return other
    aligned = align(other, main.vocabulary, name=f"split {name!r}")
    column = find_classes(main.vocabulary, other.vocabulary, Aliases())
    lacking = sorted(set(range(len(main.vocabulary))) - set(column.tolist()))
    for split, classes in (
        (name, [main.vocabulary.names[number] for number in lacking]),
        (main_name, [one for one, number in zip(other.vocabulary.names, column.tolist(), strict=True) if number < 0]),
    ):
        if classes:
            say(f"split {split!r} does not list {some_classes(classes)}, so nothing is known of them there.")
    return aligned


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The labels of a table in the ``K`` trained classes."""

    targets: Bools  # (N, K)
    doubtful: Bools  # only a crowd, (N, K)
    instances: NDArray[np.uint16]  # (N, K)

    @classmethod
    def of(cls, table: AnnotationTable, column: Columns, vocabulary: Vocabulary, name: str) -> _Part:
        if (column < 0).all():
            raise DataError(
                f"{name} has no class in common with the trained classes: it has {some_classes(table.vocabulary.names, 3)}, "
                f"training has {some_classes(vocabulary.names, 3)}. Give it an alias file, or change data.classes.",
                code="no_common_class",
            )
        shape = len(table), len(vocabulary)
        targets, doubtful, instances = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape, np.int32)
        for own, learned in enumerate(column.tolist()):
            if learned >= 0:
                targets[:, learned] |= table.targets[:, own] & table.known[:, own]
                doubtful[:, learned] |= ~table.known[:, own]
                instances[:, learned] += table.instances[:, own]
        return cls(targets, doubtful & ~targets, np.minimum(instances, np.iinfo(np.uint16).max).astype(np.uint16))


def _known(number: int, source: SourceConfig, table: AnnotationTable, aliases: Aliases) -> Bools | None:
    """The exhaustive classes of a source, ``(C,)``; None if neither its config nor its alias file lists them."""
    named = source.known if source.known is not None else aliases.known
    names = table.vocabulary.names
    for name in source.known or ():
        if name not in names:
            near = ", ".join(difflib.get_close_matches(name, names, 1) or names[:3])
            raise DataError(
                f"data.sources[{number}].known names {name!r}, but {source.root} does not have this class "
                f"(there is {near} ...). Check the name.",
                code="unknown_class",
            )
    return None if named is None else np.array([name in named for name in names])


def _looked(table: AnnotationTable, column: Columns, width: int, known: Bools | None) -> Bools:
    """The trained classes that the table annotates exhaustively, ``(K,)``.

    A trained class that matches several classes of the table is exhaustive if all of these with an annotation are.
    """
    annotated = np.asarray(table.targets.any(axis=0) | ~table.known.all(axis=0))  # crowds count as annotations
    mapped = column >= 0
    looked, overlooked = np.zeros((2, width), bool)
    known = annotated if known is None else known
    looked[column[mapped & known]] = True
    overlooked[column[mapped & annotated & ~known]] = True
    return looked & ~overlooked


def _record(
    source: SourceConfig,
    table: AnnotationTable,
    column: Columns,
    vocabulary: Vocabulary,
    shared: int,
    looked: Bools,
    labelled: Bools,
) -> SourceRecord:
    """The record without ``left_out``, which depends on all sources and is set later."""
    learned = np.array(vocabulary.names)
    objects = table.instances.sum(axis=0, dtype=np.int64)
    classes: dict[str, list[str]] = {}
    unmapped: dict[str, int] = {}
    for own, name in enumerate(table.vocabulary.names):
        if column[own] >= 0:
            classes.setdefault(vocabulary.names[column[own]], []).append(name)
        else:
            unmapped[name] = int(objects[own])
    return SourceRecord(
        root=source.root,
        split=source.split,
        images=len(table),
        shared=shared,
        left_out=0,
        classes=classes,
        unmapped=unmapped,
        looked_for=learned[looked].tolist(),
        only_positive=learned[labelled & ~looked].tolist(),
        unknown=learned[~labelled & ~looked].tolist(),
        sha256=table.names_sha256(),
    )


def _images(tables: Sequence[AnnotationTable]) -> tuple[Path, list[str], list[NDArray[np.int64]]]:
    """The common parent of the image folders, the images' names below it, and the rows of each table's images."""
    folders = [Path(os.path.abspath(table.image_dir)) for table in tables]  # noqa: PTH100 (resolve would follow links)
    common = Path(os.path.commonpath(folders))
    names: list[str] = []
    row_of: dict[tuple[Path, str], int] = {}
    rows = []
    for table, folder in zip(tables, folders, strict=True):
        prefix = "" if folder == common else f"{folder.relative_to(common).as_posix()}/"
        real: dict[str, Path] = {}  # many images, few folders
        row = []
        for name in table.file_names.tolist():
            head, _, tail = name.rpartition("/")
            if head not in real:
                real[head] = (folder / head).resolve()
            row.append(row_of.setdefault((real[head], tail), len(names)))
            if row[-1] == len(names):
                names.append(prefix + name)
        rows.append(np.array(row, np.int64))
    return common, names, rows


def _image_ids(tables: Sequence[AnnotationTable], rows: Sequence[NDArray[np.int64]], count: int) -> NDArray[Any]:
    """The images' own ids if they are unique, else the row numbers."""
    ids: dict[int, Any] = {}
    for table, own_rows in zip(tables, rows, strict=True):
        for row, number in zip(own_rows.tolist(), table.image_ids.tolist(), strict=True):
            ids.setdefault(row, number)
    distinct = len(set(ids.values())) == count and len({type(number) for number in ids.values()}) == 1
    return np.array([ids[row] for row in range(count)]) if distinct else np.arange(count)


def some_classes(names: Sequence[str], most: int = SHOWN_CLASSES) -> str:
    """The number of some classes, with the first names."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} class{'es' if len(names) != 1 else ''} ({', '.join(names[:most])}{rest})"
