"""Draw a scene of the sample data set: background, positions, shadows and light. Does not depend on files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from cocotag.data.sample import drawings
from cocotag.data.sample.canvas import BRIGHT, Canvas, Colour, mix, pick

Picture = NDArray[np.float32]
"""RGB 0..255, ``(S, S, 3)``."""
Mask = NDArray[np.bool_]
"""``(S, S)``."""

SMALLEST, LARGEST = 0.36, 0.66
"""Length of an object divided by the side of the image."""
STRAY = 0.15
"""Share of images whose background belongs to another setting than their objects."""
HIDDEN = 0.25
"""An object with less than this share visible is not annotated."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A class of objects that can be drawn.

    Attributes:
        name: The COCO category.
        rate: Share of the images that show it.
        setting: Its usual setting: ``outdoors``, ``table`` or ``room``.
        tilt: Largest rotation in either direction, degrees; 180 for objects in any orientation.
        draw: Paints one object onto a canvas.
    """

    name: str
    rate: float
    setting: str
    tilt: float
    draw: Callable[[Canvas, np.random.Generator], None]


SUBJECTS = (
    Subject("bottle", 0.54, "table", 25, drawings.bottle),
    Subject("scissors", 0.28, "room", 120, drawings.scissors),
    Subject("wine glass", 0.24, "table", 12, drawings.wine_glass),
    Subject("umbrella", 0.21, "outdoors", 30, drawings.umbrella),
    Subject("book", 0.19, "room", 40, drawings.book),
    Subject("tie", 0.17, "room", 20, drawings.tie),
    Subject("frisbee", 0.15, "outdoors", 25, drawings.frisbee),
    Subject("kite", 0.14, "outdoors", 60, drawings.kite),
    Subject("sports ball", 0.125, "outdoors", 180, drawings.sports_ball),
    Subject("cup", 0.115, "table", 15, drawings.cup),
    Subject("carrot", 0.105, "table", 120, drawings.carrot),
    Subject("tv", 0.095, "room", 8, drawings.tv),
    Subject("orange", 0.085, "table", 180, drawings.orange),
    Subject("traffic light", 0.075, "outdoors", 10, drawings.traffic_light),
    Subject("clock", 0.068, "room", 15, drawings.clock),
    Subject("apple", 0.06, "table", 30, drawings.apple),
    Subject("banana", 0.052, "table", 180, drawings.banana),
    Subject("donut", 0.042, "table", 180, drawings.donut),
    Subject("pizza", 0.034, "table", 180, drawings.pizza),
    Subject("stop sign", 0.026, "outdoors", 12, drawings.stop_sign),
)
"""The subjects from common to rare: 20 categories whose rates fall by a factor above 20, like COCO's own long tail."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The planned contents of one image.

    Attributes:
        subjects: The objects, one entry each; a subject may occur twice.
        setting: The setting, which determines the background.
        dark: Whether it is taken at night.
    """

    subjects: tuple[Subject, ...]
    setting: str
    dark: bool


Placed = tuple[Subject, NDArray[np.uint8], int, int]
"""A subject, its premultiplied RGBA sprite, and the sprite's left and top in pixels."""


def draw_scene(
    scene: Scene, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], list[tuple[str, NDArray[np.bool_]]]]:
    """Draw an image.

    Args:
        scene: Its contents.
        size: Side in pixels.
        rng: Generator of all randomness.

    Returns:
        The image, RGB ``(size, size, 3)``, and for each visible object its name and the mask of its visible pixels,
        ``(size, size)``.
    """
    picture = _background(scene.setting, size, rng)
    drawn: list[tuple[str, Mask, int]] = []
    for subject, sprite, left, top in _arrange(scene.subjects, size, rng):
        picture, mask = _lay(picture, sprite, left, top)
        drawn = [(name, earlier & ~mask, whole) for name, earlier, whole in drawn]
        drawn.append((subject.name, mask, int(mask.sum())))
    visible = [(name, mask) for name, mask, whole in drawn if mask.sum() > HIDDEN * whole]
    return _photograph(picture, scene.dark, rng), visible


