"""Outputs written from a state, recognised by path and content, so that cocotag never replaces other files unasked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from cocotag.errors import OutputError
from cocotag.files import remove_unfinished
from cocotag.tagging.state.stamps import mtime_ns
from cocotag.tagging.state.store import Made, State


def refuse_others(outputs: Sequence[Path], state: State | None) -> None:
    """Check before the work that no existing output was written by something else than this state, or changed since.

    Args:
        outputs: The files to be written.
        state: The state; None if it does not exist yet.

    Raises:
        OutputError: There is such a file; the message names the first.
    """
    for output in outputs:
        if output.exists() and (state is None or how_made(output, state) is None):
            why = "was not written from this state, or was changed since"
            if state is not None and state.read_only:
                why = f"may be from another program: {state.path} is read-only and may lack the latest outputs"
            raise OutputError(f"{output} exists and {why}. Choose another name, or add --overwrite.", code="output_exists")


def how_made(output: Path, state: State) -> str | None:
    """The ``how`` of a file that was written from the state and has not changed since; else None.

    It is empty if the process was killed while it wrote the file: the file is then the old or the new output.
    """
    made = state.output(_key(output, state))
    if made is None or not output.exists():
        return None
    return made.how if made.size is None or _is(output, made) else None


def about_to_make(outputs: Sequence[Path], state: State) -> None:
    """Record the files to be written, so that they are recognised after a kill; temporary files of a kill are removed."""
    if state.read_only:
        return
    for output in outputs:
        key = _key(output, state)
        before = state.output(key)
        if before is not None and before.size is None:  # a process was killed, and no other process uses the state
            remove_unfinished(output)
        state.put_output(key, Made(None, None, None, ""))
    state.commit()


def has_made(outputs: Sequence[Path], state: State, how: str) -> None:
    """Record that files are written, and the ``how`` by which they are up to date."""
    if state.read_only:
        return
    for output in outputs:
        status = output.stat()
        state.put_output(_key(output, state), Made(status.st_size, mtime_ns(status), _hash(output), how))
    state.commit()


def _key(output: Path, state: State) -> bytes:
    """The path relative to the state's folder if it is inside, so that both may be moved together; else the absolute path."""
    absolute = os.path.realpath(output)
    if state.path is not None:
        home = os.path.dirname(os.path.realpath(state.path))  # noqa: PTH120 (a text)
        if Path(absolute).is_relative_to(home):
            return os.fsencode(os.path.relpath(absolute, home))
    return os.fsencode(absolute)


def _is(output: Path, made: Made) -> bool:
    """Whether a file is the recorded output. Its content is read only if its time differs, as for a copy."""
    status = output.stat()
    if status.st_size != made.size:
        return False
    return mtime_ns(status) == made.mtime_ns or _hash(output) == made.hash


def _hash(output: Path) -> bytes:
    """BLAKE2b of a file, 16 bytes.

    Raises:
        OutputError: The file cannot be read.
    """
    try:
        with output.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
    except OSError as error:
        raise OutputError(
            f"{output} cannot be read ({error.strerror or error}). Choose another name.", code="not_readable"
        ) from None
