"""Runs a bundle on the labelled images of a split. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cocotag.data.annotations import AnnotationTable
from cocotag.errors import DataError
from cocotag.inference.stream import Measure, predict_with_all
from cocotag.inference.tagger import Tagger


@dataclass(frozen=True, eq=False)
class Predicted:
    """A bundle's outputs for the images of a split.

    Attributes:
        table: The rows whose image can be read.
        probs: Their probabilities, ``(N, C)`` float32.
        failures: One line for each of the other images.
        measured: Values of ``measure`` on the square inputs, ``(N,)`` float32; None without it.
    """

    table: AnnotationTable
    probs: NDArray[np.float32]
    failures: list[str]
    measured: NDArray[np.float32] | None = None


def predict_table(
    tagger: Tagger, table: AnnotationTable, *, measure: Measure | None = None, progress: bool = True
) -> Predicted:
    """Run a bundle on the images of a split.

    Args:
        tagger: The bundle.
        table: The labelled images.
        measure: A function to compute on every square input ``(S, S, 3)`` of the network.
        progress: Show a progress bar if stderr is a terminal.

    Raises:
        DataError: No image can be read.
    """
    groups = predict_with_all([tagger], table.paths(), measure=measure)
    rows, probs, measured, failures = [], [], [], []
    for row, (prediction,) in enumerate(tqdm(groups, total=len(table), unit="image", disable=None if progress else True)):
        if prediction.probs is None:
            failures.append(str(prediction.error))
            continue
        rows.append(row)
        probs.append(prediction.probs)
        measured.append(prediction.measured)
    if not rows:
        raise DataError(
            f"None of the {len(table)} images in {table.image_dir} can be read. The first: {failures[0]}",
            code="no_readable_image",
        )
    found = None if measure is None else np.array(measured, np.float32)
    return Predicted(table.take(rows), np.stack(probs), failures, found)
