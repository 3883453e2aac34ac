"""Metrics of predicted probabilities: a data frame per class and a summary with intervals.

Does not depend on models, losses, files or the choice of thresholds.

Unknown cells are never counted. An undefined measure is NaN, never a silent zero: a class without support has no recall, F1
or AP, and a class without predictions has no precision. If only positives of a class are known and its other images are
unknown, no tag can be wrong: precision, F1 and AP would be perfect whatever the scores. They are therefore undefined too.
Means over classes use the remaining classes with support. Rows that end in ``_zero0`` count undefined values as 0, so that
they can be compared with other tools.
"""

from cocotag.metrics.calibration import CalibrationBins
from cocotag.metrics.confusions import co_errors
from cocotag.metrics.curves import ClassCurves, class_curves
from cocotag.metrics.differences import Differences, difference, significant
from cocotag.metrics.label_issues import label_error_chances
from cocotag.metrics.names import DEFINITIONS, LOWER_IS_BETTER, NOT_FRACTIONS, OVER_SUPPORTED, SUMMARY, TOP1
from cocotag.metrics.scores import Scores, per_class, score, summary

__all__ = [
    "DEFINITIONS",
    "LOWER_IS_BETTER",
    "NOT_FRACTIONS",
    "OVER_SUPPORTED",
    "SUMMARY",
    "TOP1",
    "CalibrationBins",
    "ClassCurves",
    "Differences",
    "Scores",
    "class_curves",
    "co_errors",
    "difference",
    "label_error_chances",
    "per_class",
    "score",
    "significant",
    "summary",
]
