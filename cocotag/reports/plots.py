"""Numbers -> SVG drawings for report pages. Pure functions; knows no metrics and no page.

Colours come from the page's CSS classes, so that one drawing serves light, dark and paper. Every label is escaped. A value
that is None or NaN is drawn as a dash or left out, never as zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeGuard

from markupsafe import Markup, escape

Values = Sequence[float | None]

WIDTH, ROW = 640, 18
"""Pixels: width of a drawing, height of one labelled row."""
GLYPH = 6.4
"""Mean width of a character at the page's 12 px, in pixels: browsers differ, so it is on the generous side."""
LONGEST = 30
"""Characters of a label that are drawn; the whole label is in the tooltip."""
_FILE_STYLE = (
    'text { font: 12px system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; fill: #1b1f24; } .paper { fill: #fff; } '
    ".muted { fill: #59626d; } .grid { stroke: #e6e9ed; } .axis { stroke: #59626d; } .c1 { fill: #0072b2; } "
    ".c3 { fill: #d55e00; } .line { fill: none; stroke: #0072b2; stroke-width: 2; } "
    ".point { fill-opacity: .75; stroke: #fff; stroke-width: .6; }"
)
TOP, RIGHT, BOTTOM, LEFT = 10, 16, 46, 66
"""Margins around plots with two number axes, in pixels."""


def bars(
    labels: Sequence[str],
    values: Values,
    *,
    title: str,
    x_label: str,
    log: bool = False,
    colors: Sequence[str] | None = None,
) -> Markup:
    """Horizontal bars in the order given (rank them first), each with its value at its end.

    Args:
        labels: One a row.
        values: On a logarithmic axis zero has no bar, only its figure.
        title: What the drawing says, for those who do not see it.
        x_label: Quantity and unit.
        log: Logarithmic axis.
        colors: A CSS class a row, ``c1`` to ``c8``; all ``c1`` if not given.

    Raises:
        ValueError: Arguments of different lengths.
    """
    colors = ["c1"] * len(labels) if colors is None else colors
    left, height = _gutter(labels), TOP + ROW * len(labels)
    shown = [value for value in values if _is_number(value)]
    widest = max((len(_figure(value)) for value in shown), default=1)
    axis = _axis(shown, left, WIDTH - RIGHT - GLYPH * widest, log=log, zero=True, room_below=log)
    base = axis.start if log else axis.at(0)
    parts = _grid_down(axis, height, x_label)
    for row, (label, value, color) in enumerate(zip(labels, values, colors, strict=True)):
        y, figure = TOP + ROW * row, _figure(value)
        end = axis.at(value) if _is_number(value) and (value > 0 or not log) else base
        parts += [
            f"<g><title>{_clean(label)}: {figure}</title>",
            _text(left - 6, y + 13, _short(label), "end"),
            f'<rect class="{escape(color)}" x="{min(base, end):.1f}" y="{y + 3}" width="{abs(end - base):.1f}" height="12"/>',
            _text(max(base, end) + 4, y + 13, figure, css="muted"),
            "</g>",
        ]
    return _svg(WIDTH, height + BOTTOM, title, parts)


def dots(
    labels: Sequence[str],
    values: Values,
    lo: Values,
    hi: Values,
    *,
    title: str,
    x_label: str,
    counts: Sequence[int | None] | None = None,
) -> Markup:
    """One row a label: a dot, its interval as a line, and a count at the right.

    Args:
        labels: One a row, drawn in the order given.
        values: Fractions get an axis from 0 to 1; None draws a dash.
        lo: Lower ends of the intervals; None draws no line.
        hi: Upper ends.
        title: What the drawing says, for those who do not see it.
        x_label: Quantity and unit.
        counts: What each row rests on, such as its support.

    Raises:
        ValueError: Arguments of different lengths.
    """
    left, height = _gutter(labels), TOP + ROW * len(labels)
    right = 0.0 if counts is None else 8 + GLYPH * max((len(_figure(count)) for count in counts), default=0)
    numbers = [value for value in (*values, *lo, *hi) if _is_number(value)]
    axis = _axis(numbers, left, WIDTH - RIGHT - right, zero=True, fraction=True)
    parts = _grid_down(axis, height, x_label)
    rows = zip(labels, values, lo, hi, [None] * len(labels) if counts is None else counts, strict=True)
    for row, (label, value, low, high, count) in enumerate(rows):
        y = TOP + ROW * row + ROW / 2
        between = f" ({_figure(low)} to {_figure(high)})" if _is_number(low) and _is_number(high) else ""
        parts += [f"<g><title>{_clean(label)}: {_figure(value)}{between}</title>", _text(left - 6, y + 4, _short(label), "end")]
        if _is_number(low) and _is_number(high):
            parts.append(_line(axis.at(low), y, axis.at(high), y, "range"))
        if _is_number(value):
            parts.append(f'<circle class="c1" cx="{axis.at(value):.1f}" cy="{y:.1f}" r="4"/>')
        else:
            parts.append(_text(left + 4, y + 4, "\N{EN DASH}", css="muted"))
        if counts is not None:
            parts.append(_text(WIDTH - 4, y + 4, _figure(count), "end", "muted"))
        parts.append("</g>")
    return _svg(WIDTH, height + BOTTOM, title, parts)


