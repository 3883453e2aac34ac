"""Writes an imbalance report: dataset.json, CSV files and a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from cocotag.files import atomic_path
from cocotag.imbalance.brightness import Brightness
from cocotag.imbalance.integrity import Integrity
from cocotag.imbalance.page import draw_page
from cocotag.imbalance.result import Imbalance, drift, split_names
from cocotag.pages.values import plain

FILES = ("dataset.json", "classes.csv", "pairs.csv", "drift.csv", "imbalance.html")
"""The files that `write` writes; ``drift.csv`` only for several splits."""


def write(
    imbalances: Sequence[Imbalance],
    out_dir: Path | str,
    *,
    brightness: Brightness | None = None,
    integrity: Integrity | None = None,
) -> None:
    """Write ``classes.csv``, ``pairs.csv``, ``imbalance.html`` and, last, ``dataset.json``.

    The first split is the main one. With several splits, there is also ``drift.csv``, and ``dataset.json`` has the measures
    of each split under ``splits``. No file is replaced before all are written: if ``dataset.json`` exists, the other files
    are complete and from the same run.

    Args:
        imbalances: The splits, at least one.
        out_dir: Created if missing; files of an earlier report in it are replaced.
        brightness: Brightness of the main split's photographs; None if they were not read.
        integrity: The findings of `cocotag check` in the main split; None if it was not checked.

    Raises:
        DataError: The splits have different classes.
        OutputError: The folder cannot be written.
    """
    out_dir, main, names = Path(out_dir), imbalances[0], split_names(imbalances)
    document = main.to_json()
    files = {"classes.csv": _csv(main.classes), "pairs.csv": _csv(main.pairs)}
    drifts = drift(imbalances) if len(imbalances) > 1 else None
    if drifts is not None:
        document["splits"] = [entry.to_json() for entry in imbalances]
        files["drift.csv"] = _csv(drifts)
    if brightness is not None:
        document["brightness"] = plain(brightness.to_json())
    if integrity is not None:
        document["integrity"] = plain(integrity.to_json())
    files["imbalance.html"] = draw_page(imbalances, names, drifts, brightness, integrity)
    with ExitStack() as stack:  # the file that is entered first is renamed last
        put(stack, out_dir / "dataset.json", json.dumps(document, indent=2, allow_nan=False) + "\n")
        for name, text in files.items():
            put(stack, out_dir / name, text)
        for earlier in ("dataset.json", "drift.csv"):
            (out_dir / earlier).unlink(missing_ok=True)


def put(stack: ExitStack, path: Path, text: str) -> None:
    """Write a text to a temporary file that becomes ``path`` when the stack ends without an error."""
    stack.enter_context(atomic_path(path)).write_text(text, encoding="utf-8", newline="")


def _csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, lineterminator="\n").encode("utf-8", "replace").decode("utf-8")
