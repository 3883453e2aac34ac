"""The doctor's checks of the image files: missing and damaged files, duplicates, brightness. Does not import torch."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cocotag.data.check.entries import Tally
from cocotag.data.check.fed import fed_faults
from cocotag.data.check.findings import Case, Finding, Severity, if_any, many, shown
from cocotag.data.check.survey import FED_SIDE, OUTSIDE
from cocotag.data.image_files import ON_LINKS

LEAK_SHARE = 0.001
"""Two splits may share this share of the smaller one, which does not change a figure's last printed digit (a tenth of a
percent); more is an error."""

ROBUST_Z = 3.5
"""Limit of the modified z-score 0.6745 (x - median) / MAD: Iglewicz and Hoaglin 1993, How to detect and handle outliers."""

ROBUST_Z_IMAGES = 20
"""With fewer images no image is reported as an outlier."""

DARK_P99 = round(0.32 * 255)
"""An image is dark if 99 % of its pixels are darker than this, Rec. 601 luma of 0..255; the default of cleanvision's check."""

BRIGHT_P1 = 255 - DARK_P99
"""An image is bright if 99 % of its pixels are brighter than this: the same limit, inverted."""

LOW_CONTRAST = 0.05 * 255
"""An image is flat if the 1st and 99th percentile of luma are closer: the default of skimage.exposure.is_low_contrast."""


def _images(case: Case) -> Iterator[Finding]:
    faults, total = case.survey.faults, len(case.survey.faults)
    missing = case.names(case.rows_with("missing"))
    folder = f"{case.image_dir.name}/"
    advice = f"Training would stop at the first of them. {_missing_advice(case, missing)}"
    yield from if_any("error", "missing_images", f"images that are not in {folder}", missing, advice, of=total)
    advice = "Training would stop at the first of them. Copy or download them again."
    empty = case.names(case.rows_with("empty"))
    yield from if_any("error", "empty_images", "image files of zero bytes", empty, advice, of=total)
    truncated = case.names(case.rows_with("truncated"))
    yield from if_any("error", "truncated_images", "truncated or damaged image files", truncated, advice, of=total)
    reported = (None, "missing", "empty", "truncated", OUTSIDE)
    other = [f"{case.entries.file_names[row]}: {fault}" for row, fault in enumerate(faults) if fault not in reported]
    advice = "Training would stop at the first of them. Replace them, or remove them from the annotations."
    yield from if_any("error", "unreadable_images", "image files that cannot be used", other, advice, of=total)


def _missing_advice(case: Case, missing: list[str]) -> str:
    """What to do about missing images, depending on whether they exist under another name."""
    if not missing:
        return ""
    if not case.image_dir.is_dir():
        return f"The folder {shown(str(case.image_dir))} does not exist. Check the root and the split."

    def folded(name: str) -> str:
        return unicodedata.normalize("NFC", name.replace("\\", "/").rsplit("/", 1)[-1]).casefold()

    existing = {folded(name): name for name in case.unlisted}
    renamed = [(name, existing[folded(name)]) for name in missing if folded(name) in existing]
    if not renamed:
        return "Check the split, or copy the files there."
    listed, found = renamed[0]
    words = f"{shown(found)} for {shown(listed)}"
    if unicodedata.normalize("NFC", found) == unicodedata.normalize("NFC", listed):  # they look the same
        words = f"{found!a} for {listed!a}, the same text in another Unicode form"
    return f"{len(renamed)} of them exist under another name ({words}): rename them."


def _size_mismatch(case: Case) -> Iterator[Finding]:
    listed, found = case.entries.sizes, case.survey.sizes
    comparable = (listed > 0).all(axis=1) & (found > 0).all(axis=1)
    # Sides sorted by length: the JSON may have the size from before or after the EXIF rotation.
    differs = comparable & (np.sort(listed, axis=1) != np.sort(found, axis=1)).any(axis=1)
    examples = []
    for row in np.flatnonzero(differs).tolist():
        (width, height), (file_width, file_height) = listed[row].tolist(), found[row].tolist()
        examples.append(f"{case.entries.file_names[row]}: {width}x{height}, file {file_width}x{file_height}")
    advice = "They may be resized or different images, and their boxes do not fit. Check where they came from."
    what = "images whose size differs from the annotations"
    yield from if_any("warning", "size_mismatch", what, examples, advice, of=len(listed))


def _identical(case: Case) -> Iterator[Finding]:
    names, (targets, _) = case.entries.file_names, case.entries.labels()
    first: dict[bytes, int] = {}
    copies, contradicting = Tally(), 0
    for row, digest in enumerate(case.survey.pixels):
        if not digest:
            continue
        earlier = first.setdefault(digest, row)
        if names[earlier] != names[row]:  # duplicate names are a separate finding
            differ = bool((targets[earlier] != targets[row]).any())
            contradicting += differ
            copies.add(f"{names[row]} = {names[earlier]}" + (" (other labels)" if differ else ""))
    labels = f"{contradicting} of them have other labels. " if contradicting else ""
    advice = f"{labels}They count twice, and one may be in train while the other is scored. Remove one of each pair."
    what = "images with the same pixels as another"
    severity: Severity = "error" if many(contradicting, len(names)) else "warning"
    yield from if_any(severity, "identical_images", what, copies, advice, of=len(names))


