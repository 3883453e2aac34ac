"""A text file with one line per row. Does not depend on the content of a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from cocotag.tagging.decisions.rows import Context, Row


class TextLines:
    """A text file that is being written."""

    def __init__(self, path: Path, line: Callable[[Row], str], *, encoding: str, head: str = "") -> None:
        """Open the file.

        Args:
            path: The file.
            line: Row -> its line, with the line break.
            encoding: Encoding of the file.
            head: Text before the first row.
        """
        self._line = line
        self._stream = path.open("w", encoding=encoding, newline="")
        self._stream.write(head)

    @staticmethod
    def check(out: Path, context: Context) -> None:
        """Accept every row; a format with limits overrides this."""

    def write(self, rows: Sequence[Row]) -> None:
        """Write some more rows."""
        self._stream.write("".join(map(self._line, rows)))

    def close(self) -> None:
        """Complete the file."""
        self._stream.close()

    def abandon(self) -> None:
        """Close the file without completing it."""
        with suppress(OSError):  # on a full disk the buffer is lost
            self._stream.close()
