"""Changing people's files: whole or not at all, with owner, permissions and links kept. Knows not what is in them."""

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
except ImportError:  # Windows: folders have no locks, so what a killed process left stays there
    fcntl = None  # type: ignore[assignment]

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_FOLDERS = 10_000  # that are remembered at once
_TEMPORARY = re.compile(rf"{re.escape(UNFINISHED)}[0-9a-f]{{16}}\.[A-Za-z0-9]+(_exiftool_tmp)?")


class LeftAloneError(OutputError):
    """One file cannot be changed; the next ones may.

    Attributes:
        reason: A stable name: ``read_only``, ``unwritable``, ``other_owner``, ``changed``, ``unreadable``,
            ``too_large`` or ``not_a_file``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Place:
    """A file as it was when it was looked at.

    Attributes:
        path: Where it really is: at the end of links, which are thus kept.
        status: What the system says of it; None where there is no file.
    """

    path: Path
    status: os.stat_result | None

    @classmethod
    def look(cls, path: Path) -> Place:
        """Look at a file that need not be there.

        Raises:
            LeftAloneError: It is a folder, a pipe or the like, or may not be looked at.
        """
        real = Path(os.path.realpath(path)) if path.is_symlink() else path
        try:
            status = real.stat()
        except FileNotFoundError:
            return cls(real, None)
        except OSError as error:
            raise LeftAloneError("unreadable", f"{show(path)} cannot be read ({error.strerror or error}).") from None
        if not stat.S_ISREG(status.st_mode):
            raise LeftAloneError("not_a_file", f"{show(path)} is there, but is no file. Move it away.")
        return cls(real, status)

    def read(self, limit: int) -> bytes | None:
        """What is in it; None where there is no file.

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
        """See that the file is still as it was looked at.

        Raises:
            LeftAloneError: Another program has changed it, made it, or taken it away.
        """
        try:
            now = self.path.stat()
        except FileNotFoundError:
            now = None
        if _identity(now) != _identity(self.status):
            raise LeftAloneError("changed", f"{show(self.path)} was changed meanwhile by another program. Run it again.")

    def write(self, data: bytes) -> None:
        """Put other bytes in.

        Raises:
            LeftAloneError: As `replacing`.
            OutputError: The disk is full.
        """
        with replacing(self) as temporary, temporary.open("xb") as stream:
            stream.write(data)

    def remove(self) -> None:
        """Take the file away.

        Raises:
            LeftAloneError: It may not be, or was changed.
        """
        _check_writable(self)
        self.check()
        with _named(self):
            self.path.unlink(missing_ok=True)


@contextmanager
def replacing(place: Place, *, suffix: str = ".part") -> Iterator[Path]:
    """Give the name of a file to be made beside a place; it becomes the file if the block ends well, and goes if not.

    It gets owner, group, permissions and extended attributes of the file that was there. Of hard links to that, the others keep
    the old content.

    Args:
        place: What is to be replaced, or made.
        suffix: How the name ends.

    Raises:
        LeftAloneError: The file or its folder may not be written, its owner could not be kept, or it was changed meanwhile.
        OutputError: The disk is full.
    """
    temporary = place.path.with_name(f"{UNFINISHED}{secrets.token_hex(8)}{suffix}")
    _check_writable(place)
    try:
        with _named(place), _locked(place.path.parent, alone=False):
            yield temporary
            _take_over(place, temporary)
            place.check()
            temporary.replace(place.path)
    finally:
        with suppress(OSError):  # the folder may have gone
            temporary.unlink(missing_ok=True)


class Leftovers:
    """What `replacing` left where its process was killed: removed folder by folder, unless somebody is at work there."""

    def __init__(self) -> None:
        self._seen: set[Path] = set()

    def remove_in(self, folder: Path) -> None:
        """Remove them, once for each folder: photographs may come in any order, and listing takes long where there are many."""
        if folder in self._seen:
            return
        if len(self._seen) == _FOLDERS:
            self._seen.clear()
        self._seen.add(folder)
        with suppress(OSError):  # nobody has asked for it: the next run may do it
            left = [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name)]
            if not left:
                return
            with _locked(folder, alone=True) as is_alone:
                for path in left if is_alone else ():
                    path.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path, *, alone: bool) -> Iterator[bool]:
    """Hold a lock on a folder, which the system takes back when the process dies; whether it could be had is given.

    Those who write share it; who would be ``alone`` does not wait for them. One may write without it, in a folder that may not
    be listed: there nobody looks for what is left either.
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
    """A file can be replaced in a folder one may write to, whatever its own permissions say; they are heeded all the same."""
    if place.status is None:
        return
    nobody = not place.status.st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    if nobody or not os.access(place.path, os.W_OK):
        raise LeftAloneError("read_only", f"{show(place.path)} is read-only. Allow writing to it (chmod u+w).")


def _take_over(place: Place, temporary: Path) -> None:
    if place.status is None:
        return
    old, new = place.status, temporary.stat()
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.chown(temporary, old.st_uid, old.st_gid)
        except PermissionError:
            message = f"{show(place.path)} belongs to user {old.st_uid}, group {old.st_gid}, and would not after writing."
            raise LeftAloneError("other_owner", f"{message} Run cocotag as that user.") from None
    shutil.copystat(place.path, temporary)
    os.utime(temporary)  # all but the times


@contextmanager
def _named(place: Place) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in NO_ROOM:
            raise OutputError(f"{show(place.path)} cannot be written ({reason}); it is as it was. Free some space.") from error
        if error.errno in _CLOSED:
            message = f"{show(place.path)} cannot be written ({reason}). Allow it in its folder, or choose other photographs."
            raise LeftAloneError("read_only", message) from None
        raise LeftAloneError("unwritable", f"{show(place.path)} cannot be written ({reason}).") from None
