"""Any image file -> RGB uint8, and to the square network input: one code path for training, evaluation and tagging.

Every image is returned upright (EXIF orientation applied) in three 8-bit channels, or an `ImageError` names the fault. The
format is identified by the content of a file, never by its name; `cocotag.photos.formats.table` lists the formats. Does not
depend on labels or networks. ICC colour profiles are not applied, because the training photographs are read without them too.
"""

from __future__ import annotations

import math
import os
import stat
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cocotag.errors import ImageError
from cocotag.photos.formats.jpeg import HEADROOM as HEADROOM  # part of this interface too
from cocotag.photos.formats.limits import MAX_BYTES as MAX_BYTES
from cocotag.photos.formats.source import Preview, Rows, Source, Wanted
from cocotag.photos.formats.table import FORMATS, identify
from cocotag.process.restarts import decoding

REASONS = (
    *("missing", "not_a_file", "unreadable", "changed", "empty"),
    *("not_an_image", "truncated", "too_large", "too_small", "needs_raw", "no_preview", "unsupported"),
    "decoder_crashed",
)
"""Every ``reason`` of an `ImageError` that `decode` raises."""


def decode(
    source: Path | str | bytes,
    *,
    min_side: int | None = None,
    headroom: float = HEADROOM,
    rows: Rows | None = None,
    previews: bool = False,
) -> NDArray[np.uint8]:
    """Decode an image file by its content, whatever its name.

    JPEG has a fast decoder and can be decoded at 1/2, 1/4 or 1/8. Pillow decodes all other formats: transparent pixels are
    composited on white, 16 bits are scaled to 8, and an animation gives its first frame.

    Args:
        source: A path, or the bytes of a file.
        min_side: Side to which the caller will shrink the image, pixels. A JPEG is decoded at a reduced scale as long as its
            shorter side keeps ``headroom`` times as many pixels; None for full size.
        headroom: Use 1 if the image will be augmented anyway.
        rows: Limits the decoding of a JPEG to the last row that is needed; the rows below may be black.
        previews: Decode a smaller version that the camera stored in the file, if there is one with at least ``min_side``
            pixels on both sides and the same aspect ratio, instead. The rest of the file is then not read.

    Returns:
        ``(H, W, 3)`` RGB uint8, upright, contiguous, writable.

    Raises:
        ImageError: With one of the reasons ``missing``; ``not_a_file`` (a folder or device); ``unreadable`` (permission,
            I/O); ``changed`` (while being read); ``empty`` (0 bytes); ``not_an_image``; ``truncated`` (or damaged);
            ``too_large``; ``too_small``; ``unsupported`` (a sound file of a kind that is not read); ``needs_raw`` (the extra
            ``raw`` is missing); ``no_preview`` (camera RAW without one); ``decoder_crashed`` (decoding it has ended an
            earlier process of this run).
    """
    wanted = Wanted(min_side and math.ceil(headroom * min_side), rows, side=min_side)
    side = min_side if previews else None
    if isinstance(source, bytes):
        small = _preview(Source.of(source), side)
        image = None if small is None else _decode_preview("these bytes", small, wanted)
        return _decode("these bytes", source, wanted) if image is None else image
    with decoding(source, "preview" if previews else "image", min_side=min_side if previews else wanted.min_side):
        name = _printable(source)
        data, small = _read(source, side)
        if small is not None:
            if (image := _decode_preview(name, small, wanted)) is not None:
                return image
            data, _ = _read(source)
        return _decode(name, data, wanted)


def _preview(source: Source, side: int | None) -> Preview | None:
    """A smaller version in a file, that will do for a square input of this side; None if there is none."""
    if side is None or (kind := identify(source.begin())) is None or (find := FORMATS[kind].preview) is None:
        return None
    return find(source, side)


def _decode_preview(name: str, preview: Preview, wanted: Wanted) -> NDArray[np.uint8] | None:
    """Decode a smaller version; None if it is damaged or smaller than said, since the picture itself may be intact."""
    try:
        image = _decode(name, preview.data, replace(wanted, rows=None, orientation=preview.orientation))
    except ImageError:
        return None
    return image if min(image.shape[:2]) >= (wanted.side or 0) else None


def _decode(name: str, data: bytes, wanted: Wanted) -> NDArray[np.uint8]:
    if not data:
        raise ImageError("empty", f"{name}: the file is empty (0 bytes). Copy or download it again.")
    kind = identify(data)
    if kind is None:
        raise ImageError("not_an_image", f"{name}: the content is not a supported image format. Leave it out.")
    return FORMATS[kind].decode(name, data, wanted)


def to_square(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize ``(H, W, 3)`` uint8 to ``(size, size, 3)``, each side separately.

    The aspect ratio is not kept: a centre crop would remove objects but keep their labels, and padding would waste input
    pixels. A side that shrinks is area-averaged to prevent aliasing; a side that grows is interpolated linearly.
    """
    height, width = image.shape[:2]
    image = np.ascontiguousarray(image)
    # Two steps, because OpenCV's area mode does not average at all if one of the sides grows.
    shrunk = min(width, size), min(height, size)
    if shrunk != (width, height):
        image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    if shrunk != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    return image


def load_square(source: Path | str | bytes, size: int, *, previews: bool = False) -> NDArray[np.uint8]:
    """Decode, at reduced scale if the image is much larger, and resize to ``(size, size, 3)`` RGB uint8.

    Args:
        source: As for `decode`.
        size: Side of the square, pixels.
        previews: As for `decode`.

    Raises:
        ImageError: As `decode`.
    """
    return to_square(decode(source, min_side=size, previews=previews), size)


def _printable(path: Path | str) -> str:
    """The path for a one-line message: line breaks and bytes that are not UTF-8 are escaped."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _read(path: Path | str, side: int | None = None) -> tuple[bytes, Preview | None]:
    """The bytes of a file, or the smaller version in it that will do for a square input of this side."""
    name = _printable(path)
    try:
        _check_file(name, path, os.stat(path))  # noqa: PTH116 (see data/dataset.py); before opening: opening a device can start it
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            before = os.fstat(descriptor)
            _check_file(name, path, before)  # again: a pipe may have taken its place
            source = Source(file, before.st_size)
            small = _preview(source, side)
            data = b"" if small else source.all()
            after = os.fstat(descriptor)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        raise ImageError("missing", f"{name}: there is no such file. Check the path.") from None
    except OSError as error:
        reason = error.strerror or error
        raise ImageError("unreadable", f"{name}: cannot be read ({reason}). Check its permissions and the disk.") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ImageError("changed", f"{name}: changed while being read. Retry when the other program has finished.")
    return data, small


def _check_file(name: str, path: Path | str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode) and not os.access(path, os.R_OK | os.X_OK):
        raise PermissionError("no permission to list this folder")
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
        raise ImageError("not_a_file", f"{name}: this is {kind}, not a file. Give an image file.")
    if status.st_size > MAX_BYTES:
        raise ImageError("too_large", f"{name}: {status.st_size} bytes, above the limit of {MAX_BYTES}. Leave it out.")
