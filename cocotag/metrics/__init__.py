"""How good probabilities are: a frame per class and a summary with intervals. Knows no model, loss, file or threshold choice.

Cells that are not known count nowhere. What is undefined is NaN and never a silent zero: a class without support has no
recall, F1 or AP, a class without predictions no precision. Where only positives of a class are known, and on other images
nobody looked, no tag can be wrong: precision, F1 and AP would be perfect whatever the scores, so they are undefined too. Means
over classes are over the others with support; rows that end in ``_zero0`` count the undefined as 0, to compare with others.
"""

from cocotag.metrics.calibration import CalibrationBins
from cocotag.metrics.confusions import co_errors
from cocotag.metrics.curves import ClassCurves, class_curves
from cocotag.metrics.differences import Differences, difference
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
    "per_class",
    "score",
    "summary",
]
