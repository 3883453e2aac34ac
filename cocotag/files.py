"""Writing files whole or not at all. Knows nothing of what is in them."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cocotag.errors import OutputError

_SHOWN = 40  # of a name in that of its temporary file: 255 bytes are the most, in up to 4 bytes a character


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it to ``path`` if the block ends well, remove it if not.

    Folders above ``path`` are made.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shown = path.name[:_SHOWN]
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{shown}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}). Choose another place or free some space."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_unfinished(path: Path) -> None:
    """Remove what `atomic_path` left beside ``path`` where its process was killed. Nobody may be writing ``path`` now."""
    if len(path.name) > _SHOWN:  # its temporary files cannot be told from those of others
        return
    with suppress(OSError):
        for unfinished in path.parent.glob(f".{glob.escape(path.name)}.{'?' * 8}.part"):  # tempfile's 8 characters
            unfinished.unlink()


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text, whole or not at all.

    Raises:
        OutputError: As `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def probe_folder(folder: Path) -> None:
    """See before the work that a folder can be written to, or could be made; nothing is left behind.

    Raises:
        OutputError: It cannot.
    """
    made: list[Path] = []
    try:
        for one in (*reversed(folder.parents), folder):
            if not one.exists():
                one.mkdir()
                made.append(one)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{folder} cannot be written ({reason}). Choose another place or free some space.") from None
    finally:
        for one in reversed(made):
            one.rmdir()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
