"""Reports for notebooks and scripts: the quality of a tagger and the imbalance of a data set.

The content of a report as pandas frames::

    from cocotag.reports import compare, imbalance, read_evaluation

    old, new = read_evaluation("runs/old"), read_evaluation("runs/new")
    new.summary.loc["map", ["value", "lo", "hi"]]          # fractions; NaN if undefined
    new.per_class.sort_values("f1")[["name", "support", "f1", "f1_lo", "f1_hi"]]
    compare(old.predictions, new.predictions).per_class    # paired differences, regressions first

    from cocotag.data.annotations import load_annotations

    imbalance(load_annotations("instances_train.json")).classes

The names are loaded on first use, so that importing this module does not load pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cocotag.evaluation.compare import Comparison, compare
    from cocotag.evaluation.predictions import Predictions
    from cocotag.evaluation.result import Evaluation, evaluate
    from cocotag.evaluation.stored import StoredEvaluation, read_evaluation
    from cocotag.imbalance.result import Imbalance, imbalance

__all__ = [
    "Comparison",
    "Evaluation",
    "Imbalance",
    "Predictions",
    "StoredEvaluation",
    "compare",
    "evaluate",
    "imbalance",
    "read_evaluation",
]
_HOMES = {
    "Comparison": "cocotag.evaluation.compare",
    "Evaluation": "cocotag.evaluation.result",
    "Imbalance": "cocotag.imbalance.result",
    "Predictions": "cocotag.evaluation.predictions",
    "StoredEvaluation": "cocotag.evaluation.stored",
    "compare": "cocotag.evaluation.compare",
    "evaluate": "cocotag.evaluation.result",
    "imbalance": "cocotag.imbalance.result",
    "read_evaluation": "cocotag.evaluation.stored",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 (a module attribute can be anything)
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'cocotag.reports' has no attribute {name!r}")
