"""Training augmentation. Only this module uses albumentations; evaluation and tagging do not use this module."""

from __future__ import annotations

import math
import os
import random
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise the import checks online for a newer version
import albumentations as A

Augment = Literal["standard", "plain", "none"]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom, pixels; right and bottom are one past the end."""

FLIPPED = 0.5  # probability
COLOURED = 0.8  # probability
FACTORS = (0.7, 1.3)
"""Range of the factors of brightness, contrast and saturation."""
MAX_HUE = 0.03  # full circles, in either direction

MAX_ENLARGED = 1.25
"""Largest enlargement of a crop, which allows decoding at a reduced scale. With this value, photographs from 640 x 426 pixels
are decoded at half size for an input of 224 and crops down to half of their area. The usual training on crops down to 8 % of
the area enlarges 1.5 times on such photographs."""

ALIASING = 1.5
"""Larger reductions average pixels; below it, bilinear interpolation of two neighbours per side is as good, and faster."""

_LUMA = np.array([0.299, 0.587, 0.114])  # of R, G and B: ITU-R BT.601, as in JPEG
_TO_YIQ = np.array([_LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
# Three maps of RGB: to its grey, to the rest, and to the rest rotated by a quarter about the grey axis, in HSV's direction.
_GREY = np.tile(_LUMA, (3, 1))
_CHROMA = np.eye(3) - _GREY
_TURNED = np.linalg.inv(_TO_YIQ) @ np.array([[0.0, 0, 0], [0, 0, 1], [0, -1, 0]]) @ _TO_YIQ


class Drawn(NamedTuple):
    """The parameters that ``standard`` drew for an image."""

    width: int  # of the image, pixels
    height: int
    crop: Box
    flipped: bool
    colours: tuple[float, float, float, float] | None  # brightness, contrast, saturation, hue

    def fits(self, width: int, height: int) -> bool:
        """Whether an image of this size may be the same image at a reduced scale, with up to a pixel more on each side."""
        return abs(self.width * height - self.height * width) <= 2 * max(self.width, self.height)

    def rows(self, width: int, height: int) -> int:
        """Number of rows from the top that the crop needs in an image of this size; all if it has other proportions."""
        return self.crop[3] * height // self.height + 1 if self.fits(width, height) else height

    def crop_of(self, width: int, height: int) -> Box:
        """The crop in the decoded image of this size."""
        left, top, right, bottom = self.crop
        across, down = width / self.width, height / self.height
        left, top = min(round(left * across), width - 1), min(round(top * down), height - 1)
        return left, top, max(left + 1, round(right * across)), max(top + 1, round(bottom * down))


class Augmentation:
    """Augments one image; the same seed gives the same result.

    Args:
        kind: ``standard``: random resized crop, flip, brightness, contrast, saturation and hue. ``plain``: shift by up to an
            eighth and flip, for images about as small as the input. ``none``: no augmentation.
        size: Side of the square input, pixels.
        min_crop: Smallest area of the random crop, as a fraction of the image.
    """

    def __init__(self, kind: Augment, *, size: int, min_crop: float = 0.5) -> None:
        self.kind = kind
        self.size = size
        self.min_crop = min_crop
        # Albumentations draws the crop. The rest of `standard` does not use its Compose and ColorJitter: the former starts all
        # steps from one seed, the latter processes the image several times, which would take most of the time after reduced
        # decoding.
        self._crop = A.RandomResizedCrop((size, size), scale=(min_crop, 1.0), ratio=(3 / 4, 4 / 3))
        margin = max(1, size // 8)
        steps = [A.Pad(margin, border_mode=cv2.BORDER_REFLECT_101), A.RandomCrop(size, size), A.HorizontalFlip(p=FLIPPED)]
        self._plain = A.Compose(steps)
        self._unused = np.random.default_rng(0)  # albumentations requires numpy's generator too, but does not draw from it here

    def draw(self, seed: int, width: int, height: int) -> Drawn | None:
        """Draw the parameters for an image before it is decoded; they depend only on its size.

        Args:
            seed: The seed of the following call.
            width: Width of the image, pixels; 0 if it is not available.
            height: Height of the image, pixels; 0 if it is not available.

        Returns:
            The parameters; None if the size is not available or not needed.
        """
        if self.kind != "standard" or min(width, height) < 1:
            return None
        draws = random.Random(seed)  # one stream: with the same seed for each step, only small crops would be flipped
        self._crop.set_random_state(self._unused, draws)
        crop = self._crop.get_params_dependent_on_data({"shape": (height, width)}, {})["crop_coords"]
        flipped, coloured = draws.random() < FLIPPED, draws.random() < COLOURED
        brightness, contrast, saturation = draws.uniform(*FACTORS), draws.uniform(*FACTORS), draws.uniform(*FACTORS)
        colours = brightness, contrast, saturation, draws.uniform(-MAX_HUE, MAX_HUE)
        return Drawn(width, height, crop, flipped, colours if coloured else None)

    def min_side(self, drawn: Drawn | None) -> int:
        """Least number of pixels on an image's shorter side for the drawn parameters."""
        if self.kind != "standard":
            return self.size
        if drawn is None:
            return math.ceil(self.size / (math.sqrt(self.min_crop) * MAX_ENLARGED))
        left, top, right, bottom = drawn.crop
        shrink = math.sqrt((right - left) * (bottom - top)) / self.size
        return math.ceil(min(drawn.width, drawn.height) / (shrink * MAX_ENLARGED))

    def __call__(self, image: NDArray[np.uint8], seed: int, drawn: Drawn | None = None) -> NDArray[np.uint8]:
        """Augment an image.

        Args:
            image: RGB uint8 ``(H, W, 3)``.
            seed: Seed of all randomness.
            drawn: The result of `draw` for this seed; drawn here if it is None, or was drawn for other proportions.

        Returns:
            ``(size, size, 3)`` for ``standard``; the others keep the shape. The image itself is not changed.
        """
        if self.kind == "none":
            return image
        if self.kind == "plain":
            self._plain.set_random_state(self._unused, random.Random(seed))
            augmented: NDArray[np.uint8] = self._plain(image=image)["image"]
            return augmented
        height, width = image.shape[:2]
        if drawn is None or not drawn.fits(width, height):
            drawn = self.draw(seed, width, height)
            assert drawn is not None  # an image has a size
        augmented = resized_crop(image, drawn.crop_of(width, height), self.size)
        # In place, which leaves more of the processor's cache to the decoding of the next image.
        if drawn.flipped:
            cv2.flip(augmented, 1, dst=augmented)
        if drawn.colours is not None:
            recolour(augmented, *drawn.colours)
        return augmented


