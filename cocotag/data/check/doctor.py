"""The data set doctor: finds faults of a data set before hours of training are spent on it. Does not import torch.

`entries` reads the annotation file, and `survey` reads every image file once; the checks of `labels` and `images` turn the
results into findings. The codes of findings are stable. By severity (a few have two, depending on how many were found):

- error: ``missing_images``, ``empty_images``, ``truncated_images``, ``unreadable_images``, ``outside_paths``,
  ``duplicate_file_names``, ``duplicate_image_ids``, ``duplicate_category_ids``, ``bad_image_entries``,
  ``bad_category_entries``, ``bad_annotation_entries``, ``annotations_of_unknown_images``,
  ``annotations_of_unknown_categories``, ``annotations_refused``, ``no_labels``, ``leaked_images``, ``fed_not_divided``,
  ``fed_not_normalised``, ``fed_normalised_twice``, ``fed_divided_twice``, ``fed_out_of_range``, ``fed_not_finite``
- warning: ``leaked_images`` (a handful), ``identical_images``, ``fed_channels_swapped``, ``size_mismatch``, ``bad_boxes``,
  ``boxes_without_area``, ``boxes_outside``, ``duplicate_annotation_ids``, ``duplicate_category_names``,
  ``classes_without_positives``, ``classes_with_few_positives``, ``low_contrast_images``
- error if there are many: ``identical_images`` with other labels, ``boxes_outside`` entirely, ``low_contrast_images``; warning
  if there are many: ``dark_images``, ``bright_images``, ``images_without_labels``
- note: ``dark_images``, ``bright_images``, ``images_without_labels``, ``crowd_only``, ``unlisted_files``,
  ``compared_by_bytes``, ``splits_not_compared``

`cocotag.evaluation.run.check_labels` adds the note ``likely_label_errors`` or the warning ``labels_not_judged``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cocotag.data.annotations import load_split
from cocotag.data.check.entries import MAX_EXAMPLES, located, read_entries
from cocotag.data.check.fed import FedStatistics, statistics_of_pixels
from cocotag.data.check.findings import Case, Finding, Severity, shown
from cocotag.data.check.images import IMAGE_CHECKS, find_unlisted
from cocotag.data.check.labels import FEW_POSITIVES, LABEL_CHECKS
from cocotag.data.check.survey import FED_SIDE, Survey, survey
from cocotag.data.layout import Given, Place, find, find_splits
from cocotag.errors import DataError

__all__ = ["FEW_POSITIVES", "MAX_EXAMPLES", "CheckReport", "Finding", "check_split"]

WIDTH = 100
"""Columns of the report for people."""

_HEADINGS: dict[Severity, tuple[str, str]] = {
    "error": ("ERROR", "training would stop or learn wrong labels"),
    "warning": ("WARNING", "figures would be misleading"),
    "note": ("NOTE", "for information"),
}


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The report on one split.

    Attributes:
        root: The data set.
        split: The split.
        images: Number of images in the annotation file.
        annotations: Number of annotations.
        classes: Number of categories.
        compared_with: Other splits whose images were compared with this split's.
        fed: Statistics of the network's inputs; None if no image can be used.
        findings: The findings, most severe first.
    """

    root: Path
    split: str
    images: int
    annotations: int
    classes: int
    compared_with: list[str]
    fed: FedStatistics | None
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """False if any finding is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def with_findings(self, more: Sequence[Finding]) -> CheckReport:
        """This report with more findings."""
        return replace(self, findings=_ordered([*self.findings, *more]))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "root": str(self.root),
            "split": self.split,
            "images": self.images,
            "annotations": self.annotations,
            "classes": self.classes,
            "compared_with": self.compared_with,
            "ok": self.ok,
            "fed": self.fed.to_json() if self.fed else None,
            "findings": [finding.to_json() for finding in self.findings],
        }

    def to_text(self) -> str:
        """The report for people: most severe first, at most `WIDTH` columns; the last line is a summary."""
        lines = [f"{shown(str(self.root))}, split {self.split}"]
        counts = []
        for severity, (word, meaning) in _HEADINGS.items():
            found = [finding for finding in self.findings if finding.severity == severity]
            if not found:
                continue
            title = f"{len(found)} {word}{'S' * (len(found) > 1)}"
            counts.append(title.lower())
            lines += ["", f"{title}: {meaning}"]
            for finding in found:
                lines += ["", *finding.to_lines(WIDTH)]
        lines += ["", *self._fed_lines()]
        compared = f"; compared with {', '.join(self.compared_with)}" if self.compared_with else ""
        lines.append(
            f"{self.images} images, {self.annotations} annotations, {self.classes} classes{compared}: "
            f"{', '.join(counts) or 'nothing found'}."
        )
        return "\n".join(lines)

    def _fed_lines(self) -> list[str]:
        if self.fed is None:
            return []
        rows = zip(("mean", "spread"), (self.fed.mean, self.fed.std), strict=True)
        parts = [f"{name} {' '.join(f'{value:.2f}' for value in values)}" for name, values in rows]
        ranges = " ".join(f"{low:.2f}..{high:.2f}" for low, high in zip(self.fed.low, self.fed.high, strict=True))
        return [f"Inputs of the network by channel (R G B, {FED_SIDE} px):", f"{', '.join(parts)}, range {ranges}", ""]


def check_split(root: Path | str, split: str, given: Given | None = None, *, progress: bool = True) -> CheckReport:
    """Check a split: its annotation file and all image files, each read once.

    Images are compared by their pixels, as decoded for the network, with each other and with the images of the other splits of
    the data set.

    Args:
        root: The data set, in COCO's own layout or another program's.
        split: The split.
        given: What the user says about the data set.
        progress: Show a progress bar on stderr if that is a terminal.

    Raises:
        DataError: The annotation file is missing or not in COCO's format at all, so there is nothing to check.
    """
    given = given or Given()
    place = find(Path(root), split, given)
    refusal = None
    try:
        load_split(root, split, given)
    except DataError as error:
        refusal = str(error)
    others, unread = _other_splits(place, given)
    with tqdm(desc=place.annotations.name, total=1, unit="file", leave=False, disable=None if progress else True):
        entries = read_entries(place.annotations, crowd_is_object=given.crowd_is_object)
    entries, image_dir = located(entries, place)
    images = survey(place.root, image_dir, entries.file_names, entries.outside, others, progress=progress)
    here = image_dir.resolve()
    shared = [name for folder, names in others.values() if folder.resolve() == here for name in names]
    root = place.root
    case = Case(
        root=root,
        split=place.split,
        image_dir=image_dir,
        entries=entries,
        survey=images,
        unlisted=find_unlisted(image_dir, [*entries.file_names, *shared]),
        fed=_fed(images),
        refusal=refusal,
        unread=unread,
    )
    findings = [finding for check in (*IMAGE_CHECKS, *LABEL_CHECKS) for finding in check(case)]
    return CheckReport(
        root=root,
        split=split,
        images=len(entries.file_names),
        annotations=entries.annotations,
        classes=len(entries.names),
        compared_with=[name for name, other in images.others.items() if other.there],
        fed=case.fed,
        findings=_ordered(findings),
    )


def _ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Most severe first."""
    return sorted(findings, key=lambda finding: list(_HEADINGS).index(finding.severity))


def _other_splits(place: Place, given: Given) -> tuple[dict[str, tuple[Path, list[str]]], dict[str, str]]:
    """Image folder and file names of the other splits, and the reason for each that cannot be read."""
    others, unread = {}, {}
    for name in sorted(find_splits(place.root, given)):
        other = find(place.root, name, given)
        if other.annotations == place.annotations:
            continue
        try:
            others[name] = _names(other, given)
        except DataError as error:
            unread[name] = str(error)
    return others, unread


def _names(place: Place, given: Given) -> tuple[Path, list[str]]:
    """Image folder and file names of a split; the valid ones of a split that the loader refuses."""
    try:
        table = load_split(place.root, place.split, given)
    except DataError:
        entries, folder = located(read_entries(place.annotations), place)
        return folder, [name for name, outside in zip(entries.file_names, entries.outside.tolist(), strict=True) if not outside]
    return table.image_dir, table.file_names.tolist()


def _fed(images: Survey) -> FedStatistics | None:
    usable = images.usable
    return statistics_of_pixels(images.levels, images.channels[usable]) if usable.any() else None
