"""The canvas of the sample data set: a small antialiased canvas in object coordinates, and shapes to paint on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Colour = tuple[float, float, float]
"""RGB, 0..255."""
Points = NDArray[np.float64]
"""``(P, 2)``: x and y in object coordinates. The object has a length of about 1 and is centred on (0, 0); y points down."""

BLACK, WHITE, STEEL = (16.0, 16.0, 18.0), (246.0, 246.0, 242.0), (196.0, 200.0, 206.0)
RED, BLUE, YELLOW, GREEN = (226.0, 52.0, 48.0), (40.0, 110.0, 214.0), (248.0, 196.0, 40.0), (46.0, 160.0, 84.0)
BRIGHT: list[Colour] = [RED, BLUE, YELLOW, GREEN, (236, 120, 36), (136, 66, 170), (30, 170, 180)]


OVERSAMPLING = 2
"""Objects are painted this many times larger than in the final image."""


class Canvas:
    """A transparent square on which one object is painted in its own coordinates, rotated and antialiased.

    Attributes:
        pixels: Premultiplied RGBA uint8, ``(S, S, 4)``, oversampled. Painting ``(rgb, 255)`` at coverage c gives
            ``old * (1 - c) + new * c``, which is the "over" of premultiplied colour, so OpenCV's own antialiasing is right.
    """

    def __init__(self, unit: float, angle: float) -> None:
        """Create an empty canvas.

        Args:
            unit: Pixels of the image per unit of object coordinates.
            angle: Degrees, clockwise.
        """
        self.unit = OVERSAMPLING * unit
        side = OVERSAMPLING * int(np.ceil(1.5 * unit))  # the diagonal of the unit square, plus a margin
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        self._matrix = self.unit * np.array([[cos, sin], [-sin, cos]])
        self.pixels = np.zeros((side, side, 4), np.uint8)

    def sprite(self) -> NDArray[np.uint8]:
        """The painted object at the image's scale: premultiplied RGBA, cropped, with edges lit from the upper left."""
        x, y, width, height = (OVERSAMPLING * (place // OVERSAMPLING) for place in cv2.boundingRect(self.pixels[..., 3]))
        rim = OVERSAMPLING
        shown = self.pixels[max(0, y - rim) : y + height + 2 * rim, max(0, x - rim) : x + width + 2 * rim]
        pixels = cv2.resize(shown, None, fx=1 / OVERSAMPLING, fy=1 / OVERSAMPLING, interpolation=cv2.INTER_AREA)
        sigma = 0.03 * self.unit / OVERSAMPLING
        relief = cv2.GaussianBlur(pixels[..., 3], (0, 0), sigma, borderType=cv2.BORDER_CONSTANT).astype(np.float32) / 255
        step = max(1, round(sigma))
        padded = np.pad(relief, step)
        slope = padded[2 * step :, 2 * step :] - padded[: -2 * step, : -2 * step]
        light = 0.8 + 0.2 * relief + 0.22 * slope
        rgb = np.minimum(pixels[..., :3] * light[..., None], pixels[..., 3:])
        return np.concatenate([rgb.astype(np.uint8), pixels[..., 3:]], axis=2)

    def _place(self, points: ArrayLike) -> Points:
        placed: Points = np.asarray(points, np.float64) @ self._matrix + self.pixels.shape[0] / 2 - 0.5
        return placed

    def _fixed(self, points: ArrayLike) -> NDArray[np.int32]:
        return np.rint(self._place(points) * 16).astype(np.int32)  # OpenCV's fixed point, with shift=4

    def polygon(self, points: ArrayLike, colour: Colour, opacity: float = 1.0) -> None:
        """Fill a polygon. An ``opacity`` below 1 replaces the pixels below, so glass must be painted first."""
        paint = [opacity * value for value in (*colour, 255.0)]
        cv2.fillPoly(self.pixels, [self._fixed(points)], paint, cv2.LINE_AA, shift=4)

    def erase(self, points: ArrayLike) -> None:
        """Cut a hole."""
        self.polygon(points, (0, 0, 0), opacity=0)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        self.polygon(ellipse(x, y, radius, radius), colour)

    def line(self, points: ArrayLike, width: float, colour: Colour, *, closed: bool = False) -> None:
        """Stroke a polyline with round ends."""
        thickness = max(1, round(width * self.unit))
        cv2.polylines(self.pixels, [self._fixed(points)], closed, (*colour, 255.0), thickness, cv2.LINE_AA, shift=4)

    def glow(self, x: float, y: float, radius: float, strength: float) -> None:
        """Lighten (``strength`` up to 1) or darken (down to -1) painted pixels softly around a point."""
        sigma = radius * self.unit
        windows, falls = [], []
        for centre in self._place((x, y)).tolist():
            first = max(0, int(centre - 2.5 * sigma))  # farther away it is less than one level of 255
            place = np.arange(first, min(self.pixels.shape[0], int(centre + 2.5 * sigma) + 1), dtype=np.float32)
            windows.append(slice(first, first + len(place)))
            falls.append(np.exp(-(((place - centre) / sigma) ** 2)))
        region = self.pixels[windows[1], windows[0]]
        rgb = region[..., :3].astype(np.float32)
        towards = region[..., 3:] - rgb if strength > 0 else rgb
        region[..., :3] = rgb + strength * falls[1][:, None, None] * falls[0][None, :, None] * towards

    def mottle(self, rng: np.random.Generator, cells: int, strength: float) -> None:
        """Vary the brightness in soft spots, ``cells`` across the canvas."""
        side = self.pixels.shape[0]
        noise = rng.uniform(1 - strength, 1, (cells, cells)).astype(np.float32)
        spots = cv2.resize(noise, (side, side), interpolation=cv2.INTER_LINEAR)
        self.pixels[..., :3] = self.pixels[..., :3] * spots[..., None]

    @contextmanager
    def clip(self) -> Iterator[None]:
        """Clip everything painted inside the block to the pixels painted before it."""
        before = self.pixels[..., 3].copy()
        yield
        after = self.pixels[..., 3]
        beyond = after > before
        share = before[beyond] / after[beyond].astype(np.float32)
        self.pixels[beyond] = self.pixels[beyond] * share[:, None]


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360) -> Points:
    """Points of an ellipse or an arc of it; degrees, clockwise from the right."""
    angles = np.deg2rad(np.linspace(start, end, 48))
    return np.column_stack([x + rx * np.cos(angles), y + ry * np.sin(angles)])


def box(left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> Points:
    """Points of a rectangle with rounded corners."""
    x0, x1, y0, y1 = left + radius, right - radius, top + radius, bottom - radius
    corners = ((x1, y1, 0), (x0, y1, 90), (x0, y0, 180), (x1, y0, 270))
    return np.concatenate([ellipse(x, y, radius, radius, turn, turn + 90) for x, y, turn in corners])


def smooth(points: ArrayLike, *, closed: bool = True) -> Points:
    """A polygon with its corners rounded by cutting them three times (Chaikin's algorithm)."""
    curve = np.asarray(points, np.float64)
    for _ in range(3):
        after = np.roll(curve, -1, axis=0)
        cut = np.stack([0.75 * curve + 0.25 * after, 0.25 * curve + 0.75 * after], axis=1)
        curve = cut.reshape(-1, 2) if closed else np.concatenate([curve[:1], cut[:-1].reshape(-1, 2), curve[-1:]])
    return curve


def blob(rng: np.random.Generator, corners: int, least: float, most: float) -> Points:
    """An irregular round outline whose radius varies from ``least`` to ``most``."""
    rays = ellipse(0, 0, 1, 1)[np.linspace(0, 47, corners, endpoint=False).astype(int)]
    return smooth(rays * rng.uniform(least, most, (corners, 1)))


def mirror(half: Sequence[tuple[float, float]]) -> Points:
    """The symmetric outline whose right half runs down through ``half``."""
    right = np.asarray(half, np.float64)
    return np.concatenate([right, right[::-1] * (-1, 1)])


def moved(points: ArrayLike, x: float, y: float) -> Points:
    """Points shifted to the right and down."""
    shifted: Points = np.asarray(points, np.float64) + np.array((x, y))
    return shifted


def turned(points: ArrayLike, degrees: float) -> Points:
    """Points rotated clockwise about (0, 0)."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    rotated: Points = np.asarray(points, np.float64) @ np.array([[cos, sin], [-sin, cos]])
    return rotated


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """``colour`` with a share of ``other``."""
    red, green, blue = (a + (b - a) * share for a, b in zip(colour, other, strict=True))
    return red, green, blue


def pick(rng: np.random.Generator, colours: Sequence[Colour]) -> Colour:
    """One of the colours, slightly varied."""
    red, green, blue = np.clip(np.add(colours[int(rng.integers(len(colours)))], rng.normal(0, 9, 3)), 0, 255).tolist()
    return red, green, blue
