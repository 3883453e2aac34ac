"""What the network is fed: its normalisation, and how to tell from the numbers alone that it went wrong.

The constants have this one definition; `cocotag.models.network` builds them into the network. Knows no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cocotag.models.normalization import IMAGENET_MEAN, IMAGENET_STD

FITS = 0.1
"""A mistake is named if it would explain the extremes to within so much of the range from black to white."""
FITS_NOT = 0.25
"""And only if, taken as right, the extremes would be so far from black and white."""
IMPOSSIBLE = 0.02
"""So much darker than black or brighter than white, in parts of that range, is not rounding."""

SWAP_IMAGES = 20
"""With fewer images nothing is said about the order of channels."""
SWAP_MARGIN = 0.02
"""Blue must outshine red by so much of the range; ImageNet's red outshines its blue by 0.08."""
SWAP_CERTAINTY = 3.0
"""And by so many standard errors of the mean over images."""

Affine = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Factor and offset by channel, each ``(3,)``: fed = factor x pixel + offset, for pixels from 0 (black) to 1."""


@dataclass(frozen=True, slots=True)
class FedFault:
    """A mistake that the numbers show.

    Attributes:
        code: A stable name for programs.
        message: What the numbers show and what most likely made them so.
        certain: False where some honest data sets look the same.
    """

    code: str
    message: str
    certain: bool


@dataclass(frozen=True, slots=True, eq=False)
class FedStatistics:
    """Network inputs in numbers, by channel R, G, B.

    Attributes:
        images: How many images.
        mean: Over all pixels, ``(3,)``; about 0 where all is right.
        std: Over all pixels, ``(3,)``; about 1.
        low: Smallest value, ``(3,)``.
        high: Largest value, ``(3,)``.
        image_means: Mean of each image, ``(N, 3)``.
    """

    images: int
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    image_means: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, without the means of single images."""
        channels = {name: np.round(getattr(self, name), 4).tolist() for name in ("mean", "std", "low", "high")}
        return {"images": self.images, **channels}


def fed_statistics(fed: NDArray[np.floating[Any]]) -> FedStatistics:
    """Measure network inputs, such as a batch caught in front of the backbone.

    Args:
        fed: ``(N, 3, H, W)``, channels R, G, B, N >= 1.

    Raises:
        ValueError: Another shape.
    """
    if fed.ndim != 4 or fed.shape[1] != 3 or fed.size == 0:
        raise ValueError(f"Network inputs are (N, 3, H, W); this has the shape {fed.shape}.")
    each = (0, 2, 3)
    return FedStatistics(
        images=len(fed),
        mean=fed.mean(axis=each, dtype=np.float64),
        std=fed.std(axis=each, dtype=np.float64),
        low=fed.min(axis=each).astype(np.float64),
        high=fed.max(axis=each).astype(np.float64),
        image_means=fed.mean(axis=(2, 3), dtype=np.float64),
    )


def statistics_of_pixels(histogram: NDArray[np.int64], image_means: NDArray[np.floating[Any]]) -> FedStatistics:
    """What `fed_statistics` would give for images once they are normalised, from their histogram.

    Args:
        histogram: Pixels of each level in all images, ``(3, 256)``, channels R, G, B; at least one pixel.
        image_means: Mean level of each image, ``(N, 3)``, 0..255.
    """
    factor, offset = _right()
    levels = np.arange(256) / 255
    weights = histogram / histogram.sum(axis=1, keepdims=True)
    mean = weights @ levels
    std = np.sqrt(np.maximum((weights * (levels - mean[:, None]) ** 2).sum(axis=1), 0))
    there = histogram > 0
    low, high = levels[there.argmax(axis=1)], levels[255 - there[:, ::-1].argmax(axis=1)]
    return FedStatistics(
        images=len(image_means),
        mean=factor * mean + offset,
        std=factor * std,
        low=factor * low + offset,
        high=factor * high + offset,
        image_means=factor * (image_means / 255) + offset,
    )


