"""The most confident mistakes of a tagger, and thumbnails of these or of other cells. Does not depend on a page.

These are mistakes if the labels are right; `cocotag.evaluation.label_issues` ranks the labels that may be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cocotag.errors import ImageError
from cocotag.photos.decode import decode
from cocotag.photos.thumbnails import data_uri, shrink
from cocotag.process.cores import usable_cores

FALSE_POSITIVE, MISS = "false positive", "miss"
PER_CLASS = 3
"""Largest number of examples per class and kind."""
MANY_CLASSES = 120
"""With more classes than this, only the most confident mistakes overall are shown: more would be too many to look through."""
OVERALL = 120
"""Number of examples per kind in that case."""
LEVELS = ((3, 112, 60), (2, 112, 60), (1, 112, 60), (1, 96, 50), (1, 80, 40))
"""Examples per class, side in pixels, JPEG quality: the first level that fits the budget is used."""
MARKUP_BYTES = 420
"""Size of an example on a page, without its picture and its file name."""
LONGEST = 80
"""Characters of a file name that are shown."""

MAX_DECODERS = 8

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Example:
    """One cell, an image and a class, on a page.

    Attributes:
        index: Index of the class.
        kind: `FALSE_POSITIVE` or `MISS`, or the kind of a label error.
        file_name: The file name in the annotation file, or its end if it is long.
        score: Probability of the class.
        threshold: Threshold of the class.
        surety: How sure the mistake is, 0 to 1, or how likely the label error.
        picture: A ``data:`` address; empty if the image cannot be read.
    """

    index: int
    kind: str
    file_name: str
    score: float
    threshold: float
    surety: float
    picture: str

    @property
    def weight(self) -> int:
        """Upper bound of its size on a page in bytes; every character of a name may need an escape."""
        return len(self.picture) + 6 * len(self.file_name.encode("utf-8", "replace")) + MARKUP_BYTES


def confident_mistakes(
    probs: NDArray[np.floating],
    predicted: Bools,
    targets: Bools,
    known: Bools,
    thresholds: NDArray[np.floating],
    *,
    per_class: int = PER_CLASS,
) -> pd.DataFrame:
    """The false positives with the highest and the misses with the lowest probability.

    Args:
        probs: Probabilities, ``(N, C)``.
        predicted: The decisions, ``(N, C)``.
        targets: Multi-hot, ``(N, C)``.
        known: The mask of known labels, ``(N, C)``.
        thresholds: Thresholds, ``(C,)``.
        per_class: Largest number per class and kind. With more than `MANY_CLASSES` classes, only the `OVERALL` surest of
            these per kind.

    Returns:
        Columns ``index`` (class), ``kind``, ``rank`` (within class and kind, 0 is the surest), ``row`` (image), ``score``,
        ``threshold``, ``surety`` (how sure the tagger was, 0 to 1); false positives first, each kind from the surest on.
    """
    found = []
    for kind, cells, sign in ((FALSE_POSITIVE, predicted & ~targets & known, -1), (MISS, ~predicted & targets & known, 1)):
        row, index = np.nonzero(cells)
        order = np.argsort(sign * probs[row, index], kind="stable")
        frame = pd.DataFrame({"index": index[order], "kind": kind, "row": row[order]})
        frame.insert(2, "rank", frame.groupby("index").cumcount())
        frame = frame[frame["rank"] < per_class]
        found.append(frame[:OVERALL] if probs.shape[1] > MANY_CLASSES else frame)
    mistakes = pd.concat(found, ignore_index=True)
    rows, indices = mistakes["row"].to_numpy(), mistakes["index"].to_numpy()
    score = probs[rows, indices].astype(np.float64)
    surety = np.where(mistakes["kind"] == FALSE_POSITIVE, score, 1 - score)
    return mistakes.assign(score=score, threshold=thresholds[indices].astype(np.float64), surety=surety)


def load_examples(mistakes: pd.DataFrame, file_names: Sequence[str], image_dir: Path | None, *, budget: int) -> list[Example]:
    """Mistakes or other cells with thumbnails, as many and as large as the budget allows.

    An image that cannot be read has no picture and is not an error.

    Args:
        mistakes: A frame with the columns of `confident_mistakes`.
        file_names: File names of the images, ``(N,)``.
        image_dir: Folder of the images; None for no pictures.
        budget: Size limit of the examples on the page in bytes, including captions.
    """
    pictures = {} if image_dir is None else _load(image_dir, {row: file_names[row] for row in set(mistakes["row"].tolist())})
    examples: list[Example] = []
    for most, side, quality in LEVELS:
        encoded = {row: data_uri(shrink(picture, side), quality=quality) for row, picture in pictures.items()}
        examples = [
            Example(int(index), str(kind), shown_name(file_names[row]), score, threshold, surety, encoded.get(row, ""))
            for index, kind, rank, row, score, threshold, surety in mistakes.itertuples(index=False, name=None)
            if rank < most
        ]
        if sum(example.weight for example in examples) <= budget:
            return examples
    kept = set()
    for example in sorted(examples, key=lambda example: -example.surety):
        budget -= example.weight
        if budget < 0:
            break
        kept.add(id(example))
    return [example for example in examples if id(example) in kept]


def shown_name(name: str) -> str:
    """A file name for a caption: only its end if it is long, with spaces for unprintable characters."""
    name = str(name)
    text = name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _load(image_dir: Path, names: Mapping[int, str]) -> dict[int, NDArray[np.uint8]]:
    """The readable pictures, at the largest side of `LEVELS`, decoded in threads."""
    side = LEVELS[0][1]

    def load(name: str) -> NDArray[np.uint8] | None:
        try:
            return shrink(decode(image_dir / name, min_side=side, headroom=1), side)
        except ImageError:
            return None

    with ThreadPoolExecutor(min(usable_cores(), MAX_DECODERS), thread_name_prefix="cocotag-thumbnail") as pool:
        loaded = zip(names, pool.map(load, names.values()), strict=True)
        return {row: picture for row, picture in loaded if picture is not None}
