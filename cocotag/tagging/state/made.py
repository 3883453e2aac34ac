"""What was made of a state: known again by its place and content, so that no one else's file is replaced unasked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from cocotag.errors import OutputError
from cocotag.files import remove_unfinished
from cocotag.tagging.state.store import Made, State


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
            if state is not None and state.read_only:
                why = f"may be another's: {state.path} cannot be written, so it does not know what was made of it last"
            raise OutputError(f"{output} is there already and {why}. Choose another name, or add --overwrite.")


def how_made(output: Path, state: State) -> str | None:
    """How a file was made, if it was made of a state and nobody has changed it since; else None.

    Empty where it is not known: the process was killed while it wrote it, so it is the old one or the new one, and ours.
    """
    made = state.output(_key(output, state))
    if made is None or not output.exists():
        return None
    return made.how if made.size is None or _is(output, made) else None


def about_to_make(outputs: Sequence[Path], state: State) -> None:
    """Note which files will be written: a process that is killed in between must know them again. What one left is removed."""
    if state.read_only:
        return
    for output in outputs:
        key = _key(output, state)
        before = state.output(key)
        if before is not None and before.size is None:  # killed so, and no other process has the state
            remove_unfinished(output)
        state.put_output(key, Made(None, None, None, ""))
    state.commit()


def has_made(outputs: Sequence[Path], state: State, how: str) -> None:
    """Note that files are written, and how they were made."""
    if state.read_only:
        return
    for output in outputs:
        status = output.stat()
        state.put_output(_key(output, state), Made(status.st_size, status.st_mtime_ns, _hash(output), how))
    state.commit()


def _key(output: Path, state: State) -> bytes:
    """Seen from the folder of the state, if it is in that: they may be moved and copied together. Else the whole path."""
    whole = os.path.realpath(output)
    if state.path is not None:
        home = os.path.dirname(os.path.realpath(state.path))  # noqa: PTH120 (a text)
        if Path(whole).is_relative_to(home):
            return os.fsencode(os.path.relpath(whole, home))
    return os.fsencode(whole)


def _is(output: Path, made: Made) -> bool:
    """Whether a file is what was made. Its content is looked at only where its time is another: a copy, or touched."""
    status = output.stat()
    if status.st_size != made.size:
        return False
    return status.st_mtime_ns == made.mtime_ns or _hash(output) == made.hash


def _hash(output: Path) -> bytes:
    """BLAKE2b, 16 bytes.

    Raises:
        OutputError: It cannot be read.
    """
    try:
        with output.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
    except OSError as error:
        raise OutputError(f"{output} cannot be read ({error.strerror or error}). Choose another name.") from None
