"""Where states are kept, and which one a path means. Knows nothing of what is in them."""

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
    """The state of what is tagged without a file or a gallery to keep it beside: in the user's own folder.

    Args:
        paths: As they were given, in their order.
    """
    places = "\0".join(os.path.abspath(path) for path in paths)  # noqa: PTH100 (links stay what they are)
    return _own_folder() / (hashlib.sha256(os.fsencode(places)).hexdigest()[:32] + ENDING)


def find(given: Sequence[str]) -> Path:
    """The state that is meant: itself, the one beside an output or in a gallery, or the one of paths that were tagged.

    Args:
        given: One of these, or all the paths that were given when they were tagged.

    Raises:
        DataError: There is none.
    """
    places = [of_paths(given)]
    if len(given) == 1:
        path = Path(given[0])
        beside = of_output(path) if path.name else path
        places = [beside, path / NAME, *places, path]
    for place in places:
        if place.is_file() and is_database(place):
            return place
    named = given[0] if len(given) == 1 else f"{given[0]} and {len(given) - 1} more"
    raise DataError(
        f"{named}: cocotag tag keeps no state there. Give the output that it lies beside, the gallery that it is in, the file "
        f"itself, or, of --xmp, --txt or --embed alone, the PATHs that were tagged: their states are in {_own_folder()}."
    )


def _own_folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "cocotag"
