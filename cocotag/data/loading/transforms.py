"""Training augmentation. The only file that knows albumentations; evaluation and tagging never come here."""

from __future__ import annotations

import math
import os
import random
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or the import asks the network for a newer version
import albumentations as A

Augment = Literal["standard", "plain", "none"]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom, pixels; the last two are one past the end."""

FLIPPED = 0.5  # probability
COLOURED = 0.8  # probability
FACTORS = (0.7, 1.3)
"""Of brightness, contrast and saturation."""
MAX_HUE = 0.03  # full circles, either way

MAX_ENLARGED = 1.25
"""How far a crop may be enlarged, so that the image can be decoded smaller: with that much, photographs of 640 x 426 pixels and
more are decoded at half size for an input of 224 and crops down to a half of their area. The usual training on crops down to
8 % of the area enlarges 1.5 times on such photographs."""

ALIASING = 1.5
"""Shrinking by more averages; by less, two neighbours a side are as good as all the pixels that there are, and quicker."""

_LUMA = np.array([0.299, 0.587, 0.114])  # of R, G and B: ITU-R BT.601, as JPEG has it
_TO_YIQ = np.array([_LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
# Three maps of RGB: to its grey, to what is not grey, and that turned by a quarter about the grey axis, as HSV counts hue.
_GREY = np.tile(_LUMA, (3, 1))
_CHROMA = np.eye(3) - _GREY
_TURNED = np.linalg.inv(_TO_YIQ) @ np.array([[0.0, 0, 0], [0, 0, 1], [0, -1, 0]]) @ _TO_YIQ


class Drawn(NamedTuple):
    """What ``standard`` will do to an image."""

    width: int  # of the image that it was drawn for, pixels
    height: int
    crop: Box
    flipped: bool
    colours: tuple[float, float, float, float] | None  # brightness, contrast, saturation, hue

    def fits(self, width: int, height: int) -> bool:
        """Whether an image of this size may be that image, decoded smaller: to a pixel more on each side."""
        return abs(self.width * height - self.height * width) <= 2 * max(self.width, self.height)

    def rows(self, width: int, height: int) -> int:
        """How far down the crop reaches in that image; all of it if the image has other proportions."""
        return self.crop[3] * height // self.height + 1 if self.fits(width, height) else height

    def crop_of(self, width: int, height: int) -> Box:
        """The crop in that image as it was decoded."""
        left, top, right, bottom = self.crop
        across, down = width / self.width, height / self.height
        left, top = min(round(left * across), width - 1), min(round(top * down), height - 1)
        return left, top, max(left + 1, round(right * across)), max(top + 1, round(bottom * down))


class Augmentation:
    """Augments one image, the same way for the same seed.

    Args:
        kind: ``standard``: random resized crop, flip, brightness, contrast, saturation and hue. ``plain``: shift by up to an
            eighth and flip, for images about as small as the input. ``none``: nothing.
        size: Side of the square input, pixels.
        min_crop: Smallest area of the random crop, as a fraction of the image.
    """

    def __init__(self, kind: Augment, *, size: int, min_crop: float = 0.5) -> None:
        self.kind = kind
        self.size = size
        self.min_crop = min_crop
        # Albumentations draws the crop. The rest of `standard` is done without its Compose and ColorJitter: the one starts all
        # steps from one seed, the other goes over the image several times, and reduced decoding leaves little else to wait for.
        self._crop = A.RandomResizedCrop((size, size), scale=(min_crop, 1.0), ratio=(3 / 4, 4 / 3))
        margin = max(1, size // 8)
        steps = [A.Pad(margin, border_mode=cv2.BORDER_REFLECT_101), A.RandomCrop(size, size), A.HorizontalFlip(p=FLIPPED)]
        self._plain = A.Compose(steps)
        self._unused = np.random.default_rng(0)  # albumentations wants numpy's generator too, but nothing here draws from it

    def draw(self, seed: int, width: int, height: int) -> Drawn | None:
        """What this seed does to an image; known before the image is decoded, since all of it is a matter of proportions.

        Args:
            seed: As in the call that follows.
            width: Of the image, pixels; 0 if it is not known.
            height: Likewise.

        Returns:
            None where the size is not known, or nothing depends on it.
        """
        if self.kind != "standard" or min(width, height) < 1:
            return None
        draws = random.Random(seed)  # one stream: with one seed for each step, small crops were flipped and large ones not
        self._crop.set_random_state(self._unused, draws)
        crop = self._crop.get_params_dependent_on_data({"shape": (height, width)}, {})["crop_coords"]
        flipped, coloured = draws.random() < FLIPPED, draws.random() < COLOURED
        brightness, contrast, saturation = draws.uniform(*FACTORS), draws.uniform(*FACTORS), draws.uniform(*FACTORS)
        colours = brightness, contrast, saturation, draws.uniform(-MAX_HUE, MAX_HUE)
        return Drawn(width, height, crop, flipped, colours if coloured else None)

    def min_side(self, drawn: Drawn | None) -> int:
        """Pixels that an image's shorter side needs for what was drawn for it."""
        if self.kind != "standard":
            return self.size
        if drawn is None:
            return math.ceil(self.size / (math.sqrt(self.min_crop) * MAX_ENLARGED))
        left, top, right, bottom = drawn.crop
        shrink = math.sqrt((right - left) * (bottom - top)) / self.size
        return math.ceil(min(drawn.width, drawn.height) / (shrink * MAX_ENLARGED))

    def __call__(self, image: NDArray[np.uint8], seed: int, drawn: Drawn | None = None) -> NDArray[np.uint8]:
        """Augment.

        Args:
            image: RGB uint8 ``(H, W, 3)``.
            seed: All randomness.
            drawn: What `draw` gave for this seed; drawn here if it is not given, or for an image of other proportions.

        Returns:
            ``standard`` gives ``(size, size, 3)``, the others keep the shape. The image itself is not changed.
        """
        if self.kind == "none":
            return image
        if self.kind == "plain":
            self._plain.set_random_state(self._unused, random.Random(seed))
            made: NDArray[np.uint8] = self._plain(image=image)["image"]
            return made
        height, width = image.shape[:2]
        if drawn is None or not drawn.fits(width, height):
            drawn = self.draw(seed, width, height)
            assert drawn is not None  # an image has a size
        made = resized_crop(image, drawn.crop_of(width, height), self.size)
        # In place: what stays in the processor's cache leaves it to the next image's decoding.
        if drawn.flipped:
            cv2.flip(made, 1, dst=made)
        if drawn.colours is not None:
            recolour(made, *drawn.colours)
        return made


