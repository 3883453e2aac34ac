"""Rank planted label errors by every option of cleanlab; for `measure_label_issues.py`, in an environment with cleanlab.

usage: python cleanlab_ranks.py FOLDER

Reads every ``NAME.npz`` of the folder: ``probs``, ``labels``, ``wrong`` (the planted errors) and ``known``, ``(N, C)`` each.
Writes ``NAME.json``: option to the share of planted errors among as many cells ranked first.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class

METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
FILTERS = ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "predicted_neq_given")


def shares(probs: np.ndarray, labels: np.ndarray, wrong: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """Option -> share of planted errors; an option that fails on these data is left out.

    A filter's cells come first, ordered by a quality score, then the other cells in the same order.
    """
    lists = [np.flatnonzero(row).tolist() for row in labels]  # a 0/1 matrix would be read as lists of class numbers
    found = {}

    def add(option: str, quality: np.ndarray, last: np.ndarray) -> None:
        order = np.lexsort((quality.ravel(), last.ravel(), ~known.ravel()))
        found[option] = float(wrong.ravel()[order[: wrong.sum()]].mean())

    qualities = {}
    for method in METHODS:
        for adjusted in (False, True):
            try:
                quality = np.asarray(
                    get_label_quality_scores_per_class(lists, probs, method=method, adjust_pred_probs=adjusted)
                ).reshape(probs.shape)
            except ValueError:  # confidence_weighted_entropy cannot be adjusted
                continue
            add(f"{method}{', adjusted' if adjusted else ''}", quality, np.zeros(probs.shape, bool))
            if not adjusted:
                qualities[method] = quality
    for name in FILTERS:
        try:
            issues = np.asarray(find_multilabel_issues_per_class(lists, probs, filter_by=name, n_jobs=1), bool)
        except (ValueError, IndexError, ZeroDivisionError):  # some filters fail on classes with few labels
            continue
        for method, quality in qualities.items():
            add(f"filter {name}, {method}", quality, ~issues)
    return found


def main() -> None:
    """Rank the cells of each file."""
    warnings.filterwarnings("ignore")
    for path in sorted(Path(sys.argv[1]).glob("*.npz")):
        with np.load(path) as file:
            parts = {name: file[name] for name in ("probs", "labels", "wrong", "known")}
        path.with_suffix(".json").write_text(json.dumps(shares(**parts)), encoding="utf-8")


if __name__ == "__main__":
    main()
