"""Probabilities -> tags: rounding, thresholds, top k. Knows no bundle and no image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cocotag.errors import ConfigError
from cocotag.labels import Id, Vocabulary

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class Tag:
    """One class that is in an image.

    Attributes:
        name: The class.
        score: Its probability, rounded to float16.
        category_id: COCO's id, or the data set's own.
        supercategory: The group of the class; empty where there is none.
        classes: The bundle's names of the classes that a tag under other names came of; empty under the bundle's own.
    """

    name: str
    score: float
    category_id: Id
    supercategory: str
    classes: tuple[str, ...] = ()


def round_scores(probs: NDArray[np.floating]) -> NDArray[np.float32]:
    """Probabilities as they are compared and written: rounded to float16, held as float32."""
    return probs.astype(np.float16).astype(np.float32)


def decide(probs: NDArray[np.floating], thresholds: NDArray[np.floating], top_k: int | None = None) -> NDArray[np.intp]:
    """Which classes are in an image.

    A class is in where its rounded score meets its threshold (``>=``, in float32). The scores are rounded to float16
    first, so that whoever stored them at that width and sets other thresholds later decides the same.

    Args:
        probs: Of one image, ``(C,)``.
        thresholds: Per class, ``(C,)``, or one for all, ``()``.
        top_k: At most so many, the highest; None for all.

    Returns:
        Class indices, the highest score first; equal scores in the order of the classes.
    """
    scores = round_scores(probs)
    order = np.argsort(-scores, kind="stable")
    return order[(scores >= np.asarray(thresholds, np.float32))[order]][:top_k]


def make_tags(vocabulary: Vocabulary, probs: NDArray[np.floating], indices: NDArray[np.intp]) -> tuple[Tag, ...]:
    """The tags of the classes that `decide` has chosen, in its order."""
    scores = round_scores(probs)
    chosen = [(vocabulary.categories[index], float(scores[index])) for index in indices.tolist()]
    return tuple(Tag(category.name, score, category.id, category.supercategory) for category, score in chosen)


def check_top_k(top_k: int | None) -> None:
    """Refuse a number of tags below 1.

    Raises:
        ConfigError: It is.
    """
    if top_k is not None and top_k < 1:
        raise ConfigError(f"top_k is {top_k}; it must be at least 1. Leave it out for every tag that meets its threshold.")
