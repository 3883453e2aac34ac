"""Any image file -> RGB uint8, and to the square network input: one road for training, evaluation and tagging.

Every picture comes out upright (EXIF orientation applied), in three 8-bit channels, or as an `ImageError` that names
what is wrong. What a file is, its content says (`FORMATS` lists what is known); its name is not looked at. Knows no labels
and no network. ICC colour profiles are not applied: the photographs the networks are trained on are read without them too.
"""

from __future__ import annotations

import ctypes
import io
import logging
import math
import os
import re
import stat
import struct
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError, _imaging

from cocotag import heif, jpeg, raw
from cocotag.errors import ImageError
from cocotag.jpeg import HEADROOM as HEADROOM  # a caller's business too

FORMATS = {
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"),
    "PNG": (".apng", ".png"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
    "JPEG2000": (".j2k", ".jp2"),
    "PPM": (".pbm", ".pfm", ".pgm", ".pnm", ".ppm"),
    "TGA": (".tga",),
    "RAW": (
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mrw"),
        *(".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srw", ".x3f"),
    ),
}
"""What `decode` reads, and the endings that such files have in a folder.

- JPEG: baseline and progressive; grey, colour and CMYK; EXIF orientations 1 to 8.
- PNG: palette, grey, colour, each with transparency, 1 to 16 bits, interlaced. GIF, APNG, animated WebP: the first frame.
- TIFF: 1 to 16 bits and float, tiled or not, compressed or not, also BigTIFF; of several pages the first.
- HEIF with HEVC inside, as phones write it (HEIC), and AVIF; pictures of 10 bits are scaled to 8.
- TGA of version 2, which has a signature.
- RAW: the preview that the camera put in, with the extra ``raw``.

Not EPS: for that Pillow would start Ghostscript on a stranger's file.
"""

REASONS = (
    *("missing", "not_a_file", "unreadable", "changed", "empty"),
    *("not_an_image", "truncated", "too_large", "too_small", "needs_raw", "no_preview"),
)
"""Every `ImageError.reason` that `decode` gives."""

MAX_PIXELS = 2**28
"""Most pixels that are decoded, looked at before decoding: the largest phone sensors have 200 million. Pillow's own guard
(`PIL.Image.MAX_IMAGE_PIXELS`, error at 179 million) holds for the formats that it decodes, and half of this for
`SEVERAL_COPIES`. Most decoders hold the picture once, at 4 bytes a pixel, beside the 3 of the result."""

SEVERAL_COPIES = frozenset({"WEBP", "JPEG2000"})
"""Formats whose decoders hold the picture several times over while they work."""

MAX_SCANNED = 2**32
"""Most pixels that decoding a JPEG passes over. A progressive JPEG goes over the picture in about ten scans; with thousands,
of a few bytes each, a small file would keep the decoder busy for ever (libjpeg-turbo, "Two Issues with the JPEG Standard")."""

MAX_BYTES = 2**30
"""Largest file that is read: what is larger is a film or an archive."""

MIN_SIDE = 2
"""Shortest side that is a picture, pixels: 1 x 1 images are web counters and placeholders, with nothing to tag."""

_TILE_WIDTH, _TILE_LENGTH = 322, 323
_STRIP = 2**20  # pixels that are converted at a time
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes of the header, OS/2's and Windows' kinds
_PPM_START = re.compile(rb"P[1-6f]\s+(?:\d|#)")

# What Pillow warns of (damaged tags, large pictures) is either harmless or an error here, and has no place in a progress bar.
# Once for the process: to change the filters around each file would not be safe in threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its errors go to stderr where nobody set up logging


Rows = Callable[[int, int], int]
"""Told an image's width and height, how many rows are needed from its top."""


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
    orientation = 1
    if (kind := identify(data)) == "RAW":
        preview = raw.preview(name, data)
        if not isinstance(preview.image, bytes):
            _check_size(name, preview.image.shape[1], preview.image.shape[0])
            return np.ascontiguousarray(_turned(preview.image, preview.orientation))
        name, data, orientation = f"{name}, the preview in it", preview.image, preview.orientation
        kind = identify(data)
    if kind is None or kind == "RAW":
        raise ImageError("not_an_image", f"{name}: the content is no image format that is known here. Leave it out.")
    if kind == "JPEG":
        return _decode_jpeg(name, data, min_side and math.ceil(headroom * min_side), orientation, rows)
    return _decode_with_pillow(name, kind, data)


def identify(data: bytes) -> str | None:
    """Tell the format of a file by its content: one of the keys of `FORMATS`, or None. The rest may still be damaged."""
    if data.startswith(jpeg.START):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if raw.is_raw(data):  # before TIFF, for most begin like one
        return "RAW"
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if (kind := heif.identify(data)) is not None:
        return kind
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if data.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")):
        return "JPEG2000"
    if _PPM_START.match(data):
        return "PPM"
    if data[-18:] == b"TRUEVISION-XFILE.\0":
        return "TGA"
    return None


def from_pillow(image: Image.Image) -> NDArray[np.uint8]:
    """A Pillow image in any mode -> RGB uint8 ``(H, W, 3)``, upright, transparency laid on white.

    Integers beyond 8 bits are taken as 16-bit (0..65535), floats as 0..1; what is outside is clipped. Beside the picture
    itself this takes 3 bytes a pixel: it is converted in strips, straight to where they come to lie upright.
    """
    image.load()
    orientation = _orientation(image.getexif())  # after loading: Pillow turns TIFF itself while it loads
    width, height = image.size
    upright = np.empty((width, height, 3) if 5 <= orientation <= 8 else (height, width, 3), np.uint8)
    as_stored = _turned(upright, {6: 8, 8: 6}.get(orientation, orientation))  # a view; the other turns undo themselves
    rows = max(1, _STRIP // max(1, width))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        as_stored[top:bottom] = _to_rgb(image.crop((0, top, width, bottom)))
    return upright


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I") or image.mode == "F":
        stored = np.asarray(image)
        levels = stored.astype(np.float32) * (255 if image.mode == "F" else 255 / 65535)
        grey = np.rint(np.nan_to_num(levels).clip(0, 255)).astype(np.uint8)
        if image.info.get("transparency") is not None:
            grey[stored == image.info["transparency"]] = 255
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer))[:, :, :3]
    return np.asarray(image.convert("RGB"))


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


