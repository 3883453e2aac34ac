"""Rows with synthetic scores and drawn photographs, for galleries of any size."""

import os
from pathlib import Path

import cv2
import numpy as np

from cocotag.inference.tags import decide, make_tags
from cocotag.labels import COCO80
from cocotag.tagging.decisions.rows import Context, Row

DRAWN = 12


def draw_photographs(folder, count, *, a_folder=1000, scale=1.0):
    """Draw a few pictures under many names, ``a_folder`` per folder, and return their paths."""
    rng = np.random.default_rng(0)
    (folder / "drawn").mkdir(parents=True)
    drawn = []
    for number in range(min(DRAWN, count)):
        height, width = (int(scale * side) for side in ((480, 640), (640, 480), (427, 640))[number % 3])
        picture = np.full((height, width, 3), rng.integers(256, size=3), np.uint8)
        for _ in range(12):
            middle, radius = rng.integers(0, height, 2).tolist(), int(rng.integers(height // 20, height // 3))
            cv2.circle(picture, middle, radius, rng.integers(256, size=3).tolist(), -1)
        drawn.append(folder / "drawn" / f"{number}.jpg")
        cv2.imwrite(str(drawn[-1]), picture)
    paths = [folder / f"{number // a_folder:03d}" / f"IMG_{number:06d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        os.link(drawn[number % DRAWN], path)
    return paths


def made_scores(count, classes=80, seed=0):
    """Scores like a trained tagger's, ``(count, classes)`` float16: most near zero, a few high."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-5, 1.2, (count, classes))
    logits[np.arange(count)[:, None], rng.integers(classes, size=(count, 3))] += rng.normal(4.5, 2, (count, 3))
    return (1 / (1 + np.exp(-logits))).astype(np.float16)


def made_context(vocabulary=COCO80, models=("",), **more):
    """A context whose thresholds differ between classes."""
    rng = np.random.default_rng(7)
    thresholds = {model: rng.uniform(0.25, 0.7, len(vocabulary)).astype(np.float32) for model in models}
    made_by = {model: {"bundle": f"runs/{model or 'made'}.onnx", "sha256": "0" * 64, "cocotag": "0"} for model in models}
    return Context(dict.fromkeys(models, vocabulary), thresholds, made_by, several=len(models) > 1, **more)


def made_rows(paths, scores, context, top_k=None):
    """A list of rows, one per path and model, decided by the context's thresholds.

    Args:
        paths: Paths of the images.
        scores: Scores ``(N, C)`` by model name; an array for one model without a name.
        context: Vocabularies, thresholds and new names.
        top_k: Largest number of tags per row.
    """
    scores = scores if isinstance(scores, dict) else {"": scores}
    rows = []
    for number, path in enumerate(paths):
        for model, probs in scores.items():
            mine = probs[number].astype(np.float32)
            chosen = decide(mine, context.thresholds[model], None if context.rename else top_k)
            tags = make_tags(context.vocabularies[model], mine, chosen)
            if context.rename is not None:
                tags = context.rename.apply(tags)[:top_k]
            rows.append(Row(Path(path), tags=tags, probs=mine, model=model))
    return rows
