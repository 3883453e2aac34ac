r"""CSV: ``path,status,tags,scores``, and ``model`` if there are several models.

``tags`` and ``scores`` are joined by ``;`` in the same order, highest score first. No cell, and no tag in a cell, begins like a
formula, so that a spreadsheet can open the table. Paths that would begin so have ``./`` in front
(`cocotag.path_text.path_text`), names of classes and models an apostrophe. Names that already begin with apostrophes and a
formula get one more, so that it can be removed again (`name_of_cell`). Cells are in double quotes if necessary, as in RFC 4180;
lines end in ``\n``.

A class name with a semicolon would look like two classes, so it is refused before anything is written.
"""

from __future__ import annotations

import re
from pathlib import Path

from cocotag.errors import OutputError
from cocotag.path_text import FORMULA, path_text
from cocotag.tagging.decisions.rows import Context, Row
from cocotag.tagging.outputs.formats.cells import score_text
from cocotag.tagging.outputs.formats.text_lines import TextLines

COLUMNS = ("path", "status", "tags", "scores")

_NEEDS_MARK = re.compile(rf"'*\s*[{re.escape(FORMULA)}]")
_MARKED = re.compile(rf"'+\s*[{re.escape(FORMULA)}]")
_QUOTED = re.compile(r'[,"\r\n]')
_QUOTED_PATH = re.compile(r'[,;"\t\r\n]')
"""Also with ``;`` and tab: most programs that split cells by these keep a quoted first cell whole; LibreOffice does not."""
_CANNOT_JOIN = re.compile(r"[;\x00-\x1f\x7f]")


class CsvTable(TextLines):
    """A CSV file that is being written."""

    def __init__(self, path: Path, context: Context) -> None:
        columns = (*COLUMNS, "model") if context.several else COLUMNS
        self._several = context.several
        super().__init__(path, self._row, encoding="utf-8", head=",".join(columns) + "\n")

    @staticmethod
    def check(out: Path, context: Context) -> None:
        """Check that CSV can name every class and model.

        Raises:
            OutputError: A name has a semicolon or a control character, or all scores are wanted.
        """
        if context.all_scores:
            raise OutputError(
                f"{out}: CSV has no column for all scores. Write to .jsonl or .parquet.", code="all_scores_unsupported"
            )
        for what, names in (("class", context.names()), ("model", context.vocabularies)):
            bad = next((name for name in names if _CANNOT_JOIN.search(name)), None)
            if bad is not None:
                mark = "a semicolon, which separates tags in CSV" if ";" in bad else "a control character"
                cure = "rename it with --rename" if what == "class" else "rename the file"
                raise OutputError(
                    f"{out}: the {what} {bad!r} has {mark}. Write to .jsonl, or {cure}.", code="name_not_writable"
                )

    def _row(self, row: Row) -> str:
        path = _cell(path_text(row.path), _QUOTED_PATH)
        tags = _cell(";".join([cell_of_name(tag.name) for tag in row.tags]))
        scores = ";".join([score_text(tag.score) for tag in row.tags])
        model = f",{_cell(cell_of_name(row.model))}" if self._several else ""
        return f"{path},{row.status},{tags},{scores}{model}\n"


def cell_of_name(name: str) -> str:
    """A class or model name as the text of a cell, with an apostrophe in front if it would begin like a formula."""
    return f"'{name}" if _NEEDS_MARK.match(name) else name


def name_of_cell(text: str) -> str:
    """The name from a cell that `cell_of_name` wrote."""
    return text[1:] if _MARKED.match(text) else text


def _cell(text: str, quoted: re.Pattern[str] = _QUOTED) -> str:
    return '"' + text.replace('"', '""') + '"' if quoted.search(text) else text