def _check_pixels(name: str, width: int, height: int, kind: str = "") -> None:
    most = MAX_PIXELS // 2 if kind in SEVERAL_COPIES else MAX_PIXELS
    if width * height > most:
        raise ImageError("too_large", f"{name}: {width} x {height} pixels, more than {most} in all. Shrink it.")


def _check_size(name: str, width: int, height: int, kind: str = "") -> None:
    _check_pixels(name, width, height, kind)
    if min(width, height) < MIN_SIDE:
        raise ImageError("too_small", f"{name}: {width} x {height} pixels; each side needs {MIN_SIDE}. Leave it out.")


def _decode_jpeg(name: str, data: bytes, min_side: int | None, orientation: int, rows: Rows | None) -> NDArray[np.uint8]:
    """Decode, and turn as the EXIF block says, or else as ``orientation`` does."""
    header = jpeg.read_header(data)
    if not header.complete:
        raise ImageError("truncated", f"{name}: the JPEG data end early, after {len(data)} bytes. Copy it again.")
    _check_size(name, header.width, header.height)
    if header.scans * header.width * header.height > MAX_SCANNED:
        what = f"{name}: {header.scans} scans over {header.width} x {header.height} pixels, made to keep a decoder busy."
        raise ImageError("too_large", f"{what} Leave it out.")
    exif = Image.Exif()
    try:
        exif.load(header.exif)
    except (SyntaxError, ValueError, struct.error):  # damaged EXIF: the picture is good all the same
        exif = Image.Exif()
    orientation = _orientation(exif, orientation)
    needed = rows(header.width, header.height) if rows is not None and orientation not in range(2, 9) else None
    image = jpeg.decode(data, header, min_side, needed) if header.components in (1, 3) else None  # CMYK is Pillow's
    if image is None:
        return _decode_with_pillow(name, "JPEG", data)
    return np.ascontiguousarray(_turned(image, orientation))


def _decode_with_pillow(name: str, kind: str, data: bytes) -> NDArray[np.uint8]:
    if kind in ("AVIF", "HEIF"):
        _check_pixels(name, *heif.largest_size(data))
        if heif.is_damaged(data):
            raise ImageError("truncated", f"{name}: cut short or damaged. Copy or download it again.")
    try:
        with _open(kind, data) as image:
            _check_size(name, image.width, image.height, kind)
            if isinstance(image, TiffImagePlugin.TiffImageFile):  # a tile may be larger than the picture, and is decoded whole
                _check_pixels(name, image.tag_v2.get(_TILE_WIDTH, 0), image.tag_v2.get(_TILE_LENGTH, 0))
            if kind == "PNG":
                _scale_colour_key(image, data[24])
            return from_pillow(image)
    except ImageError:
        raise
    except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError("too_large", f"{name}: too many pixels to decode safely. Shrink it.") from None
    except UnidentifiedImageError:
        raise ImageError("truncated", f"{name}: begins as {kind}, but is cut short or damaged. Copy it again.") from None
    except Exception as error:  # Pillow's plugins let through whatever their parsing stumbles over
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise ImageError("truncated", f"{name}: cut short or damaged ({reason}). Copy or download it again.") from error


def _scale_colour_key(image: Image.Image, depth: int) -> None:
    """Pillow scales the levels of a PNG to 8 bits, but not the level that its tRNS chunk makes transparent."""
    key = image.info.get("transparency")
    if depth in (2, 4) and image.mode == "L" and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2**depth - 1)
    elif depth == 16 and isinstance(key, tuple):
        image.info["transparency"] = tuple(level >> 8 for level in key)


def _open(kind: str, data: bytes) -> Image.Image:
    if kind == "HEIF":
        from pi_heif import HeifImageFile

        image: Image.Image = HeifImageFile(io.BytesIO(data))
        return image
    if kind == "TIFF":
        _silence_libtiff()
    return Image.open(io.BytesIO(data), formats=[kind])


@cache
def _silence_libtiff() -> None:
    """Keep Pillow's libtiff from printing what Pillow raises as an exception anyway.

    ``TIFFSetErrorHandler`` is libtiff's own way to say so. Where Pillow holds libtiff so that it cannot be reached, it prints.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def _orientation(exif: Image.Exif, otherwise: int = 1) -> int:
    value = exif.get(ExifTags.Base.Orientation, otherwise)
    return value if isinstance(value, int) else 1


def _turned(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation, 1..8 (CIPA DC-008, section 4.6.4), as a view; other values mean nothing and change nothing."""
    if orientation >= 5:  # 5..8 are stored with rows and columns exchanged
        image = image.transpose(1, 0, 2) if orientation <= 8 else image
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image
