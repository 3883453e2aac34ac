"""HEIF and AVIF: checks of the boxes of a file before it is decoded, and the decoder of HEIC."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cocotag.errors import ImageError
from cocotag.photos.formats.limits import check_pixels
from cocotag.photos.formats.pillow import decode_with_pillow
from cocotag.photos.formats.source import Wanted

_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEVC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_CONTAINER_BRANDS = frozenset({b"mif1", b"msf1"})  # used by both formats
_SIZE = re.compile(rb"ispe\0{4}(.{8})", re.DOTALL)  # ISO/IEC 23008-12, section 6.5.3
_ITEM = re.compile(rb"(.{4})infe", re.DOTALL)  # ISO/IEC 14496-12, section 8.11.6
_SMALLEST_ITEM = 20  # bytes


def identify(data: bytes) -> str | None:
    """``AVIF``, ``HEIF`` (with HEVC inside, HEIC) or None, by ISO/IEC 14496-12, section 4.3.

    The ``ftyp`` box has a major brand, a version, and the compatible brands of the file. Videos (MP4, MOV) have other brands.
    """
    if data[4:8] != b"ftyp":
        return None
    box = data[: int.from_bytes(data[:4], "big")]
    brands = [box[8:12], *(box[offset : offset + 4] for offset in range(16, len(box), 4))]
    for brand in brands:
        if brand in _AVIF_BRANDS:
            return "AVIF"
        if brand in _HEVC_BRANDS:
            return "HEIF"
    return "HEIF" if _CONTAINER_BRANDS & set(brands) else None


def largest_size(data: bytes) -> tuple[int, int]:
    """Width and height, pixels, of the largest image that the file declares; 0, 0 if it declares none.

    The decoders have limits of their own, but do not report an error of their own for larger images.
    """
    sizes: list[tuple[int, int]] = [struct.unpack(">II", size) for size in _SIZE.findall(data)]
    return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))


def is_damaged(data: bytes) -> bool:
    """Whether a box reaches beyond the end of the file, or an item type is not text as the standard demands.

    libheif and pi-heif 1.4.0 do not check this. Of an image in tiles, as phones write them, they decode the tiles that are
    present and leave the rest black. An item type that is not UTF-8 crashes the process.
    """
    for kind, start, end in _boxes(data):
        if end > len(data) and kind in (b"meta", b"mdat"):  # only these: some programs append data that is not a box
            return True
        if kind == b"meta":
            meta = data[start:end]
            if any(_is_damaged_item(meta, item) for item in _ITEM.finditer(meta)):
                return True
    return False


def _is_damaged_item(meta: bytes, item: re.Match[bytes]) -> bool:
    size = int.from_bytes(item[1], "big")
    try:
        meta[item.end() + 8 : item.start() + size].decode()  # after version, flags, number and protection
    except UnicodeDecodeError:
        return True
    return size < _SMALLEST_ITEM


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each top-level box of the file."""
    start = 0
    while start + 8 <= len(data):
        size, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16], "big")
        end = max(start + 8, start + size) if size else len(data)
        yield kind, start, end
        start = end


def decode_heic(name: str, data: bytes, _: Wanted) -> NDArray[np.uint8]:
    """Decode HEIF with HEVC inside; see `cocotag.photos.formats.pillow.decode_with_pillow`."""
    _check(name, data)
    return decode_with_pillow(name, data, "HEIF", opener=_open_heic)


def decode_avif(name: str, data: bytes, _: Wanted) -> NDArray[np.uint8]:
    """Decode AVIF; see `cocotag.photos.formats.pillow.decode_with_pillow`."""
    _check(name, data)
    return decode_with_pillow(name, data, "AVIF")


@cache
def teach_pillow() -> None:
    """Register the HEIC plugin, so that ``Image.open`` reads its header."""
    import pi_heif

    pi_heif.register_heif_opener()


def _check(name: str, data: bytes) -> None:
    check_pixels(name, *largest_size(data))
    if is_damaged(data):
        raise ImageError("truncated", f"{name}: the file is truncated or damaged. Copy or download it again.")


def _open_heic(file: io.BytesIO) -> Image.Image:
    from pi_heif import HeifImageFile

    image: Image.Image = HeifImageFile(file)
    return image
