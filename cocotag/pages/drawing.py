"""Building blocks of every drawing: numeric axes, grids, text, lines and the SVG around them. Does not depend on a plot.

Colours come from the page's CSS classes, so one drawing serves light mode, dark mode and print. Every label is escaped. A
value of None or NaN is drawn as a dash or left out, never as zero.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeGuard

from markupsafe import Markup, escape

Values = Sequence[float | None]

WIDTH, ROW = 640, 18
"""Pixels: width of a drawing, height of one labelled row."""
GLYPH = 6.4
"""Mean width of a character at the page's 12 px, in pixels; a generous estimate, since browsers differ."""
LONGEST = 205.0
"""Pixels after which a label is cut; the tooltip has the whole label."""
TOP, RIGHT, BOTTOM, LEFT = 10, 16, 46, 66
"""Margins around plots with two numeric axes, in pixels; long numbers at the left get more room."""
MANY = 25
"""With more rows than this, the axis' numbers are also written above them: the lower end is off the screen."""
DASH = "\N{EN DASH}"
"""Drawn for an undefined value."""

_FILE_STYLE = (
    'text { font: 12px system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; fill: #1b1f24; } .paper { fill: #fff; } '
    ".muted { fill: #59626d; } .grid { stroke: #e6e9ed; fill: none; } .axis { stroke: #59626d; } "
    ".dashed { stroke: #59626d; stroke-dasharray: 4 4; } .frame { fill: none; stroke: #d5dae0; } "
    ".c1 { fill: #0072b2; color: #0072b2; } .c2 { fill: #e69f00; color: #e69f00; } .c3 { fill: #d55e00; color: #d55e00; } "
    ".c4 { fill: #009e73; color: #009e73; } .c5 { fill: #56b4e9; color: #56b4e9; } .c6 { fill: #cc79a7; color: #cc79a7; } "
    ".c7 { fill: #8a8f98; color: #8a8f98; } .c8 { fill: #b8a800; color: #b8a800; } "
    ".line { fill: none; stroke: #0072b2; stroke-width: 2; } .point { fill-opacity: .75; stroke: #fff; stroke-width: .6; } "
    ".range { stroke: currentColor; stroke-width: 2; stroke-opacity: .55; } .count { fill: #8a8f98; fill-opacity: .55; } "
    ".join { stroke: #8a8f98; stroke-width: 2; } .hollow { fill: #fff; stroke: currentColor; stroke-width: 2; } "
    ".mark { fill: #d55e00; stroke: #fff; stroke-width: 1.5; } "
    ".hatching { stroke: #fff; stroke-width: 1.8; stroke-opacity: .85; } .hatch { pointer-events: none; }"
)
_WIDTHS = (("ijlI.,:;'|! ", 4.2), ('ftr()[]/\\-"`', 5.6), ("mwMW@%…—", 12.1), ("<>=+~^&#OQGDHNU", 10.2))
"""Widths at 12 px in DejaVu Sans of the letters that differ from the mean of their kind."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A numeric axis that maps values ``lo`` to ``hi`` to pixels ``start`` to ``stop``."""

    lo: float
    hi: float
    start: float
    stop: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        lo, hi, value = (math.log(v) if self.log else v for v in (self.lo, self.hi, value))
        return self.start + (value - lo) / (hi - lo) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Powers of ten on a logarithmic axis, else multiples of 1, 2 or 5 times a power of ten."""
        if self.log:
            return [10.0**power for power in range(math.ceil(math.log10(self.lo)), math.floor(math.log10(self.hi)) + 1)]
        step = _step(self.lo, self.hi)
        first, last = math.ceil(self.lo / step - 1e-9), math.floor(self.hi / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def fit_axis(
    values: Sequence[float],
    start: float,
    stop: float,
    *,
    log: bool = False,
    zero: bool = False,
    fraction: bool = False,
    tight: bool = False,
    room_below: bool = False,
) -> Axis:
    """An axis that fits the values, by default from the tick below them to the tick above.

    Args:
        values: Values to show; a logarithmic axis ignores those at or below 0.
        start: Pixel of the lower end.
        stop: Pixel of the upper end; smaller than ``start`` for a vertical axis.
        log: Logarithmic axis.
        zero: Include 0.
        fraction: Run from 0 to 1 if all values do.
        tight: End at the smallest and largest value.
        room_below: Start a logarithmic axis below the smallest value, so that its bar is visible.
    """
    if log:
        values = [value for value in values if value > 0] or [1.0, 10.0]
        lo, hi = min(values) / 1.2, max(values) * 1.2
        power = 10.0 ** math.floor(math.log10(min(values) if room_below else lo))
        if room_below:
            lo, hi = power / 2 if power == min(values) else power, max(values)
        if math.floor(math.log10(hi)) <= math.ceil(math.log10(lo)):  # at least two ticks
            lo, hi = min(lo, power), max(hi, power * 10)
        return Axis(lo, hi, start, stop, log=True)
    lo, hi = min(values, default=0.0), max(values, default=1.0)
    if fraction and lo >= 0 and hi <= 1:
        return Axis(0.0, 1.0, start, stop)
    if zero:
        lo, hi = min(lo, 0.0), max(hi, 0.0)
    if hi <= lo:
        hi = lo + 1.0
    if not tight:
        step = _step(lo, hi)
        lo, hi = step * math.floor(lo / step + 1e-9), step * math.ceil(hi / step - 1e-9)
    return Axis(lo, hi, start, stop)


def _step(lo: float, hi: float) -> float:
    rough = (hi - lo) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def grid_down(axis: Axis, top: float, bottom: float, x_label: str, *, above: bool = False) -> list[str]:
    """Vertical grid lines with numbers and a label below, for plots of rows; ``above`` adds numbers above the rows."""
    if not axis.ticks():
        return []
    edge = axis.stop + RIGHT
    lines = "".join(f"M{px(axis.at(tick))} {px(top)}V{px(bottom)}" for tick in axis.ticks())
    parts = [f'<path class="grid" d="{lines}"/>']
    taken = -math.inf
    for tick in axis.ticks():
        shown, half = figure(tick), width_of(figure(tick)) / 2
        x = max(min(axis.at(tick), edge - half - 1), half + 1)  # the first and last would otherwise stick out
        if x - half < taken + 4:
            continue
        taken = x + half
        parts.append(words(x, bottom + 16, shown, "middle", "muted"))
        if above:
            parts.append(words(x, top - 5, shown, "middle", "muted"))
    return [*parts, _fitted((axis.start + axis.stop) / 2, bottom + 36, x_label, 0, edge)]


def grid(across: Axis, up: Axis, x_label: str, y_label: str) -> list[str]:
    """Grid lines, numbers and labels of two numeric axes."""
    parts = grid_down(across, up.stop, up.start, x_label)
    lines = "".join(f"M{px(across.start)} {px(up.at(tick))}H{px(across.stop)}" for tick in up.ticks())
    parts.append(f'<path class="grid" d="{lines}"/>')
    parts += [words(across.start - 6, up.at(tick) + 4, figure(tick), "end", "muted") for tick in up.ticks()]
    return [
        *parts,
        side_label(y_label, up.stop, up.start),
        segment(across.start, up.start, across.stop, up.start, "axis"),
    ]


def side_label(label: str, top: float, bottom: float) -> str:
    """The label of a vertical axis, rotated to run along it; squeezed if it is longer than the axis."""
    squeeze = _squeeze(label, bottom - top + 30)
    middle = (top + bottom) / 2
    return f'<text text-anchor="middle"{squeeze} transform="translate(14 {px(middle)}) rotate(-90)">{clean(label)}</text>'


def _fitted(x: float, y: float, label: str, left: float, right: float) -> str:
    """Text centred at ``x``, shifted if it would stick out at a side, squeezed if it is wider than the room."""
    half, room = width_of(label) / 2 + 2, right - left - 4
    x = (left + right) / 2 if 2 * half > room else min(max(x, left + half), right - half)
    return f'<text x="{px(x)}" y="{px(y)}" text-anchor="middle"{_squeeze(label, room)}>{clean(label)}</text>'


def _squeeze(label: str, room: float) -> str:
    return f' textLength="{px(room)}" lengthAdjust="spacingAndGlyphs"' if width_of(label) > room else ""


def left_margin(up: Axis, least: float = LEFT) -> float:
    """Room at the left for the numbers and the label of a vertical axis, in pixels."""
    return max(least, 30 + max((width_of(figure(tick)) for tick in up.ticks()), default=0.0))


def path(across: Axis, up: Axis, x: Values, y: Values, css: str, *, steps: bool = False) -> list[str]:
    """A line through the points in the given order; a missing value interrupts it.

    With ``steps`` it is a step function: it moves vertically first, so each value holds back to the previous ``x``.
    """
    marks, pen = [], "M"
    for a, b in zip(x, y, strict=True):
        if not (is_number(a) and is_number(b)):
            pen = "M"
            continue
        at, height = px(across.at(a)), px(up.at(b))
        marks.append(f"V{height}H{at}" if steps and pen == "L" else f"{pen}{at} {height}")
        pen = "L"
    return [f'<path class="{css}" d="{"".join(marks)}"/>'] if marks else []


def words(x: float, y: float, text: str, anchor: str = "start", css: str = "") -> str:
    """A text element; the caller has escaped the text."""
    style, align = f' class="{css}"' if css else "", f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text{style} x="{px(x)}" y="{px(y)}"{align}>{text}</text>'


def segment(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """A straight line."""
    return f'<line class="{css}" x1="{px(x1)}" y1="{px(y1)}" x2="{px(x2)}" y2="{px(y2)}"/>'


def legend(x: float, y: float, entries: Iterable[tuple[str, str]], room: float) -> list[str]:
    """A legend in one line that starts at ``x``; an entry is a symbol, 10 px wide and centred at (0, 0), and its name."""
    parts, entries = [], list(entries)
    spare = room - 29 * len(entries)
    most = math.inf if sum(width_of(name) for _, name in entries) <= spare else max(spare / len(entries), 40)
    for key, name in entries:
        shown = cut(name, most)
        parts.append(f'<g transform="translate({px(x + 5)} {px(y - 4)})"><title>{clean(name)}</title>{key}</g>')
        parts.append(words(x + 15, y, clean(shown)))
        x += 15 + width_of(shown) + 14
    return parts


def nothing(x: float, y: float) -> str:
    """Text for a plot without data, so that an empty box explains itself."""
    return words(x, y, "nothing to draw", "middle", "muted")


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether the value can be drawn: it is not None, NaN or infinite."""
    return value is not None and math.isfinite(value)


