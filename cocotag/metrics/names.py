"""The rows of a summary: their names, their definitions and their ranges."""

from __future__ import annotations

TOP1 = "top1_accuracy"
"""An additional row if every image has exactly one tag: the share of images whose tag has the highest probability."""

TOP_K = 3
"""Number of most likely classes in the measures ``precision_at_3`` and ``recall_at_3``."""

DEFINITIONS = {
    "map": "Mean over classes with positives of average precision.",
    "map_expected": "mAP to expect on many further images: average precision in which no positive counts itself.",
    "macro_f1": "Mean over classes with positives of F1.",
    "micro_f1": "F1 of all cells counted together.",
    "weighted_f1": "Mean over classes of F1, weighted by the number of positives.",
    "samples_f1": "Mean over images of F1; an image without labels and tags counts 1.",
    "cf1": "Harmonic mean of mean precision (CP) and mean recall (CR) over classes.",
    "of1": "Harmonic mean of overall precision (OP) and overall recall (OR); equals micro-F1.",
    "hamming_loss": "Share of cells with a wrong decision.",
    "subset_accuracy": "Share of images on which every decision is correct.",
    "macro_precision": "Mean over classes with positives of precision (CP); a class that is never predicted counts 0.",
    "macro_recall": "Mean over classes with positives of recall (CR).",
    "micro_precision": "Share of all tags that are correct (OP).",
    "micro_recall": "Share of all labels that are found (OR).",
    "cell_accuracy": "Share of cells with a correct decision; most classes are absent, so giving no tags scores high.",
    "precision_at_3": "Mean over images of the share of the three most likely classes that are labels; ties are shared.",
    "recall_at_3": "Mean over images with labels of the share of labels among the three most likely classes; ties are shared.",
    "coverage": "Mean over images with labels of how many of the most likely classes contain all labels; not a fraction.",
    "ranking_loss": "Mean over images of the share of pairs of a label and an absent class in the wrong order; a tie is wrong.",
    "brier": "Mean squared difference between probability and truth over all cells.",
    "ece": "Expected calibration error over all cells: mean distance between probability and frequency in 10 equal bins.",
    "macro_ece": "Mean over classes with positives of the expected calibration error.",
    "map_zero0": "map, but a class without positives counts 0.",
    "macro_f1_zero0": "macro_f1, but a class without positives counts 0.",
    "macro_precision_zero0": "macro_precision, but a class without positives counts 0.",
    "macro_recall_zero0": "macro_recall, but a class without positives counts 0.",
    "cf1_zero0": "cf1, but a class without positives counts 0 in both means.",
    "samples_f1_zero0": "samples_f1, but an image without labels and tags counts 0.",
}
"""The definition of each row of the summary, one sentence for readers of a report."""

SUMMARY = tuple(DEFINITIONS)
"""The rows of the summary."""

NOT_FRACTIONS = frozenset({"coverage"})
"""The rows of the summary that are numbers of classes; all others are fractions."""

LOWER_IS_BETTER = frozenset({"hamming_loss", "coverage", "ranking_loss", "brier", "ece", "macro_ece"})
"""The rows of the summary that are better when lower; the others are better when higher."""

OVER_SUPPORTED = frozenset(
    {"map", "map_expected", "macro_f1", "weighted_f1", "cf1", "macro_precision", "macro_recall", "macro_ece"},
)
"""The rows that are means over classes with positives; the others use every class with a known cell."""

WITHOUT_INTERVAL = frozenset({"macro_ece"})
"""The rows of the summary without an interval: with few cells in each bin the error is mostly chance, and far above that of
many images."""
