"""The data set doctor: what is wrong with a data set, before hours are spent on it. Knows no torch.

A check is a function from what is known of a split to its findings; `CHECKS` lists them in the order of the report.
Every image file is decoded once, before the checks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cocotag.data.annotations import AnnotationTable, load_split
from cocotag.errors import ImageError
from cocotag.images import decode

FEW_POSITIVES = 10
"""Below this many positives the F1 of a class says little: one image moves its recall by more than 10 points."""
MAX_EXAMPLES = 20
"""Examples kept with a finding; its count is of all."""

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    Attributes:
        severity: ``error`` where training would stop or learn something false, ``warning`` where figures would
            mislead, ``note`` where it is good to know.
        code: A stable name for programs.
        message: One line: what, how many, the first of them, what follows or what to do.
        count: How many.
        examples: The first of them, at most `MAX_EXAMPLES`.
    """

    severity: Severity
    code: str
    message: str
    count: int
    examples: list[str]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All that was found in one split."""

    root: Path
    split: str
    images: int
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """False if any finding is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "root": str(self.root),
            "split": self.split,
            "images": self.images,
            "ok": self.ok,
            "findings": [asdict(finding) for finding in self.findings],
        }

    def to_text(self) -> str:
        """One line for each finding and one for the whole."""
        severities = Counter(finding.severity for finding in self.findings)
        counts = ", ".join(
            f"{severities[name]} {name}{'s' * (severities[name] > 1)}" for name in SEVERITIES if severities[name]
        )
        lines = [f"{finding.severity}: {finding.message} [{finding.code}]" for finding in self.findings]
        return "\n".join([*lines, f"{self.root}, split {self.split}: {self.images} images, {counts or 'nothing found'}."])


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What the checks look at.

    Attributes:
        table: The labels.
        faults: Row -> why its image cannot be used, an `ImageError.reason`.
        sizes: Width and height as decoded, upright, ``(N, 2)`` int32; 0 where the image cannot be used.
    """

    table: AnnotationTable
    faults: dict[int, str]
    sizes: NDArray[np.int32]

    def names(self, rows: Iterable[int]) -> list[str]:
        """The file names of some rows."""
        return [str(self.table.file_names[row]) for row in rows]


def check_split(root: Path | str, split: str, *, progress: bool = True) -> CheckReport:
    """Look a split over: its annotation file, and every image file, each decoded once.

    Args:
        root: The data set, in COCO's own layout.
        split: Which split of it.
        progress: Show a bar on stderr if that is a terminal.

    Raises:
        DataError: The annotation file is missing or not COCO's format, so there is nothing to check.
    """
    root = Path(root)
    table = load_split(root, split)
    survey = _survey(table, progress)
    findings = [finding for check in CHECKS for finding in check(survey)]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return CheckReport(root=root, split=split, images=len(table), findings=findings)


def _survey(table: AnnotationTable, progress: bool) -> Survey:
    faults: dict[int, str] = {}
    sizes = np.zeros((len(table), 2), np.int32)
    with ThreadPoolExecutor() as pool:  # decoding releases the GIL
        looks = pool.map(_look, table.paths())
        bar = tqdm(looks, total=len(table), unit="image", desc="check", disable=None if progress else True)
        for row, (size, fault) in enumerate(bar):
            sizes[row] = size
            if fault is not None:
                faults[row] = fault
    return Survey(table=table, faults=faults, sizes=sizes)


def _look(path: Path) -> tuple[tuple[int, int], str | None]:
    """Width and height, and the reason if there are none."""
    try:
        height, width = decode(path).shape[:2]
    except ImageError as error:
        return (0, 0), error.reason
    return (width, height), None


def _found(
    severity: Severity, code: str, what: str, examples: list[str], follow: str, of: int | None = None
) -> Iterator[Finding]:
    """A finding if there are examples (all of them are given), with the first in its one line."""
    if examples:
        shown = [text if text.isprintable() else repr(text) for text in examples[:MAX_EXAMPLES]]
        first = ", ".join(shown[:3]) + (", ..." if len(examples) > 3 else "")
        count = f"{len(examples)}" if of is None else f"{len(examples)} of {of}"
        yield Finding(severity, code, f"{what}: {count} ({first}). {follow}", len(examples), shown)


def _missing_images(survey: Survey) -> Iterator[Finding]:
    missing = survey.names(row for row, fault in survey.faults.items() if fault == "missing")
    what = f"images that are not in {survey.table.image_dir.name}/"
    follow = "Training would stop at the first of them. Check the split, or copy the files there."
    yield from _found("error", "missing_images", what, missing, follow, of=len(survey.table))


def _unreadable_images(survey: Survey) -> Iterator[Finding]:
    broken = [f"{survey.table.file_names[row]}: {fault}" for row, fault in survey.faults.items() if fault != "missing"]
    follow = "Training would stop at the first of them. Download or export them again."
    yield from _found("error", "unreadable_images", "image files that cannot be decoded", broken, follow, of=len(survey.table))


def _duplicate_file_names(survey: Survey) -> Iterator[Finding]:
    twice = [name for name, times in Counter(survey.table.file_names.tolist()).items() if times > 1]
    follow = "What only one entry labels counts as absent in the others. Merge the entries."
    yield from _found("error", "duplicate_file_names", "files that are listed more than once", twice, follow)


def _size_mismatch(survey: Survey) -> Iterator[Finding]:
    said, found = survey.table.sizes, survey.sizes
    known = (said > 0).all(axis=1) & (found > 0).all(axis=1)
    # Sides in order of length: the JSON may have the size from before the EXIF rotation.
    differs = (np.sort(said, axis=1) != np.sort(found, axis=1)).any(axis=1)
    examples = []
    for row in np.flatnonzero(known & differs).tolist():
        (width, height), (file_width, file_height) = said[row].tolist(), found[row].tolist()
        examples.append(f"{survey.table.file_names[row]}: {width}x{height}, file {file_width}x{file_height}")
    follow = "They may be resized or other pictures, and their boxes do not fit. Check where they came from."
    yield from _found("warning", "size_mismatch", "images of another size than the JSON says", examples, follow, of=len(said))


def _class_support(survey: Survey) -> Iterator[Finding]:
    names, positives = survey.table.vocabulary.names, survey.table.positives.tolist()
    none = [name for name, count in zip(names, positives, strict=True) if count == 0]
    few = [f"{name}: {count}" for name, count in zip(names, positives, strict=True) if 0 < count < FEW_POSITIVES]
    if len(none) == len(names):
        follow = "There is nothing to learn. Check the annotation file."
        yield Finding(
            "error", "no_labels", f"no image has a label of any class: {len(names)} classes. {follow}", len(names), []
        )
        return
    follow = "They cannot be learned or scored here."
    yield from _found("warning", "classes_without_positives", "classes that are on no image", none, follow, of=len(names))
    what, follow = f"classes that are on fewer than {FEW_POSITIVES} images", "Their scores will be uncertain."
    yield from _found("warning", "classes_with_few_positives", what, few, follow, of=len(names))


def _images_without_labels(survey: Survey) -> Iterator[Finding]:
    table = survey.table
    bare = survey.names(np.flatnonzero(~table.targets.any(axis=1) & table.known.all(axis=1)).tolist())
    follow = "They count as negatives of every class; if nobody looked at them, leave them out."
    yield from _found("note", "images_without_labels", "images without labels", bare, follow, of=len(table))


def _crowd_only(survey: Survey) -> Iterator[Finding]:
    table = survey.table
    cells = [f"{table.file_names[row]}: {table.vocabulary.names[index]}" for row, index in np.argwhere(~table.known).tolist()]
    follow = "Neither present nor absent there, so left out of loss and scores."
    yield from _found("note", "crowd_only", "classes that are on an image only as a crowd", cells, follow)


CHECKS: tuple[Callable[[Survey], Iterator[Finding]], ...] = (
    _missing_images,
    _unreadable_images,
    _duplicate_file_names,
    _size_mismatch,
    _class_support,
    _images_without_labels,
    _crowd_only,
)
