"""Tags from probabilities: rounding, thresholds, top k. Does not depend on bundles or images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cocotag.errors import ConfigError
from cocotag.labels import Id, Vocabulary


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag: one class found in an image.

    Attributes:
        name: Name of the class.
        score: Its probability, rounded to float16.
        category_id: COCO's id, or the data set's own.
        supercategory: The group of the class, or an empty string.
        classes: For a renamed tag, the bundle's names of its classes; otherwise empty.
    """

    name: str
    score: float
    category_id: Id
    supercategory: str
    classes: tuple[str, ...] = ()


def round_scores(probs: NDArray[np.floating]) -> NDArray[np.float32]:
    """The scores that are compared with thresholds and written: probabilities rounded to float16, stored as float32."""
    return probs.astype(np.float16).astype(np.float32)


def decide(probs: NDArray[np.floating], thresholds: NDArray[np.floating], top_k: int | None = None) -> NDArray[np.intp]:
    """The classes whose rounded score meets their threshold (``>=``, in float32).

    Scores are rounded to float16 first, so that a later decision on scores stored as float16 is the same.

    Args:
        probs: Probabilities of one image, ``(C,)``.
        thresholds: One per class, ``(C,)``, or one for all, ``()``.
        top_k: Largest number of classes, those with the highest scores; None for no limit.

    Returns:
        Class indices, highest score first; equal scores in the order of the classes.
    """
    scores = round_scores(probs)
    order = np.argsort(-scores, kind="stable")
    return order[(scores >= np.asarray(thresholds, np.float32))[order]][:top_k]


def make_tags(vocabulary: Vocabulary, probs: NDArray[np.floating], indices: NDArray[np.intp]) -> tuple[Tag, ...]:
    """The tags of the classes that `decide` returned, in the same order."""
    scores = round_scores(probs)
    chosen = [(vocabulary.categories[index], float(scores[index])) for index in indices.tolist()]
    return tuple(Tag(category.name, score, category.id, category.supercategory) for category, score in chosen)


def check_top_k(top_k: int | None) -> None:
    """Check that a number of tags is at least 1.

    Raises:
        ConfigError: It is below 1.
    """
    if top_k is not None and top_k < 1:
        raise ConfigError(
            f"top_k is {top_k}; it must be at least 1. Omit it for all tags that meet their threshold.",
            code="top_k_out_of_range",
        )