def resized_crop(image: NDArray[np.uint8], box: Box, size: int) -> NDArray[np.uint8]:
    """A crop of ``(H, W, 3)`` uint8, resized to ``(size, size, 3)``, bilinear; always a new array.

    Large reductions use torch's antialiased filter, which is torchvision's. On uint8 it is much faster than OpenCV's area
    averaging, and it also averages if only one side shrinks.
    """
    left, top, right, bottom = box
    part = image[top:bottom, left:right]
    if max(right - left, bottom - top) <= ALIASING * size:
        return cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    batch = torch.from_numpy(np.ascontiguousarray(part))[None].permute(0, 3, 1, 2)  # in channels-last format
    output = torch.nn.functional.interpolate(batch, (size, size), mode="bilinear", antialias=True)
    resized: NDArray[np.uint8] = output[0].permute(1, 2, 0).numpy()
    return resized


def recolour(image: NDArray[np.uint8], brightness: float, contrast: float, saturation: float, hue: float) -> None:
    """Change the colours of ``(H, W, 3)`` RGB uint8 in place: one pass over the image, rounded and clipped once.

    Each of the four is an affine map of RGB: brightness is a factor, contrast scales about the image's mean grey, saturation
    scales about the pixel's grey, hue rotates about the grey axis (in YIQ, which keeps the luma; HSV would need several
    passes). Saturation and hue do not change grey, so the maps are multiplied and applied together. The parameters have the
    same meaning as in torchvision's ColorJitter.

    Args:
        image: The image.
        brightness: Factor; 1 changes nothing.
        contrast: Factor; 1 changes nothing.
        saturation: Factor; 1 changes nothing.
        hue: Rotation in full circles; 0 changes nothing.
    """
    turn = 2 * math.pi * hue
    colour = _GREY + saturation * (math.cos(turn) * _CHROMA + math.sin(turn) * _TURNED)
    affine = np.empty((3, 4))
    affine[:, :3] = brightness * contrast * colour
    affine[:, 3] = brightness * (1 - contrast) * float(_LUMA @ cv2.mean(image)[:3])
    cv2.transform(image, affine, dst=image)
