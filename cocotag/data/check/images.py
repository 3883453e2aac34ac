"""The doctor's checks of the image files: which are there, which are the same, what they look like. Knows no torch."""

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

LEAK_SHARE = 0.001
"""Images of two splits may be the same in this share of the smaller one, which moves no figure's last printed digit (a tenth of
a percent); more is an error."""

ROBUST_Z = 3.5
"""Iglewicz and Hoaglin 1993, How to detect and handle outliers: beyond it, 0.6745 (x - median) / MAD is an outlier."""

ROBUST_Z_IMAGES = 20
"""With fewer images nothing is called unlike the rest."""

DARK_P99 = round(0.32 * 255)
"""Dark if 99 % of the pixels are darker than this, Rec. 601 luma of 0..255; the default of cleanvision's check."""

BRIGHT_P1 = 255 - DARK_P99
"""Bright if 99 % of the pixels are brighter than this: the same, turned round."""

LOW_CONTRAST = 0.05 * 255
"""Flat if the 1st and the 99th percentile of luma are closer: the default of skimage.exposure.is_low_contrast."""


def _images(case: Case) -> Iterator[Finding]:
    faults, total = case.survey.faults, len(case.survey.faults)
    missing = case.names(case.rows_with("missing"))
    folder = f"{case.image_dir.name}/"
    advice = f"Training would stop at the first of them. {_where_missing(case, missing)}"
    yield from if_any("error", "missing_images", f"images that are not in {folder}", missing, advice, of=total)
    advice = "Training would stop at the first of them. Copy or download them again."
    empty = case.names(case.rows_with("empty"))
    yield from if_any("error", "empty_images", "image files of zero bytes", empty, advice, of=total)
    cut = case.names(case.rows_with("truncated"))
    yield from if_any("error", "truncated_images", "image files that end early or are damaged", cut, advice, of=total)
    named = (None, "missing", "empty", "truncated", OUTSIDE)
    other = [f"{case.entries.file_names[row]}: {fault}" for row, fault in enumerate(faults) if fault not in named]
    advice = "Training would stop at the first of them. Replace them, or take them out of the annotations."
    yield from if_any("error", "unreadable_images", "image files that cannot be used", other, advice, of=total)


def _where_missing(case: Case, missing: list[str]) -> str:
    """What to do about missing images, from how many are there under another name."""
    if not missing:
        return ""
    if not case.image_dir.is_dir():
        return f"There is no folder {shown(str(case.image_dir))}. Check the root and the split."

    def loosely(name: str) -> str:
        return unicodedata.normalize("NFC", name.replace("\\", "/").rsplit("/", 1)[-1]).casefold()

    there = {loosely(name): name for name in case.unlisted}
    renamed = [(name, there[loosely(name)]) for name in missing if loosely(name) in there]
    if not renamed:
        return "Check the split, or copy the files there."
    listed, found = renamed[0]
    return f"{len(renamed)} of them are there by another name ({shown(found)} for {shown(listed)}): rename them."


def _size_mismatch(case: Case) -> Iterator[Finding]:
    said, found = case.entries.sizes, case.survey.sizes
    known = (said > 0).all(axis=1) & (found > 0).all(axis=1)
    # Sides in order of length: the JSON may have the size from before or after the EXIF rotation.
    differs = known & (np.sort(said, axis=1) != np.sort(found, axis=1)).any(axis=1)
    examples = []
    for row in np.flatnonzero(differs).tolist():
        (width, height), (file_width, file_height) = said[row].tolist(), found[row].tolist()
        examples.append(f"{case.entries.file_names[row]}: {width}x{height}, file {file_width}x{file_height}")
    advice = "They may be resized or other pictures, and their boxes do not fit. Check where they came from."
    what = "images of another size than the annotations say"
    yield from if_any("warning", "size_mismatch", what, examples, advice, of=len(said))


def _identical(case: Case) -> Iterator[Finding]:
    names, (targets, _) = case.entries.file_names, case.entries.labels()
    first: dict[bytes, int] = {}
    copies, contradicting = Tally(), 0
    for row, digest in enumerate(case.survey.pixels):
        if not digest:
            continue
        earlier = first.setdefault(digest, row)
        if names[earlier] != names[row]:  # one name twice is a finding of its own
            differ = bool((targets[earlier] != targets[row]).any())
            contradicting += differ
            copies.add(f"{names[row]} = {names[earlier]}" + (" (other labels)" if differ else ""))
    labels = f"{contradicting} of them are labelled otherwise. " if contradicting else ""
    advice = f"{labels}They count twice, and one may be learned while the other is scored. Remove one of each pair."
    what = "images whose pixels are those of another"
    severity: Severity = "error" if many(contradicting, len(names)) else "warning"
    yield from if_any(severity, "identical_images", what, copies, advice, of=len(names))


