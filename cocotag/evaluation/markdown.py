"""Evaluations and comparisons as text: tables for a terminal, and Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cocotag.evaluation.compare import ENOUGH_SUPPORT, FALSE_SHARE, Comparison
from cocotag.evaluation.stored import StoredEvaluation
from cocotag.metrics import NOT_FRACTIONS
from cocotag.pages.values import UNDEFINED, interval, number, percent, signed

SHOWN_CLASSES = 20
"""Rows of the class table in a terminal; Markdown, CSV and JSON have all classes."""

Row = Sequence[str]


def table(head: Row, rows: Sequence[Row], *, markdown: bool, left: int = 1) -> str:
    """A text table with its first ``left`` columns aligned left and the others right.

    Names may contain anything: in Markdown, special characters and HTML are escaped; unprintable characters become spaces.
    """
    clean = [[_printable(cell) for cell in row] for row in (head, *rows)]
    if markdown:
        clean = [[_escaped(cell) for cell in row] for row in clean]
    widths = [max(len(row[column]) for row in clean) for column in range(len(head))]

    def line(row: Row) -> str:
        cells = [
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |" if markdown else f"  {'  '.join(cells)}".rstrip()

    rule = [":" + "-" * max(2, width - 1) if at < left else "-" * max(2, width - 1) + ":" for at, width in enumerate(widths)]
    below = [f"| {' | '.join(rule)} |"] if markdown else []
    return "\n".join([line(clean[0]), *below, *(line(row) for row in clean[1:])])


def summary_table(summary: pd.DataFrame, *, markdown: bool = True) -> str:
    """The summary of an evaluation, columns ``value, lo, hi, n_classes``, in percent except ``coverage``."""
    rows = [
        [metric, _shown(metric, row["value"]), _span(metric, row["lo"], row["hi"]), number(row["n_classes"])]
        for metric, row in _rows(summary)
    ]
    return table(["measure", "%", "95% interval", "classes"], rows, markdown=markdown)


def evaluation_text(evaluation: StoredEvaluation, *, markdown: bool) -> str:
    """Summary and classes of one evaluation, weakest class first, in percent."""
    data, frame = evaluation.data, evaluation.per_class
    ranked = frame.sort_values(["f1", "support"], ascending=[True, False], kind="stable")
    classes = [
        [
            *(str(row["name"]), number(row["support"]), percent(row["f1"]), interval((row.get("f1_lo"), row.get("f1_hi")))),
            *(percent(row["ap"]), percent(row.get("precision")), percent(row.get("recall"))),
        ]
        for _, row in _rows(ranked)
    ]
    where = f"{number(data.get('images'))} images" + (f" of {data['split']}" if data.get("split") else "")
    return _document(
        f"{where}. Percentages, with 95% intervals over images.",
        evaluation.warnings,
        summary_table(evaluation.summary, markdown=markdown),
        (["class", "positives", "F1", "95% interval", "AP", "precision", "recall"], classes),
        "Classes, weakest first",
        markdown=markdown,
    )


def comparison_text(comparison: Comparison, *, markdown: bool) -> str:
    """Summary and classes of a comparison, regressions first, in percent."""
    first, second = comparison.names
    names = [first, second] if first != second else [f"{first} (baseline)", f"{second} (other)"]
    if not comparison.paired:
        measures = [
            [metric] + [text for side in ("baseline", "other") for text in (_shown(metric, row[side]), _own(metric, row, side))]
            for metric, row in _rows(comparison.summary)
        ]
        classes = [
            [
                *(str(row["name"]), number(row["support_baseline"]), number(row["support_other"])),
                *(percent(row[name]) for name in ("f1_baseline", "f1_other", "ap_baseline", "ap_other")),
            ]
            for _, row in _rows(comparison.per_class)
        ]
        return _document(
            f"A: {names[0]}. B: {names[1]}. Percentages; each interval belongs to the value before it.",
            [comparison.note, *comparison.warnings],
            table(["measure", "A", "95% interval", "B", "95% interval"], measures, markdown=markdown),
            (["class", "positives A", "positives B", "F1 A", "F1 B", "AP A", "AP B"], classes),
            "Classes",
            markdown=markdown,
        )
    measures = [
        [
            *(metric, _shown(metric, row["baseline"]), _shown(metric, row["other"])),
            *(_signed(metric, row["difference"]), _span(metric, row["lo"], row["hi"], with_sign=True), str(row["verdict"])),
        ]
        for metric, row in _rows(comparison.summary)
    ]
    classes = [
        [
            *(str(row["name"]), number(row["support"]), percent(row["f1_baseline"]), percent(row["f1_other"])),
            *(_signed("f1", row["f1_difference"]), _span("f1", row["f1_lo"], row["f1_hi"], with_sign=True)),
            *(_signed("ap", row["ap_difference"]), str(row["verdict"])),
        ]
        for _, row in _rows(comparison.per_class)
    ]
    counts = comparison.per_class["verdict"].value_counts()
    text = ", ".join(f"{counts[word]} {word}" for word in ("worse", "better", "unclear", "few positives") if word in counts)
    return _document(
        f"A: {names[0]}. B: {names[1]}. The same {number(comparison.images)} images. Percentages; differences are B minus A, "
        "with 95% intervals over images.",
        comparison.warnings,
        table(["measure", "A", "B", "B - A", "95% interval", "B is"], measures, markdown=markdown),
        (["class", "positives", "F1 A", "F1 B", "B - A", "95% interval", "AP, B - A", "F1 is"], classes),
        f"Classes, regressions first: {text}. Of the classes called worse or better at most one in "
        f"{round(1 / FALSE_SHARE)} is so by chance. Classes with fewer than {ENOUGH_SUPPORT} positives are not judged",
        markdown=markdown,
    )


def _document(
    lead: str,
    warnings: Sequence[str],
    measures: str,
    classes: tuple[Row, Sequence[Row]],
    heading: str,
    *,
    markdown: bool,
) -> str:
    prose = [lead, *(f"Note: {warning}" for warning in warnings)]
    parts = [_escaped(_printable(text)) if markdown else _printable(text) for text in prose]
    head, rows = classes
    shown = rows if markdown else rows[:SHOWN_CLASSES]
    parts += [measures, f"{heading}.", table(head, shown, markdown=markdown)]
    if len(shown) < len(rows):
        parts.append(f"and {len(rows) - len(shown)} more: --format md, csv or json has all classes.")
    return "\n\n".join(parts) + "\n"


def _rows(frame: pd.DataFrame) -> list[tuple[str, dict[str, Any]]]:
    return [(str(label), row) for label, row in zip(frame.index, frame.to_dict("records"), strict=True)]  # type: ignore[misc]


def _shown(metric: str, value: float) -> str:
    return number(value) if metric in NOT_FRACTIONS else percent(value)


def _signed(metric: str, value: float) -> str:
    if metric not in NOT_FRACTIONS:
        return signed(value)
    return f"+{number(value)}" if value > 0 else number(value)


def _span(metric: str, low: float | None, high: float | None, *, with_sign: bool = False) -> str:
    if low is None or high is None or np.isnan(low) or np.isnan(high):
        return UNDEFINED
    show = _signed if with_sign else _shown
    return f"{show(metric, low)} to {show(metric, high)}"


def _own(metric: str, row: dict[str, Any], side: str) -> str:
    return _span(metric, row[f"{side}_lo"], row[f"{side}_hi"])


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _escaped(text: str) -> str:
    """The text with Markdown's special characters and HTML escaped."""
    for sign in "\\`*_[]<>|~":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("&", "&amp;")
