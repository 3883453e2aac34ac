"""Tables of labels for the tests of the imbalance report, and its measures by a second road."""

import math
import statistics
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cocotag.data.annotations import AnnotationTable
from cocotag.labels import Category, Vocabulary


def make_table(targets, known=None, names=None):
    targets = np.asarray(targets, bool)
    images, classes = targets.shape
    names = names or [f"class {index}" for index in range(classes)]
    return AnnotationTable(
        vocabulary=Vocabulary(tuple(Category(7 * index + 1, name, "all") for index, name in enumerate(names))),
        image_dir=Path(),
        file_names=np.array([f"{row}.jpg" for row in range(images)], dtype=np.str_),
        image_ids=np.arange(images, dtype=np.int64),
        targets=targets,
        known=np.ones_like(targets) if known is None else np.asarray(known, bool),
        instances=(2 * targets).astype(np.uint16),
        sizes=np.zeros((images, 2), np.int32),
        largest=np.zeros(images, np.float32),
    )


def assert_same(found, expected):
    """Equal up to rounding, None and text exactly."""
    for key, value in expected.items():
        exactly = value is None or isinstance(value, str)
        assert found[key] == (value if exactly else pytest.approx(value, rel=1e-9, abs=1e-12)), key


def reference(label_sets, classes):
    """The measures once more, from sets of labels, with fractions and the standard library."""
    images = len(label_sets)
    counts = [sum(label in labels for labels in label_sets) for label in range(classes)]
    most = max(counts)
    ratios = {label: Fraction(most, count) for label, count in enumerate(counts) if count}
    rest = sorted(count for count in counts if count)[:-1]

    def scumble(labels):
        if not labels or len({counts[label] for label in labels}) == 1:
            return 0.0
        found = [float(ratios[label]) for label in sorted(labels)]
        return 1 - math.prod(found) ** (1 / len(found)) / statistics.fmean(found)

    def spread(values):
        mean = statistics.fmean(values) if values else 0
        return statistics.stdev(map(float, values)) / mean if len(values) > 1 and mean else None

    scumbles = [scumble(labels) for labels in label_sets]
    differences = sum(abs(a - b) for a in counts for b in counts)
    sets = Counter(frozenset(labels) for labels in label_sets)
    return {
        "images": images,
        "positives": sum(counts),
        "cardinality": float(Fraction(sum(counts), images)),
        "density": float(Fraction(sum(counts), images * classes)),
        "labelsets": len(sets),
        "single_labelsets": sum(count == 1 for count in sets.values()),
        "max_labelset_images": max(sets.values()),
        "diversity": float(Fraction(len(sets), images)),
        "diversity_of_possible": float(Fraction(len(sets), min(images, 2**classes))),
        "mean_ir": float(sum(ratios.values()) / len(ratios)) if ratios else None,
        "mean_ir_without_most_common": float(sum(Fraction(rest[-1], n) for n in rest) / len(rest)) if rest else None,
        "max_ir": float(max(ratios.values())) if ratios else None,
        "cvir": spread(list(ratios.values())),
        "scumble": statistics.fmean(scumbles),
        "scumble_cv": spread(scumbles),
        "tcs": math.log(classes) + math.log(len(sets)),
        "gini": float(Fraction(differences, 2 * classes * sum(counts))) if sum(counts) else None,
        "unlabelled_images": sum(not labels for labels in label_sets),
    }
