"""Any image file -> RGB uint8, and to the square network input: one road for training, evaluation and tagging.

Every picture comes out upright (EXIF orientation applied), in three 8-bit channels, or as an `ImageError` that names
what is wrong. Knows no labels and no network. ICC colour profiles are not applied: the photographs the networks are
trained on are read without them too.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from cocotag.errors import ImageError

MAX_PIXELS = 2**29
"""Most pixels that are decoded, 1.5 GiB as RGB; the largest phone sensors have 200 million. Pillow's own guard
(`PIL.Image.MAX_IMAGE_PIXELS`, error at 179 million) holds for the formats that it decodes."""

MAX_BYTES = 2**30
"""Largest file that is read: what is larger is a film or an archive."""

MIN_SIDE = 2
"""Shortest side that is a picture, pixels: 1 x 1 images are web counters and placeholders, with nothing to tag."""

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "TGA", "JPEG2000", "AVIF", "HEIF")
"""What Pillow may decode, by content. Not EPS: for that it would start Ghostscript on a stranger's file."""

HEADROOM = 2
"""A reduced decode keeps at least so many times the side that is asked for: its filter is coarser than area averaging,
and right down at the input size fine patterns would come out otherwise than from the full picture."""

_REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
_JPEG_START = b"\xff\xd8\xff"
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)  # over filler bytes
_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..15, less DHT, JPG and DAC


def decode(source: Path | str | bytes, *, min_side: int | None = None) -> NDArray[np.uint8]:
    """Decode an image file by its content, whatever its name says.

    JPEG goes through OpenCV, which is fast and can decode at 1/2, 1/4 or 1/8; all else through Pillow: transparency is
    laid on white, 16 bits are scaled to 8, and of an animation the first frame is taken.

    Args:
        source: A path, or the bytes of a file.
        min_side: Side that the caller will shrink it to, pixels. A JPEG is decoded smaller as long as its shorter side
            keeps `HEADROOM` times as many; None for full size.

    Returns:
        ``(H, W, 3)`` RGB uint8, upright, contiguous.

    Raises:
        ImageError: With one of the reasons ``missing``; ``not_a_file`` (a folder or device); ``unreadable`` (permission,
            I/O); ``empty`` (0 bytes); ``not_an_image``; ``truncated`` (or damaged); ``too_large``; ``too_small``.
    """
    name, data = ("these bytes", source) if isinstance(source, bytes) else (_shown(source), _read(source))
    if not data:
        raise ImageError("empty", f"{name}: 0 bytes, so there is no picture. Copy or download it again.")
    if data.startswith(_JPEG_START):
        header = _read_jpeg_header(data)
        if not header.complete:
            raise ImageError("truncated", f"{name}: the JPEG data end early, after {len(data)} bytes. Copy it again.")
        _check_size(name, header.width, header.height)
        if header.components in (1, 3):  # CMYK is Pillow's
            image = _decode_jpeg(data, header, min_side)
            if image is not None:
                return image
    return _decode_with_pillow(name, data)


def from_pillow(image: Image.Image) -> NDArray[np.uint8]:
    """A Pillow image in any mode -> RGB uint8 ``(H, W, 3)``, upright, transparency laid on white.

    Integers beyond 8 bits are taken as 16-bit (0..65535), floats as 0..1; what is outside is clipped.
    """
    image.load()
    orientation = _orientation(image.getexif())  # after loading: Pillow turns TIFF itself while it loads
    if image.mode.startswith("I") or image.mode == "F":
        levels = np.asarray(image).astype(np.float32) * (255 if image.mode == "F" else 255 / 65535)
        grey = np.rint(np.nan_to_num(levels).clip(0, 255)).astype(np.uint8)
        rgb = np.repeat(grey[:, :, None], 3, axis=2)
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        rgb = np.asarray(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer))[:, :, :3]
    else:
        rgb = np.asarray(image.convert("RGB"))
    return _upright(rgb, orientation)


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
        status = Path(path).stat()  # before opening: opening a pipe would wait for ever
        if stat.S_ISDIR(status.st_mode) and not os.access(path, os.R_OK | os.X_OK):
            raise PermissionError("a folder that may not be listed")
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
            raise ImageError("not_a_file", f"{name}: this is {kind}, not a file. Give an image file.")
        if status.st_size > MAX_BYTES:
            raise ImageError("too_large", f"{name}: {status.st_size} bytes, more than the {MAX_BYTES} that are read.")
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        raise ImageError("missing", f"{name}: there is no such file. Check the path.") from None
    except OSError as error:
        reason = error.strerror or error
        raise ImageError("unreadable", f"{name}: cannot be read ({reason}). Check its permissions and the disk.") from error


