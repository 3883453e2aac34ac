"""Small plots of a single class, shown side by side in an opened table row. Does not depend on metrics or on a page.

A page has them for every class, so each takes only a few kilobytes: coordinates have one decimal, bars are paths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from cocotag.pages.drawing import (
    Axis,
    Values,
    figure,
    grid,
    grid_down,
    is_number,
    legend,
    nothing,
    path,
    px,
    segment,
    side_label,
    svg,
    width_of,
    words,
)

WIDTH, HEIGHT = 300, 212
"""Pixels of a small drawing."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 16, 10, 46
_LEAST, _MOST = 2.5, 7.0  # smallest and largest radius of the dots of a calibration plot, in pixels


def small_curve(
    x: Values,
    y: Values,
    *,
    title: str,
    x_label: str,
    y_label: str,
    mark: tuple[float, float] | None = None,
    rule: float | None = None,
) -> Markup:
    """A step function on axes from 0 to 1: precision over recall, or F1 over the threshold.

    Both change only where a score occurs, so each value holds back to the previous ``x`` (the first to 0). The area below
    precision over recall is then average precision; straight lines between the points would overestimate it.

    Args:
        x: ``(N,)``, rising or falling; a missing value interrupts the line.
        y: ``(N,)``; the same.
        title: Text alternative of the drawing, for screen readers.
        x_label: Quantity.
        y_label: Quantity.
        mark: A point to mark, such as the one at the threshold in use; not drawn if it has a NaN or is outside the axes.
        rule: Height of a dashed horizontal line, such as the precision of random guessing.

    Raises:
        ValueError: ``x`` and ``y`` have different lengths.
    """
    across, up = _axes()
    parts = grid(across, up, x_label, y_label)
    if is_number(rule):
        parts.append(segment(across.start, up.at(rule), across.stop, up.at(rule), "dashed"))
    ends = [value for value in x if is_number(value)]
    if ends and ends[0] > ends[-1]:
        x, y = x[::-1], y[::-1]
    if len(x) and len(y) and is_number(x[0]):
        x, y = [0.0, *x], [y[0], *y]
    drawn = path(across, up, x, y, "line", steps=True)
    parts += drawn or [nothing((across.start + across.stop) / 2, HEIGHT / 2)]
    if mark is not None and all(is_number(value) and 0 <= value <= 1 for value in mark):
        parts.append(
            f'<circle class="mark" cx="{px(across.at(mark[0]))}" cy="{px(up.at(mark[1]))}" r="5">'
            f"<title>{figure(mark[0])}, {figure(mark[1])}</title></circle>"
        )
    return svg(WIDTH, HEIGHT, title, parts)


