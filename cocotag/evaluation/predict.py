"""A bundle run over the labelled images of a split. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cocotag.data.annotations import AnnotationTable
from cocotag.errors import DataError
from cocotag.inference.stream import predict_with_all
from cocotag.inference.tagger import Tagger


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
    readable, (probs,), failures = _predict_with_all([tagger], table, progress=progress)
    return readable, probs, failures


def _predict_with_all(
    taggers: Sequence[Tagger], table: AnnotationTable, *, progress: bool
) -> tuple[AnnotationTable, list[NDArray[np.float32]], list[str]]:
    """As `predict_table`, with the probabilities of each tagger."""
    groups = predict_with_all(taggers, table.paths())
    bar = tqdm(groups, total=len(table), unit="image", disable=None if progress else True)
    failures: list[str] = []
    rows: list[int] = []
    found: list[list[NDArray[np.float32]]] = [[] for _ in taggers]
    for row, group in enumerate(bar):
        probs = [prediction.probs for prediction in group if prediction.probs is not None]
        if not probs:
            failures.append(str(group[0].error))
            continue
        rows.append(row)
        for place, values in enumerate(probs):
            found[place].append(values)
    if not rows:
        raise DataError(f"None of the {len(table)} images in {table.image_dir} can be read. The first: {failures[0]}")
    return table.take(rows), [np.stack(values) for values in found], failures