def _check_size(name: str, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError("too_large", f"{name}: {width} x {height} pixels, more than {MAX_PIXELS} in all. Shrink it.")
    if min(width, height) < MIN_SIDE:
        raise ImageError("too_small", f"{name}: {width} x {height} pixels; each side needs {MIN_SIDE}. Leave it out.")


@dataclass(slots=True)
class _JpegHeader:
    width: int = 0
    height: int = 0
    components: int = 0
    exif: bytes = b""
    complete: bool = False


def _read_jpeg_header(data: bytes) -> _JpegHeader:
    """Walk the segments up to the compressed data, and look for the end marker after that.

    Decoders fill what is missing of a cut JPEG with grey, some without a word. In compressed data an FF is always
    followed by 00 or a restart marker, so the end marker is found only where the picture is whole. Looking at the
    file's last bytes would not do: cameras append previews, films and padding.
    """
    header = _JpegHeader()
    place = 2
    while (marker := _JPEG_MARKER.search(data, place)) is not None and marker.end() + 8 <= len(data):
        code, place = marker[1][0], marker.end()
        if code == _JPEG_SCAN:
            header.complete = header.components > 0 and data.rfind(_JPEG_END, place) >= 0
            break
        if code in _JPEG_FRAMES:
            header.height, header.width, header.components = struct.unpack_from(">HHB", data, place + 3)
        length = int.from_bytes(data[place : place + 2], "big")
        if code == 0xE1 and data.startswith(b"Exif\0\0", place + 2):
            header.exif = header.exif or data[place + 2 : place + length]
        place += length
    return header


def _decode_jpeg(data: bytes, header: _JpegHeader, min_side: int | None) -> NDArray[np.uint8] | None:
    """Decode with OpenCV; None where it cannot, and Pillow should have the last word."""
    shorter = min(header.width, header.height)
    scale = next((scale for scale in (8, 4, 2) if min_side is not None and shorter // scale >= HEADROOM * min_side), 1)
    flags = _REDUCED[scale] | cv2.IMREAD_IGNORE_ORIENTATION  # turned below, so that both ways turn a picture alike
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    if image is None:
        return None
    exif = Image.Exif()
    try:
        exif.load(header.exif)
    except (SyntaxError, ValueError, struct.error):  # damaged EXIF: the picture is good all the same
        exif = Image.Exif()
    return _upright(cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False), _orientation(exif))


def _decode_with_pillow(name: str, data: bytes) -> NDArray[np.uint8]:
    if data[4:8] == b"ftyp":
        _register_heif()
    try:
        with Image.open(io.BytesIO(data), formats=_known_formats()) as image:
            _check_size(name, image.width, image.height)
            return from_pillow(image)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("not_an_image", f"{name}: the content is no image format that is known here. Leave it out.") from None
    except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError("too_large", f"{name}: too many pixels to decode safely. Shrink it.") from None
    except Exception as error:  # Pillow's plugins let through whatever their parsing stumbles over
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise ImageError("truncated", f"{name}: cut short or damaged ({reason}). Copy or download it again.") from error


def _known_formats() -> list[str]:
    """Those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


@cache
def _register_heif() -> None:
    import pi_heif

    pi_heif.register_heif_opener()


def _orientation(exif: Image.Exif) -> int:
    value = exif.get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) else 1


def _upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation, 1..8 (CIPA DC-008, section 4.6.4); other values mean nothing and change nothing."""
    if orientation >= 5:  # 5..8 are stored with rows and columns exchanged
        image = image.transpose(1, 0, 2) if orientation <= 8 else image
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)
