"""How good is this tagger, and how unbalanced are these data: for machines and for people.

What a report says, as pandas frames::

    from cocotag.reports import compare, imbalance, read_evaluation

    old, new = read_evaluation("runs/old"), read_evaluation("runs/new")
    new.summary.loc["map", ["value", "lo", "hi"]]          # fractions; NaN where a figure is undefined
    new.per_class.sort_values("f1")[["name", "support", "f1", "f1_lo", "f1_hi"]]
    compare(old.predictions, new.predictions).per_class    # paired differences, regressions first

    from cocotag.data.annotations import load_annotations

    imbalance(load_annotations("instances_train.json")).classes

The names are loaded when first used, so that tagging does not wait for pandas.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cocotag.reports.compare import Comparison, compare
    from cocotag.reports.evaluation import Evaluation, evaluate
    from cocotag.reports.imbalance import Imbalance, imbalance
    from cocotag.reports.predictions import Predictions
    from cocotag.reports.stored import StoredEvaluation, read_evaluation

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
_MODULES = {
    "Comparison": "compare",
    "Evaluation": "evaluation",
    "Imbalance": "imbalance",
    "Predictions": "predictions",
    "StoredEvaluation": "stored",
    "compare": "compare",
    "evaluate": "evaluation",
    "imbalance": "imbalance",
    "read_evaluation": "stored",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 (a module attribute can be anything)
    if name in _MODULES:
        return getattr(import_module(f"cocotag.reports.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'cocotag.reports' has no attribute {name!r}")


class _Package(ModuleType):
    """A package where the functions `compare` and `imbalance` are not hidden by the modules that they live in."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _MODULES and isinstance(value, ModuleType)):  # which is how an import leaves a module in its package
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
