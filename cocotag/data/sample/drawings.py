"""The objects of the sample data set, drawn by code: one function per COCO category. Does not depend on scenes or files."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from cocotag.data.sample.canvas import (
    BLACK,
    BRIGHT,
    STEEL,
    WHITE,
    Canvas,
    blob,
    box,
    ellipse,
    mirror,
    mix,
    moved,
    pick,
    smooth,
    turned,
)


def traffic_light(canvas: Canvas, rng: np.random.Generator) -> None:
    """Three lamps in a housing, one of them lit."""
    housing = pick(rng, [(44, 46, 48), (34, 66, 54), (222, 172, 36)])
    canvas.polygon(box(-0.2, -0.5, 0.2, 0.5, 0.07), housing)
    canvas.polygon(box(-0.165, -0.465, 0.165, 0.465, 0.06), mix(housing, BLACK, 0.35))
    lit = rng.integers(3)
    for place, colour in enumerate([(246, 44, 36), (255, 186, 30), (52, 220, 110)]):
        y = -0.3 + 0.3 * place
        canvas.disc(0, y - 0.022, 0.142, BLACK)
        canvas.disc(0, y, 0.125, colour if place == lit else mix(colour, BLACK, 0.72))
        if place == lit:
            canvas.glow(0, y, 0.075, 0.75)


def stop_sign(canvas: Canvas, rng: np.random.Generator) -> None:
    """A red octagon with a white rim and the word STOP."""
    octagon = np.concatenate([turned([(0.52, 0)], 22.5 + 45 * corner) for corner in range(8)])
    canvas.polygon(octagon, WHITE)
    canvas.polygon(0.91 * octagon, pick(rng, [(200, 24, 36)]))
    s = [(1, 0.2), (0.8, 0), (0.2, 0), (-0.1, 0.3), (0.3, 0.5), (0.8, 0.5), (1.1, 0.75), (0.8, 1), (0.2, 1), (0, 0.8)]
    p = [(0, 0), (0.7, 0), (1.1, 0.1), (1.1, 0.5), (0.7, 0.58), (0, 0.58)]
    bar, stem, spine = (np.array(stroke) for stroke in ([(0, 0), (1, 0)], [(0.5, 0), (0.5, 1)], [(0, 0), (0, 1)]))
    ring, curl, bowl = ellipse(0.5, 0.5, 0.5, 0.5), smooth(s, closed=False), smooth(p, closed=False)
    for place, stroke in ((0, curl), (1, bar), (1, stem), (2, ring), (3, spine), (3, bowl)):
        canvas.line(moved(stroke * (0.135, 0.26), -0.37 + 0.2 * place, -0.13), 0.045, WHITE)


def umbrella(canvas: Canvas, rng: np.random.Generator) -> None:
    """An open canopy of gores in two colours, with shaft and crook."""
    first = pick(rng, BRIGHT)
    second = mix(first, WHITE, 0.75) if rng.random() < 0.5 else mix(first, BLACK, 0.25)
    canvas.line([(0, -0.5), (0, 0.38)], 0.025, (90, 62, 44))
    canvas.line(ellipse(-0.065, 0.38, 0.065, 0.09, 0, 180), 0.04, (120, 76, 44))
    gores = int(rng.integers(5, 8))
    edges = 0.5 * np.sin(np.linspace(-np.pi / 2, np.pi / 2, gores + 1))
    theta = np.linspace(0, np.pi / 2, 12)
    for place, (left, right) in enumerate(pairwise(edges.tolist())):
        ribs = [np.column_stack([x * np.sin(theta), 0.03 - 0.46 * np.cos(theta)]) for x in (left, right)]
        step = np.linspace(0, 1, 9)
        hem = np.column_stack([left + (right - left) * step, 0.03 - 0.22 * (right - left) * np.sin(np.pi * step)])
        canvas.polygon(np.concatenate([ribs[0], hem, ribs[1][::-1]]), second if place % 2 else first)
    canvas.glow(-0.18, -0.2, 0.2, 0.25)


def tie(canvas: Canvas, rng: np.random.Generator) -> None:
    """A knotted tie under a collar, striped, dotted or plain."""
    colour = pick(rng, [(160, 26, 44), (28, 44, 110), (24, 96, 70), (98, 40, 110), (34, 34, 40)])
    accent = pick(rng, [(236, 220, 180), (230, 230, 236), (226, 170, 60)])
    canvas.polygon(mirror([(0.055, -0.36), (0.155, 0.36), (0, 0.5)]), colour)
    with canvas.clip():
        pattern = rng.integers(3)
        for y in np.arange(-0.5, 0.75, 0.12):
            if pattern == 0:
                canvas.line([(-0.2, y + 0.12), (0.2, y - 0.12)], 0.035, accent)
            elif pattern == 1:
                for x in (-0.1, 0, 0.1):
                    canvas.disc(x, y + 0.6 * abs(x), 0.018, accent)
    canvas.polygon(mirror([(0.085, -0.5), (0.05, -0.34)]), mix(colour, BLACK, 0.25))
    collar = np.array([(0.07, -0.5), (0.26, -0.44), (0.19, -0.2), (0.02, -0.4)])
    for side in (-1, 1):
        canvas.polygon(collar * (side, 1), WHITE)
        canvas.line(collar[1:] * (side, 1), 0.012, (170, 174, 184))


def frisbee(canvas: Canvas, rng: np.random.Generator) -> None:
    """A disc seen from above at a slant, with its rim and rings."""
    colour, slant = pick(rng, BRIGHT), rng.uniform(0.42, 0.72)
    canvas.polygon(ellipse(0, 0.09, 0.5, 0.5 * slant), mix(colour, BLACK, 0.45))
    canvas.polygon(ellipse(0, 0, 0.5, 0.5 * slant), colour)
    for radius, shade, other in ((0.42, 0.25, BLACK), (0.4, 0.12, WHITE), (0.24, 0.7, WHITE), (0.21, 0.0, WHITE)):
        canvas.polygon(ellipse(0, 0.01, radius, radius * slant), mix(colour, other, shade))
    canvas.glow(-0.2, -0.16 * slant, 0.16, 0.5)


def sports_ball(canvas: Canvas, rng: np.random.Generator) -> None:
    """A football, a basketball or a tennis ball."""
    kind = rng.choice(3, p=[0.5, 0.3, 0.2])
    canvas.disc(0, 0, 0.48, pick(rng, [[WHITE, (206, 98, 40), (206, 226, 60)][kind]]))
    with canvas.clip():
        if kind == 0:
            seam, patch = (60, 60, 64), [(0, -0.31), (0.15, -0.42), (0.1, -0.55), (-0.1, -0.55), (-0.15, -0.42)]
            canvas.polygon(np.concatenate([turned([(0, -0.17)], turn) for turn in range(0, 360, 72)]), BLACK)
            for turn in range(0, 360, 72):
                canvas.line(turned([(0, -0.17), (0, -0.31)], turn), 0.02, seam)
                canvas.line(turned([(0.15, -0.42), (0.31, -0.27)], turn), 0.02, seam)
                canvas.polygon(turned(patch, turn), BLACK)
        elif kind == 1:
            canvas.line([(0, -0.5), (0, 0.5)], 0.025, BLACK)
            canvas.line([(-0.5, 0), (0.5, 0)], 0.025, BLACK)
            for side in (-1, 1):
                canvas.line(ellipse(0.52 * side, 0, 0.3, 0.42), 0.025, BLACK)
        else:
            for side in (-1, 1):
                canvas.line(ellipse(0.46 * side, 0.2 * side, 0.36, 0.44), 0.04, WHITE)
    canvas.glow(0.2, 0.24, 0.36, -0.4)
    canvas.glow(-0.17, -0.19, 0.14, 0.45)


def kite(canvas: Canvas, rng: np.random.Generator) -> None:
    """A diamond in quarters, with a tail of bows."""
    colours = [BRIGHT[i] for i in rng.permutation(len(BRIGHT))[: rng.integers(2, 5)]]
    wave = np.linspace(0, 1, 16)
    tail = np.column_stack([0.09 * np.sin(2.2 * np.pi * wave) * rng.choice([-1, 1]), 0.12 + 0.36 * wave])
    canvas.line(tail, 0.014, (70, 70, 76))
    for place, at in enumerate(tail[4::5]):
        wing = np.array([(0, 0), (0.075, -0.04), (0.075, 0.04)])
        for side in (-1, 1):
            canvas.polygon(at + wing * (side, 1), colours[place % len(colours)])
    corners = [(0, -0.5), (0.33, -0.2), (0, 0.16), (-0.33, -0.2)]
    for place in range(4):
        canvas.polygon([corners[place], corners[(place + 1) % 4], (0, -0.2)], colours[place % len(colours)])
    canvas.line([corners[0], corners[2]], 0.014, (70, 60, 52))
    canvas.line([corners[1], corners[3]], 0.014, (70, 60, 52))
    canvas.line(corners, 0.012, (60, 54, 52), closed=True)


def bottle(canvas: Canvas, rng: np.random.Generator) -> None:
    """A wine or beer bottle of coloured glass, or a water bottle."""
    if rng.random() < 0.65:
        glass = pick(rng, [(26, 84, 50), (98, 52, 22), (20, 52, 40), (60, 84, 30)])
        outline = mirror([(0.045, -0.5), (0.045, -0.22), (0.075, -0.14), (0.14, -0.06), (0.15, 0.0), (0.15, 0.47), (0.13, 0.5)])
        canvas.polygon(outline, glass)
        with canvas.clip():
            canvas.polygon(box(-0.2, -0.5, 0.2, -0.34), pick(rng, [(150, 30, 40), (196, 160, 70), (40, 40, 46)]))
            canvas.polygon(box(-0.2, 0.08, 0.2, 0.38), pick(rng, [(236, 226, 200), (246, 246, 240), (226, 190, 110)]))
            canvas.line([(-0.09, 0.17), (0.09, 0.17)], 0.04, glass)
            canvas.line([(-0.06, 0.26), (0.06, 0.26)], 0.02, (120, 110, 100))
    else:
        water, label = pick(rng, [(160, 208, 236), (176, 226, 220)]), pick(rng, BRIGHT)
        outline = smooth(mirror([(0.05, -0.42), (0.06, -0.34), (0.14, -0.22), (0.15, 0.1), (0.15, 0.5)]))
        canvas.polygon(outline, water, opacity=0.85)
        canvas.polygon(box(-0.065, -0.5, 0.065, -0.4, 0.015), label)
        with canvas.clip():
            canvas.polygon(box(-0.2, -0.06, 0.2, 0.18), label)
            canvas.line([(-0.2, 0.06), (0.2, 0.06)], 0.05, WHITE)
            for y in (0.26, 0.34, 0.42):
                canvas.line([(-0.15, y), (0.15, y)], 0.012, mix(water, (60, 110, 160), 0.5))
    canvas.glow(-0.075, 0.1, 0.06, 0.3)
    canvas.line([(-0.1, -0.02), (-0.1, 0.44)], 0.02, mix(WHITE, STEEL, 0.4))


def wine_glass(canvas: Canvas, rng: np.random.Generator) -> None:
    """A stemmed glass with red, white or rosé wine."""
    wine, edge = pick(rng, [(122, 14, 40), (240, 214, 120), (232, 120, 120)]), (230, 238, 244)
    bowl = smooth(mirror([(0.22, -0.5), (0.3, -0.26), (0.27, 0.0), (0.09, 0.1), (0.02, 0.12)]))
    canvas.polygon(bowl, (220, 232, 240), opacity=0.6)
    canvas.polygon(smooth(mirror([(0.28, -0.24), (0.28, -0.06), (0.1, 0.07), (0.02, 0.085)])), wine)
    canvas.polygon(ellipse(0, -0.235, 0.25, 0.045), mix(wine, WHITE, 0.25))
    canvas.line([(0, 0.1), (0, 0.45)], 0.04, edge)
    canvas.polygon(ellipse(0, 0.45, 0.22, 0.05), edge)
    canvas.line(ellipse(0, 0.445, 0.22, 0.05), 0.012, (150, 160, 172))
    canvas.line(bowl, 0.018, edge, closed=True)
    canvas.line(ellipse(0, -0.44, 0.22, 0.035), 0.014, edge)
    canvas.line([(-0.17, -0.36), (-0.18, -0.1)], 0.03, WHITE)


def cup(canvas: Canvas, rng: np.random.Generator) -> None:
    """A mug with its handle, full of coffee or tea."""
    colour = pick(rng, [*BRIGHT, WHITE, WHITE, (120, 190, 210), (240, 180, 190)])
    canvas.line(ellipse(0.24, 0.02, 0.2, 0.19, -90, 90), 0.075, mix(colour, BLACK, 0.18))
    canvas.polygon(smooth(mirror([(0.34, -0.36), (0.33, 0.2), (0.3, 0.44), (0.16, 0.45)])) - (0.08, 0), colour)
    with canvas.clip():
        accent = mix(colour, WHITE, 0.75) if sum(colour) < 560 else pick(rng, BRIGHT)
        pattern = rng.integers(3)
        if pattern == 0:
            canvas.line([(-0.5, 0.12), (0.26, 0.12)], 0.13, accent)
        elif pattern == 1:
            for x, y in ((-0.28, -0.05), (-0.08, 0.1), (0.12, -0.05), (-0.28, 0.25), (0.12, 0.25)):
                canvas.disc(x, y, 0.05, accent)
    canvas.polygon(ellipse(-0.08, -0.34, 0.33, 0.1), mix(colour, WHITE, 0.5))
    canvas.polygon(ellipse(-0.08, -0.33, 0.285, 0.075), pick(rng, [(74, 42, 24), (120, 70, 34), (190, 120, 60)]))
    canvas.glow(0.18, 0.1, 0.18, -0.25)
    canvas.glow(-0.28, 0.05, 0.1, 0.35)


def banana(canvas: Canvas, rng: np.random.Generator) -> None:
    """One banana, or two from one stem."""
    skin = pick(rng, [(250, 214, 56), (240, 222, 90), (222, 214, 70)])
    step = np.linspace(0, 1, 24)
    angles = np.deg2rad(18 + 140 * step)
    width = 0.02 + 0.1 * np.sin(np.pi * np.clip(step, 0.02, 0.98)) ** 0.6
    ray = np.column_stack([np.cos(angles), np.sin(angles)])
    for turn in (24, 0) if rng.random() < 0.5 else (0,):  # about the stem
        outer, ridge, middle, shine, inner = (
            moved(turned(moved(ray * (0.47 + share * width)[:, None], -0.47, -0.19), turn), 0.47, -0.08)
            for share in (0.94, 0.33, 0, -0.47, -0.94)
        )
        canvas.polygon(np.concatenate([outer, inner[::-1]]), mix(skin, (120, 90, 20), turn / 120))
        canvas.line(ridge[3:-3], 0.02, mix(skin, (140, 100, 20), 0.4))
        canvas.line(shine[4:-4], 0.022, mix(skin, WHITE, 0.45))
        canvas.line(middle[-2:], 0.045, (84, 62, 30))
        canvas.line([*middle[1::-1], (0.49, -0.16)], 0.05, mix(skin, (110, 110, 30), 0.5))


def leaf(canvas: Canvas, x: float, y: float, length: float, turn: float) -> None:
    """A green leaf from (x, y), pointing right and turned clockwise."""
    blade = np.array([(0, 0), (0.35, -0.26), (0.75, -0.2), (1, 0), (0.7, 0.2), (0.3, 0.22)]) * length
    canvas.polygon(moved(turned(smooth(blade), turn), x, y), (74, 140, 52))
    canvas.line(moved(turned([(0, 0), (0.85 * length, 0)], turn), x, y), 0.012, (150, 190, 96))


def apple(canvas: Canvas, rng: np.random.Generator) -> None:
    """A red, green or yellow apple with stem and leaf."""
    skin = pick(rng, [(204, 28, 40), (214, 44, 44), (120, 176, 46), (230, 200, 70)])
    half = [(0.0, -0.22), (0.12, -0.36), (0.36, -0.36), (0.5, -0.1), (0.42, 0.24), (0.24, 0.5), (0.08, 0.5), (0, 0.44)]
    canvas.polygon(smooth(mirror(half)), skin)
    canvas.glow(0.18, 0.2, 0.3, -0.35)
    canvas.glow(0, -0.24, 0.13, -0.55)
    canvas.glow(-0.19, -0.1, 0.13, 0.6)
    canvas.line(smooth([(0, -0.22), (0.01, -0.36), (0.07, -0.48)], closed=False), 0.04, (86, 56, 30))
    if rng.random() < 0.75:
        leaf(canvas, 0.05, -0.38, 0.3, -24)


def orange(canvas: Canvas, rng: np.random.Generator) -> None:
    """A whole orange, or a cut half that shows its segments."""
    skin = pick(rng, [(246, 146, 24), (250, 160, 40)])
    canvas.disc(0, 0, 0.48, skin)
    if rng.random() < 0.45:
        canvas.disc(0, 0, 0.43, (255, 232, 180))
        segments = int(rng.integers(8, 11))
        for turn in np.arange(segments) * 360 / segments:
            half = np.deg2rad(180 / segments) * 0.86
            rim = [(0.4 * np.cos(a), 0.4 * np.sin(a)) for a in np.linspace(-half, half, 7)]
            canvas.polygon(turned([(0.05, 0), *rim], turn), mix(skin, (255, 190, 60), 0.35))
            canvas.line(turned([(0.16, 0), (0.34, 0)], turn), 0.018, (255, 204, 110))
        return
    for x, y in rng.uniform(-0.33, 0.33, (40, 2)):
        canvas.disc(x, y, 0.012, mix(skin, (190, 90, 0), 0.5))
    canvas.glow(0.18, 0.22, 0.36, -0.35)
    canvas.glow(-0.18, -0.18, 0.14, 0.5)
    for turn in range(0, 360, 72):
        canvas.line([(0.03, -0.24), np.array((0.03, -0.24)) + turned([(0.07, 0)], turn)[0]], 0.03, (90, 120, 40))
    if rng.random() < 0.6:
        leaf(canvas, 0.04, -0.26, 0.34, -30)


def carrot(canvas: Canvas, rng: np.random.Generator) -> None:
    """A tapering root with a tuft of green."""
    skin = pick(rng, [(240, 120, 30), (232, 106, 24)])
    for turn in rng.permutation(np.linspace(-42, 42, 7)):
        stalk = smooth([(0, -0.2), (0.02, -0.34), (0.0, -0.5)], closed=False)
        canvas.line(moved(turned(moved(stalk, 0, 0.2), turn), 0, -0.2), 0.055, pick(rng, [(60, 140, 50), (96, 170, 70)]))
    outline = smooth(mirror([(0.12, -0.27), (0.22, -0.2), (0.16, 0.1), (0.06, 0.38), (0.0, 0.52)]))
    canvas.polygon(outline, skin)
    with canvas.clip():
        for y in np.arange(-0.17, 0.4, 0.09):
            side = rng.choice([-1, 1])
            canvas.line([(side * 0.22, y), (side * rng.uniform(0.01, 0.07), y + 0.01)], 0.016, mix(skin, (150, 60, 0), 0.55))
    canvas.glow(-0.05, -0.08, 0.09, 0.4)


def pizza(canvas: Canvas, rng: np.random.Generator) -> None:
    """A pizza from above, cut, with salami, olives and basil; sometimes a slice is gone."""
    canvas.disc(0, 0, 0.5, pick(rng, [(206, 150, 84), (190, 130, 66)]))
    canvas.mottle(rng, 14, 0.25)
    canvas.disc(0, 0, 0.43, (190, 58, 30))
    canvas.polygon(blob(rng, 30, 0.37, 0.43), pick(rng, [(248, 208, 104), (244, 196, 88)]))
    slices = int(rng.choice([6, 8]))
    for place in range(slices + 3):
        angle, radius = 2.4 * place + rng.uniform(-0.2, 0.2), 0.33 * np.sqrt((place + 0.4) / (slices + 3))
        x, y = radius * np.cos(angle), radius * np.sin(angle)
        canvas.disc(x, y, 0.068, (150, 36, 28))
        canvas.disc(x, y, 0.054, (196, 62, 44))
    for x, y in turned(rng.uniform(-0.25, 0.25, (7, 2)), 30):
        canvas.line(ellipse(x, y, 0.024, 0.024), 0.018, (40, 40, 36))
    for x, y in rng.uniform(-0.24, 0.24, (5, 2)):
        leaf(canvas, x, y, 0.12, rng.uniform(0, 360))
    for turn in np.arange(slices) * 360 / slices:
        canvas.line(turned([(0, 0), (0.49, 0)], turn), 0.012, (150, 96, 44))
    if rng.random() < 0.4:
        wedge = 180 / slices
        canvas.erase([(0, 0), *ellipse(0, 0, 0.6, 0.6, 0, 2 * wedge)])


def donut(canvas: Canvas, rng: np.random.Generator) -> None:
    """A ring with icing and sprinkles."""
    canvas.disc(0, 0, 0.49, pick(rng, [(214, 158, 92), (196, 134, 70)]))
    icing = pick(rng, [(244, 140, 178), (92, 50, 32), (250, 244, 236), (170, 214, 240)])
    canvas.polygon(blob(rng, 20, 0.38, 0.46), icing)
    for angle, radius, turn in zip(2.4 * np.arange(26), rng.uniform(0.23, 0.36, 26), rng.uniform(0, 180, 26), strict=True):
        at = radius * np.array((np.cos(angle), np.sin(angle)))
        canvas.line(turned([(-0.022, 0), (0.022, 0)], turn) + at, 0.024, BRIGHT[rng.integers(len(BRIGHT))])
    canvas.glow(-0.2, -0.22, 0.13, 0.45)
    canvas.glow(0, 0, 0.2, -0.5)
    canvas.erase(ellipse(0, 0, 0.145, 0.145))


def tv(canvas: Canvas, rng: np.random.Generator) -> None:
    """A flat screen on a stand, showing a landscape, a test card or the news."""
    canvas.polygon(mirror([(0.05, 0.24), (0.06, 0.34), (0.2, 0.36), (0.2, 0.39)]), (60, 62, 66))
    canvas.polygon(box(-0.5, -0.34, 0.5, 0.28, 0.025), (24, 25, 28))
    left, top, right, bottom = -0.47, -0.31, 0.47, 0.24
    show = rng.integers(3)
    if show == 0:
        canvas.polygon(box(left, top, right, bottom), pick(rng, [(120, 190, 240), (250, 180, 120), (90, 120, 200)]))
        canvas.disc(rng.uniform(-0.3, 0.3), -0.17, 0.07, (255, 240, 170))
        crest = [(x, rng.uniform(-0.12, 0.08)) for x in np.linspace(left, right, 6)]
        canvas.polygon([*crest, (right, bottom), (left, bottom)], pick(rng, [(70, 140, 80), (60, 90, 120), (150, 120, 70)]))
        canvas.polygon([(left, 0.12), (0.1, 0.06), (right, 0.14), (right, bottom), (left, bottom)], (50, 110, 60))
    elif show == 1:
        bars = [(235, 235, 235), (230, 220, 40), (40, 210, 220), (50, 200, 60), (210, 50, 200), (220, 44, 40), (40, 50, 210)]
        edges = np.linspace(left, right, 8)
        for place, colour in enumerate(bars):
            canvas.polygon(box(edges[place], top, edges[place + 1], bottom), colour)
    else:
        canvas.polygon(box(left, top, right, bottom), pick(rng, [(30, 60, 140), (40, 100, 120)]))
        canvas.polygon(mirror([(0.09, -0.02), (0.19, 0.06), (0.21, 0.14)]), (40, 44, 60))
        canvas.polygon(ellipse(0, -0.1, 0.075, 0.1), (226, 180, 150))
        canvas.polygon(box(left, 0.13, right, bottom), (190, 34, 40))
        canvas.line([(-0.4, 0.185), (0.25, 0.185)], 0.03, WHITE)
    canvas.glow(-0.2, -0.2, 0.25, 0.2)


def book(canvas: Canvas, rng: np.random.Generator) -> None:
    """A closed book with its pages showing, or an open one."""
    cover, paper = pick(rng, [*BRIGHT, (96, 58, 40), (40, 60, 50), (50, 56, 90)]), (244, 238, 222)
    if rng.random() < 0.5:
        canvas.polygon(box(-0.32, -0.46, 0.4, 0.5, 0.02), mix(cover, BLACK, 0.35))
        canvas.polygon(box(-0.3, -0.46, 0.375, 0.475), paper)
        for shift in (0.025, 0.045):
            canvas.line([(0.3 + shift, -0.44), (0.3 + shift, 0.41 + shift), (-0.3, 0.41 + shift)], 0.008, (180, 172, 150))
        canvas.polygon(box(-0.36, -0.5, 0.31, 0.42, 0.02), cover)
        canvas.polygon(box(-0.36, -0.5, -0.28, 0.42, 0.02), mix(cover, BLACK, 0.3))
        accent = pick(rng, [(240, 220, 150), WHITE])
        for y, reach in ((-0.34, 0.2), (-0.25, 0.13)):
            canvas.line([(0.01 - reach, y), (0.01 + reach, y)], 0.045, accent)
        if rng.random() < 0.5:
            canvas.disc(0.01, 0.07, 0.14, accent)
        else:
            canvas.polygon([(0.01, -0.12), (0.18, 0.2), (-0.16, 0.2)], accent)
        return
    half = np.array([(0, -0.26), (0.12, -0.32), (0.3, -0.33), (0.47, -0.29), (0.47, 0.33), (0.3, 0.29), (0.12, 0.3), (0, 0.36)])
    for side in (-1, 1):
        canvas.polygon(moved(half * (side * 1.06, 1), 0, 0.03), cover)
    for side in (-1, 1):
        canvas.polygon(half * (side, 1), mix(paper, (150, 140, 120), 0.15 if side > 0 else 0))
        for y in np.arange(-0.2, 0.24, 0.065):
            end = rng.uniform(0.3, 0.41)
            canvas.line([(side * 0.07, y), (side * 0.2, y - 0.035), (side * end, y - 0.025)], 0.016, (120, 116, 112))
    canvas.line([(0, -0.26), (0, 0.36)], 0.016, (150, 140, 124))
    canvas.glow(0, 0.05, 0.09, -0.3)


def clock(canvas: Canvas, rng: np.random.Generator) -> None:
    """A dial with ticks and hands; some are alarm clocks with bells and feet."""
    rim, face = pick(rng, [*BRIGHT, (40, 40, 44), (120, 76, 44), STEEL]), pick(rng, [WHITE, WHITE, (244, 232, 204)])
    alarm = rng.random() < 0.35
    size = 0.8 if alarm else 1.0
    if alarm:
        for side in (-1, 1):
            canvas.line([(side * 0.2, 0.25), (side * 0.32, 0.47)], 0.07, mix(rim, BLACK, 0.4))
            canvas.polygon(turned(ellipse(0, -0.41, 0.15, 0.11, 180, 360), side * 35), mix(rim, BLACK, 0.2))
        canvas.line([(0, -0.38), (0, -0.47)], 0.05, mix(rim, BLACK, 0.4))
    canvas.disc(0, 0, 0.49 * size, rim)
    canvas.disc(0, 0, 0.415 * size, face)
    for hour in range(12):
        inner, width = (0.3, 0.035) if hour % 3 == 0 else (0.345, 0.018)
        canvas.line(turned([(0, -inner * size), (0, -0.385 * size)], 30 * hour), width, BLACK)
    minute = float(rng.uniform(0, 60))
    hour_turn = 30 * rng.integers(12) + minute / 2
    canvas.line(turned([(0, 0.05), (0, -0.2 * size)], hour_turn), 0.045, BLACK)
    canvas.line(turned([(0, 0.06), (0, -0.31 * size)], 6 * minute), 0.03, BLACK)
    canvas.disc(0, 0, 0.035, (200, 40, 40))


def scissors(canvas: Canvas, rng: np.random.Generator) -> None:
    """Two crossing blades with coloured finger rings."""
    grip, opening = pick(rng, BRIGHT[:6]), rng.uniform(9, 22)
    for side in (-1, 1):
        blade = [(-0.06, 0.08), (-0.07, -0.1), (0.0, -0.54), (0.05, -0.1), (0.06, 0.08)]
        canvas.polygon(turned(np.array(blade) * (side, 1), side * opening), STEEL if side < 0 else mix(STEEL, BLACK, 0.15))
        canvas.line(turned(np.array([(0.0, -0.5), (0.02, 0.0)]) * (side, 1), side * opening), 0.012, (120, 126, 136))
        canvas.line(turned([(0, 0.04), (0, 0.16)], side * opening), 0.09, grip)
        canvas.line(turned(ellipse(side * -0.05, 0.33, 0.125, 0.15), side * opening), 0.07, grip)
    canvas.disc(0, 0, 0.03, (90, 94, 100))
