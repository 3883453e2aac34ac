"""Atomic changes of the user's files that keep owner, permissions and links. Does not depend on their contents."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cocotag.errors import OutputError
from cocotag.path_text import show
from cocotag.photos.walk import UNFINISHED

try:
    import fcntl
except ImportError:  # Windows has no locks on folders, so temporary files of killed processes are not removed
    fcntl = None  # type: ignore[assignment]

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_FOLDERS = 10_000  # remembered at the same time
_TEMPORARY = re.compile(rf"{re.escape(UNFINISHED)}[0-9a-f]{{16}}\.[A-Za-z0-9]+(_exiftool_tmp)?")


class LeftAloneError(OutputError):
    """One file is left unchanged; the work continues with the next.

    Attributes:
        reason: The same as ``code``: ``read_only``, ``unwritable``, ``other_owner``, ``changed``, ``missing``,
            ``unreadable``, ``too_large``, ``not_a_file``, ``in_the_way``, ``xmp_too_large`` or ``exiftool``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message, code=reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Place:
    """A file and its status at one moment.

    Attributes:
        path: Its real path after links, so that links are kept.
        status: Its status; None if the file does not exist.
    """

    path: Path
    status: os.stat_result | None

    @classmethod
    def look(cls, path: Path) -> Place:
        """Get the status of a file, which need not exist.

        Raises:
            LeftAloneError: It is not a regular file, or its status cannot be read.
        """
        real = Path(os.path.realpath(path)) if path.is_symlink() else path
        try:
            status = real.stat()
        except FileNotFoundError:
            return cls(real, None)
        except OSError as error:
            raise LeftAloneError("unreadable", f"{show(path)} cannot be read ({error.strerror or error}).") from None
        if not stat.S_ISREG(status.st_mode):
            raise LeftAloneError("not_a_file", f"{show(path)} exists but is not a regular file. Move it away.")
        return cls(real, status)

    def read(self, limit: int) -> bytes | None:
        """The bytes of the file; None if it does not exist.

        Raises:
            LeftAloneError: It cannot be read, or has more bytes than the limit.
        """
        if self.status is None:
            return None
        if self.status.st_size > limit:
            raise LeftAloneError("too_large", f"{show(self.path)} has more than {limit} bytes. Move it away.")
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise LeftAloneError("unreadable", f"{show(self.path)} cannot be read ({error.strerror or error}).") from None

    def check(self) -> None:
        """Check that the file has not changed since `look`.

        Raises:
            LeftAloneError: Another program has changed, created or removed it.
        """
        try:
            now = self.path.stat()
        except FileNotFoundError:
            now = None
        if _identity(now) != _identity(self.status):
            raise LeftAloneError(
                "changed", f"{show(self.path)} was changed by another program meanwhile. Run the command again."
            )

    def write(self, data: bytes) -> None:
        """Replace the contents.

        Raises:
            LeftAloneError: See `replacing`.
            OutputError: The disk is full.
        """
        with replacing(self) as temporary, temporary.open("xb") as stream:
            stream.write(data)

    def remove(self) -> None:
        """Remove the file.

        Raises:
            LeftAloneError: It may not be removed, or was changed.
        """
        _check_writable(self)
        self.check()
        with _write_errors(self):
            self.path.unlink(missing_ok=True)


@contextmanager
def replacing(place: Place, *, suffix: str = ".part") -> Iterator[Path]:
    """Yield the path of a temporary file; it replaces the file if the block succeeds, and is removed if not.

    It gets the owner, group, permissions and extended attributes of the existing file. Other hard links to that file keep the
    old content.

    Args:
        place: The file to replace or create.
        suffix: Suffix of the temporary file.

    Raises:
        LeftAloneError: The file or its folder may not be written, its owner cannot be kept, or it was changed meanwhile.
        OutputError: The disk is full.
    """
    temporary = place.path.with_name(f"{UNFINISHED}{secrets.token_hex(8)}{suffix}")
    _check_writable(place)
    try:
        with _write_errors(place), _locked(place.path.parent, alone=False):
            yield temporary
            _copy_attributes(place, temporary)
            place.check()
            temporary.replace(place.path)
    finally:
        with suppress(OSError):  # the folder may be missing
            temporary.unlink(missing_ok=True)


class Leftovers:
    """Removes the temporary files of killed processes from folders in which no other process is working."""

    def __init__(self) -> None:
        self._seen: set[Path] = set()

    def remove_in(self, folder: Path) -> None:
        """Clean up a folder, once: photographs may come in any order, and listing a large folder takes long."""
        if folder in self._seen:
            return
        if len(self._seen) == _FOLDERS:
            self._seen.clear()
        self._seen.add(folder)
        with suppress(OSError):  # not essential: the next run may do it
            leftovers = [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name)]
            if not leftovers:
                return
            with _locked(folder, alone=True) as is_alone:
                for path in leftovers if is_alone else ():
                    path.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path, *, alone: bool) -> Iterator[bool]:
    """Hold a lock on a folder, which the system releases when the process dies; yields whether the lock is held.

    Writers share the lock; ``alone`` asks for it exclusively and does not wait. In a folder that may not be listed, writers
    work without a lock, since no process looks for temporary files there.
    """
    handle, held = -1, False
    try:
        with suppress(OSError):
            if fcntl is not None:
                handle = os.open(folder, os.O_RDONLY)
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
                held = True
        yield held
    finally:
        if handle >= 0:
            os.close(handle)


def _identity(status: os.stat_result | None) -> tuple[int, ...]:
    return () if status is None else (status.st_ino, status.st_size, status.st_mtime_ns)


def _check_writable(place: Place) -> None:
    """Respect the permissions of a file, although a writable folder is enough to replace it."""
    if place.status is None:
        return
    read_only = not place.status.st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    if read_only or not os.access(place.path, os.W_OK):
        raise LeftAloneError("read_only", f"{show(place.path)} is read-only. Allow writing to it (chmod u+w).")


def _copy_attributes(place: Place, temporary: Path) -> None:
    if place.status is None:
        return
    old, new = place.status, temporary.stat()
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.chown(temporary, old.st_uid, old.st_gid)
        except PermissionError:
            message = f"{show(place.path)} belongs to user {old.st_uid}, group {old.st_gid}; a change would lose this owner."
            raise LeftAloneError("other_owner", f"{message} Run cocotag as that user.") from None
    shutil.copystat(place.path, temporary)
    os.utime(temporary)  # but not the old times


@contextmanager
def _write_errors(place: Place) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in NO_ROOM:
            raise OutputError(
                f"{show(place.path)} cannot be written ({reason}); it is unchanged. Free some space.", code="disk_full"
            ) from error
        if error.errno in _CLOSED:
            message = f"{show(place.path)} cannot be written ({reason}). Allow writing in its folder, or omit the photograph."
            raise LeftAloneError("read_only", message) from None
        raise LeftAloneError("unwritable", f"{show(place.path)} cannot be written ({reason}).") from None