def scatter(
    x: Values,
    y: Values,
    labels: Sequence[str],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    colors: Sequence[str] | None = None,
) -> Markup:
    """Points, each with a tooltip; those that lie far out are named where there is room.

    A point with a missing coordinate, or one that a logarithmic axis cannot show, is left out. ``colors`` are CSS classes,
    ``c1`` to ``c8``; all ``c1`` if not given.

    Raises:
        ValueError: Arguments of different lengths.
    """
    points = [
        (a, b, label, color)
        for a, b, label, color in zip(x, y, labels, ["c1"] * len(labels) if colors is None else colors, strict=True)
        if _is_number(a) and _is_number(b) and (a > 0 or not log_x) and (b > 0 or not log_y)
    ]
    height = 400
    across = _axis([a for a, *_ in points], LEFT, WIDTH - RIGHT, log=log_x, zero=not log_x)
    up = _axis([b for _, b, *_ in points], height - BOTTOM, TOP, log=log_y, zero=not log_y)
    placed = [(across.at(a), up.at(b), label) for a, b, label, _ in points]
    parts = _grid(across, up, x_label, y_label)
    parts += [
        f'<circle class="point {escape(color)}" cx="{cx:.1f}" cy="{cy:.1f}" r="4.5">'
        f"<title>{_clean(label)}: {_figure(a)}, {_figure(b)}</title></circle>"
        for (cx, cy, label), (a, b, _, color) in zip(placed, points, strict=True)
    ]
    parts += _names(placed, height)
    return _svg(WIDTH, height, title, parts)


def histogram(edges: Sequence[float], counts: Sequence[int], *, title: str, x_label: str, y_label: str) -> Markup:
    """Bins that touch: ``len(counts) + 1`` edges in rising order.

    Raises:
        ValueError: The edges do not fit the counts.
    """
    if len(edges) != len(counts) + 1:
        raise ValueError(f"{len(counts)} counts need {len(counts) + 1} edges, not {len(edges)}.")
    height = 300
    across = _axis(edges, LEFT, WIDTH - RIGHT, tight=True)
    up = _axis(counts, height - BOTTOM, TOP, zero=True)
    parts = _grid(across, up, x_label, y_label)
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        x, y, width = across.at(low) + 0.5, up.at(count), across.at(high) - across.at(low) - 1
        parts.append(
            f'<rect class="c1" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{up.start - y:.1f}">'
            f"<title>{_figure(low)} to {_figure(high)}: {_figure(count)}</title></rect>"
        )
    return _svg(WIDTH, height, title, parts)


