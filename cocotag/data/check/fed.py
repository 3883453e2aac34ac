"""Statistics of the network's inputs, and how to detect a wrong normalisation from them. Does not import torch.

The constants are those of `cocotag.models.normalization`, which `cocotag.models.network` builds into the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cocotag.models.normalization import IMAGENET_MEAN, IMAGENET_STD

FITS = 0.1
"""A mistake is reported if it explains the extremes to within this share of the range from black to white ..."""
FITS_NOT = 0.25
"""... and if the correct normalisation would leave the extremes at least this far from black and white."""
IMPOSSIBLE = 0.02
"""Values darker than black or brighter than white by this share of the range are not rounding errors."""

SWAP_IMAGES = 20
"""With fewer images the order of channels is not checked."""
SWAP_MARGIN = 0.02
"""Blue must be brighter than red by this share of the range; ImageNet's red is brighter than its blue by 0.08."""
SWAP_CERTAINTY = 3.0
"""Blue must also be brighter by this many standard errors of the mean over images."""

Affine = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Factor and offset by channel, each ``(3,)``: input = factor x pixel + offset, for pixels from 0 (black) to 1."""


@dataclass(frozen=True, slots=True)
class FedFault:
    """A mistake that the statistics show.

    Attributes:
        code: A stable name for programs.
        message: What the statistics show, and the most likely cause.
        certain: False if some correct data sets look the same.
    """

    code: str
    message: str
    certain: bool


@dataclass(frozen=True, slots=True, eq=False)
class FedStatistics:
    """Statistics of network inputs by channel R, G, B.

    Attributes:
        images: Number of images.
        mean: Mean over all pixels, ``(3,)``; about 0 if the normalisation is correct.
        std: Standard deviation over all pixels, ``(3,)``; about 1.
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
    """Measure network inputs, such as a batch captured in front of the backbone.

    Args:
        fed: Inputs ``(N, 3, H, W)``, channels R, G, B, N >= 1.

    Raises:
        ValueError: The shape is another one.
    """
    if fed.ndim != 4 or fed.shape[1] != 3 or fed.size == 0:
        raise ValueError(f"The inputs have shape {fed.shape}; they must be (N, 3, H, W).")
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
    """The result of `fed_statistics` for normalised images, computed from their histogram.

    Args:
        histogram: Number of pixels of each level in all images, ``(3, 256)``, channels R, G, B; at least one pixel.
        image_means: Mean level of each image, ``(N, 3)``, 0..255.
    """
    factor, offset = _correct()
    levels = np.arange(256) / 255
    weights = histogram / histogram.sum(axis=1, keepdims=True)
    mean = weights @ levels
    std = np.sqrt(np.maximum((weights * (levels - mean[:, None]) ** 2).sum(axis=1), 0))
    occurs = histogram > 0
    low, high = levels[occurs.argmax(axis=1)], levels[255 - occurs[:, ::-1].argmax(axis=1)]
    return FedStatistics(
        images=len(image_means),
        mean=factor * mean + offset,
        std=factor * std,
        low=factor * low + offset,
        high=factor * high + offset,
        image_means=factor * (image_means / 255) + offset,
    )


def fed_faults(fed: FedStatistics) -> list[FedFault]:
    """Find the mistakes in the normalisation that network inputs show.

    Pixels lie between black and white, and some dozens of photographs reach both. Each mistake is an affine map of the pixels.
    Each map is inverted: the one whose inverse leads back to black and white is the mistake. If none does (for a few dark
    images, say), no mistake is reported, unless the values are impossible.

    The order of channels is harder to detect. Photographs have more red than blue (ImageNet's mean is 0.485 red, 0.456 green,
    0.406 blue), but a data set of seascapes does not. This fault is therefore never ``certain``.
    """
    if not all(np.isfinite(values).all() for values in (fed.mean, fed.std, fed.low, fed.high)):
        return [FedFault("fed_not_finite", "The inputs have NaN or infinite values. The loss will be NaN too.", certain=True)]
    extremes = f"The inputs range from {fed.low.min():.4g} to {fed.high.max():.4g}"
    affine, faults = _correct(), []
    code, what, mistake = min(_mistakes(), key=lambda each: _misfit(fed, each[2]))
    black, white = _pixels(fed, affine)
    if _misfit(fed, affine) > FITS_NOT and _misfit(fed, mistake) < FITS:
        affine = mistake
        faults.append(FedFault(code, f"{extremes}: {what}", certain=True))
    elif black.min() < -IMPOSSIBLE or white.max() > 1 + IMPOSSIBLE:
        low, high = _fed(affine, 0).min(), _fed(affine, 1).max()
        message = f"{extremes} (or a channel leaves its own range), but pixels can only give {low:.3g} to {high:.3g}."
        return [FedFault("fed_out_of_range", message, certain=True)]
    return faults + _swapped(fed, affine)


def _swapped(fed: FedStatistics, affine: Affine) -> list[FedFault]:
    """The fault of swapped channels, if the inputs are pixels mapped by ``affine``."""
    factor, offset = affine
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
        f"Blue is the strongest channel: mean red/green/blue is {red:.2f}/{green:.2f}/{blue:.2f}, while photographs have about "
        f"{usual}. Red and blue may be swapped (OpenCV's order is BGR), or the images may show sea, sky or snow."
    )
    return [FedFault("fed_channels_swapped", message, certain=False)]


def _correct() -> Affine:
    """The correct normalisation."""
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    return 1 / std, -mean / std


def _mistakes() -> list[tuple[str, str, Affine]]:
    """Code, description and map of each detectable mistake."""
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    one = np.ones(3)
    twice = "the normalisation was applied twice. Remove one; the network has its own."
    return [
        (
            "fed_not_divided",
            "mean and standard deviation of 0..1 were applied to pixels of 0..255. Divide by 255 first.",
            (255 / std, -mean / std),
        ),
        ("fed_not_normalised", "these are raw pixels of 0..255. Divide by 255, then normalise.", (255 * one, 0 * one)),
        (
            "fed_not_normalised",
            "these are raw pixels of 0..1. Subtract the mean and divide by the standard deviation.",
            (one, 0 * one),
        ),
        ("fed_normalised_twice", twice, (1 / std**2, -mean / std**2 - mean / std)),
        # The second time by a network that expects 0..255, like cocotag's.
        ("fed_normalised_twice", twice, (1 / (255 * std**2), -mean / (255 * std**2) - mean / std)),
        (
            "fed_divided_twice",
            "the pixels were 0..1 already when they were divided by 255, so every image is black.",
            (1 / (255 * std), -mean / std),
        ),
    ]


def _fed(affine: Affine, pixel: float) -> NDArray[np.float64]:
    return affine[0] * pixel + affine[1]


def _pixels(fed: FedStatistics, affine: Affine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Darkest and brightest pixel by channel, each ``(3,)``, if the inputs are pixels mapped by ``affine``."""
    factor, offset = affine
    return (fed.low - offset) / factor, (fed.high - offset) / factor


def _misfit(fed: FedStatistics, affine: Affine) -> float:
    """Distance of the extremes from black and white after inverting the map, for the channel with the largest distance."""
    black, white = _pixels(fed, affine)
    return float(max(np.abs(black).max(), np.abs(white - 1).max()))
