"""A text file with a line for every row, whatever is in the line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from cocotag.tagging.decisions.rows import Context, Row


class TextLines:
    """Such a file that is being written."""

    def __init__(self, path: Path, line: Callable[[Row], str], *, encoding: str, head: str = "") -> None:
        """Begin it.

        Args:
            path: The file.
            line: A row's line, with its end.
            encoding: Of the file.
            head: What comes before the first row.
        """
        self._line = line
        self._stream = path.open("w", encoding=encoding, newline="")
        self._stream.write(head)

    @staticmethod
    def check(out: Path, context: Context) -> None:
        """Every row can be a line; a format with other limits overrides this."""

    def write(self, rows: Sequence[Row]) -> None:
        """Write some more rows."""
        self._stream.write("".join(map(self._line, rows)))

    def close(self) -> None:
        """Complete the file."""
        self._stream.close()

    def abandon(self) -> None:
        """Let go of the file."""
        with suppress(OSError):  # on a full disk what is in the buffer is lost
            self._stream.close()