def heatmap(labels: Sequence[str], matrix: Sequence[Values], *, title: str, low: str = "low", high: str = "high") -> Markup:
    """Square of cells, row label against column label: the more, the stronger the colour. A missing cell stays empty.

    Args:
        labels: Of rows and columns alike, ``(C,)``.
        matrix: ``(C, C)``.
        title: What the drawing says, for those who do not see it.
        low: What the palest colour means.
        high: What the strongest colour means.

    Raises:
        ValueError: The matrix is not ``(C, C)``.
    """
    if len(matrix) != len(labels) or any(len(row) != len(labels) for row in matrix):
        raise ValueError(f"{len(labels)} labels need a square matrix of that size.")
    cell = 14
    left, side = _gutter(labels), cell * len(labels)
    top = left * 0.9
    shown = [value for row in matrix for value in row if _is_number(value)]
    least, most = min(shown, default=0.0), max(shown, default=1.0)
    parts = []
    for index, label in enumerate(labels):
        along = left + cell * index + 11
        parts.append(_text(left - 6, top + cell * index + 11, _short(label), "end"))
        parts.append(f'<text transform="translate({along:.1f} {top - 5:.1f}) rotate(-60)">{_short(label)}</text>')
        for other, value in enumerate(matrix[index]):
            if _is_number(value):
                strength = 0.06 + 0.94 * (value - least) / (most - least or 1.0)
                parts.append(
                    f'<rect class="cell" x="{left + cell * other:.1f}" y="{top + cell * index:.1f}" width="{cell - 1}" '
                    f'height="{cell - 1}" fill-opacity="{strength:.2f}"><title>{_clean(label)}, {_clean(labels[other])}: '
                    f"{_figure(value)}</title></rect>"
                )
    parts.append(f'<rect class="frame" x="{left - 1:.1f}" y="{top - 1:.1f}" width="{side + 1}" height="{side + 1}"/>')
    key = top + side + 24
    for step in range(5):
        box = f'x="{left + 16 * step:.1f}" y="{key - 10:.1f}" width="16" height="12"'
        parts.append(f'<rect class="cell" {box} fill-opacity="{0.06 + 0.235 * step:.2f}"/>')
    parts.append(_text(left - 6, key, _short(low), "end", "muted"))
    parts.append(_text(left + 86, key, _short(high), css="muted"))
    return _svg(max(left + side + top * 0.5, left + 320.0), key + 10, title, parts)


def curve(x: Values, y: Values, *, title: str, x_label: str, y_label: str, diagonal: bool = False) -> Markup:
    """A line through the points in the order given; axes of fractions run from 0 to 1.

    Args:
        x: ``(N,)``; a missing value interrupts the line.
        y: ``(N,)``; likewise.
        title: What the drawing says, for those who do not see it.
        x_label: Quantity and unit.
        y_label: Quantity and unit.
        diagonal: Draw the line from corner to corner, dashed, to compare with.

    Raises:
        ValueError: Arguments of different lengths.
    """
    height = 400
    across = _axis([a for a in x if _is_number(a)], LEFT, WIDTH - RIGHT, zero=True, fraction=True)
    up = _axis([b for b in y if _is_number(b)], height - BOTTOM, TOP, zero=True, fraction=True)
    parts = _grid(across, up, x_label, y_label)
    if diagonal:
        parts.append(_line(across.start, up.start, across.stop, up.stop, "dashed"))
    parts += _path(across, up, x, y, "line")
    return _svg(WIDTH, height, title, parts)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Values ``lo`` to ``hi`` lie on pixels ``start`` to ``stop``."""

    lo: float
    hi: float
    start: float
    stop: float
    log: bool

    def at(self, value: float) -> float:
        """The pixel of a value."""
        lo, hi, value = (math.log(v) if self.log else v for v in (self.lo, self.hi, value))
        return self.start + (value - lo) / (hi - lo) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Powers of ten on a logarithmic axis, else multiples of 1, 2 or 5 times one."""
        if self.log:
            return [10.0**power for power in range(math.ceil(math.log10(self.lo)), math.floor(math.log10(self.hi)) + 1)]
        step = _step(self.lo, self.hi)
        first, last = math.ceil(self.lo / step - 1e-9), math.floor(self.hi / step + 1e-9)
        return [place * step for place in range(first, last + 1)]


def _axis(
    values: Sequence[float],
    start: float,
    stop: float,
    *,
    log: bool = False,
    zero: bool = False,
    fraction: bool = False,
    tight: bool = False,
    room_below: bool = False,
) -> _Axis:
    """Fit an axis to values: from ``zero``, 0 to 1 for a ``fraction``, ``tight`` or out to the next tick."""
    if log:
        values = [value for value in values if value > 0] or [1.0, 10.0]
        lo, hi = min(values) / 1.2, max(values) * 1.2
        power = 10.0 ** math.floor(math.log10(min(values) if room_below else lo))
        if room_below:  # the bar of the smallest value must be seen as well
            lo, hi = power / 2 if power == min(values) else power, max(values)
        if math.floor(math.log10(hi)) <= math.ceil(math.log10(lo)):  # two ticks at least
            lo, hi = min(lo, power), max(hi, power * 10)
        return _Axis(lo, hi, start, stop, log=True)
    lo, hi = min(values, default=0.0), max(values, default=1.0)
    if fraction and lo >= 0 and hi <= 1:
        return _Axis(0.0, 1.0, start, stop, log=False)
    if zero:
        lo, hi = min(lo, 0.0), max(hi, 0.0)
    if hi <= lo:
        hi = lo + 1.0
    if not tight:
        step = _step(lo, hi)
        lo, hi = step * math.floor(lo / step + 1e-9), step * math.ceil(hi / step - 1e-9)
    return _Axis(lo, hi, start, stop, log=False)


