"""Runs a bundle on labelled images, and evaluates it or finds likely label errors. Does not import torch."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import cocotag
from cocotag.bundle import fingerprint
from cocotag.data.annotations import AnnotationTable, load_split
from cocotag.data.check.findings import Finding, if_any
from cocotag.data.image_files import Source, refuse_links
from cocotag.data.layout import Given
from cocotag.data.matching import Aliases
from cocotag.errors import DataError, ImageError
from cocotag.evaluation.compare import check_same
from cocotag.evaluation.label_issues import LEAST_CHANCE, MISSING, WRONG, label_issues
from cocotag.evaluation.predict import predict_table
from cocotag.evaluation.predictions import Predictions
from cocotag.evaluation.result import Evaluation, evaluate_aligned, matched
from cocotag.inference.tagger import Tagger
from cocotag.photos.brightness import brightness
from cocotag.photos.decode import decode
from cocotag.thresholds import Rule, describe, fixed_thresholds

_SUSPICIONS = {MISSING: "not labelled but may be present", WRONG: "labelled but may be absent"}


def evaluate_bundle(
    tagger: Tagger,
    table: AnnotationTable,
    *,
    split: str,
    aliases: Aliases | None = None,
    fixed: Rule | None = None,
    baseline: Predictions | None = None,
    baseline_name: str = "baseline",
    warnings: Sequence[str] = (),
    progress: bool = True,
) -> tuple[Evaluation, list[str]]:
    """Run a bundle on the images of a split and evaluate it.

    Args:
        tagger: The bundle.
        table: The labelled images.
        split: The split's name in the report.
        aliases: The bundle's names of the table's classes.
        fixed: A rule with one threshold for all classes, instead of the bundle's own thresholds.
        baseline: Another tagger's predictions on the same images, to compare with.
        baseline_name: Its name.
        warnings: Additional warnings for the report.
        progress: Show a progress bar if stderr is a terminal.

    Returns:
        The evaluation, and one line for each unreadable image; these images are excluded, with a warning in the report.

    Raises:
        DataError: No image can be read, or see `cocotag.evaluation.result.evaluate`. A baseline with other images, classes or
            labels is refused before the work.
        BundleError: See `cocotag.evaluation.result.evaluate`.
        ValueError: The rule tunes thresholds, which would be optimistic on these images.
    """
    metadata = tagger.metadata
    if fixed is not None:
        given = fixed_thresholds(fixed, len(metadata.vocabulary))
        metadata = metadata.with_thresholds(given.values, given.record())
    start = time.perf_counter()
    names = (baseline_name, f"this ({tagger.path.name} on {split})")
    aligned, notes = matched(table, tagger.metadata.vocabulary, aliases)  # before the work, since it may fail
    if baseline is not None:
        _check_baseline(baseline, aligned, names)
    predicted = predict_table(tagger, aligned, measure=brightness, progress=progress)
    failures = predicted.failures
    if progress and sys.stderr.isatty():
        print("measuring ...", file=sys.stderr)  # noqa: T201 (progress, as the bar above)
    remarks = list(warnings)
    if failures:
        remarks.append(f"{len(failures)} of {len(table)} images cannot be read and are excluded. The first: {failures[0]}")
    evaluation = evaluate_aligned(
        predicted.table,
        predicted.probs,
        metadata,
        notes,
        run={
            "bundle": tagger.path.name,
            "sha256": fingerprint(tagger.path),
            "made_by": tagger.metadata.made_by,
            "cocotag": cocotag.__version__,
            "thresholds": describe(metadata.chosen_by),
            "seconds": round(time.perf_counter() - start, 1),
        },
        data={"split": split, "image_dir": table.image_dir.name},
        warnings=remarks,
        optimistic=_was_seen(table, tagger.metadata.tuned_on),
        brightness=predicted.measured,
        baseline=baseline,
        names=names,
    )
    return evaluation, failures


def check_labels(
    tagger: Tagger, root: Path | str, split: str, given: Given | None = None, *, progress: bool = True
) -> list[Finding]:
    """Run a bundle on a split and list its likely label errors as findings of `cocotag.data.check`.

    Args:
        tagger: The bundle, trained on other images if possible.
        root: The data set.
        split: The split.
        given: What the user says about the data set.
        progress: Show a progress bar if stderr is a terminal.

    Returns:
        At most one note, ``likely_label_errors``, the likeliest first; or one warning, ``labels_not_judged``, if the split or
        its images cannot be read or the bundle has none of its classes.
    """
    try:
        table = load_split(root, split, given)
        refuse_links(table, [Source(Path(root), split, table.image_dir)])
        aligned, _ = matched(table, tagger.metadata.vocabulary, None)
        predicted = predict_table(tagger, aligned, progress=progress)
    except DataError as error:
        advice = "The bundle cannot look for label errors until this is corrected."
        return list(if_any("warning", "labels_not_judged", "splits whose labels the bundle cannot judge", [str(error)], advice))
    part = predicted.table
    decided = predicted.probs.astype(np.float16) >= tagger.metadata.threshold_array()
    names = tuple(tagger.metadata.vocabulary.names)
    found = label_issues(Predictions(part.file_names, names, predicted.probs, decided, part.targets, part.known))
    columns = (found[name] for name in ("file_name", "name", "kind", "score", "chance"))
    examples = (
        f"{file_name}: {name} is {_SUSPICIONS[kind]} (score {score:.2g}, chance {chance:.0%})"
        for file_name, name, kind, score, chance in zip(*columns, strict=True)
    )
    advice = "Look at these images, the likeliest first; cocotag evaluate shows them and writes all to label_issues.csv."
    if _was_seen(table, tagger.metadata.tuned_on):
        advice += " The bundle was trained or tuned on images of this split, so it may have learned some of the errors."
    what = f"labels that are wrong with a chance of {LEAST_CHANCE:.0%} or more"
    return list(if_any("note", "likely_label_errors", what, examples, advice, of=int(part.known.sum())))


def _check_baseline(baseline: Predictions, table: AnnotationTable, names: tuple[str, str]) -> None:
    """Check before the work that a baseline has these images, classes and labels.

    An unreadable image that the baseline lacks is not a difference, since this evaluation will lack it too.

    Raises:
        DataError: They differ; the message names the first difference.
    """
    names_in_baseline = set(baseline.file_names.tolist())
    lacking = [row for row, name in enumerate(table.file_names.tolist()) if name not in names_in_baseline]
    unreadable = set()
    for row in lacking:  # one readable image is enough to show that the images differ
        if _can_be_read(table.path(row)):
            break
        unreadable.add(row)
    readable = table.take([row for row in range(len(table)) if row not in unreadable])
    check_same(baseline, readable.file_names, readable.vocabulary.names, readable.targets, readable.known, names=names)


def _can_be_read(path: Path) -> bool:
    try:
        decode(path, min_side=1)
    except ImageError:
        return False
    return True


def _was_seen(table: AnnotationTable, tuned_on: dict[str, Any]) -> bool:
    """Whether these images chose the checkpoint or thresholds, or are a split from which training or tuning images came."""
    seen = {tuned_on.get("sha256"), tuned_on.get("train_split_sha256")}
    return table.names_sha256() in seen | {source.get("sha256") for source in tuned_on.get("sources", [])}
