"""The findings of `cocotag check` in one split, for a report. Does not depend on a page.

If the images are not available, only the annotation file is checked. The survey of the images is returned too, so that the
caller does not have to read them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from tqdm import tqdm

from cocotag.data.check.entries import located, read_entries
from cocotag.data.check.fed import statistics_of_pixels
from cocotag.data.check.findings import Case, Finding, Severity
from cocotag.data.check.images import IMAGE_CHECKS, find_unlisted
from cocotag.data.check.labels import LABEL_CHECKS
from cocotag.data.check.survey import Survey, survey
from cocotag.data.layout import Given, of_file


@dataclass(frozen=True)
class Integrity:
    """The findings in one split.

    Attributes:
        split: The split that was checked.
        images_read: Whether its image files were checked, not only its annotations.
        compared_with: Other splits whose images were compared with this one's.
        findings: Worst first.
    """

    split: str
    images_read: bool
    compared_with: list[str]
    findings: list[Finding]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the message of a finding has its examples and advice."""
        return {
            "split": self.split,
            "images_read": self.images_read,
            "compared_with": self.compared_with,
            "findings": [finding.to_json() for finding in self.findings],
        }

    def to_text(self) -> str:
        """One line for a terminal."""
        counts = [(word, sum(finding.severity == word for finding in self.findings)) for word in get_args(Severity)]
        found = ", ".join(f"{count} {word}{'s' * (count > 1)}" for word, count in counts if count)
        what = "labels and images" if self.images_read else "labels (the images are not available)"
        return f"{self.split}: {found or 'nothing found'} in {what}"


def look_over(
    annotations: Path,
    split: str,
    image_dir: Path | None = None,
    *,
    given: Given | None = None,
    others: Mapping[str, tuple[Path, Sequence[str]]] | None = None,
    progress: bool = True,
) -> tuple[Integrity, Survey | None]:
    """Run the checks of `cocotag check` on the labels of one split, and on its images if their folder is given.

    Args:
        annotations: Its COCO instances file.
        split: Its name in the report.
        image_dir: The folder of its images; None checks only the labels.
        given: What the user says about the data set.
        others: Split -> image folder and file names, to find images that are in both splits.
        progress: Show a progress bar if stderr is a terminal.

    Returns:
        The findings, and the survey of the images in the order of the file (None if they were not checked).

    Raises:
        DataError: See `cocotag.data.check.entries.read_entries`.
    """
    with tqdm(desc=annotations.name, total=1, unit="file", leave=False, disable=None if progress else True):
        entries = read_entries(annotations, crowd_is_object=given is not None and given.crowd_is_object)
    place = of_file(annotations)
    if image_dir is None:
        folder, seen, unlisted = annotations.parent, _empty_survey(len(entries.file_names)), []
    else:
        others = others or {}
        entries, folder = located(entries, replace(place, folders=(image_dir,)))
        root = place.root if folder.absolute().is_relative_to(place.root) else folder
        seen = survey(root, folder, entries.file_names, entries.outside, others, progress=progress)
        shared = [name for other, names in others.values() if other.resolve() == folder.resolve() for name in names]
        unlisted = find_unlisted(folder, [*entries.file_names, *shared])
    usable = seen.usable & (seen.levels.sum() > 0)
    case = Case(
        root=place.root,
        split=split,
        image_dir=folder,
        entries=entries,
        survey=seen,
        unlisted=unlisted,
        fed=statistics_of_pixels(seen.levels, seen.channels[usable]) if usable.any() else None,
        refusal=None,  # the report has loaded its labels from this file
        unread={},
    )
    findings = [finding for check in (*IMAGE_CHECKS, *LABEL_CHECKS) for finding in check(case)]
    findings.sort(key=lambda finding: get_args(Severity).index(finding.severity))
    compared = [name for name, other in seen.others.items() if other.there]
    return Integrity(split, image_dir is not None, compared, findings), seen if image_dir is not None else None


def _empty_survey(images: int) -> Survey:
    """The survey of images that were not read: no faults and no measurements, so no check finds anything in it."""
    return Survey(
        faults=[None] * images,
        sizes=np.zeros((images, 2), np.int32),
        luma=np.full((images, 3), np.nan, np.float32),
        channels=np.full((images, 3), np.nan, np.float32),
        levels=np.zeros((3, 256), np.int64),
        pixels=[b""] * images,
        contents=[b""] * images,
        others={},
    )
