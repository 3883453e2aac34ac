"""Paths of states, and the state that a given path refers to. Does not depend on their contents."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from cocotag.errors import DataError
from cocotag.tagging.state.database import is_database
from cocotag.tagging.state.store import ENDING, NAME


def of_output(output: Path) -> Path:
    """The state beside an output."""
    return output.with_name(output.name + ENDING)


def of_paths(paths: Sequence[str]) -> Path:
    """The state of paths that are tagged without a table or a gallery: it is in the user's state folder.

    Args:
        paths: The given paths, in their order.
    """
    key = "\0".join(os.path.abspath(path) for path in paths)  # noqa: PTH100 (keeps links)
    return _user_folder() / (hashlib.sha256(os.fsencode(key)).hexdigest()[:32] + ENDING)


def find(given: Sequence[str]) -> Path:
    """The state that the given paths refer to: itself, beside an output, in a gallery, or that of tagged paths.

    Args:
        given: A state, an output or a gallery; or all paths that were given when they were tagged.

    Raises:
        DataError: There is no state.
    """
    candidates = [of_paths(given)]
    if len(given) == 1:
        path = Path(given[0])
        beside = of_output(path) if path.name else path
        candidates = [beside, path / NAME, *candidates, path]
    for candidate in candidates:
        if candidate.is_file() and is_database(candidate):
            return candidate
    name = given[0] if len(given) == 1 else f"{given[0]} and {len(given) - 1} more"
    raise DataError(
        f"There is no state of cocotag tag for {name}. Give an output of cocotag tag, its gallery, or the state itself. If it "
        f"wrote only --xmp, --txt or --embed, give the same PATHs; their states are in {_user_folder()}.",
        code="state_missing",
    )


def _user_folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "cocotag"
