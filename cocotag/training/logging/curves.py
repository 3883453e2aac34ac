"""``curves.svg``: a drawing of ``metrics.csv``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from cocotag.files import write_text
from cocotag.pages.lines import Line, Panel, draw_panels

LOSSES = (("train_loss", "training", "c3"), ("tune_loss", "tune", "c1"))
SCORES = (
    ("tune_map", "mAP", "c1"),
    ("tune_macro_f1", "macro-F1", "c4"),
    ("tune_micro_f1", "micro-F1", "c3"),
    ("tune_top1", "top-1", "c7"),
)


def write_curves(rows: Sequence[Mapping[str, Any]], path: Path, best_by: str = "map") -> None:
    """Draw losses, scores on the tune images and the learning rate over the epochs so far.

    Thin lines separate stages, and a ring marks the epoch of the best checkpoint. Missing, NaN and infinite values are left
    out.

    Args:
        rows: Rows of ``metrics.csv``, one per epoch, as numbers or text.
        path: The SVG file; it follows the reader's light or dark mode.
        best_by: The measure that picks the best checkpoint: ``map``, ``loss`` or ``last``.

    Raises:
        OutputError: The file cannot be written.
    """
    epochs = [int(float(row["epoch"])) for row in rows]
    best = _best(rows, best_by)
    maps = _column(rows, "tune_map")
    note = "" if best is None else f"Ring: the best epoch, {epochs[best]}, with mAP {100 * (maps[best] or 0):.1f}"
    percents = {name: [None if value is None else 100 * value for value in _column(rows, name)] for name, _, _ in SCORES}
    panels = [
        Panel("loss", [Line(label, _column(rows, name), color) for name, label, color in LOSSES]),
        Panel(
            "on tune images, %",
            [Line(label, percents[name], color, ring=best if name == "tune_map" else None) for name, label, color in SCORES],
        ),
        Panel("learning rate", [Line("highest", _column(rows, "lr"), "c1")], log=True),
    ]
    drawing = draw_panels(
        epochs,
        [panel for panel in panels if any(value is not None for line in panel.lines for value in line.values)],
        title=f"Training curves of {len(rows)} epochs. {note}",
        x_label="epoch",
        note=note,
        rules=_stages(epochs, rows),
        ends=(min(epochs, default=1) - 0.5, max(epochs, default=1) + 0.5),
        whole=True,
    )
    write_text(path, drawing)


def _best(rows: Sequence[Mapping[str, Any]], best_by: str) -> int | None:
    """The row of the best checkpoint; of equal ones the first, as Lightning keeps it."""
    maps, losses = _column(rows, "tune_map"), _column(rows, "tune_loss")
    scored = [place for place, value in enumerate(maps) if value is not None]
    if best_by == "last":
        return scored[-1] if scored else None
    if best_by == "loss":
        return min(scored, key=lambda place: math.inf if losses[place] is None else cast(float, losses[place]), default=None)
    return max(scored, key=lambda place: maps[place] or 0.0, default=None)


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[float | None]:
    """The numbers of a column; None where a value is missing."""
    values = [math.nan if row.get(name) in (None, "") else float(row[name]) for row in rows]
    return [value if math.isfinite(value) else None for value in values]


def _stages(epochs: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, str]]:
    """The start of each stage, half an epoch before its first epoch; empty for a single stage."""
    stages = [int(float(row["stage"])) if row.get("stage") not in (None, "") else 1 for row in rows]
    starts = [place for place in range(len(rows)) if place == 0 or stages[place] != stages[place - 1]]
    return [(epochs[place] - 0.5, f"stage {stages[place]}") for place in starts] if len(starts) > 1 else []
