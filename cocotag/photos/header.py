"""The header of an image file, read without decoding: its upright size, its XMP packet, its IPTC keywords.

Much faster than decoding. Files that Pillow cannot open are passed to `cocotag.photos.decode.decode`, which decides whether
they are images. Does not depend on labels.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageFile, IptcImagePlugin, TiffImagePlugin

from cocotag.photos.decode import decode
from cocotag.photos.formats import heif, jpeg, raw
from cocotag.photos.formats.limits import MIN_SIDE
from cocotag.photos.formats.orientation import TRANSPOSED, image_orientation
from cocotag.photos.formats.table import FORMATS
from cocotag.process.restarts import decoding

_FORMATS = tuple(name for name, row in FORMATS.items() if row.pillow_reads_size)
_KEYWORDS, _CHARSET, _UTF8 = (2, 25), (1, 90), b"\x1b%G"
"""IPTC-IIM 4.2: data sets 2:25 and 1:90, and the escape sequence that means UTF-8."""


@dataclass(frozen=True, slots=True)
class Header:
    """The contents of a header.

    Attributes:
        width: Pixels, upright (EXIF orientation applied).
        height: Pixels, upright.
        xmp: The XMP packet, empty if there is none.
        iptc: Keywords in the older IPTC block of JPEG and TIFF.
        opened: False if the file had to be decoded to get its size; ``xmp`` and ``iptc`` were then not searched for.
    """

    width: int
    height: int
    xmp: bytes = b""
    iptc: tuple[str, ...] = ()
    opened: bool = True


def read_header(path: Path | str, *, metadata: bool = False) -> Header:
    """Read the size and, on request, the metadata. Damaged pixels may go unnoticed; a truncated JPEG does not.

    Args:
        path: An image file of any format that `decode` reads.
        metadata: Read XMP and IPTC too.

    Raises:
        ImageError: As `decode`.
    """
    # Not only OSError: Pillow's plugins raise many kinds of errors. `decode` then names the fault, or succeeds.
    with decoding(path, "header"), suppress(Exception):
        if Path(path).is_file():  # opening a pipe would block forever
            return _open(Path(path), metadata)
    height, width = decode(path).shape[:2]
    return Header(width, height, opened=False)


def _open(path: Path, metadata: bool) -> Header:
    heif.teach_pillow()
    with warnings.catch_warnings(action="ignore"), Image.open(path, formats=_FORMATS) as image:
        width, height = image.size
        if min(width, height) < MIN_SIDE:
            raise ValueError("too small")
        if image.format in ("JPEG", "MPO") and not jpeg.read_header(path.read_bytes()).complete:
            decode(path)  # without an end marker the pixels may be complete or not
        if image.format == "TIFF" and raw.is_raw(path.read_bytes()):  # otherwise this would be the size of a thumbnail
            height, width = decode(path).shape[:2]
        elif image_orientation(image) in TRANSPOSED and not _is_turned(image):  # stored with rows and columns exchanged
            width, height = height, width
        return Header(width, height, *(_metadata(image) if metadata else ()))


def _is_turned(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow has exchanged the sides already: it applies a TIFF's orientation itself, unless that has an odd type."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(ExifTags.Base.Orientation) in TRANSPOSED


def _metadata(image: ImageFile.ImageFile) -> tuple[bytes, tuple[str, ...]]:
    if image.format == "PNG" and "xmp" not in image.info:
        image.load()  # text chunks may follow the pixels
    xmp = image.info.get("xmp") or b""
    found = IptcImagePlugin.getiptcinfo(image) or {}
    values = found.get(_KEYWORDS, [])
    encoding = "utf-8" if found.get(_CHARSET) == _UTF8 else None
    keywords = tuple(_text(value, encoding) for value in ([values] if isinstance(values, bytes) else values))
    return xmp.encode() if isinstance(xmp, str) else xmp, keywords


def _text(value: bytes, encoding: str | None) -> str:
    """Text of an IPTC field. Without a declared charset, valid UTF-8 is taken as UTF-8, and the rest as cp1252."""
    try:
        return value.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace")
