"""Numbers -> SVG drawings for report pages: rows of labels, and plots with two number axes. Knows no metrics and no page.

The square of cells is in `cocotag.pages.heatmap`, the drawings for one class in `cocotag.pages.small_plots`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from markupsafe import Markup, escape

from cocotag.pages.drawing import (
    BOTTOM,
    DASH,
    MANY,
    RIGHT,
    ROW,
    TOP,
    WIDTH,
    Axis,
    Values,
    clean,
    cut,
    figure,
    fit_axis,
    grid,
    grid_down,
    gutter,
    is_number,
    left_margin,
    legend,
    nothing,
    path,
    px,
    segment,
    short,
    svg,
    width_of,
    words,
)

_COUNT = 56  # pixels of the longest bar of a count


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
    shown = [value for value in values if is_number(value)]
    widest = max((width_of(figure(value)) for value in values), default=0.0)
    below = widest + 6 if any(value < 0 for value in shown) and not log else 0.0  # the figure of a bar to the left
    left = gutter(labels)
    axis = fit_axis(shown, left + below, WIDTH - RIGHT - widest, log=log, zero=True, room_below=log)
    base = axis.start if log else axis.at(0)
    top, bottom, parts = _rows(labels, axis, x_label)
    for row, (label, value, color) in enumerate(zip(labels, values, _colors(labels, colors), strict=True)):
        y = top + ROW * row
        end = axis.at(value) if is_number(value) and (value > 0 or not log) else base
        beside = words(end - 4, y + 13, figure(value), "end", "muted") if end < base else ""
        parts += [
            f"<g><title>{clean(label)}: {figure(value)}</title>",
            words(left - 6, y + 13, short(label), "end"),
            f'<rect class="{escape(color)}" x="{px(min(base, end))}" y="{y + 3}" width="{px(abs(end - base))}" height="12"/>',
            beside or words(end + 4, y + 13, figure(value), css="muted"),
            "</g>",
        ]
    return svg(WIDTH, bottom + BOTTOM, title, parts)


def dots(
    labels: Sequence[str],
    values: Values,
    lo: Values,
    hi: Values,
    *,
    title: str,
    x_label: str,
    counts: Sequence[int | None] | None = None,
    counts_label: str = "support",
    zero: bool = False,
    colors: Sequence[str] | None = None,
) -> Markup:
    """One row a label: a dot, its interval as a line, and at the right a bar and a figure for what it rests on.

    Args:
        labels: One a row, drawn in the order given.
        values: Fractions get an axis from 0 to 1; None draws a dash.
        lo: Lower ends of the intervals; None draws no line.
        hi: Upper ends.
        title: What the drawing says, for those who do not see it.
        x_label: Quantity and unit.
        counts: What each row rests on, such as its support. The bar's length is its square root, since counts of
            classes differ a hundredfold.
        counts_label: Name of the counts, written above them.
        zero: The values are differences: the axis fits them with 0 on it, and a line stands at 0.
        colors: A CSS class a row, ``c1`` to ``c8``; all ``c1`` if not given.

    Raises:
        ValueError: Arguments of different lengths.
    """
    widest = max((width_of(figure(count)) for count in counts or ()), default=0.0)
    right = 0.0 if counts is None else max(_COUNT + 8 + widest, width_of(counts_label)) + 14
    numbers = [value for value in (*values, *lo, *hi) if is_number(value)]
    left = gutter(labels)
    axis = fit_axis(numbers, left, WIDTH - RIGHT - right, zero=True, fraction=not zero)
    top, bottom, parts = _rows(labels, axis, x_label, head=counts is not None and len(labels) <= MANY)
    if zero:
        parts.append(segment(axis.at(0), top, axis.at(0), bottom, "axis"))
    start, most = axis.stop + 20, max((count for count in counts or () if is_number(count)), default=0)
    if counts is not None:
        parts.append(words(WIDTH - 4, top - 5, clean(counts_label), "end", "muted"))
    resting = [None] * len(labels) if counts is None else counts
    rows = zip(labels, values, lo, hi, resting, _colors(labels, colors), strict=True)
    for row, (label, value, low, high, count, color) in enumerate(rows):
        y, css = top + ROW * row + ROW / 2, escape(color)
        between = f" ({figure(low)} to {figure(high)})" if is_number(low) and is_number(high) else ""
        under = "" if counts is None else f"; {clean(counts_label)} {figure(count)}"
        parts.append(f"<g><title>{clean(label)}: {figure(value)}{between}{under}</title>")
        parts.append(words(left - 6, y + 4, short(label), "end"))
        if is_number(low) and is_number(high):
            parts.append(segment(axis.at(low), y, axis.at(high), y, f"range {css}"))
        if is_number(value):
            parts.append(f'<circle class="{css}" cx="{px(axis.at(value))}" cy="{px(y)}" r="4"/>')
        else:
            parts.append(words(axis.start + 4, y + 4, DASH, css="muted"))
        if counts is not None:
            if is_number(count) and count > 0:
                length = px(_COUNT * math.sqrt(count / most))
                parts.append(f'<rect class="count" x="{px(start)}" y="{px(y - 4)}" width="{length}" height="8"/>')
            parts.append(words(WIDTH - 4, y + 4, figure(count), "end", "muted"))
        parts.append("</g>")
    return svg(WIDTH, bottom + BOTTOM, title, parts)


def dumbbells(
    labels: Sequence[str],
    first: Values,
    second: Values,
    *,
    names: tuple[str, str],
    title: str,
    x_label: str,
    log: bool = False,
) -> Markup:
    """One row a label: a hollow dot for one value and a full one for the other, joined by a line.

    Args:
        labels: One a row, drawn in the order given.
        first: The hollow dots; None draws none.
        second: The full dots.
        names: What the two are.
        title: What the drawing says, for those who do not see it.
        x_label: Quantity and unit.
        log: Logarithmic axis; a value of 0 is a figure at its left end.

    Raises:
        ValueError: Arguments of different lengths.
    """
    numbers = [value for value in (*first, *second) if is_number(value)]
    room = 14 if log and min(numbers, default=1.0) <= 0 else 0
    left = gutter(labels)
    axis = fit_axis(numbers, left + room, WIDTH - RIGHT, log=log, zero=True, room_below=log)
    top, bottom, parts = _rows(labels, axis, x_label, head=True)
    keys = ('<circle class="hollow c1" r="3.5"/>', '<circle class="c1" r="4"/>')
    above = top - (24 if len(labels) > MANY else 8)
    parts += legend(axis.start, above, zip(keys, names, strict=True), WIDTH - RIGHT - axis.start)
    for row, (label, one, other) in enumerate(zip(labels, first, second, strict=True)):
        y = top + ROW * row + ROW / 2
        named = ", ".join(f"{clean(name)} {figure(value)}" for name, value in zip(names, (one, other), strict=True))
        parts.append(f"<g><title>{clean(label)}: {named}</title>{words(left - 6, y + 4, short(label), 'end')}")
        places = [_place(axis, value) for value in (one, other)]
        if places[0] is not None and places[1] is not None and places[0] != places[1]:
            parts.append(segment(places[0], y, places[1], y, "join"))
        if 0 in (one, other) and log:
            parts.append(words(axis.start - room + 2, y + 4, "0", css="muted"))
        for place, value, css, radius in zip(places, (one, other), ("hollow c1", "c1"), ("3.5", "4"), strict=True):
            if place is not None and is_number(value) and (value > 0 or not log):
                parts.append(f'<circle class="{css}" cx="{px(place)}" cy="{px(y)}" r="{radius}"/>')
        if places == [None, None]:
            parts.append(words(axis.start + 4, y + 4, DASH, css="muted"))
        parts.append("</g>")
    return svg(WIDTH, bottom + BOTTOM, title, parts)


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
        for a, b, label, color in zip(x, y, labels, _colors(labels, colors), strict=True)
        if is_number(a) and is_number(b) and (a > 0 or not log_x) and (b > 0 or not log_y)
    ]
    height = 400
    up = fit_axis([b for _, b, *_ in points], height - BOTTOM, TOP, log=log_y, zero=not log_y)
    across = fit_axis([a for a, *_ in points], left_margin(up), WIDTH - RIGHT, log=log_x, zero=not log_x)
    placed = [(across.at(a), up.at(b), label) for a, b, label, _ in points]
    parts = grid(across, up, x_label, y_label)
    parts += [
        f'<circle class="point {escape(color)}" cx="{px(cx)}" cy="{px(cy)}" r="4.5">'
        f"<title>{clean(label)}: {figure(a)}, {figure(b)}</title></circle>"
        for (cx, cy, label), (a, b, _, color) in zip(placed, points, strict=True)
    ]
    parts += _names(placed, across, up) if points else [nothing((across.start + across.stop) / 2, height / 2)]
    return svg(WIDTH, height, title, parts)


def histogram(edges: Sequence[float], counts: Sequence[int], *, title: str, x_label: str, y_label: str) -> Markup:
    """Bins that touch: ``len(counts) + 1`` edges in rising order.

    Raises:
        ValueError: The edges do not fit the counts.
    """
    if len(edges) != len(counts) + 1:
        raise ValueError(f"{len(counts)} counts need {len(counts) + 1} edges, not {len(edges)}.")
    height = 300
    up = fit_axis(counts, height - BOTTOM, TOP, zero=True)
    across = fit_axis(edges, left_margin(up), WIDTH - RIGHT, tight=True)
    parts = grid(across, up, x_label, y_label)
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        x, y, width = across.at(low) + 0.5, up.at(count), across.at(high) - across.at(low) - 1
        parts.append(
            f'<rect class="c1" x="{px(x)}" y="{px(y)}" width="{px(max(width, 0.5))}" height="{px(up.start - y)}">'
            f"<title>{figure(low)} to {figure(high)}: {figure(count)}</title></rect>"
        )
    if not any(counts):
        parts.append(nothing((across.start + across.stop) / 2, height / 2))
    return svg(WIDTH, height, title, parts)


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
    up = fit_axis([b for b in y if is_number(b)], height - BOTTOM, TOP, zero=True, fraction=True)
    across = fit_axis([a for a in x if is_number(a)], left_margin(up), WIDTH - RIGHT, zero=True, fraction=True)
    parts = grid(across, up, x_label, y_label)
    if diagonal:
        parts.append(segment(across.start, up.start, across.stop, up.stop, "dashed"))
    drawn = path(across, up, x, y, "line")
    return svg(WIDTH, height, title, parts + (drawn or [nothing((across.start + across.stop) / 2, height / 2)]))


def _colors(labels: Sequence[str], colors: Sequence[str] | None) -> Sequence[str]:
    return ["c1"] * len(labels) if colors is None else colors


def _rows(labels: Sequence[str], axis: Axis, x_label: str, *, head: bool = False) -> tuple[float, float, list[str]]:
    """Where the rows begin and end, and the grid behind them; with ``head`` there is room for a line of words above."""
    many = len(labels) > MANY
    top = TOP + (16 if many or head else 0) + (18 if many and head else 0)
    bottom = top + ROW * max(len(labels), 1)
    parts = grid_down(axis, top, bottom, x_label, above=many)
    return top, bottom, parts if labels else [*parts, nothing((axis.start + axis.stop) / 2, top + 13)]


def _place(axis: Axis, value: float | None) -> float | None:
    """The pixel of a value; what lies below a logarithmic axis is at its start."""
    if not is_number(value):
        return None
    return axis.start if axis.log and value <= 0 else axis.at(value)


def _names(placed: Sequence[tuple[float, float, str]], across: Axis, up: Axis, most: int = 14) -> list[str]:
    """Name the points farthest from the middle of the crowd, where neither a name nor a point is in the way."""
    middle_x, middle_y = median(x for x, _, _ in placed), median(y for _, y, _ in placed)
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y, _ in placed]
    parts: list[str] = []
    for x, y, label in sorted(placed, key=lambda point: -math.hypot(point[0] - middle_x, point[1] - middle_y)):
        wide = width_of(cut(label))
        for left, anchor in ((x + 7, "start"), (x - 7 - wide, "end")):
            box = (left, y - 7, left + wide, y + 7)
            inside = box[0] > across.start and box[2] < WIDTH and box[1] > 0 and box[3] < up.start + 4
            if inside and not any(box[0] < c and a < box[2] and box[1] < d and b < box[3] for a, b, c, d in taken):
                taken.append(box)
                parts.append(words(x + 7 if anchor == "start" else x - 7, y + 4, short(label), anchor))
                break
        if len(parts) == most:
            break
    return parts
