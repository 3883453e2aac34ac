"""What was made of a state: known again by size and modification time, so that no one else's file is replaced unasked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cocotag.errors import OutputError
from cocotag.files import remove_unfinished
from cocotag.tagging.state import State


def refuse_others(outputs: Sequence[Path], state: State | None) -> None:
    """Stop before the work where a file is in the way that was not made of this state, or was changed since.

    Args:
        outputs: The files that are to be written.
        state: None if there is none yet.

    Raises:
        OutputError: Naming the first.
    """
    for output in outputs:
        if output.exists() and (state is None or how_made(output, state) is None):
            why = "was not made of this state, or was changed since"
            raise OutputError(f"{output} is there already and {why}. Choose another name, or add --overwrite.")


def how_made(output: Path, state: State) -> str | None:
    """How a file was made, if it was made of a state and nobody has changed it since; else None.

    Empty where it is not known: the process was killed while it wrote it, so it is the old one or the new one, and ours.
    """
    found = state.output(_key(output))
    if found is None or not output.exists():
        return None
    size, mtime_ns, how = found
    return how if size is None or _stat(output) == (size, mtime_ns) else None


def about_to_make(outputs: Sequence[Path], state: State) -> None:
    """Note which files will be written: a process that is killed in between must know them again. What one left is removed."""
    for output in outputs:
        before = state.output(_key(output))
        if before is not None and before[0] is None:  # killed so, and no other process has the state
            remove_unfinished(output)
        state.put_output(_key(output), None, "")
    state.commit()


def has_made(outputs: Sequence[Path], state: State, how: str) -> None:
    """Note that files are written, and how they were made."""
    for output in outputs:
        state.put_output(_key(output), _stat(output), how)
    state.commit()


def _key(output: Path) -> bytes:
    return os.fsencode(os.path.realpath(output))


def _stat(output: Path) -> tuple[int, int]:
    status = output.stat()
    return status.st_size, status.st_mtime_ns
