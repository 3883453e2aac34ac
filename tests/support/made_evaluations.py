"""Evaluations of synthetic labels and probabilities, for tests of reports."""

from pathlib import Path

import numpy as np

from cocotag.bundle import BundleMetadata
from cocotag.data.annotations import AnnotationTable
from cocotag.evaluation.result import evaluate
from cocotag.labels import Category, Vocabulary


def table_of(targets, names, folder=Path("nowhere"), file_names=None):
    targets = np.asarray(targets, bool)
    images = len(targets)
    return AnnotationTable(
        vocabulary=Vocabulary(tuple(Category(index + 1, name, "<i>group") for index, name in enumerate(names))),
        image_dir=folder,
        file_names=np.array(file_names or [f"{row:06}.jpg" for row in range(images)], dtype=np.str_),
        image_ids=np.arange(images),
        targets=targets,
        known=np.ones(targets.shape, bool),
        instances=targets.astype(np.uint16),
        sizes=np.full((images, 2), 64, np.int32),
        largest=np.linspace(0.01, 1, images, dtype=np.float32),
    )


def made(table, seed=0, threshold=0.5, noise=1.5, **more):
    """An evaluation of synthetic probabilities that correlate with the labels."""
    rng = np.random.default_rng(seed)
    logits = 3 * table.targets - 1.5 + rng.normal(0, noise, table.targets.shape)
    classes = len(table.vocabulary)
    metadata = BundleMetadata(table.vocabulary, 64, (threshold,) * classes, tuple(range(classes)), 100)
    probs = (1 / (1 + np.exp(-logits))).astype(np.float32)
    brightness = rng.uniform(0, 255, len(table))
    return evaluate(table, probs, metadata, run={"bundle": "b"}, data={"split": "val"}, brightness=brightness, **more)