def _arrange(subjects: tuple[Subject, ...], side: int, rng: np.random.Generator) -> list[Placed]:
    """The objects from back to front: larger ones behind, with little overlap if there is room."""
    largest = LARGEST - 0.05 * max(0, len(subjects) - 1)
    lengths = np.sort(np.exp(rng.uniform(np.log(SMALLEST), np.log(largest), len(subjects))))[::-1]
    placed: list[Placed] = []
    for length, subject in zip(lengths, subjects, strict=True):
        canvas = Canvas(length * side, rng.uniform(-subject.tilt, subject.tilt))
        subject.draw(canvas, rng)
        sprite = canvas.sprite()
        height, width = sprite.shape[:2]
        best, least = (0, 0), np.inf
        for _ in range(40):
            left, top = (int(rng.uniform(-0.06, 1.06) * (side - extent)) for extent in (width, height))
            covered = max((_covered(other, left, top, width, height) for other in placed), default=0.0)
            if covered < least:
                best, least = (left, top), covered
            if least < 0.12:
                break
        placed.append((subject, sprite, *best))
    return placed


def _covered(other: Placed, left: int, top: int, width: int, height: int) -> float:
    """Share of another sprite's box that a new box hides."""
    _, sprite, x, y = other
    across = min(left + width, x + sprite.shape[1]) - max(left, x)
    down = min(top + height, y + sprite.shape[0]) - max(top, y)
    return float(max(0, across) * max(0, down) / (sprite.shape[0] * sprite.shape[1]))


