"""The doctor's checks of the annotation file: entries, boxes, classes, labels. Knows no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from cocotag.data.check.entries import Tally
from cocotag.data.check.findings import Case, Finding, Severity, if_any, many, shown

FEW_POSITIVES = 10
"""Below this many positives the F1 of a class says little: one image moves its recall by more than 10 points."""

UNLABELLED_SHARE = 0.5
"""Images without labels beyond this share are more likely unfinished than empty; of COCO's val2017 they are 1 %."""

BOX_SLACK = 1.0
"""A box may reach out of its image by so many pixels: exporters round."""

_ENTRY_FAULTS: dict[str, tuple[Severity, str, str]] = {
    "bad_image_entries": (
        "error",
        "entries of images without a usable id or file_name",
        "They cannot be loaded. Mend or remove them.",
    ),
    "bad_category_entries": (
        "error",
        "entries of categories without a usable id or name",
        "They cannot be loaded. Mend or remove them.",
    ),
    "bad_annotation_entries": (
        "error",
        "annotations without a usable image_id or category_id",
        "They cannot be loaded. Mend or remove them.",
    ),
    "duplicate_image_ids": (
        "error",
        "entries of images whose id an earlier one has",
        "Nobody can say whose annotations are whose. Give each image its own id.",
    ),
    "duplicate_category_ids": (
        "error",
        "categories whose id an earlier one of another name has",
        "Nobody can say whose annotations are whose. Give each category its own id.",
    ),
    "duplicate_category_names": (
        "warning",
        "categories whose name an earlier one has",
        "They are learned as one class. Rename one if they are two things.",
    ),
    "annotations_of_unknown_images": (
        "error",
        "annotations of images that the file does not list",
        "Their labels are lost. Remove them, or add the images.",
    ),
    "annotations_of_unknown_categories": (
        "error",
        "annotations of categories that the file does not list",
        "Their labels are lost, and their images become negatives. Remove them, or add the categories.",
    ),
    "duplicate_annotation_ids": (
        "warning",
        "annotations whose id an earlier one has",
        "Objects may be counted twice, and tools that go by the id keep only the last. Number them anew.",
    ),
    "bad_boxes": (
        "warning",
        "boxes that are not four finite numbers",
        "The labels stay, but sizes of objects cannot be had. Export them again.",
    ),
}


def _entry_faults(case: Case) -> Iterator[Finding]:
    for code, (severity, what, advice) in _ENTRY_FAULTS.items():
        yield from if_any(severity, code, what, case.entries.faults.get(code, Tally()), advice)


def _boxes(case: Case) -> Iterator[Finding]:
    entries = case.entries
    left, top, width, height = entries.boxes.T
    there = ~np.isnan(left)
    empty = there & ((width <= 0) | (height <= 0))
    examples = (_box_words(case, at) for at in np.flatnonzero(empty).tolist())
    advice = "The labels stay. If many: were corners (x, y, x, y) written for x, y, width, height?"
    yield from if_any("warning", "boxes_without_area", "boxes of no area", examples, advice, of=int(there.sum()))

    said = (entries.sizes > 0).all(axis=1, keepdims=True)
    sizes = np.where(said, entries.sizes, case.survey.sizes)[entries.rows]
    wide, high = sizes[:, 0], sizes[:, 1]
    whole = there & ~empty & (sizes > 0).all(axis=1)
    beyond = np.stack([-left, -top, left + width - wide, top + height - high]).max(axis=0)
    outside = whole & (beyond > BOX_SLACK)
    apart = outside & ((left >= wide) | (top >= high) | (left + width <= 0) | (top + height <= 0))
    examples = (_box_words(case, at, sizes[at]) for at in np.flatnonzero(outside).tolist())
    advice = (
        f"{int(apart.sum())} of them lie wholly outside, so that their objects are not in the picture. "
        "Were images resized or cropped after they were labelled, or corners written for width and height?"
    )
    severity: Severity = "error" if many(int(apart.sum()), int(there.sum())) else "warning"
    yield from if_any(severity, "boxes_outside", "boxes that reach out of their image", examples, advice, of=int(there.sum()))


def _box_words(case: Case, at: int, size: NDArray[np.int32] | None = None) -> str:
    entries = case.entries
    box = ", ".join(f"{value:g}" for value in entries.boxes[at].tolist())
    name = entries.file_names[entries.rows[at]]
    own = entries.annotation_ids[at]
    image = "" if size is None else f" in {size[0]}x{size[1]}"
    return f"{name}: [{box}]{image}" + ("" if own is None else f" (id {own})")


def _class_support(case: Case) -> Iterator[Finding]:
    targets, _ = case.entries.labels()
    names, positives = [shown(name) for name in case.entries.names], targets.sum(axis=0).tolist()
    none = [name for name, count in zip(names, positives, strict=True) if count == 0]
    few = sorted((count, name) for name, count in zip(names, positives, strict=True) if 0 < count < FEW_POSITIVES)
    if len(none) == len(names):
        advice = "There is nothing to learn. Check the annotation file."
        yield Finding("error", "no_labels", "classes of which no image has a label", len(none), len(names), [], advice)
        return
    advice = "They cannot be learned or scored here."
    yield from if_any("warning", "classes_without_positives", "classes that are on no image", none, advice, of=len(names))
    what, advice = f"classes that are on fewer than {FEW_POSITIVES} images", "Their scores will be uncertain."
    examples = (f"{name}: {count}" for count, name in few)
    yield from if_any("warning", "classes_with_few_positives", what, examples, advice, of=len(names))


def _labels(case: Case) -> Iterator[Finding]:
    targets, known = case.entries.labels()
    bare = case.names(np.flatnonzero(~targets.any(axis=1) & known.all(axis=1)).tolist())
    severity: Severity = "warning" if len(bare) > UNLABELLED_SHARE * len(targets) else "note"
    advice = "They count as negatives of every class; if nobody looked at them, leave them out."
    yield from if_any(severity, "images_without_labels", "images without labels", bare, advice, of=len(targets))
    cells = (f"{case.entries.file_names[row]}: {case.entries.names[index]}" for row, index in np.argwhere(~known).tolist())
    advice = "Neither present nor absent there, so left out of loss and scores."
    yield from if_any("note", "crowd_only", "classes that are on an image only as a crowd", cells, advice)


def _refused(case: Case) -> Iterator[Finding]:
    """The loader has the last word on the annotation file; it is heard where nothing above explains its refusal."""
    explained = any(_ENTRY_FAULTS[code][0] == "error" for code in case.entries.faults) or case.entries.outside.any()
    if case.refusal is not None and not explained:
        yield from if_any("error", "annotations_refused", "annotation files that cannot be loaded", [case.refusal], "Mend it.")


LABEL_CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (_entry_faults, _refused, _boxes, _class_support, _labels)