def _leakage(case: Case) -> Iterator[Finding]:
    names, survey, unread = case.entries.file_names, case.survey, dict(case.unread)
    for split, other in survey.others.items():
        theirs = {digest: name for digest, name in zip(other.digests, other.file_names, strict=True) if digest}
        mine = survey.contents if other.by_bytes else survey.pixels
        if not other.there:
            unread[split] = "all its images are missing"
            continue
        shared = [f"{name} = {split}/{theirs[digest]}" for name, digest in zip(names, mine, strict=True) if digest in theirs]
        smaller = min(len(names), len(other.file_names))
        severity: Severity = "error" if len(shared) > LEAK_SHARE * smaller else "warning"
        advice = "Training on one split and scoring on the other gives optimistic figures. Remove them from one."
        what = f"images that are also in split {split}"
        yield from if_any(severity, "leaked_images", what, shared, advice, of=len(names))
        if other.by_bytes:
            advice = f"Only identical files were detected. To compare pixels, run: cocotag check {case.root} --split {split}"
            what = f"images of split {split}, too many to decode for comparison"
            yield Finding("note", "compared_by_bytes", what, len(other.file_names), None, [], advice)
    reasons = (f"{split}: {reason}" for split, reason in unread.items())
    advice = "They may share images with this split."
    yield from if_any("note", "splits_not_compared", "other splits that cannot be read", reasons, advice)


def _light(case: Case) -> Iterator[Finding]:
    names, total = case.entries.file_names, len(case.entries.file_names)
    mean, p1, p99 = case.survey.luma.T
    dark, bright, flat = light_outliers(case.survey.luma)
    z = _robust_z(mean)
    for code, found, percentile, values in (("dark", dark, "99th", p99), ("bright", bright, "1st", p1)):
        severity: Severity = "warning" if many(int(found.sum()), total) else "note"
        examples = (
            f"{names[row]}: mean {mean[row]:.0f}, {percentile} percentile {values[row]:.0f}, z {z[row]:+.1f}"
            for row in np.flatnonzero(found).tolist()
        )
        advice = "Brightness is 0..255; z is relative to the median of the split. Check that the labelled objects are visible."
        yield from if_any(severity, f"{code}_images", f"{code} images", examples, advice, of=total)
    examples = (f"{names[row]}: {p1[row]:.0f} to {p99[row]:.0f} of 0..255" for row in np.flatnonzero(flat).tolist())
    advice = "They are almost uniform, so training cannot learn their labels. Look at them and remove them if so."
    severity = "error" if many(int(flat.sum()), total) else "warning"
    yield from if_any(severity, "low_contrast_images", "images with almost no contrast", examples, advice, of=total)


def light_outliers(luma: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of dark, bright and flat images, ``(N,)`` each; a flat image is not counted as dark or bright.

    Args:
        luma: Mean, 1st and 99th percentile of each image, ``(N, 3)``, 0..255; NaN for an image that cannot be used, which is
            in none of the masks.
    """
    mean, p1, p99 = luma.T
    z = _robust_z(mean)
    flat = p99 - p1 < LOW_CONTRAST
    return ~flat & ((p99 < DARK_P99) | (z < -ROBUST_Z)), ~flat & ((p1 > BRIGHT_P1) | (z > ROBUST_Z)), flat


def _robust_z(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Modified z-scores from median and median absolute deviation, see `ROBUST_Z`; 0 if they are undefined."""
    present = values[~np.isnan(values)].astype(np.float64)
    if len(present) < ROBUST_Z_IMAGES:
        return np.zeros(len(values))
    middle = np.median(present)
    spread = np.median(np.abs(present - middle))
    return 0.6745 * (values - middle) / spread if spread > 0 else np.zeros(len(values))


def _fed(case: Case) -> Iterator[Finding]:
    if case.fed is None:
        return
    for fault in fed_faults(case.fed):
        severity: Severity = "error" if fault.certain else "warning"
        what = f"images whose pixel statistics are wrong as network inputs ({FED_SIDE} px, normalised)"
        cause = (
            " The network normalises correctly, so the files contain wrong pixels: save them again." if fault.certain else ""
        )
        yield Finding(severity, fault.code, what, case.fed.images, None, [], fault.message + cause)


def _file_names(case: Case) -> Iterator[Finding]:
    files = Counter(map(os.path.normpath, case.entries.file_names))  # a.jpg is ./a.jpg
    twice = [name for name, times in files.items() if times > 1]
    advice = "A label of one entry counts as absent in the others. Merge the entries."
    yield from if_any("error", "duplicate_file_names", "files that are listed more than once", twice, advice)
    outside = case.names(case.rows_with(OUTSIDE))
    advice = "They were not read. Put the files into the folder and use names relative to it."
    link = next((case.image_dir / name for name in outside if (case.image_dir / name).is_symlink()), None)
    if link is not None:
        advice = f"Links to files outside the data set are not followed (first: {link} -> {os.path.realpath(link)}). {ON_LINKS}"
    what = "names and links that lead out of the data folder"
    yield from if_any("error", "outside_paths", what, outside, advice, of=len(case.entries.file_names))


def _unlisted(case: Case) -> Iterator[Finding]:
    advice = "They are not used. Check whether the annotations should list them."
    what = f"files in {case.image_dir.name}/ that the annotations do not list"
    yield from if_any("note", "unlisted_files", what, case.unlisted, advice)


def find_unlisted(image_dir: Path, file_names: Iterable[str]) -> list[str]:
    """The files below a folder that are not in a list of relative names, without hidden files. Sorted."""
    listed = {os.path.normpath(name) for name in file_names}
    found = []
    for folder, below, files in os.walk(image_dir):
        below[:] = [name for name in below if not name.startswith(".")]
        relative = os.path.relpath(folder, image_dir)
        names = (os.path.normpath(os.path.join(relative, name)) for name in files if not name.startswith("."))  # noqa: PTH118
        found += [name for name in names if name not in listed]
    return sorted(found)


IMAGE_CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    _images,
    _file_names,
    _leakage,
    _fed,
    _identical,
    _size_mismatch,
    _light,
    _unlisted,
)