def small_histogram(
    edges: Sequence[float],
    first: Sequence[int],
    second: Sequence[int],
    *,
    names: tuple[str, str],
    title: str,
    x_label: str,
    y_label: str,
) -> Markup:
    """Two histograms over the same bins, the first upwards and the second downwards, each with its own colour.

    Heights are the logarithm of 1 + count, on the same scale: ten positives are visible beside thousands of negatives.

    Args:
        edges: Edges of the bins, rising, ``(B + 1,)``.
        first: Counts that go up, ``(B,)``.
        second: Counts that go down, ``(B,)``.
        names: Names of the two series.
        title: Text alternative of the drawing, for screen readers.
        x_label: Quantity.
        y_label: What is counted.

    Raises:
        ValueError: The number of edges does not match the counts.
    """
    if len(first) != len(second) or (len(edges) != len(first) + 1 and (len(edges) or len(first))):
        raise ValueError(f"{len(first)} and {len(second)} counts need as many edges and one more, not {len(edges)}.")
    top, bottom = 26, HEIGHT - _BOTTOM
    low, high = (edges[0], edges[-1]) if len(edges) else (0.0, 1.0)
    left = 26 + max(width_of(figure(tick)) for tick in _log_ticks(max([*first, *second, 1])))
    across = Axis(low, high if high > low else low + 1, left, WIDTH - _RIGHT)
    middle, half = (top + bottom) / 2, (bottom - top) / 2
    most = max([*first, *second, 1])
    parts = grid_down(across, top, bottom, x_label)
    for tick in _log_ticks(most):
        away = half * math.log1p(tick) / math.log1p(most)
        if 0 < away < 12:  # its number would overlap that of 0
            continue
        for y in (middle - away, middle + away) if tick else (middle,):
            parts.append(segment(across.start, y, across.stop, y, "grid" if tick else "axis"))
            parts.append(words(across.start - 6, y + 4, figure(tick), "end", "muted"))
    for counts, css, direction in ((first, "c3", -1), (second, "c1", 1)):
        marks = []
        for begin, end, count in zip(edges, edges[1:], counts, strict=False):
            if count > 0:
                width = px(max(across.at(end) - across.at(begin) - 1, 0.5))
                rise = direction * half * math.log1p(count) / math.log1p(most)
                bar = f"M{px(across.at(begin) + 0.5)} {px(middle)}h{width}v{px(rise)}h-{width}z"
                marks.append(f'<path d="{bar}"><title>{figure(begin)} to {figure(end)}: {figure(count)}</title></path>')
        parts.append(f'<g class="{css}">{"".join(marks)}</g>')
    if not any([*first, *second]):
        parts.append(nothing((across.start + across.stop) / 2, middle - 8))
    keys = [
        (f'<rect class="{css}" x="-5" y="-5" width="10" height="10"/>', name)
        for css, name in zip(("c3", "c1"), names, strict=True)
    ]
    parts += [*legend(left, 15, keys, WIDTH - left), side_label(y_label, top, bottom)]
    return svg(WIDTH, HEIGHT, title, parts)


def small_calibration(
    predicted: Values, observed: Values, lo: Values, hi: Values, counts: Sequence[int], *, title: str
) -> Markup:
    """Reliability diagram: the observed frequency over the predicted probability, which agree on the dashed line.

    Args:
        predicted: Mean probability of each bin, ``(B,)``.
        observed: Fraction of positives in each bin.
        lo: Lower ends of the intervals.
        hi: Upper ends.
        counts: Images in each bin: the area of its dot, with a minimum so that every dot is visible.
        title: Text alternative of the drawing, for screen readers.

    Raises:
        ValueError: The arguments have different lengths.
    """
    across, up = _axes()
    parts = grid(across, up, "mean predicted probability", "fraction of positives")
    diagonal = segment(across.start, up.start, across.stop, up.stop, "dashed")
    most, drawn = max([*counts, 1]), False
    for at, value, low, high, count in zip(predicted, observed, lo, hi, counts, strict=True):
        if not (is_number(at) and is_number(value)):
            continue
        drawn, x, between = True, across.at(at), ""
        if is_number(low) and is_number(high):
            parts.append(segment(x, up.at(low), x, up.at(high), "range c1"))
            between = f" ({figure(low)} to {figure(high)})"
        radius = max(_LEAST, _MOST * math.sqrt(count / most))
        parts.append(
            f'<circle class="point c1" cx="{px(x)}" cy="{px(up.at(value))}" r="{px(radius)}">'
            f"<title>{figure(at)} predicted, {figure(value)} positive{between}, {figure(count)} images</title></circle>"
        )
    parts.append(diagonal if drawn else nothing((across.start + across.stop) / 2, HEIGHT / 2))
    return svg(WIDTH, HEIGHT, title, parts)


def _axes() -> tuple[Axis, Axis]:
    return Axis(0.0, 1.0, _LEFT, WIDTH - _RIGHT), Axis(0.0, 1.0, HEIGHT - _BOTTOM, _TOP)


def _log_ticks(most: int) -> list[int]:
    """Ticks at 0, 1 and powers of ten up to the largest count, thinned out to stay legible."""
    powers = [10**power for power in range(math.floor(math.log10(most)) + 1)]
    return [0, *(powers if len(powers) < 4 else powers[1::2] if len(powers) > 5 else powers[1:])]
