"""Any image file -> RGB uint8, and to the square network input: one road for training, evaluation and tagging.

Every picture comes out upright (EXIF orientation applied), in three 8-bit channels, or as an `ImageError` that names
what is wrong. What a file is, its content says (`cocotag.photos.formats.table` lists what is known); its name is not looked
at. Knows no labels and no network. ICC colour profiles are not applied: the photographs the networks are trained on are read
without them too.
"""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cocotag.errors import ImageError
from cocotag.photos.formats.jpeg import HEADROOM as HEADROOM  # a caller's business too
from cocotag.photos.formats.limits import MAX_BYTES as MAX_BYTES
from cocotag.photos.formats.table import FORMATS, identify
from cocotag.photos.formats.wanted import Rows, Wanted

REASONS = (
    *("missing", "not_a_file", "unreadable", "changed", "empty"),
    *("not_an_image", "truncated", "too_large", "too_small", "needs_raw", "no_preview"),
)
"""Every `ImageError.reason` that `decode` gives."""


def decode(
    source: Path | str | bytes, *, min_side: int | None = None, headroom: float = HEADROOM, rows: Rows | None = None
) -> NDArray[np.uint8]:
    """Decode an image file by its content, whatever its name says.

    JPEG takes the fast road, and can be decoded at 1/2, 1/4 or 1/8; all else goes through Pillow: transparency is laid on
    white, 16 bits are scaled to 8, and of an animation the first frame is taken.

    Args:
        source: A path, or the bytes of a file.
        min_side: Side that the caller will shrink it to, pixels. A JPEG is decoded smaller as long as its shorter side
            keeps ``headroom`` times as many; None for full size.
        headroom: 1 for what is augmented anyway.
        rows: A JPEG may be decoded no further than to the last row that is needed; what lies below is black then.

    Returns:
        ``(H, W, 3)`` RGB uint8, upright, contiguous, writable.

    Raises:
        ImageError: With one of the reasons ``missing``; ``not_a_file`` (a folder or device); ``unreadable`` (permission,
            I/O); ``changed`` (written to while it was read); ``empty`` (0 bytes); ``not_an_image``; ``truncated`` (or damaged);
            ``too_large``; ``too_small``; ``needs_raw`` (the extra ``raw`` is missing); ``no_preview`` (camera RAW without one).
    """
    name, data = ("these bytes", source) if isinstance(source, bytes) else (_shown(source), _read(source))
    if not data:
        raise ImageError("empty", f"{name}: 0 bytes, so there is no picture. Copy or download it again.")
    kind = identify(data)
    if kind is None:
        raise ImageError("not_an_image", f"{name}: the content is no image format that is known here. Leave it out.")
    return FORMATS[kind].decode(name, data, Wanted(min_side and math.ceil(headroom * min_side), rows))


def to_square(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize ``(H, W, 3)`` uint8 to ``(size, size, 3)``, each side on its own.

    The proportions are given up rather than the borders: a centre crop would cut objects off whose labels stay, and
    padding would spend input pixels on nothing. A side that shrinks is averaged (area), so that nothing aliases; one
    that grows is interpolated linearly.
    """
    height, width = image.shape[:2]
    image = np.ascontiguousarray(image)
    # Two steps, since OpenCV's area mode does not average at all where one of the sides grows.
    shrunk = min(width, size), min(height, size)
    if shrunk != (width, height):
        image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    if shrunk != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    return image


def load_square(source: Path | str | bytes, size: int) -> NDArray[np.uint8]:
    """Decode, at reduced scale where the image is much larger, and resize to ``(size, size, 3)`` RGB uint8.

    Raises:
        ImageError: As `decode`.
    """
    return to_square(decode(source, min_side=size), size)


def _shown(path: Path | str) -> str:
    """The path for a one-line message: line breaks and bytes that are not UTF-8 are escaped."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _read(path: Path | str) -> bytes:
    name = _shown(path)
    try:
        _check_file(name, path, os.stat(path))  # noqa: PTH116 (see data/dataset.py); before opening: to open a device may set it going
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            before = os.fstat(descriptor)
            _check_file(name, path, before)  # again: a pipe may have taken its place
            data = file.read()
            after = os.fstat(descriptor)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        raise ImageError("missing", f"{name}: there is no such file. Check the path.") from None
    except OSError as error:
        reason = error.strerror or error
        raise ImageError("unreadable", f"{name}: cannot be read ({reason}). Check its permissions and the disk.") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ImageError("changed", f"{name}: somebody wrote to it while it was read. Try again when that is done.")
    return data


def _check_file(name: str, path: Path | str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode) and not os.access(path, os.R_OK | os.X_OK):
        raise PermissionError("a folder that may not be listed")
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
        raise ImageError("not_a_file", f"{name}: this is {kind}, not a file. Give an image file.")
    if status.st_size > MAX_BYTES:
        raise ImageError("too_large", f"{name}: {status.st_size} bytes, more than the {MAX_BYTES} that are read.")