def _lay(picture: Picture, sprite: NDArray[np.uint8], left: int, top: int) -> tuple[Picture, Mask]:
    """The image with a sprite and its soft shadow, and the sprite's mask."""
    side = picture.shape[0]
    layer = np.zeros((side, side, 4), np.uint8)
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(side, top + sprite.shape[0]), min(side, left + sprite.shape[1])
    layer[y0:y1, x0:x1] = sprite[y0 - top : y1 - top, x0 - left : x1 - left]
    alpha = layer[..., 3]
    drop = max(1, side // 50)
    shadow = np.pad(cv2.GaussianBlur(alpha, (0, 0), side / 50), ((drop, 0), (drop, 0)))[:side, :side]
    keep = (1 - alpha / np.float32(255)) * (1 - shadow * np.float32(0.45 / 255))
    return picture * keep[..., None] + layer[..., :3], alpha >= 96  # glass is half transparent


def _photograph(picture: Picture, dark: bool, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Uneven light, a cast of colour and grain; at night less light, bluer, and more grain."""
    size = picture.shape[0]
    place = np.linspace(-1, 1, size, dtype=np.float32)
    fall = rng.uniform(-0.12, 0.12, 2).astype(np.float32)
    light = 1.02 + fall[0] * place[None] + fall[1] * place[:, None] - 0.09 * (place[None] ** 2 + place[:, None] ** 2)
    cast = rng.normal(1, 0.03, 3) * rng.uniform(0.9, 1.08)
    if dark:
        cast = cast * (0.8, 0.9, 1.15) * rng.uniform(0.32, 0.48)
    light = light[..., None] * cast.astype(np.float32)
    grain = rng.standard_normal((size, size, 1), dtype=np.float32) * np.float32(rng.uniform(1, 4))
    developed: NDArray[np.uint8] = np.clip(picture * light + grain, 0, 255).astype(np.uint8)
    return developed


def _noise(rng: np.random.Generator, side: int, across: int, down: int) -> NDArray[np.float32]:
    """Smooth values in 0..1 with ``across`` x ``down`` cells, ``(side, side)``."""
    cells = rng.random((down, across), dtype=np.float32)
    return np.clip(cv2.resize(cells, (side, side), interpolation=cv2.INTER_CUBIC), 0, 1)


def _clouds(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """Noise in three octaves, 0..1 with mean near 0.5, ``(side, side)``."""
    octaves: NDArray[np.float32] = (
        0.55 * _noise(rng, side, 4, 4) + 0.3 * _noise(rng, side, 9, 9) + 0.15 * _noise(rng, side, 24, 24)
    )
    return octaves


def _blend(share: NDArray[np.float32], low: Colour, high: Colour) -> Picture:
    """``low`` where the share is 0, ``high`` where it is 1."""
    low_rgb, high_rgb = np.asarray(low, np.float32), np.asarray(high, np.float32)
    blended: Picture = low_rgb + share[..., None] * (high_rgb - low_rgb)
    return blended


def _sky(rng: np.random.Generator, side: int) -> Picture:
    """Clouds over hills and a field."""
    high = pick(rng, [(88, 144, 206), (120, 170, 214), (150, 164, 182), (196, 150, 140)])
    fade = np.repeat(np.linspace(0, 1, side, dtype=np.float32)[:, None], side, axis=1)
    picture = _blend(fade, high, mix(high, (244, 238, 226), 0.65))
    cloud = np.clip(2.4 * _noise(rng, side, 4, 9) + 0.8 * _clouds(rng, side) - 1.7, 0, 0.85)
    picture += cloud[..., None] * (244 - picture)
    x = np.linspace(0, 1, side)
    for place in range(3):
        crest = np.full(side, rng.uniform(0.6, 0.72) + 0.1 * place)
        crest += 0.05 * np.sin(rng.uniform(2, 7) * x + rng.uniform(0, 6)) + 0.012 * np.sin(rng.uniform(15, 25) * x)
        land = np.arange(side)[:, None] > crest[None] * side
        tone = mix(high, pick(rng, [(78, 120, 66), (96, 112, 62), (120, 116, 74)]), 0.45 + 0.25 * place)
        picture[land] = _blend(_noise(rng, side, 30, 60), mix(tone, (20, 30, 20), 0.15), tone)[land]
    return picture


def _meadow(rng: np.random.Generator, side: int) -> Picture:
    """Grass or sand from above."""
    low, high = [((62, 92, 40), (136, 160, 82)), ((168, 146, 104), (222, 204, 164))][int(rng.random() < 0.35)]
    blades = 0.5 * _noise(rng, side, side // 3, side // 12) + 0.5 * _clouds(rng, side)
    return _blend(blades, low, high)


def _bricks(rng: np.random.Generator, side: int) -> Picture:
    """A brick wall."""
    tone = pick(rng, [(158, 92, 72), (176, 160, 140), (128, 120, 118)])
    picture = np.full((side, side, 3), mix(tone, (210, 204, 196), 0.6), np.float32)
    rows = int(rng.integers(7, 12))
    height, width, gap = side / rows, 2.4 * side / rows, max(1, side // 110)
    for row in range(rows + 1):
        for column in range(-1, int(side / width) + 2):
            left, top = int((column + 0.5 * (row % 2)) * width), int(row * height)
            corner = int(left + width) - gap - 1, int(top + height) - gap - 1
            cv2.rectangle(picture, (left, top), corner, mix(tone, (70, 60, 60), rng.uniform(0, 0.3)), cv2.FILLED)
    return picture * (0.82 + 0.3 * _clouds(rng, side) * _noise(rng, side, side // 4, side // 4))[..., None]


def _street(rng: np.random.Generator, side: int) -> Picture:
    """Asphalt with a line across it."""
    tone = rng.uniform(96, 132)
    fine = 0.5 * _noise(rng, side, side // 2, side // 2) + 0.5 * _clouds(rng, side)
    picture = _blend(fine, (tone - 30, tone - 28, tone - 24), (tone + 34, tone + 33, tone + 30))
    ends = rng.uniform(-0.2, 1.2, 4) * side
    line = np.zeros((side, side), np.uint8)
    cv2.line(line, (-side // 8, int(ends[0])), (side + side // 8, int(ends[1])), 255, max(1, side // 14), cv2.LINE_AA)
    paint = line / np.float32(255) * (0.4 + 0.5 * fine)
    return picture + paint[..., None] * (np.asarray(pick(rng, [(236, 232, 220), (222, 184, 70)]), np.float32) - picture)


def _planks(rng: np.random.Generator, side: int) -> Picture:
    """A wooden table or floor."""
    wood = pick(rng, [(164, 118, 76), (122, 84, 54), (196, 166, 124), (150, 140, 128)])
    grain = 0.6 * _noise(rng, side, 5, side // 3) + 0.4 * _noise(rng, side, 3, side // 10)
    picture = _blend(grain, mix(wood, (40, 24, 12), 0.32), mix(wood, (250, 230, 200), 0.18))
    edges = np.linspace(0, side, int(rng.integers(4, 8))).astype(int)
    for top, bottom in pairwise(edges.tolist()):
        picture[top:bottom] *= rng.uniform(0.86, 1.08)
        picture[top : top + max(1, side // 120)] *= 0.55
    return picture if rng.random() < 0.6 else picture.transpose(1, 0, 2).copy()


def _cloth(rng: np.random.Generator, side: int) -> Picture:
    """A checked tablecloth with soft folds."""
    colour, ground = mix(pick(rng, BRIGHT), (140, 130, 130), 0.35), (236, 232, 224)
    stripe = ((np.arange(side) * int(rng.integers(5, 10)) * 2 // side) % 2).astype(np.float32)
    picture = _blend(0.3 * stripe[None] + 0.3 * stripe[:, None], ground, colour)
    weave = 0.9 + 0.1 * _noise(rng, side, side // 3, side // 3)
    return picture * (weave * (0.74 + 0.4 * _noise(rng, side, 4, 3)))[..., None]


def _stone(rng: np.random.Generator, side: int) -> Picture:
    """A veined worktop."""
    ground = pick(rng, [(218, 214, 208), (120, 124, 130), (186, 172, 156), (88, 92, 96)])
    cloud = _clouds(rng, side)
    picture = _blend(cloud, mix(ground, (60, 60, 66), 0.25), mix(ground, (255, 252, 246), 0.3))
    vein = np.exp(-((np.abs(_clouds(rng, side) - 0.5) / 0.012) ** 2))
    veined: Picture = picture - 34 * vein[..., None]
    return veined


def _wall(rng: np.random.Generator, side: int) -> Picture:
    """A room: papered or plastered wall, skirting board, floor, and light from a window."""
    tone = pick(rng, [(196, 188, 170), (150, 172, 176), (180, 160, 150), (138, 150, 128), (206, 196, 200)])
    share = 0.25 * _noise(rng, side, 3, 3)
    if rng.random() < 0.55:
        share = share + 0.28 * ((np.arange(side) * int(rng.integers(8, 20)) // side) % 2).astype(np.float32)[None]
    picture = _blend(share, tone, mix(tone, (90, 80, 80), 0.5))
    slant, left = rng.uniform(-0.3, 0.3), rng.uniform(0, 0.6)
    window = np.zeros((side // 2, side // 2), np.float32)
    pane = np.array([(left, 0.1 + slant), (left + 0.35, 0.1), (left + 0.35, 0.6), (left, 0.6 + slant)]) * side / 2
    cv2.fillPoly(window, [pane.astype(np.int32)], 1.0)
    light = cv2.resize(cv2.GaussianBlur(window, (0, 0), side / 80), (side, side))
    picture *= 0.92 + 0.2 * light[..., None]
    floor = int(rng.uniform(0.7, 0.9) * side)
    picture[floor:] = _planks(rng, side)[floor:]
    picture[floor - max(1, side // 40) : floor] = mix(tone, (250, 250, 248), 0.6)
    return picture


def _bokeh(rng: np.random.Generator, side: int) -> Picture:
    """A room out of focus: blurred lamps and furniture."""
    small = max(16, side // 2)
    tone = pick(rng, [(110, 92, 80), (74, 88, 108), (136, 124, 110), (84, 100, 92)])
    picture = np.full((small, small, 3), tone, np.float32)
    for _ in range(5):
        x, y, w, h = (rng.uniform(0, 1, 4) * (1, 1, 0.5, 0.5) * small).astype(int).tolist()
        cv2.rectangle(picture, (x, y), (x + w, y + h), mix(tone, pick(rng, [(40, 36, 40), (220, 210, 200)]), 0.4), cv2.FILLED)
    blurred = cv2.GaussianBlur(picture, (0, 0), small / 16)
    lamps = np.zeros((small, small, 3), np.float32)
    for _ in range(int(rng.integers(6, 14))):
        centre, radius = rng.integers(0, small, 2).tolist(), int(rng.uniform(0.03, 0.09) * small)
        cv2.circle(lamps, centre, radius, mix((110, 96, 76), pick(rng, BRIGHT), 0.3), cv2.FILLED)
    blurred = blurred + cv2.GaussianBlur(lamps, (0, 0), small / 70)
    return cv2.resize(blurred, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.float32)


BACKGROUNDS: dict[str, tuple[Callable[[np.random.Generator, int], Picture], ...]] = {
    "outdoors": (_sky, _meadow, _bricks, _street),
    "table": (_planks, _cloth, _stone),
    "room": (_wall, _bokeh),
}


def _background(setting: str, side: int, rng: np.random.Generator) -> Picture:
    if rng.random() < STRAY:
        setting = list(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))]
    kinds = BACKGROUNDS[setting]
    return kinds[rng.integers(len(kinds))](rng, side)
