"""SVG plots for report pages: labelled rows, and plots with two numeric axes. Does not depend on metrics or on a page.

Heatmaps are in `cocotag.pages.heatmap`, the small plots of a single class in `cocotag.pages.small_plots`.
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
    """Horizontal bars in the given order (sort them first), each with its value at its end.

    On a logarithmic axis they are dots, because the length of a bar from an arbitrary start would say nothing.

    Args:
        labels: One per row.
        values: On a logarithmic axis, zero has no dot, only its number.
        title: Text alternative of the drawing, for screen readers.
        x_label: Quantity and unit.
        log: Logarithmic axis.
        colors: One CSS class per row, ``c1`` to ``c8``; all ``c1`` by default.

    Raises:
        ValueError: The arguments have different lengths.
    """
    shown = [value for value in values if is_number(value)]
    widest = max((width_of(figure(value)) for value in values), default=0.0)
    below = widest + 6 if any(value < 0 for value in shown) and not log else 0.0  # room for the number of a bar that goes left
    left = gutter(labels)
    axis = fit_axis(shown, left + below, WIDTH - RIGHT - widest, log=log, zero=True, room_below=log)
    base = axis.start if log else axis.at(0)
    top, bottom, parts = _rows(labels, axis, x_label)
    for row, (label, value, color) in enumerate(zip(labels, values, _colors(labels, colors), strict=True)):
        y = top + ROW * row
        end = axis.at(value) if is_number(value) and (value > 0 or not log) else base
        css = escape(color)
        shape = f'<rect class="{css}" x="{px(min(base, end))}" y="{y + 3}" width="{px(abs(end - base))}" height="12"/>'
        if log:
            shape = f'<circle class="{css}" cx="{px(end)}" cy="{y + 9}" r="4"/>' if end > base else ""
        number_at = words(end - 4, y + 13, figure(value), "end", "muted") if end < base else ""
        parts += [
            f"<g><title>{clean(label)}: {figure(value)}</title>",
            words(left - 6, y + 13, short(label), "end"),
            shape,
            number_at or words(end + (4 if log else 0) + 4, y + 13, figure(value), css="muted"),
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
    """One row per label: a dot, its interval as a line, and at the right a bar and a number for its support.

    Args:
        labels: One per row, drawn in the given order.
        values: Fractions get an axis from 0 to 1; None draws a dash.
        lo: Lower ends of the intervals; None draws no line.
        hi: Upper ends.
        title: Text alternative of the drawing, for screen readers.
        x_label: Quantity and unit.
        counts: How much data each row rests on, such as its support. A bar's length is proportional to the square root
            of the count, since the counts of classes differ a hundredfold.
        counts_label: Name of the counts, written above them.
        zero: The values are differences: the axis includes 0 and has a line there.
        colors: One CSS class per row, ``c1`` to ``c8``; all ``c1`` by default.

    Raises:
        ValueError: The arguments have different lengths.
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
    """One row per label: a hollow dot for the first value and a filled dot for the second, joined by a line.

    Args:
        labels: One per row, drawn in the given order.
        first: The hollow dots; None draws none.
        second: The filled dots.
        names: Names of the two series.
        title: Text alternative of the drawing, for screen readers.
        x_label: Quantity and unit.
        log: Logarithmic axis; a value of 0 is written as a number at its left end.

    Raises:
        ValueError: The arguments have different lengths.
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
        pixels = [_pixel(axis, value) for value in (one, other)]
        if pixels[0] is not None and pixels[1] is not None and pixels[0] != pixels[1]:
            parts.append(segment(pixels[0], y, pixels[1], y, "join"))
        if 0 in (one, other) and log:
            parts.append(words(axis.start - room + 2, y + 4, "0", css="muted"))
        for pixel, value, css, radius in zip(pixels, (one, other), ("hollow c1", "c1"), ("3.5", "4"), strict=True):
            if pixel is not None and is_number(value) and (value > 0 or not log):
                parts.append(f'<circle class="{css}" cx="{px(pixel)}" cy="{px(y)}" r="{radius}"/>')
        if pixels == [None, None]:
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
    """Points, each with a tooltip; outlying points are named where there is room.

    A point with a missing coordinate, or one that a logarithmic axis cannot show, is left out. ``colors`` has one CSS class
    per point, ``c1`` to ``c8``; all ``c1`` by default.

    Raises:
        ValueError: The arguments have different lengths.
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
    """Histogram with adjacent bins: ``len(counts) + 1`` edges in rising order.

    Raises:
        ValueError: The number of edges does not match the counts.
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
    """A line through the points in the given order; an axis of fractions runs from 0 to 1.

    Args:
        x: ``(N,)``; a missing value interrupts the line.
        y: ``(N,)``; the same.
        title: Text alternative of the drawing, for screen readers.
        x_label: Quantity and unit.
        y_label: Quantity and unit.
        diagonal: Draw a dashed line from corner to corner, as a reference.

    Raises:
        ValueError: The arguments have different lengths.
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
    """Top and bottom of the rows, and the grid behind them; ``head`` leaves room for a line of text above."""
    many = len(labels) > MANY
    top = TOP + (16 if many or head else 0) + (18 if many and head else 0)
    bottom = top + ROW * max(len(labels), 1)
    parts = grid_down(axis, top, bottom, x_label, above=many)
    return top, bottom, parts if labels else [*parts, nothing((axis.start + axis.stop) / 2, top + 13)]


def _pixel(axis: Axis, value: float | None) -> float | None:
    """The pixel of a value; a value below a logarithmic axis is at its start."""
    if not is_number(value):
        return None
    return axis.start if axis.log and value <= 0 else axis.at(value)


def _names(placed: Sequence[tuple[float, float, str]], across: Axis, up: Axis, most: int = 14) -> list[str]:
    """Labels of the points farthest from the median, where they overlap no other label and no point."""
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