def fed_faults(fed: FedStatistics) -> list[FedFault]:
    """Name the mistakes that network inputs show.

    Pixels lie between black and white, and over some dozens of photographs reach both. Each way to get it wrong is an
    affine map of the pixels, so it is undone in thought: the one that leads back to black and white is the one that was
    made. Where none does (a few dark pictures, say) nothing is claimed, unless the values are impossible.

    The order of channels leaves less of a trace. Photographs are redder than they are blue (ImageNet's mean is 0.485
    red, 0.456 green, 0.406 blue), but a set of seascapes is not: so that fault is never ``certain``.
    """
    if not all(np.isfinite(values).all() for values in (fed.mean, fed.std, fed.low, fed.high)):
        return [FedFault("fed_not_finite", "the inputs hold NaN or infinity. The loss will be NaN too.", certain=True)]
    shown = f"The inputs range from {fed.low.min():.4g} to {fed.high.max():.4g}"
    taken, faults = _right(), []
    code, what, mistake = min(_mistakes(), key=lambda each: _misfit(fed, each[2]))
    black, white = _pixels(fed, taken)
    if _misfit(fed, taken) > FITS_NOT and _misfit(fed, mistake) < FITS:
        taken = mistake
        faults.append(FedFault(code, f"{shown}: {what}", certain=True))
    elif black.min() < -IMPOSSIBLE or white.max() > 1 + IMPOSSIBLE:
        low, high = _fed(taken, 0).min(), _fed(taken, 1).max()
        message = f"{shown} (or a channel leaves its own range), but pixels can only give {low:.3g} to {high:.3g}."
        return [FedFault("fed_out_of_range", message, certain=True)]
    return faults + _swapped(fed, taken)


def _swapped(fed: FedStatistics, taken: Affine) -> list[FedFault]:
    """The alarm for exchanged channels, if the inputs came from pixels by the map ``taken``."""
    factor, offset = taken
    red, green, blue = ((fed.mean - offset) / factor).tolist()
    means = (fed.image_means - offset) / factor
    excess = means[:, 2] - means[:, 0]
    if fed.images < SWAP_IMAGES or not red < green < blue or excess.mean() < SWAP_MARGIN:
        return []
    error = excess.std(ddof=1) / np.sqrt(len(excess))
    if excess.mean() < SWAP_CERTAINTY * error:
        return []
    usual = "/".join(f"{value:.2f}" for value in IMAGENET_MEAN)
    message = (
        f"blue is the strongest channel: mean red/green/blue is {red:.2f}/{green:.2f}/{blue:.2f}, where photographs show about "
        f"{usual}. Red and blue may have been exchanged (OpenCV's order is BGR), or the pictures may be of sea, sky or snow."
    )
    return [FedFault("fed_channels_swapped", message, certain=False)]


def _right() -> Affine:
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    return 1 / std, -mean / std


def _mistakes() -> list[tuple[str, str, Affine]]:
    """Code, words and map of each mistake that is known."""
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    one = np.ones(3)
    twice = "the normalisation was done twice. Leave one out; the network has its own."
    return [
        (
            "fed_not_divided",
            "mean and spread of 0..1 were applied to pixels of 0..255. Divide by 255 first.",
            (255 / std, -mean / std),
        ),
        ("fed_not_normalised", "these are bare pixels of 0..255. Divide by 255, then normalise.", (255 * one, 0 * one)),
        ("fed_not_normalised", "these are bare pixels of 0..1. Take off the mean and divide by the spread.", (one, 0 * one)),
        ("fed_normalised_twice", twice, (1 / std**2, -mean / std**2 - mean / std)),
        # The second time by a network that expects 0..255, as ours does.
        ("fed_normalised_twice", twice, (1 / (255 * std**2), -mean / (255 * std**2) - mean / std)),
        (
            "fed_divided_twice",
            "the pixels were 0..1 already when they were divided by 255, so every picture is black.",
            (1 / (255 * std), -mean / std),
        ),
    ]


def _fed(affine: Affine, pixel: float) -> NDArray[np.float64]:
    return affine[0] * pixel + affine[1]


def _pixels(fed: FedStatistics, affine: Affine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Darkest and brightest pixel by channel, each ``(3,)``, if the inputs came from pixels by this map."""
    factor, offset = affine
    return (fed.low - offset) / factor, (fed.high - offset) / factor


def _misfit(fed: FedStatistics, affine: Affine) -> float:
    """How far the extremes are from black and white if the map is undone, of the channel where it is farthest."""
    black, white = _pixels(fed, affine)
    return float(max(np.abs(black).max(), np.abs(white - 1).max()))
