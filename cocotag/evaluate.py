"""Run a bundle over labelled images and measure it: joins tagging and reports. No torch."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import cocotag
from cocotag.bundle import fingerprint
from cocotag.data.annotations import AnnotationTable
from cocotag.data.matching import Aliases
from cocotag.errors import DataError
from cocotag.reports.evaluation import Evaluation, evaluate, matched
from cocotag.tagging.folder import predict_files
from cocotag.tagging.tagger import Tagger
from cocotag.thresholds import Rule, describe, fixed_thresholds


def evaluate_bundle(
    tagger: Tagger,
    table: AnnotationTable,
    *,
    split: str,
    aliases: Aliases | None = None,
    fixed: Rule | None = None,
    progress: bool = True,
) -> tuple[Evaluation, list[str]]:
    """Run a bundle over the images of a split and measure it.

    Args:
        tagger: The bundle.
        table: The labelled images.
        split: The split's name, for the report.
        aliases: What the table's classes are called in the bundle.
        fixed: A rule that gives all classes one threshold, in place of the bundle's own.
        progress: Show a bar on stderr, if that is a terminal.

    Returns:
        The evaluation, and a line for each image that could not be read; those are left out of it, as a warning in it says.

    Raises:
        DataError: No image can be read, or as `evaluate`.
        BundleError: As `evaluate`.
        ValueError: A rule that chooses: on these images that would flatter.
    """
    metadata = tagger.metadata
    if fixed is not None:
        given = fixed_thresholds(fixed, len(metadata.vocabulary))
        metadata = metadata.with_thresholds(given.values, given.record())
    start = time.perf_counter()
    matched(table, tagger.metadata.vocabulary, aliases)  # before the work, since it may fail
    readable, probs, failures = predict_table(tagger, table, progress=progress)
    warnings = []
    if failures:
        warnings.append(f"{len(failures)} of {len(table)} images could not be read and are left out. The first: {failures[0]}")
    evaluation = evaluate(
        readable,
        probs,
        metadata,
        run={
            "bundle": tagger.path.name,
            "sha256": fingerprint(tagger.path),
            "made_by": tagger.metadata.made_by,
            "cocotag": cocotag.__version__,
            "thresholds": describe(metadata.chosen_by),
            "seconds": round(time.perf_counter() - start, 1),
        },
        data={"split": split, "image_dir": table.image_dir.name},
        warnings=warnings,
        optimistic=_was_seen(table, tagger.metadata.tuned_on),
        aliases=aliases,
    )
    return evaluation, failures


def predict_table(
    tagger: Tagger, table: AnnotationTable, *, progress: bool = True
) -> tuple[AnnotationTable, NDArray[np.float32], list[str]]:
    """Run a bundle over the images of a split.

    Args:
        tagger: The bundle.
        table: The labelled images.
        progress: Show a bar on stderr, if that is a terminal.

    Returns:
        The rows whose image could be read, their probabilities ``(N, C)``, and a line for each of the other images.

    Raises:
        DataError: No image can be read.
    """
    predictions = predict_files(tagger, table.paths())
    bar = tqdm(predictions, total=len(table), unit="image", disable=None if progress else True)
    failures: list[str] = []
    probs: dict[int, NDArray[np.float32]] = {}
    for row, prediction in enumerate(bar):
        if prediction.probs is None:
            failures.append(str(prediction.error))
        else:
            probs[row] = prediction.probs
    if not probs:
        raise DataError(f"None of the {len(table)} images in {table.image_dir} can be read. The first: {failures[0]}")
    return table.take(list(probs)), np.stack(list(probs.values())), failures


def _was_seen(table: AnnotationTable, tuned_on: dict[str, Any]) -> bool:
    """Whether these are the images that chose, or one of the splits that those and the learned ones were taken from."""
    seen = {tuned_on.get("sha256"), tuned_on.get("train_split_sha256")}
    return table.names_sha256() in seen | {source.get("sha256") for source in tuned_on.get("sources", [])}
