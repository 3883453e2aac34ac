"""Likely label errors of a split, from a bundle's scores: a ranked table, and findings for the data set doctor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cocotag.evaluation.predictions import Predictions
from cocotag.metrics import label_error_chances
from cocotag.path_text import path_text

MISSING, WRONG = "missing label", "wrong label"
LEAST_CHANCE = 0.1
"""Least chance of a label error in the table. With fewer than one error in ten, looking through the images is not worth it."""


def label_issues(predictions: Predictions) -> pd.DataFrame:
    """The labels that may be wrong, the likeliest first.

    Args:
        predictions: The scores and labels of every image.

    Returns:
        One row per cell with a chance of at least `LEAST_CHANCE`, columns ``file_name``
        (as `cocotag.path_text.path_text` writes it), ``name`` (class), ``index`` (class),
        ``kind`` (`MISSING`: present but not labelled, or `WRONG`: labelled but absent), ``score``, ``chance``
        (`cocotag.metrics.label_error_chances`), ``row`` (image).
    """
    chances = label_error_chances(predictions.probs, predictions.targets, predictions.known)
    row, index = np.nonzero(chances >= LEAST_CHANCE)
    order = np.argsort(-chances[row, index], kind="stable")
    row, index = row[order], index[order]
    return pd.DataFrame(
        {
            "file_name": [path_text(Path(name)) for name in predictions.file_names[row].tolist()],
            "name": np.array(predictions.class_names, dtype=object)[index],
            "index": index,
            "kind": np.where(predictions.targets[row, index], WRONG, MISSING).astype(object),
            "score": predictions.probs[row, index].astype(np.float64),
            "chance": chances[row, index],
            "row": row,
        }
    )
