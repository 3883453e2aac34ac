"""The doctor's checks of the annotation file: entries, boxes, classes, labels. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from cocotag.data.check.entries import Tally
from cocotag.data.check.findings import Case, Finding, Severity, if_any, many, shown
from cocotag.data.coco_fields import only_crowds

FEW_POSITIVES = 10
"""With fewer positives the F1 of a class is unreliable: one image changes its recall by more than 10 points."""

UNLABELLED_SHARE = 0.5
"""If more images than this share have no labels, labelling is probably unfinished; in COCO's val2017 it is 1 %."""

BOX_SLACK = 1.0
"""A box may extend beyond its image by this many pixels, because exporters round."""

_ENTRY_FAULTS: dict[str, tuple[Severity, str, str]] = {
    "bad_image_entries": (
        "error",
        "image entries without a valid id or file_name",
        "They cannot be loaded. Correct or remove them.",
    ),
    "bad_category_entries": (
        "error",
        "category entries without a valid id or name",
        "They cannot be loaded. Correct or remove them.",
    ),
    "bad_annotation_entries": (
        "error",
        "annotations without a valid image_id or category_id",
        "They cannot be loaded. Correct or remove them.",
    ),
    "duplicate_image_ids": (
        "error",
        "image entries with the id of an earlier one",
        "Their annotations cannot be assigned. Give each image its own id.",
    ),
    "duplicate_category_ids": (
        "error",
        "categories with the id of an earlier one, but another name",
        "Their annotations cannot be assigned. Give each category its own id.",
    ),
    "duplicate_category_names": (
        "warning",
        "categories with the name of an earlier one",
        "They are trained as one class. Rename one if they mean different things.",
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
        "annotations with the id of an earlier one",
        "Objects may be counted twice, and some tools keep only the last. Give each annotation its own id.",
    ),
    "bad_boxes": (
        "warning",
        "boxes that are not four finite numbers",
        "The labels are kept, but object sizes are not available. Export them again.",
    ),
}


def _entry_faults(case: Case) -> Iterator[Finding]:
    for code, (severity, what, advice) in _ENTRY_FAULTS.items():
        yield from if_any(severity, code, what, case.entries.faults.get(code, Tally()), advice)


def _boxes(case: Case) -> Iterator[Finding]:
    entries = case.entries
    left, top, width, height = entries.boxes.T
    present = ~np.isnan(left)
    empty = present & ((width <= 0) | (height <= 0))
    examples = (_describe_box(case, number) for number in np.flatnonzero(empty).tolist())
    advice = "The labels are kept. If there are many, corners (x, y, x, y) may have been written as x, y, width, height."
    yield from if_any("warning", "boxes_without_area", "boxes without area", examples, advice, of=int(present.sum()))

    listed = (entries.sizes > 0).all(axis=1, keepdims=True)
    sizes = np.where(listed, entries.sizes, case.survey.sizes)[entries.rows]
    image_width, image_height = sizes[:, 0], sizes[:, 1]
    comparable = present & ~empty & (sizes > 0).all(axis=1)
    beyond = np.stack([-left, -top, left + width - image_width, top + height - image_height]).max(axis=0)
    outside = comparable & (beyond > BOX_SLACK)
    entirely = outside & ((left >= image_width) | (top >= image_height) | (left + width <= 0) | (top + height <= 0))
    examples = (_describe_box(case, number, sizes[number]) for number in np.flatnonzero(outside).tolist())
    advice = (
        f"{int(entirely.sum())} of them lie entirely outside, so their objects are not in the image. "
        "Images may have been resized or cropped after labelling, or corners written as width and height."
    )
    severity: Severity = "error" if many(int(entirely.sum()), int(present.sum())) else "warning"
    what = "boxes that extend beyond their image"
    yield from if_any(severity, "boxes_outside", what, examples, advice, of=int(present.sum()))


def _describe_box(case: Case, number: int, size: NDArray[np.int32] | None = None) -> str:
    entries = case.entries
    box = ", ".join(f"{value:g}" for value in entries.boxes[number].tolist())
    name = entries.file_names[entries.rows[number]]
    own = entries.annotation_ids[number]
    image = "" if size is None else f" in {size[0]}x{size[1]}"
    return f"{name}: [{box}]{image}" + ("" if own is None else f" (id {own})")


def _class_support(case: Case) -> Iterator[Finding]:
    targets, known = case.entries.labels()
    names, positives = [shown(name) for name in case.entries.names], targets.sum(axis=0).tolist()
    none = [name for name, count in zip(names, positives, strict=True) if count == 0]
    unknown = (~known).sum(axis=0).tolist()
    crowds = only_crowds(none, [count for count, labelled in zip(unknown, positives, strict=True) if labelled == 0])
    few = sorted((count, name) for name, count in zip(names, positives, strict=True) if 0 < count < FEW_POSITIVES)
    if len(none) == len(names):
        advice = f"There is nothing to train on. {crowds or 'Check the annotation file.'}"
        yield Finding("error", "no_labels", "classes without any labelled image", len(none), len(names), [], advice)
        return
    advice = f"They cannot be trained or scored on this split. {crowds}".strip()
    yield from if_any("warning", "classes_without_positives", "classes without positives", none, advice, of=len(names))
    what, advice = f"classes with fewer than {FEW_POSITIVES} positives", "Their scores will be uncertain."
    examples = (f"{name}: {count}" for count, name in few)
    yield from if_any("warning", "classes_with_few_positives", what, examples, advice, of=len(names))


def _labels(case: Case) -> Iterator[Finding]:
    targets, known = case.entries.labels()
    unlabelled = case.names(np.flatnonzero(~targets.any(axis=1) & known.all(axis=1)).tolist())
    severity: Severity = "warning" if len(unlabelled) > UNLABELLED_SHARE * len(targets) else "note"
    advice = "They count as negatives of every class. Remove those that were not annotated."
    yield from if_any(severity, "images_without_labels", "images without labels", unlabelled, advice, of=len(targets))
    cells = (f"{case.entries.file_names[row]}: {case.entries.names[index]}" for row, index in np.argwhere(~known).tolist())
    advice = "Their labels are unknown there, so they are left out of loss and scores."
    yield from if_any("note", "crowd_only", "classes that occur on an image only as a crowd", cells, advice)


def _refused(case: Case) -> Iterator[Finding]:
    """Report the loader's own error if no finding above explains why it refuses the annotation file."""
    explained = any(_ENTRY_FAULTS[code][0] == "error" for code in case.entries.faults) or case.entries.outside.any()
    if case.refusal is not None and not explained:
        yield from if_any(
            "error", "annotations_refused", "annotation files that cannot be loaded", [case.refusal], "Correct it."
        )


LABEL_CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (_entry_faults, _refused, _boxes, _class_support, _labels)