def _leakage(case: Case) -> Iterator[Finding]:
    names, survey, unread = case.entries.file_names, case.survey, dict(case.unread)
    for split, other in survey.others.items():
        theirs = {digest: name for digest, name in zip(other.digests, other.file_names, strict=True) if digest}
        mine = survey.contents if other.by_bytes else survey.pixels
        if not other.there:
            unread[split] = "none of its images is there"
            continue
        shared = [f"{name} = {split}/{theirs[digest]}" for name, digest in zip(names, mine, strict=True) if digest in theirs]
        smaller = min(len(names), len(other.file_names))
        severity: Severity = "error" if len(shared) > LEAK_SHARE * smaller else "warning"
        advice = "Who learns from one split and is scored on the other looks better than they are. Remove them from one."
        what = f"images that are in split {split} too"
        yield from if_any(severity, "leaked_images", what, shared, advice, of=len(names))
        if other.by_bytes:
            advice = f"Only copies of whole files were looked for. All pixels: cocotag check {case.root} --split {split}"
            what = f"images of split {split}, too many to decode for comparison"
            yield Finding("note", "compared_by_bytes", what, len(other.file_names), None, [], advice)
    reasons = (f"{split}: {reason}" for split, reason in unread.items())
    advice = "Whether they share images with this one is not known."
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
        advice = "Brightness is of 0..255, z from the median of the split. Look at them: can anybody see what the labels say?"
        yield from if_any(severity, f"{code}_images", f"{code} images", examples, advice, of=total)
    examples = (f"{names[row]}: {p1[row]:.0f} to {p99[row]:.0f} of 0..255" for row in np.flatnonzero(flat).tolist())
    advice = "They are all but one grey, and teach their labels by chance. Look at them; if so, leave them out."
    severity = "error" if many(int(flat.sum()), total) else "warning"
    yield from if_any(severity, "low_contrast_images", "images of almost no contrast", examples, advice, of=total)


def light_outliers(luma: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Dark, bright and flat pictures, ``(N,)`` each; a flat one is neither dark nor bright.

    Args:
        luma: Mean, 1st and 99th percentile of each picture, ``(N, 3)``, 0..255; NaN where there is none, which is none of the
            three.
    """
    mean, p1, p99 = luma.T
    z = _robust_z(mean)
    flat = p99 - p1 < LOW_CONTRAST
    return ~flat & ((p99 < DARK_P99) | (z < -ROBUST_Z)), ~flat & ((p1 > BRIGHT_P1) | (z > ROBUST_Z)), flat


def _robust_z(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Modified z-scores by median and median absolute deviation, `ROBUST_Z`; 0 where they mean nothing."""
    there = values[~np.isnan(values)].astype(np.float64)
    if len(there) < ROBUST_Z_IMAGES:
        return np.zeros(len(values))
    middle = np.median(there)
    spread = np.median(np.abs(there - middle))
    return 0.6745 * (values - middle) / spread if spread > 0 else np.zeros(len(values))


def _fed(case: Case) -> Iterator[Finding]:
    if case.fed is None:
        return
    for fault in fed_faults(case.fed):
        severity: Severity = "error" if fault.certain else "warning"
        what = f"pictures that look wrong as the network gets them ({FED_SIDE} px, normalised)"
        blame = (
            " The normalisation is the network's own, so the files hold such pixels: save them again." if fault.certain else ""
        )
        yield Finding(severity, fault.code, what, case.fed.images, None, [], fault.message + blame)


def _file_names(case: Case) -> Iterator[Finding]:
    files = Counter(map(os.path.normpath, case.entries.file_names))  # a.jpg is ./a.jpg
    twice = [name for name, times in files.items() if times > 1]
    advice = "What only one entry labels counts as absent in the others. Merge the entries."
    yield from if_any("error", "duplicate_file_names", "files that are listed more than once", twice, advice)
    outside = case.names(case.rows_with(OUTSIDE))
    advice = "They were not looked at. Put the files there and use names relative to that folder."
    what = "names and links that lead out of the data folder"
    yield from if_any("error", "outside_paths", what, outside, advice, of=len(case.entries.file_names))


def _unlisted(case: Case) -> Iterator[Finding]:
    advice = "They are not used. Were they forgotten in the annotations?"
    what = f"files in {case.image_dir.name}/ that the annotations do not list"
    yield from if_any("note", "unlisted_files", what, case.unlisted, advice)


def find_unlisted(image_dir: Path, file_names: Iterable[str]) -> list[str]:
    """The files below a folder that are not among some names relative to it; hidden ones are left out. Sorted."""
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
