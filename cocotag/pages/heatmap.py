"""Heatmap of a matrix as an SVG that may have thousands of cells. Does not depend on metrics or on a page."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Sequence

from markupsafe import Markup

from cocotag.pages.drawing import Values, clean, cut, figure, gutter, is_number, nothing, px, short, svg, width_of, words

CELL = 14
"""Pixels from one cell to the next."""
LEVELS = 16
"""Shades of a colour: cells of the same shade are drawn in one group, which takes a third of the bytes."""
_PALEST = 0.08
_SLOPE = math.radians(60)  # of the column labels
_REPEAT = 40  # with more rows than this, the columns are also labelled at the bottom


def heatmap(
    labels: Sequence[str],
    matrix: Sequence[Values],
    *,
    title: str,
    low: str = "low",
    high: str = "high",
    hatched: Sequence[Sequence[bool]] | None = None,
    diverging: bool = False,
    columns: Sequence[str] | None = None,
    show: Callable[[float], str] = figure,
) -> Markup:
    """Heatmap of a matrix; the further a value is from the scale's start, the stronger its colour. Missing cells are empty.

    A dense matrix takes about 90 bytes per cell; with more than a hundred rows, choose which to show.

    Args:
        labels: Labels of the rows, ``(R,)``.
        matrix: ``(R, K)``.
        title: Text alternative of the drawing, for screen readers.
        low: Meaning of the low end of the colour scale.
        high: Meaning of the high end.
        hatched: Cells with too little data, ``(R, K)``: they are hatched.
        diverging: Two colours that meet at 0: blue above, vermilion below, as strong at -x as at x. The scale ends where
            the outermost 2 % of the values begin, so that one outlier does not make all other cells pale.
        columns: Labels of the columns, ``(K,)``; by default those of the rows.
        show: Formats a value for tooltips and the key.

    Raises:
        ValueError: The labels, the matrix and the hatching have different sizes.
    """
    columns = labels if columns is None else columns
    for name, rows in (("matrix", matrix), ("hatching", hatched)):
        if rows is not None and (len(rows) != len(labels) or any(len(row) != len(columns) for row in rows)):
            square = "square " if columns is labels else ""
            raise ValueError(f"{len(labels)} rows and {len(columns)} columns need a {square}{name} of that size.")
    again = len(labels) > _REPEAT
    longest = max((width_of(cut(label)) for label in columns), default=0.0)
    left, top = max(gutter(labels), longest * math.cos(_SLOPE) if again else 0.0), longest * math.sin(_SLOPE) + 16
    right, bottom = left + CELL * len(columns), top + CELL * len(labels)
    scale = _Scale([value for row in matrix for value in row if is_number(value)], diverging)
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    weak = []
    for row, (label, values) in enumerate(zip(labels, matrix, strict=True)):
        for column, value in enumerate(values):
            if is_number(value):
                cell = _cell(left + CELL * column, top + CELL * row)
                tip = f"{clean(label)}, {clean(columns[column])}: {clean(show(value))}"
                groups[scale.shade(value)].append(f'<path d="{cell}"><title>{tip}</title></path>')
                if hatched is not None and hatched[row][column]:
                    weak.append(cell)
    parts = [words(left - 6, top + CELL * row + 11, short(label), "end") for row, label in enumerate(labels)]
    for column, label in enumerate(columns):
        parts.append(_slanted(left + CELL * column + 11, top - 5, label, "start"))
        if again:
            parts.append(_slanted(left + CELL * column + 11, bottom + 12, label, "end"))
    parts += [
        f'<g class="cells {css}" fill-opacity="{opacity}">{"".join(cells)}</g>'
        for (css, opacity), cells in sorted(groups.items())
    ]
    frame = f'x="{px(left - 1)}" y="{px(top - 1)}" width="{px(right - left + 1)}" height="{px(bottom - top + 1)}"'
    parts.append(f'<rect class="frame" {frame}/>')
    if not groups:
        parts.append(nothing(max((left + right) / 2, 60), max((top + bottom) / 2 + 4, 14)))
    below = bottom + (top if again else 4) + 22
    key, end = _key(left, below, scale, low, high, show)
    parts += key
    if weak:
        # Ids are shared by all drawings of a page, so the pattern's id is a hash of this drawing.
        mark = "hatch-" + hashlib.sha256("".join((title, *labels, *weak)).encode("utf-8", "replace")).hexdigest()[:10]
        parts.insert(0, _pattern(mark))
        parts.append(f'<path class="hatch" fill="url(#{mark})" d="{"".join(weak)}"/>')
        shade = 'class="c1" fill-opacity=".6"'
        parts += [f'<path {paint} d="{_cell(left, below + 26)}"/>' for paint in (shade, f'fill="url(#{mark})"')]
        parts.append(words(left + 20, below + 37, "hatched: too little data", css="muted"))
        end = max(end, left + 20 + width_of("hatched: too little data"))
    over = max((left + CELL * column + 16 + width_of(cut(label)) / 2 for column, label in enumerate(columns)), default=0.0)
    return svg(max(right + 6, over, end + 6, 120.0), below + (46 if weak else 24), title, parts)


class _Scale:
    """The colour scale: the colour of a value and its opacity."""

    def __init__(self, values: Sequence[float], diverging: bool) -> None:
        self.diverging = diverging
        if diverging:
            sizes = sorted(abs(value) for value in values)
            limit = sizes[math.ceil(0.98 * len(sizes)) - 1] if sizes else 0.0
            limit = (math.ceil(limit) if limit >= 1 else limit) or max(sizes, default=0.0) or 1.0
            self.lo, self.hi = -limit, limit
        else:
            self.lo, self.hi = min(values, default=0.0), max(values, default=1.0)
        self.outside = min(values, default=self.lo) < self.lo, max(values, default=self.hi) > self.hi

    def shade(self, value: float) -> tuple[str, str]:
        """The CSS class and the opacity of a value; on a diverging scale, -x and x differ only in the class."""
        span = self.hi if self.diverging else self.hi - self.lo
        part = abs(value) if self.diverging else value - self.lo
        level = math.ceil(LEVELS * min(part / (span or 1.0), 1.0) - 1e-9)
        css = "c1" if value > 0 or not self.diverging else "c3" if value < 0 else "c7"
        return css, f"{_PALEST + (1 - _PALEST) * level / LEVELS:.2f}".lstrip("0")


def _key(x: float, y: float, scale: _Scale, low: str, high: str, show: Callable[[float], str]) -> tuple[list[str], float]:
    """The key of the colour scale, starting at ``x``, and the pixel at which it ends."""
    first = cut(low, 260)
    start, boxes = x + width_of(first) + 8, 9 if scale.diverging else 5
    parts = [words(start - 8, y, clean(first), "end", "muted")]
    values = [scale.lo + (scale.hi - scale.lo) * box / (boxes - 1) for box in range(boxes)]
    for box, value in enumerate(values):
        css, opacity = scale.shade(value)
        at = f'x="{px(start + 18 * box)}" y="{px(y - 10)}" width="17" height="12"'
        parts.append(f'<rect class="{css}" fill-opacity="{opacity}" {at}/>')
    for box in (0, boxes // 2, boxes - 1) if scale.diverging else (0, boxes - 1):
        sign = "≤ " if box == 0 and scale.outside[0] else "≥ " if box == boxes - 1 and scale.outside[1] else ""
        parts.append(words(start + 18 * box + 8, y + 15, f"{sign}{clean(show(values[box]))}", "middle", "muted"))
    last = cut(high, 260)
    parts.append(words(start + 18 * boxes + 8, y, clean(last), css="muted"))
    return parts, start + 18 * boxes + 8 + width_of(last)


def _cell(x: float, y: float) -> str:
    return f"M{px(x)} {px(y)}h{CELL - 1}v{CELL - 1}h-{CELL - 1}z"


def _slanted(x: float, y: float, label: str, anchor: str) -> str:
    slope = f"rotate(-{math.degrees(_SLOPE):.0f})"
    return f'<text text-anchor="{anchor}" transform="translate({px(x)} {px(y)}) {slope}">{short(label)}</text>'


def _pattern(mark: str) -> str:
    lines = '<path class="hatching" d="M-1 1L1 -1M0 5L5 0M4 6L6 4"/>'
    return f'<defs><pattern id="{mark}" width="5" height="5" patternUnits="userSpaceOnUse">{lines}</pattern></defs>'