def figure(value: float | None) -> str:
    """A number for a tick or a tooltip: four significant digits, with thousands separators."""
    if not is_number(value):
        return DASH
    text = f"{abs(value):,.0f}" if abs(value) >= 1000 else f"{abs(float(f'{value:.4g}')):g}" if abs(value) > 1e-12 else "0"
    return f"\N{MINUS SIGN}{text}" if value < 0 and text != "0" else text


def px(value: float) -> str:
    """A coordinate with one decimal, which is dropped if it is 0."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def clean(text: str) -> Markup:
    """The escaped text; control characters, which XML does not allow, become spaces.

    A label with right-to-left letters is isolated, so that it does not reverse the text beside it.
    """
    text = _printable(text)
    if any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text):
        text = f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"
    return escape(text)


def _printable(text: str) -> str:
    joiners = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"  # some scripts need them
    return "".join(letter if letter.isprintable() or letter in joiners else " " for letter in str(text))


def cut(text: str, room: float = LONGEST) -> str:
    """The label cut to ``room`` pixels. The middle is cut, since the end may be what distinguishes it from other labels."""
    text = _printable(text)
    widths = [_width(letter) for letter in text]
    if sum(widths) <= room:
        return text
    head, tail, at_head, at_tail = 0, len(text), 0.0, 0.0
    while head < tail:
        from_head = at_head <= 2 * at_tail  # two thirds of the kept text are from the beginning
        more = widths[head] if from_head else widths[tail - 1]
        if at_head + at_tail + more > room - _width("…"):
            break
        if from_head:
            head, at_head = head + 1, at_head + more
        else:
            tail, at_tail = tail - 1, at_tail + more
    while tail < len(text) and widths[tail] == 0:  # an accent without its letter
        tail += 1
    return f"{text[:head]}…{text[tail:]}"


def short(text: str) -> Markup:
    """The label cut to `LONGEST` and escaped."""
    return clean(cut(text))


def width_of(text: str) -> float:
    """Width of the text in pixels, at 12 px in DejaVu Sans: the widest of the fonts that a browser may choose."""
    return sum(_width(letter) for letter in _printable(text))


@cache
def _width(letter: str) -> float:
    for kind, width in _WIDTHS:
        if letter in kind:
            return width
    if letter.isascii():
        return 9.0 if letter.isupper() else 7.6
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0.0
    if letter >= "\U0001f000":  # emoji
        return 17.0
    if unicodedata.east_asian_width(letter) in ("W", "F"):
        return 12.6
    return 11.0 if letter.isupper() else 8.6


def gutter(labels: Sequence[str]) -> float:
    """Room for row labels at the left, in pixels."""
    return 12 + max((width_of(cut(label)) for label in labels), default=4 * GLYPH)


def svg(width: float, height: float, title: str, parts: Sequence[str]) -> Markup:
    """The SVG element around the parts of a drawing; ``title`` is its text alternative, for screen readers."""
    size = f"min-width:{width * 0.8:.0f}px;max-width:{width * 1.25:.0f}px"  # legible text on a phone, where the box scrolls
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:.0f} {height:.0f}" style="{size}">'
    return Markup(f"{head}<title>{clean(title)}</title>{''.join(parts)}</svg>")


def standalone(drawing: Markup, style: str = _FILE_STYLE) -> str:
    """The text of an SVG file: the drawing with its own colours, by default dark on white."""
    head, rest = drawing.split(">", 1)
    return f'{head}><style>{style}</style><rect class="paper" width="100%" height="100%"/>{rest}\n'
