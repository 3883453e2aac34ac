"""Write files atomically. Does not depend on their contents."""

from __future__ import annotations

import errno
import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from cocotag.errors import ConfigError, OutputError

try:
    import fcntl
except ImportError:  # Windows, whose file systems all have locks
    fcntl = None  # type: ignore[assignment]

_PREFIX_CHARACTERS = 40  # of a name in that of its temporary file: a name has at most 255 bytes, a character up to 4


def write_fault(error: OSError) -> str:
    """The error code of a failed write: ``disk_full`` or ``not_writable``."""
    return "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "not_writable"


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds, remove it if not.

    Missing folders above ``path`` are created.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = path.name[:_PREFIX_CHARACTERS]
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{prefix}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}). Choose another place or free some space.",
            code=write_fault(error),
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_unfinished(path: Path) -> None:
    """Remove the temporary files of killed processes beside ``path``. No process may be writing ``path`` meanwhile."""
    if len(path.name) > _PREFIX_CHARACTERS:  # its temporary files cannot be distinguished from those of other files
        return
    with suppress(OSError):
        for unfinished in path.parent.glob(f".{glob.escape(path.name)}.{'?' * 8}.part"):  # tempfile's 8 characters
            unfinished.unlink()


def read_config_text(path: Path, key: str) -> str:
    """The text of a file that the user names in a flag or a config.

    Args:
        path: The file.
        key: The flag or field that names it, for the message.

    Raises:
        ConfigError: The file is missing, may not be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{key} {path} cannot be read ({error.strerror or error}). Check the path.", code="not_readable"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{key} {path} is not UTF-8 (byte {error.start}). Save it as UTF-8 text.", code="not_utf8") from None


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically.

    Raises:
        OutputError: As `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def probe_folder(folder: Path) -> None:
    """Check before the work that a folder can be written to, or could be created; nothing is left behind.

    Raises:
        OutputError: The folder cannot be written.
    """
    created: list[Path] = []
    try:
        for one in (*reversed(folder.parents), folder):
            if not one.exists():
                one.mkdir()
                created.append(one)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"{folder} cannot be written ({reason}). Choose another place or free some space.", code=write_fault(error)
        ) from None
    finally:
        for one in reversed(created):
            one.rmdir()


def has_locks(folder: Path, function: Literal["flock", "lockf"]) -> bool:
    """Whether the file system of a folder has file locks; some network drives have none, or only one of the two kinds.

    A temporary file is locked, which no other process knows. True if the folder cannot be written.

    Args:
        folder: An existing folder.
        function: The kind: ``flock`` for BSD's locks, ``lockf`` for POSIX', which SQLite uses.
    """
    with suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
        try:
            if fcntl is not None:
                getattr(fcntl, function)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
