"""The rows of a summary: their names, what each means, and what limits it."""

from __future__ import annotations

TOP1 = "top1_accuracy"
"""One more row where every image has exactly one tag: the share whose highest probability is their tag's."""

TOP_K = 3
"""Tags that the measures at a depth look at."""

DEFINITIONS = {
    "map": "Mean over classes with positives of average precision.",
    "macro_f1": "Mean over classes with positives of F1.",
    "micro_f1": "F1 of all cells counted together.",
    "weighted_f1": "Mean over classes of F1, each weighed by its positives.",
    "samples_f1": "Mean over images of F1; an image with neither labels nor tags counts 1.",
    "cf1": "Harmonic mean of mean precision (CP) and mean recall (CR) over classes.",
    "of1": "Harmonic mean of overall precision (OP) and overall recall (OR); equals micro-F1.",
    "hamming_loss": "Share of cells that are decided wrongly.",
    "subset_accuracy": "Share of images with every cell right.",
    "macro_precision": "Mean over classes with positives of precision, where a class that is never predicted counts 0 (CP).",
    "macro_recall": "Mean over classes with positives of recall (CR).",
    "micro_precision": "Of all tags given, the share that is right (OP).",
    "micro_recall": "Of all labels, the share that is found (OR).",
    "cell_accuracy": "Share of cells that are decided rightly; most are absent classes, so saying nothing scores high.",
    "precision_at_3": "Mean over images of the share of the three likeliest classes that is right; ties shared.",
    "recall_at_3": "Mean over images with labels of the share of them among the three likeliest classes; ties shared.",
    "coverage": "Mean over images with labels of how many classes, likeliest first, hold all labels; not a share.",
    "ranking_loss": "Mean over images of the share of pairs, label and absent class, in the wrong order; a tie is wrong.",
    "brier": "Mean squared difference of probability and truth over all cells.",
    "ece": "Expected calibration error over all cells together: mean distance of probability and frequency in 10 equal bins.",
    "macro_ece": "Mean over classes with positives of the expected calibration error of the class.",
    "map_zero0": "As map, a class without positives counting 0.",
    "macro_f1_zero0": "As macro_f1, a class without positives counting 0.",
    "macro_precision_zero0": "As macro_precision, a class without positives counting 0.",
    "macro_recall_zero0": "As macro_recall, a class without positives counting 0.",
    "cf1_zero0": "As cf1, a class without positives counting 0 in both means.",
    "samples_f1_zero0": "As samples_f1, an image with neither labels nor tags counting 0.",
}
"""What each row of the summary is, in a sentence for readers of a report."""

SUMMARY = tuple(DEFINITIONS)
"""The rows of the summary."""

NOT_FRACTIONS = frozenset({"coverage"})
"""The rows of the summary that count classes; all others are fractions."""

LOWER_IS_BETTER = frozenset({"hamming_loss", "coverage", "ranking_loss", "brier", "ece", "macro_ece"})
"""The rows of the summary that are better when lower; the others are better when higher."""

OVER_SUPPORTED = frozenset(
    {"map", "macro_f1", "weighted_f1", "cf1", "macro_precision", "macro_recall", "macro_ece"},
)
"""The rows that are means over classes with positives; the others look at every class of which something is known."""
