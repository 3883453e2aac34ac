"""The most confident mistakes, with thumbnails: where labels are wrong, they are among these.

A confident false positive is often a missing label, and a tag that is missed with next to no score often a label too many
(Northcutt, Athalye and Mueller 2021, https://arxiv.org/abs/2103.14749). Knows no page: it gives what a page shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cocotag.cores import usable_cores
from cocotag.errors import ImageError
from cocotag.photos.decode import decode
from cocotag.photos.thumbnails import data_uri, shrink

FALSE_POSITIVE, MISS = "false positive", "miss"
PER_CLASS = 3
"""Examples of each kind that a class has at most."""
MANY_CLASSES = 120
"""With more classes a gallery of all would be too long to look through: the most confident of them are shown."""
OVERALL = 120
"""Examples of each kind then."""
LEVELS = ((3, 112, 60), (2, 112, 60), (1, 112, 60), (1, 96, 50), (1, 80, 40))
"""What is given up, in this order, where a gallery would be too large: examples per class, side in pixels, JPEG quality."""
MARKUP_BYTES = 420
"""What an example takes on a page beside its picture and its file name."""
LONGEST = 80
"""Characters of a file name that are shown."""

MAX_DECODERS = 8

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Example:
    """One mistake on a page.

    Attributes:
        index: The class that is wrong.
        kind: `FALSE_POSITIVE` or `MISS`.
        file_name: As the annotation file has it, its end if it is long.
        score: Probability of the class.
        threshold: Of the class.
        picture: A ``data:`` address; empty where the image cannot be read.
    """

    index: int
    kind: str
    file_name: str
    score: float
    threshold: float
    picture: str

    @property
    def surety(self) -> float:
        """How sure the tagger was of what was wrong, 0 to 1."""
        return self.score if self.kind == FALSE_POSITIVE else 1 - self.score

    @property
    def weight(self) -> int:
        """Bytes on a page, at most: every sign of a name may have to be escaped."""
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
    """Find the false positives of highest and the misses of lowest probability.

    Args:
        probs: ``(N, C)``.
        predicted: The decisions, ``(N, C)``.
        targets: Multi-hot, ``(N, C)``.
        known: False where nobody looked, ``(N, C)``.
        thresholds: ``(C,)``.
        per_class: At most so many of each kind for a class. With more than `MANY_CLASSES` classes, of these the `OVERALL`
            surest of each kind.

    Returns:
        Columns ``index`` (class), ``kind``, ``rank`` (within class and kind, 0 is the surest), ``row`` (image), ``score``,
        ``threshold``; false positives first, the surest first.
    """
    found = []
    for kind, cells, sign in ((FALSE_POSITIVE, predicted & ~targets & known, -1), (MISS, ~predicted & targets & known, 1)):
        row, index = np.nonzero(cells)
        order = np.argsort(sign * probs[row, index], kind="stable")
        frame = pd.DataFrame({"index": index[order], "kind": kind, "row": row[order]})
        frame.insert(2, "rank", frame.groupby("index").cumcount())
        frame = frame[frame["rank"] < per_class]
        found.append(frame[:OVERALL] if probs.shape[1] > MANY_CLASSES else frame)
    made = pd.concat(found, ignore_index=True)
    rows, indices = made["row"].to_numpy(), made["index"].to_numpy()
    return made.assign(score=probs[rows, indices].astype(np.float64), threshold=thresholds[indices].astype(np.float64))


def gallery(mistakes: pd.DataFrame, file_names: Sequence[str], image_dir: Path | None, *, budget: int) -> list[Example]:
    """Load the thumbnails of the mistakes, as many and as large as a page has room for.

    An image that cannot be read has no picture, and stops nothing.

    Args:
        mistakes: As `confident_mistakes` gives them.
        file_names: Of the images, ``(N,)``.
        image_dir: Where the images are; None shows no picture.
        budget: Bytes that the examples may take on the page, captions included.
    """
    pictures = {} if image_dir is None else _load(image_dir, {row: file_names[row] for row in set(mistakes["row"].tolist())})
    examples: list[Example] = []
    for most, side, quality in LEVELS:
        encoded = {row: data_uri(shrink(picture, side), quality=quality) for row, picture in pictures.items()}
        examples = [
            Example(int(index), str(kind), shown_name(file_names[row]), float(score), float(threshold), encoded.get(row, ""))
            for index, kind, rank, row, score, threshold in mistakes.itertuples(index=False, name=None)
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
    """A file name for a caption: its end, if it is long, and a space for what cannot be shown."""
    name = str(name)
    text = name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _load(image_dir: Path, names: Mapping[int, str]) -> dict[int, NDArray[np.uint8]]:
    """The pictures that can be read, at the largest side of `LEVELS`, decoded in threads."""
    side = LEVELS[0][1]

    def load(name: str) -> NDArray[np.uint8] | None:
        try:
            return shrink(decode(image_dir / name, min_side=side, headroom=1), side)
        except ImageError:
            return None

    with ThreadPoolExecutor(min(usable_cores(), MAX_DECODERS), thread_name_prefix="cocotag-thumbnail") as pool:
        loaded = zip(names, pool.map(load, names.values()), strict=True)
        return {row: picture for row, picture in loaded if picture is not None}
