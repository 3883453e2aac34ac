"""An evaluation as it was written: report.json and predictions.npz -> the frames again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cocotag.errors import DataError
from cocotag.evaluation.predictions import FILE, Predictions

REPORT = "report.json"
SCHEMA_VERSION = 1
"""Of report.json. Raised when a key changes its meaning or goes; keys may join without."""
_KEYS = {"schema_version": int, "run": dict, "data": dict, "config": dict, "summary": dict, "per_class": list, "warnings": list}


@dataclass(frozen=True, eq=False)
class StoredEvaluation:
    """What `cocotag evaluate` or a training run wrote.

    Attributes:
        path: The ``report.json``.
        summary: A row a measure, columns ``value, lo, hi, n_classes``; NaN where undefined.
        per_class: A row a class, the columns of ``per_class.csv``; NaN where undefined.
        run: What was run.
        data: What it was run on.
        config: How it was measured.
        warnings: What a reader should know first.
        predictions: Probabilities, decisions and labels of every image; None where they were not kept.
    """

    path: Path
    summary: pd.DataFrame
    per_class: pd.DataFrame
    run: dict[str, Any]
    data: dict[str, Any]
    config: dict[str, Any]
    warnings: list[str]
    predictions: Predictions | None

    @property
    def optimistic(self) -> bool:
        """Something was chosen on these images, so the figures flatter."""
        return bool(self.data.get("optimistic"))


def read_evaluation(path: Path | str) -> StoredEvaluation:
    """Read an evaluation back, undefined figures as NaN.

    Args:
        path: A ``report.json``, the folder that holds it, or a run directory.

    Raises:
        DataError: Nothing there, several to choose from, or not a report of this version; files of different evaluations.
    """
    report = _find(Path(path))
    try:
        document = json.loads(report.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{report} cannot be read ({error.strerror or error}).") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{report} is not JSON ({error}). Make it again with: cocotag evaluate") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise DataError(f"{report} is of schema version {version}, this cocotag reads {SCHEMA_VERSION}. Get a newer cocotag.")
    faults = [key for key, kind in _KEYS.items() if not isinstance(document, dict) or not isinstance(document.get(key), kind)]
    if faults:
        raise DataError(
            f"{report} is not a report of cocotag evaluate: {', '.join(faults)} missing or of another kind. Name the "
            f"{REPORT} that it wrote, or the folder."
        )
    try:
        summary = _frame(list(document["summary"].values()), ["value", "lo", "hi", "n_classes"])
        summary.index = pd.Index(list(document["summary"]), name="metric")
        per_class = _frame(document["per_class"], ["index", "name", "support", "f1", "ap"])
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{report} is not a report of cocotag evaluate ({error}). Make it again with: cocotag evaluate"
        ) from None
    kept = report.parent / FILE
    predictions = Predictions.load(kept) if kept.is_file() else None
    if predictions is not None:
        _check_same(predictions, per_class, kept)
    parts = {key: document[key] for key in ("run", "data", "config", "warnings")}
    return StoredEvaluation(report, summary, per_class, **parts, predictions=predictions)


def _find(path: Path) -> Path:
    """The report.json that is meant.

    Raises:
        DataError: None, or several.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(f"{path} is not there. Name a run directory, a folder of cocotag evaluate, or a report.json.")
    for place in (path / REPORT, path / "report" / REPORT):
        if place.is_file():
            return place
    below = sorted(path.glob(f"*/{REPORT}"))
    if len(below) > 1:
        raise DataError(f"{path} has {len(below)} evaluations ({', '.join(p.parent.name for p in below)}). Name one of them.")
    if not below:
        bundle = path / "tagger.onnx"
        how = f"cocotag evaluate {bundle if bundle.is_file() else 'BUNDLE'} --root DIR --split SPLIT --out {path / 'report'}"
        raise DataError(f"{path} has no {REPORT}. Make one with: {how}")
    return below[0]


def _frame(rows: list[dict[str, Any]], needed: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    if lacking := [name for name in needed if name not in frame.columns]:
        raise ValueError(f"{', '.join(lacking)} missing")
    for name in frame.columns:
        if frame[name].isna().all():  # every figure of the column is undefined
            frame[name] = np.full(len(frame), np.nan)
    return frame


def _check_same(predictions: Predictions, per_class: pd.DataFrame, path: Path) -> None:
    """See that both files are of one evaluation.

    Raises:
        DataError: They are not.
    """
    hits = predictions.predicted & predictions.targets & predictions.known
    same = list(predictions.class_names) == per_class["name"].tolist()
    if not same or ("tp" in per_class and per_class["tp"].tolist() != hits.sum(axis=0).tolist()):
        raise DataError(f"{path} and the {REPORT} beside it are of different evaluations. Make both again: cocotag evaluate")
