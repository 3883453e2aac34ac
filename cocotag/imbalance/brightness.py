"""Brightness of a split's photographs, and how normalisation changes their look. Does not depend on labels or on a page.

All measurements come from `cocotag.data.check.survey`, which reads every image once; only the few photographs on the page
are decoded again. The rule for dark and bright photographs is in `cocotag.data.check.images`.
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
"""Number of darkest outliers on the page, and of brightest."""
VIEWS = 6
"""Number of photographs shown in three versions."""
SIDE, QUALITY = 160, 70
"""Pixels and JPEG quality of the pictures: about 6 kB each, 200 kB in all."""
BIN = 8
"""Width of a histogram bin, in levels of 255."""

_LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in the brightness, Rec. 601."""


@dataclass(frozen=True)
class Photograph:
    """One photograph on the page.

    Attributes:
        name: Its file name.
        mean: Its mean brightness, 0..255.
        picture: The picture as a ``data:`` address.
    """

    name: str
    mean: float
    picture: str


@dataclass(frozen=True)
class Views:
    """One photograph in three versions, each a ``data:`` address.

    Attributes:
        name: Its file name.
        as_it_is: The original picture.
        naive: Its normalised values without de-normalisation, clipped: below 0 black, above 1 white.
        restored: Its normalised values after de-normalisation.
        means: Mean brightness of the three, 0..255.
        error: Largest difference between the original and the restored picture, in levels of 255.
    """

    name: str
    as_it_is: str
    naive: str
    restored: str
    means: tuple[float, float, float]
    error: int


@dataclass(frozen=True)
class Brightness:
    """Brightness of the photographs of a split.

    Attributes:
        measures: Plain numbers; None if undefined, since no photograph can be read.
        counts: Photographs by their mean brightness, in bins of `BIN` levels from 0.
        faults: Reason why files cannot be read -> their number.
        unreadable: The first unreadable files, each with the reason.
        darkest: The darkest outliers, darkest first.
        brightest: The brightest outliers, brightest first.
        views: Some photographs in three versions, from dark to bright.
    """

    measures: dict[str, int | float | list[float] | None]
    counts: list[int]
    faults: dict[str, int]
    unreadable: list[tuple[str, str]]
    darkest: list[Photograph]
    brightest: list[Photograph]
    views: list[Views]

    def to_json(self) -> dict[str, Any]:
        """The numbers and the unreadable files, without pictures."""
        unreadable = [{"file_name": name, "reason": reason} for name, reason in self.unreadable]
        return {
            **self.measures,
            "histogram_edges": [BIN * edge for edge in range(len(self.counts) + 1)],
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
    """Brightness of a split, from the survey of its images, with a selection of pictures.

    Args:
        survey: The survey of the images.
        image_dir: Their folder.
        file_names: Their names, ``N``.
    """
    usable, mean = survey.usable, survey.luma[:, 0].astype(np.float64)
    dark, bright, flat = light_outliers(survey.luma)
    order = np.argsort(np.where(usable, mean, np.inf), kind="stable")[: int(usable.sum())].tolist()  # readable, darkest first
    unreadable = [(file_names[row], str(survey.faults[row])) for row in np.flatnonzero(~usable).tolist()]
    reasons = Counter(reason for _, reason in unreadable)
    means = mean[usable]
    return Brightness(
        measures={
            "images": len(file_names),
            "measured": len(means),
            "unreadable": len(unreadable),
            "side": FED_SIDE,
            "mean": float(means.mean()) if len(means) else None,
            "std": float(means.std(ddof=1)) if len(means) > 1 else None,
            "median": float(np.median(means)) if len(means) else None,
            "min": float(means.min()) if len(means) else None,
            "max": float(means.max()) if len(means) else None,
            "dark": int(dark.sum()),
            "bright": int(bright.sum()),
            "low_contrast": int(flat.sum()),
            **_normalised(survey.levels),
        },
        counts=np.histogram(means, bins=np.arange(0, 256 + BIN, BIN))[0].tolist(),
        faults=dict(reasons.most_common()),
        unreadable=[(shown(name), reason) for name, reason in unreadable[:MAX_EXAMPLES]],
        darkest=_photographs([row for row in order if dark[row]], image_dir, file_names, mean),
        brightest=_photographs([row for row in reversed(order) if bright[row]], image_dir, file_names, mean),
        views=_views(_spread(order), image_dir, file_names),
    )


def _normalised(levels: NDArray[np.int64]) -> dict[str, int | float | list[float] | None]:
    """Effect of normalisation on all pixels, from the number of pixels at each level, ``(3, 256)``."""
    keys = ("negative_share", "above_one_share", "shown_mean", "naive_mean")
    if not levels.any():
        return {**dict.fromkeys(keys), "normalized_mean": None, "normalized_std": None}
    every = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    values = normalize(every).T  # (3, 256): the normalised value of each level of each channel
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
    """Up to `VIEWS` of these rows, evenly spaced from first to last, without the extremes."""
    count = min(VIEWS, len(order))
    return [order[(2 * index + 1) * len(order) // (2 * count)] for index in range(count)]


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
    """A picture ``(H, W, 3)`` in three versions: original, normalised and clipped, and de-normalised."""
    values = normalize(picture)
    naive = np.rint(255 * values.clip(0, 1)).astype(np.uint8)
    spread, middle = (np.asarray(constant, np.float32) for constant in (IMAGENET_STD, IMAGENET_MEAN))
    restored = np.rint(255 * (values * spread + middle).clip(0, 1)).astype(np.uint8)
    one, two, three = (data_uri(version, quality=QUALITY) for version in (picture, naive, restored))
    means = (brightness(picture), brightness(naive), brightness(restored))
    return Views(name, one, two, three, means, int(np.abs(restored.astype(int) - picture).max()))


def _picture(path: Path) -> NDArray[np.uint8] | None:
    """A thumbnail of the photograph; None if it can no longer be read."""
    try:
        return shrink(decode(path, min_side=SIDE, headroom=1), SIDE)
    except ImageError:
        return None