def resized_crop(image: NDArray[np.uint8], box: Box, size: int) -> NDArray[np.uint8]:
    """A part of ``(H, W, 3)`` uint8, resized to ``(size, size, 3)``, bilinear; always a new array.

    What shrinks a lot goes through torch's antialiased filter, which is torchvision's: on uint8 it is much faster than OpenCV's
    area averaging, and averages also where only one side shrinks.
    """
    left, top, right, bottom = box
    part = image[top:bottom, left:right]
    if max(right - left, bottom - top) <= ALIASING * size:
        return cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    batch = torch.from_numpy(np.ascontiguousarray(part))[None].permute(0, 3, 1, 2)  # channels last, and known to be so
    made = torch.nn.functional.interpolate(batch, (size, size), mode="bilinear", antialias=True)
    resized: NDArray[np.uint8] = made[0].permute(1, 2, 0).numpy()
    return resized


def recolour(image: NDArray[np.uint8], brightness: float, contrast: float, saturation: float, hue: float) -> None:
    """Change the colours of ``(H, W, 3)`` RGB uint8 in place: one pass over the image, rounded and clipped once.

    Each of the four is an affine map of RGB: brightness a factor, contrast a stretch about the image's mean grey, saturation a
    stretch about the pixel's grey, hue a turn about the grey axis (in YIQ, which keeps the luma; in HSV it would be several
    passes). The last two leave grey alone, so the maps are multiplied and then applied together. The numbers mean what they
    mean in torchvision's ColorJitter.

    Args:
        image: The image.
        brightness: Factor; 1 changes nothing.
        contrast: Likewise.
        saturation: Likewise.
        hue: Turn in full circles; 0 changes nothing.
    """
    turn = 2 * math.pi * hue
    colour = _GREY + saturation * (math.cos(turn) * _CHROMA + math.sin(turn) * _TURNED)
    affine = np.empty((3, 4))
    affine[:, :3] = brightness * contrast * colour
    affine[:, 3] = brightness * (1 - contrast) * float(_LUMA @ cv2.mean(image)[:3])
    cv2.transform(image, affine, dst=image)
