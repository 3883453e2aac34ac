"""Writes an evaluation: report.json, CSV files, predictions.npz and report.html."""

from __future__ import annotations

import json
from pathlib import Path

from cocotag.errors import OutputError
from cocotag.evaluation.page import page
from cocotag.evaluation.predictions import FILE as PREDICTIONS
from cocotag.evaluation.result import Evaluation
from cocotag.files import write_fault, write_text

FILES = (
    *("report.json", "per_class.csv", "summary.csv", "slices.csv", "co_errors.csv", "label_issues.csv"),
    *("baseline.csv", PREDICTIONS, "report.html"),
)
"""The files that `write_evaluation` writes; ``baseline.csv`` only with a baseline."""


def write_evaluation(evaluation: Evaluation, out_dir: Path | str) -> None:
    """Write `FILES`, ``report.json`` last.

    Each file is written atomically, and an older ``report.json`` is removed first: if ``report.json`` exists, the report is
    complete.

    Raises:
        OutputError: The folder cannot be written.
    """
    out_dir = Path(out_dir)
    summary = evaluation.summary.reset_index().assign(optimistic=evaluation.optimistic)
    frames = {
        "per_class": evaluation.per_class,
        "summary": summary,
        "slices": evaluation.slices,
        "co_errors": evaluation.co_errors,
        "label_issues": evaluation.label_issues,
    }
    texts = {f"{name}.csv": frame.to_csv(index=False, lineterminator="\n") for name, frame in frames.items()}
    if evaluation.comparison is not None:
        texts["baseline.csv"] = evaluation.comparison.to_csv()
    texts["report.html"] = page(evaluation)
    texts["report.json"] = json.dumps(evaluation.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        for name in ("report.json", *(["baseline.csv"] if evaluation.comparison is None else [])):
            (out_dir / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{out_dir} cannot be written ({error.strerror}). Choose another folder.", code=write_fault(error)
        ) from None
    evaluation.predictions.save(out_dir / PREDICTIONS)
    for name, text in texts.items():
        write_text(out_dir / name, text)
