"""Reads an evaluation from report.json and predictions.npz."""

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
SCHEMA_VERSION = 2
"""Version of report.json. It is raised when a key is removed or changes its meaning, but not for a new key. Version 2 renamed
the status ``neither`` of a class to ``no_positives_or_predictions``."""
_RENAMED_STATUS = {"neither": "no_positives_or_predictions"}  # names of version 1
_KEYS = {"schema_version": int, "run": dict, "data": dict, "config": dict, "summary": dict, "per_class": list, "warnings": list}


@dataclass(frozen=True, eq=False)
class StoredEvaluation:
    """An evaluation written by `cocotag evaluate` or a training run.

    Attributes:
        path: The ``report.json``.
        summary: One row per measure, columns ``value, lo, hi, n_classes``; NaN if undefined.
        per_class: One row per class, the columns of ``per_class.csv``; NaN if undefined.
        run: The bundle, versions and times.
        data: The evaluated data.
        config: The settings of the evaluation.
        warnings: Warnings for the reader.
        predictions: Probabilities, decisions and labels of every image; None if the file is missing.
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
        """Whether the checkpoint or thresholds were chosen on these images, so that the results are optimistic."""
        return bool(self.data.get("optimistic"))


def read_evaluation(path: Path | str) -> StoredEvaluation:
    """Read an evaluation; undefined values are NaN. Older schema versions are read too.

    Args:
        path: A ``report.json``, its folder, or a run directory.

    Raises:
        DataError: There is no report or more than one, it is not a report or has a newer version, or the files are from
            different evaluations.
    """
    report = _find(Path(path))
    try:
        document = json.loads(report.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{report} cannot be read ({error.strerror or error}). Check its permissions.", code="not_readable"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{report} is not JSON ({error}). Write it again with: cocotag evaluate", code="not_json") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and not 1 <= version <= SCHEMA_VERSION:
        raise DataError(
            f"{report} has schema version {int(version)}, but this cocotag reads versions 1 to {SCHEMA_VERSION}. "
            "Install a newer cocotag.",
            code="schema_unsupported",
        )
    faults = [key for key, kind in _KEYS.items() if not isinstance(document, dict) or not isinstance(document.get(key), kind)]
    if faults:
        raise DataError(
            f"{report} is not a report of cocotag evaluate: {', '.join(faults)} missing or invalid. Give a {REPORT} of "
            "cocotag evaluate, or its folder.",
            code="not_a_report",
        )
    try:
        summary = _frame(list(document["summary"].values()), ["value", "lo", "hi", "n_classes"])
        summary.index = pd.Index(list(document["summary"]), name="metric")
        per_class = _frame(document["per_class"], ["index", "name", "support", "f1", "ap"])
        if version == 1 and "status" in per_class:
            per_class["status"] = per_class["status"].replace(_RENAMED_STATUS)
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{report} is not a report of cocotag evaluate ({error}). Write it again with: cocotag evaluate",
            code="not_a_report",
        ) from None
    file = report.parent / FILE
    predictions = Predictions.load(file) if file.is_file() else None
    if predictions is not None:
        _check_same(predictions, per_class, file)
    parts = {key: document[key] for key in ("run", "data", "config", "warnings")}
    return StoredEvaluation(report, summary, per_class, **parts, predictions=predictions)


def _find(path: Path) -> Path:
    """The report.json of a path.

    Raises:
        DataError: There is no report, or more than one.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(
            f"{path} does not exist. Give a run directory, a folder of cocotag evaluate, or a report.json.", code="path_missing"
        )
    for report in (path / REPORT, path / "report" / REPORT):
        if report.is_file():
            return report
    below = sorted(path.glob(f"*/{REPORT}"))
    if len(below) > 1:
        raise DataError(
            f"{path} has {len(below)} evaluations ({', '.join(p.parent.name for p in below)}). Give one of them.",
            code="report_ambiguous",
        )
    if not below:
        bundle = path / "tagger.onnx"
        how = f"cocotag evaluate {bundle if bundle.is_file() else 'BUNDLE'} --root DIR --split SPLIT --out {path / 'report'}"
        raise DataError(f"{path} has no {REPORT}. Write one with: {how}", code="report_missing")
    return below[0]


def _frame(rows: list[dict[str, Any]], needed: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    if lacking := [name for name in needed if name not in frame.columns]:
        raise ValueError(f"{', '.join(lacking)} missing")
    for name in frame.columns:
        if frame[name].isna().all():  # all values of the column are undefined
            frame[name] = np.full(len(frame), np.nan)
    return frame


def _check_same(predictions: Predictions, per_class: pd.DataFrame, path: Path) -> None:
    """Check that both files are from one evaluation.

    Raises:
        DataError: They are not.
    """
    hits = predictions.predicted & predictions.targets & predictions.known
    same = list(predictions.class_names) == per_class["name"].tolist()
    if not same or ("tp" in per_class and per_class["tp"].tolist() != hits.sum(axis=0).tolist()):
        raise DataError(
            f"{path} and the {REPORT} beside it are from different evaluations. Write both again with: cocotag evaluate",
            code="report_mismatch",
        )
