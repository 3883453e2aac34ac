"""What an image file says of itself before anything is decoded: its upright size, its XMP packet, its IPTC keywords.

Much faster than decoding. What Pillow cannot open is left to `cocotag.photos.decode.decode`, which has the last word on
what is an image. Knows no labels.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFile, IptcImagePlugin

from cocotag.photos.decode import decode
from cocotag.photos.formats import heif, jpeg, raw
from cocotag.photos.formats.limits import MIN_SIDE
from cocotag.photos.formats.orientation import TRANSPOSED, image_orientation
from cocotag.photos.formats.table import FORMATS

_FORMATS = tuple(name for name, row in FORMATS.items() if row.pillow_reads_size)
_KEYWORDS, _CHARSET, _UTF8 = (2, 25), (1, 90), b"\x1b%G"
"""IPTC-IIM 4.2: data sets 2:25 and 1:90, and the escape sequence that means UTF-8."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the header says.

    Attributes:
        width: Pixels, upright (EXIF orientation applied).
        height: Pixels, upright.
        xmp: The XMP packet, empty if there is none.
        iptc: Keywords in the older IPTC block of JPEG and TIFF.
        opened: False where only decoding could tell that this is an image, so ``xmp`` and ``iptc`` were not looked for.
    """

    width: int
    height: int
    xmp: bytes = b""
    iptc: tuple[str, ...] = ()
    opened: bool = True


def read_header(path: Path | str, *, metadata: bool = False) -> Header:
    """Read size and, if asked for, metadata. Damage within the picture may pass; a JPEG that is cut short does not.

    Args:
        path: An image file of any kind that `decode` reads.
        metadata: Look for XMP and IPTC too.

    Raises:
        ImageError: As `decode`.
    """
    # Not only OSError: Pillow's plugins let through whatever they stumble over. `decode` names what is wrong, or finds nothing.
    with suppress(Exception):
        if Path(path).is_file():  # opening a pipe would wait for ever
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
            raise ValueError("cut short")
        if image.format == "TIFF":  # Pillow turns it itself
            if raw.is_raw(path.read_bytes()):  # this is the size of a thumbnail
                height, width = decode(path).shape[:2]
        elif image_orientation(image) in TRANSPOSED:  # stored lying on its side
            width, height = height, width
        return Header(width, height, *(_metadata(image) if metadata else ()))


def _metadata(image: ImageFile.ImageFile) -> tuple[bytes, tuple[str, ...]]:
    if image.format == "PNG" and "xmp" not in image.info:
        image.load()  # text may stand behind the pixels
    xmp = image.info.get("xmp") or b""
    found = IptcImagePlugin.getiptcinfo(image) or {}
    values = found.get(_KEYWORDS, [])
    encoding = "utf-8" if found.get(_CHARSET) == _UTF8 else None
    keywords = tuple(_text(value, encoding) for value in ([values] if isinstance(values, bytes) else values))
    return xmp.encode() if isinstance(xmp, str) else xmp, keywords


def _text(value: bytes, encoding: str | None) -> str:
    """Text of an IPTC field. Where no charset is declared, UTF-8 is common and unmistakable; the rest is Latin-1's kin."""
    try:
        return value.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace")
