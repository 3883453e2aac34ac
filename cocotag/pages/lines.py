"""Line plots in panels with a shared axis, as one SVG file that follows the reader's light or dark mode.

Does not depend on metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cocotag.pages.drawing import (
    GLYPH,
    WIDTH,
    Axis,
    Values,
    clean,
    figure,
    fit_axis,
    is_number,
    path,
    segment,
    side_label,
    standalone,
    svg,
    words,
)

HEIGHT, GAP, ABOVE, BELOW = 132, 22, 44, 46
"""Pixels: height of a panel, gap between panels, room above for two lines of text, room below for the axis."""
LEFT = 76
"""Pixels left of the panels: small learning rates are long numbers."""
_KEY = 22  # pixels of the short line beside a label
# Series colours as on the report pages: Okabe and Ito, https://jfly.uni-koeln.de/color/
_STYLE = (
    "svg { --paper: #fff; --ink: #1b1f24; --muted: #59626d; --grid: #e6e9ed; "
    "--c1: #0072b2; --c3: #d55e00; --c4: #009e73; --c7: #8a8f98; } "
    "@media (prefers-color-scheme: dark) { svg { --paper: #14171b; --ink: #e8eaed; --muted: #a3acb6; --grid: #2a3037; "
    "--c1: #4aa3df; --c3: #f0803c; --c4: #2bbf94; --c7: #9aa1ab; } } "
    'text { font: 12px system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; fill: var(--ink); } '
    ".paper { fill: var(--paper); } .muted { fill: var(--muted); } .grid { stroke: var(--grid); } "
    ".axis { stroke: var(--muted); } .rule { stroke: var(--muted); stroke-dasharray: 2 3; } "
    ".c1 { color: var(--c1); } .c3 { color: var(--c3); } .c4 { color: var(--c4); } .c7 { color: var(--c7); } "
    ".line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; } .dot { fill: currentColor; } "
    ".ring { fill: none; stroke: var(--ink); stroke-width: 1.5; }"
)


@dataclass(frozen=True)
class Line:
    """One series.

    Attributes:
        label: Text at its end.
        values: One for each ``x`` of the shared axis; a missing value interrupts the line.
        color: ``c1`` blue, ``c3`` vermilion, ``c4`` green or ``c7`` grey.
        dots: Draw unconnected points instead of a line.
        ring: Index of the value that gets a ring; None for no ring.
    """

    label: str
    values: Values
    color: str = "c1"
    dots: bool = False
    ring: int | None = None


@dataclass(frozen=True)
class Panel:
    """One panel: lines over the shared axis.

    Attributes:
        y_label: Quantity and unit.
        lines: In drawing order; a line without any value is left out.
        log: Logarithmic axis.
        top: Largest value to show; None shows all.
    """

    y_label: str
    lines: Sequence[Line]
    log: bool = False
    top: float | None = None


def draw_panels(
    x: Sequence[float],
    panels: Sequence[Panel],
    *,
    title: str,
    x_label: str,
    note: str = "",
    rules: Sequence[tuple[float, str]] = (),
    ends: tuple[float, float] | None = None,
    log_x: bool = False,
    whole: bool = False,
) -> str:
    """Panels stacked over a shared axis, each line with its label at its end.

    Args:
        x: Values of the shared axis, rising, ``(N,)``.
        panels: From the top down.
        title: Text alternative of the drawing, for screen readers.
        x_label: Quantity and unit of the shared axis.
        note: A line of text at the top.
        rules: Thin vertical lines through all panels, from left to right, each with the text at its right.
        ends: Limits of the shared axis; None takes those of ``x``.
        log_x: Logarithmic shared axis.
        whole: Label only whole numbers on the shared axis.

    Returns:
        The text of an SVG file, with colours for light and dark mode.

    Raises:
        ValueError: A line has more or fewer values than ``x``.
    """
    visible = [_drawable(panel) for panel in panels]
    longest = max((len(line.label) for panel in visible for line in panel.lines), default=0)
    low, high = ends or (min(x, default=0.0), max(x, default=1.0))
    across = Axis(low, high if high > low else low + 1, LEFT, WIDTH - _KEY - 8 - GLYPH * (longest + 1), log=log_x)
    ticks = [tick for tick in across.ticks() if not whole or float(tick).is_integer()]
    bottom = ABOVE + (HEIGHT + GAP) * len(visible) - GAP
    parts = [words(LEFT, 14, clean(note), css="muted")] if note else []
    for index, panel in enumerate(visible):
        top = ABOVE + (HEIGHT + GAP) * index
        parts += [segment(across.at(tick), top, across.at(tick), top + HEIGHT, "grid") for tick in ticks]
        parts += [segment(across.at(at), top, across.at(at), top + HEIGHT, "rule") for at, _ in rules]
        parts += _panel(across, top, x, panel)
    parts += [words(across.at(tick), bottom + 16, figure(tick), "middle", "muted") for tick in ticks]
    parts.append(words((across.start + across.stop) / 2, bottom + 36, clean(x_label), "middle"))
    parts += _rule_names(across, rules)
    return standalone(svg(WIDTH, bottom + BELOW, title, parts), _STYLE)


def _drawable(panel: Panel) -> Panel:
    """The panel without values that cannot be drawn and lines without any value."""
    lines = []
    for line in panel.lines:
        values = [
            value if is_number(value) and (value > 0 or not panel.log) and (panel.top is None or value <= panel.top) else None
            for value in line.values
        ]
        if any(value is not None for value in values):
            lines.append(Line(line.label, values, line.color, line.dots, line.ring))
    return Panel(panel.y_label, lines, panel.log, panel.top)


def _panel(across: Axis, top: float, x: Sequence[float], panel: Panel) -> list[str]:
    values = [value for line in panel.lines for value in line.values if value is not None]
    up = fit_axis(values, top + HEIGHT, top, log=panel.log)
    parts = []
    for tick in up.ticks():
        y = up.at(tick)
        parts += [segment(across.start, y, across.stop, y, "grid"), words(LEFT - 6, y + 4, figure(tick), "end", "muted")]
    parts.append(side_label(panel.y_label, top, top + HEIGHT))
    parts.append(segment(across.start, up.start, across.stop, up.start, "axis"))
    for line in panel.lines:
        if not line.dots:
            parts += path(across, up, x, line.values, f"line {line.color}")
        parts += _dots(across, up, x, line)
    return parts + _line_names(across, up, panel.lines)


def _dots(across: Axis, up: Axis, x: Sequence[float], line: Line) -> list[str]:
    """Circles for a series of dots, for the isolated points of a line, and for the ring."""
    parts = []
    around = [None, *line.values, None]
    for index, (at, value) in enumerate(zip(x, line.values, strict=True)):
        isolated = around[index] is None and around[index + 2] is None
        if value is not None and (line.dots or isolated):
            radius = 1.6 if line.dots else 3
            parts.append(f'<circle class="dot {line.color}" cx="{across.at(at):.1f}" cy="{up.at(value):.1f}" r="{radius}"/>')
        if value is not None and index == line.ring:
            parts.append(f'<circle class="ring" cx="{across.at(at):.1f}" cy="{up.at(value):.1f}" r="5"/>')
    return parts


def _line_names(across: Axis, up: Axis, lines: Sequence[Line]) -> list[str]:
    """Each line's label beside its last point, shifted up or down where labels would overlap."""
    apart = 14.0
    last = [next(value for value in reversed(line.values) if value is not None) for line in lines]
    order = sorted(range(len(lines)), key=lambda index: up.at(last[index]))
    heights = [up.at(last[index]) for index in order]
    for index in range(1, len(heights)):  # shift overlapping labels down, then up again from the panel's end
        heights[index] = max(heights[index], heights[index - 1] + apart)
    limit = up.start
    for index in range(len(heights) - 1, -1, -1):
        heights[index] = limit = min(heights[index], limit)
        limit -= apart
    parts = []
    for y, index in zip(heights, order, strict=True):
        line, start = lines[index], across.stop + 6
        if line.dots:
            parts.append(f'<circle class="dot {line.color}" cx="{start + 7:.1f}" cy="{y:.1f}" r="2.5"/>')
        else:
            parts.append(segment(start, y, start + _KEY - 8, y, f"line {line.color}"))
        parts.append(words(start + _KEY - 4, y + 4, clean(line.label)))
    return parts


def _rule_names(across: Axis, rules: Sequence[tuple[float, str]]) -> list[str]:
    """The text at the right of each rule: only its last word if there is little room, and nothing if that does not fit."""
    parts = []
    limits = [*(across.at(following) for following, _ in rules[1:]), float(WIDTH)]
    for (at, label), limit in zip(rules, limits, strict=False):
        for text in (label, label.rpartition(" ")[2]):
            if GLYPH * len(text) + 2 < limit - across.at(at):
                parts.append(words(across.at(at), ABOVE - 8, clean(text), css="muted"))
                break
    return parts
