"""How bright the photographs of a split are, and what normalising does to the look of them. Knows no labels and no page.

All figures come from the one reading of `cocotag.data.check.survey`; only the few pictures that are shown are decoded again.
 A photograph is dark or bright by the rule of `cocotag.data.check.images`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cocotag.data.check.entries import MAX_EXAMPLES
from cocotag.data.check.fed import statistics_of_pixels
from cocotag.data.check.findings import shown
from cocotag.data.check.images import light_outliers
from cocotag.data.check.survey import FED_SIDE, Survey
from cocotag.errors import ImageError
from cocotag.models.normalization import IMAGENET_MEAN, IMAGENET_STD, normalize
from cocotag.photos.brightness import brightness
from cocotag.photos.decode import decode
from cocotag.photos.thumbnails import data_uri, shrink

OUTLIERS = 6
"""Darkest and brightest outliers that are shown, of each."""
VIEWS = 6
"""Photographs that are shown three ways."""
SIDE, QUALITY = 160, 70
"""Of the pictures, pixels and JPEG quality: about 6 kB each, 200 kB in all."""
BIN = 8
"""Levels of a bar of the histogram."""

_LUMA = np.array([0.299, 0.587, 0.114])
"""Rec. 601: how much red, green and blue make of the brightness."""


@dataclass(frozen=True)
class Photograph:
    """One picture on the page.

    Attributes:
        name: Its file name.
        mean: Its brightness, 0..255.
        picture: A ``data:`` address.
    """

    name: str
    mean: float
    picture: str


@dataclass(frozen=True)
class Views:
    """One photograph three ways, each a ``data:`` address.

    Attributes:
        name: Its file name.
        as_it_is: The picture.
        naive: Its normalised values shown as they are: below 0 black, above 1 white.
        restored: The same values with spread and mean put back.
        means: Brightness of the three, 0..255.
        error: Largest difference between the first and the third, levels of 255.
    """

    name: str
    as_it_is: str
    naive: str
    restored: str
    means: tuple[float, float, float]
    error: int


@dataclass(frozen=True)
class Brightness:
    """What the photographs of a split look like.

    Attributes:
        measures: Plain numbers; None where one is undefined because no photograph can be read.
        counts: Photographs by their mean brightness, in bars of `BIN` levels from 0.
        faults: Why files could not be read -> how many.
        unreadable: The first of them with the reason.
        darkest: The darkest outliers, darkest first.
        brightest: The brightest outliers, brightest first.
        views: Some photographs three ways, from a dark one to a bright one.
    """

    measures: dict[str, int | float | list[float] | None]
    counts: list[int]
    faults: dict[str, int]
    unreadable: list[tuple[str, str]]
    darkest: list[Photograph]
    brightest: list[Photograph]
    views: list[Views]

    def to_json(self) -> dict[str, Any]:
        """The numbers, and which files could not be read; no pictures."""
        unreadable = [{"file_name": name, "reason": reason} for name, reason in self.unreadable]
        return {
            **self.measures,
            "histogram_edges": [BIN * place for place in range(len(self.counts) + 1)],
            "histogram_counts": self.counts,
            "unreadable_reasons": self.faults,
            "unreadable_examples": unreadable,
        }

    def to_text(self) -> str:
        """One line for a terminal."""
        light = self.measures
        text = f"{light['measured']} photographs"
        if light["measured"]:
            text += f": mean brightness {light['mean']:.0f} of 255, {light['dark']} dark, {light['bright']} bright"
        if self.unreadable:
            name, reason = self.unreadable[0]
            text += f"; {light['unreadable']} of {light['images']} cannot be read (first: {name}: {reason})"
        return text


def measure_brightness(survey: Survey, image_dir: Path, file_names: Sequence[str]) -> Brightness:
    """Sum up what the survey of a split saw, and pick the pictures that show it.

    Args:
        survey: Of these files.
        image_dir: Their folder.
        file_names: ``N`` of them.
    """
    usable, mean = survey.usable, survey.luma[:, 0].astype(np.float64)
    dark, bright, flat = light_outliers(survey.luma)
    order = np.argsort(np.where(usable, mean, np.inf), kind="stable")[: int(usable.sum())].tolist()  # readable, darkest first
    unreadable = [(file_names[row], str(survey.faults[row])) for row in np.flatnonzero(~usable).tolist()]
    reasons = Counter(reason for _, reason in unreadable)
    there = mean[usable]
    return Brightness(
        measures={
            "images": len(file_names),
            "measured": len(there),
            "unreadable": len(unreadable),
            "side": FED_SIDE,
            "mean": float(there.mean()) if len(there) else None,
            "std": float(there.std(ddof=1)) if len(there) > 1 else None,
            "median": float(np.median(there)) if len(there) else None,
            "min": float(there.min()) if len(there) else None,
            "max": float(there.max()) if len(there) else None,
            "dark": int(dark.sum()),
            "bright": int(bright.sum()),
            "low_contrast": int(flat.sum()),
            **_normalised(survey.levels),
        },
        counts=np.histogram(there, bins=np.arange(0, 256 + BIN, BIN))[0].tolist(),
        faults=dict(reasons.most_common()),
        unreadable=[(shown(name), reason) for name, reason in unreadable[:MAX_EXAMPLES]],
        darkest=_photographs([row for row in order if dark[row]], image_dir, file_names, mean),
        brightest=_photographs([row for row in reversed(order) if bright[row]], image_dir, file_names, mean),
        views=_views(_spread(order), image_dir, file_names),
    )


def _normalised(levels: NDArray[np.int64]) -> dict[str, int | float | list[float] | None]:
    """What normalising makes of all pixels, from how many have each level, ``(3, 256)``."""
    keys = ("negative_share", "above_one_share", "shown_mean", "naive_mean")
    if not levels.any():
        return {**dict.fromkeys(keys), "normalized_mean": None, "normalized_std": None}
    every = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    values = normalize(every).T  # (3, 256): what each level of each channel becomes
    share = levels / levels.sum(axis=1, keepdims=True)
    naive = np.rint(255 * values.clip(0, 1).astype(np.float64))
    fed = statistics_of_pixels(levels, np.zeros((0, 3)))
    return {
        "negative_share": float(levels[values < 0].sum() / levels.sum()),
        "above_one_share": float(levels[values > 1].sum() / levels.sum()),
        "shown_mean": float(_LUMA @ (share @ np.arange(256))),
        "naive_mean": float(_LUMA @ (share * naive).sum(axis=1)),
        "normalized_mean": fed.mean.tolist(),
        "normalized_std": fed.std.tolist(),
    }


def _spread(order: Sequence[int]) -> list[int]:
    """Up to `VIEWS` of these rows, evenly from the first to the last but without the extremes."""
    count = min(VIEWS, len(order))
    return [order[(2 * place + 1) * len(order) // (2 * count)] for place in range(count)]


def _photographs(
    rows: Sequence[int], image_dir: Path, file_names: Sequence[str], mean: NDArray[np.float64]
) -> list[Photograph]:
    found: list[Photograph] = []
    for row in rows:
        if len(found) == OUTLIERS:
            break
        picture = _picture(image_dir / file_names[row])
        if picture is not None:
            found.append(Photograph(shown(file_names[row]), float(mean[row]), data_uri(picture, quality=QUALITY)))
    return found


def _views(rows: Sequence[int], image_dir: Path, file_names: Sequence[str]) -> list[Views]:
    pictures = [(file_names[row], _picture(image_dir / file_names[row])) for row in rows]
    return [three_ways(shown(name), picture) for name, picture in pictures if picture is not None]


def three_ways(name: str, picture: NDArray[np.uint8]) -> Views:
    """A picture ``(H, W, 3)`` as it is, normalised and shown naively, and de-normalised."""
    values = normalize(picture)
    naive = np.rint(255 * values.clip(0, 1)).astype(np.uint8)
    spread, middle = (np.asarray(constant, np.float32) for constant in (IMAGENET_STD, IMAGENET_MEAN))
    restored = np.rint(255 * (values * spread + middle).clip(0, 1)).astype(np.uint8)
    ways = (picture, naive, restored)
    one, two, three = (data_uri(way, quality=QUALITY) for way in ways)
    means = (brightness(picture), brightness(naive), brightness(restored))
    return Views(name, one, two, three, means, int(np.abs(restored.astype(int) - picture).max()))


def _picture(path: Path) -> NDArray[np.uint8] | None:
    """A small copy; None if it can no longer be read."""
    try:
        return shrink(decode(path, min_side=SIDE, headroom=1), SIDE)
    except ImageError:
        return None