def _step(lo: float, hi: float) -> float:
    rough = (hi - lo) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _grid_down(axis: _Axis, bottom: float, x_label: str) -> list[str]:
    """Vertical lines with figures and a label below, for plots of rows."""
    parts = []
    for tick in axis.ticks():
        x = axis.at(tick)
        parts += [_line(x, TOP, x, bottom, "grid"), _text(x, bottom + 16, _figure(tick), "middle", "muted")]
    parts.append(_text((axis.start + axis.stop) / 2, bottom + 36, _clean(x_label), "middle"))
    return parts


def _grid(across: _Axis, up: _Axis, x_label: str, y_label: str) -> list[str]:
    """Lines, figures and labels of two number axes."""
    parts = _grid_down(across, up.start, x_label)
    for tick in up.ticks():
        y = up.at(tick)
        parts += [_line(across.start, y, across.stop, y, "grid"), _text(across.start - 6, y + 4, _figure(tick), "end", "muted")]
    middle = (up.start + up.stop) / 2
    parts.append(f'<text text-anchor="middle" transform="translate(14 {middle:.1f}) rotate(-90)">{_clean(y_label)}</text>')
    return [*parts, _line(across.start, up.start, across.stop, up.start, "axis")]


def _path(across: _Axis, up: _Axis, x: Values, y: Values, css: str) -> list[str]:
    """A line through the points in the order given; a missing value interrupts it."""
    steps, pen = [], "M"
    for a, b in zip(x, y, strict=True):
        if _is_number(a) and _is_number(b):
            steps.append(f"{pen}{across.at(a):.1f} {up.at(b):.1f}")
            pen = "L"
        else:
            pen = "M"
    return [f'<path class="{css}" d="{" ".join(steps)}"/>'] if steps else []


def _names(placed: Sequence[tuple[float, float, str]], height: float, most: int = 14) -> list[str]:
    """Name the points farthest from the middle of the crowd, where neither a name nor a point is in the way."""
    if not placed:
        return []
    middle_x, middle_y = median(x for x, _, _ in placed), median(y for _, y, _ in placed)
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y, _ in placed]
    parts: list[str] = []
    for x, y, label in sorted(placed, key=lambda point: -math.hypot(point[0] - middle_x, point[1] - middle_y)):
        wide = GLYPH * min(len(label), LONGEST)
        for left, anchor in ((x + 7, "start"), (x - 7 - wide, "end")):
            box = (left, y - 7, left + wide, y + 7)
            inside = box[0] > LEFT and box[2] < WIDTH and box[1] > 0 and box[3] < height - BOTTOM + 4
            if inside and not any(box[0] < c and a < box[2] and box[1] < d and b < box[3] for a, b, c, d in taken):
                taken.append(box)
                parts.append(_text(x + 7 if anchor == "start" else x - 7, y + 4, _short(label), anchor))
                break
        if len(parts) == most:
            break
    return parts


def standalone(drawing: Markup, style: str = _FILE_STYLE) -> str:
    """A drawing as a file of its own, with its colours; the usual ones are dark on white whatever is around it."""
    head, rest = drawing.split(">", 1)
    return f'{head}><style>{style}</style><rect class="paper" width="100%" height="100%"/>{rest}\n'


def _is_number(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _figure(value: float | None) -> str:
    """A figure for a tick or a tooltip: four digits, thousands apart."""
    if not _is_number(value):
        return "\N{EN DASH}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{float(f'{value:.4g}'):g}" if abs(value) > 1e-12 else "0"


def _clean(text: str) -> Markup:
    """Escape; what cannot be shown (control characters, which are not allowed in XML either) becomes a space."""
    return escape("".join(letter if letter.isprintable() else " " for letter in str(text)))


def _short(text: str) -> Markup:
    return _clean(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def _gutter(labels: Sequence[str]) -> float:
    """Room for row labels at the left, in pixels."""
    return 12 + GLYPH * max((min(len(label), LONGEST) for label in labels), default=4)


def _text(x: float, y: float, text: str, anchor: str = "start", css: str = "") -> str:
    """A text element; the text is escaped already or ours."""
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> Markup:
    size = f"min-width:{width * 0.8:.0f}px;max-width:{width * 1.25:.0f}px"  # the text stays legible on a phone: the box scrolls
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:.0f} {height:.0f}" style="{size}">'
    return Markup(f"{head}<title>{_clean(title)}</title>{''.join(parts)}</svg>")
