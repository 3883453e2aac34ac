"""PNG: Pillow decodes it, without the chunks that no pixel needs if these are what it refuses."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cocotag.errors import ImageError
from cocotag.photos.formats.deep import scaled
from cocotag.photos.formats.pillow import decode_with_pillow
from cocotag.photos.formats.source import Wanted

START = b"\x89PNG\r\n\x1a\n"

_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"})
"""Chunks that pixels and orientation need: https://www.w3.org/TR/png-3/#11Chunks."""


def decode_file(name: str, data: bytes, wanted: Wanted) -> NDArray[np.uint8]:
    """Decode a PNG file, upright; as `cocotag.photos.formats.pillow.decode_with_pillow`.

    Pillow refuses a file with a large colour profile or text, or with a wrong checksum in any chunk. Neither profile nor text
    is used here, so the file is tried again without them.
    """
    try:
        image = decode_with_pillow(name, data, "PNG")
    except ImageError as error:
        if error.code != "truncated" or (needed := without_ancillary(data)) == data:
            raise
        image = decode_with_pillow(name, needed, "PNG")
    return scaled(data, "PNG", _significant_bits(data), image)


def _significant_bits(data: bytes) -> int:
    """The bits that a 16-bit grey or RGB image declares in its sBIT chunk; 0 if it declares none, or is of another kind."""
    depth, colour = data[24:26]
    if depth != 16 or colour not in (0, 2):
        return 0
    for kind, content in _chunks(data):
        if kind == b"sBIT":
            return max(content[8:-4], default=0)
        if kind == b"IDAT":
            break
    return 0


def without_ancillary(data: bytes) -> bytes:
    """A PNG file with only the chunks that pixels and orientation need; an orientation with a wrong checksum is dropped."""
    kept = [START]
    for kind, chunk in _chunks(data):
        sound = kind != b"eXIf" or zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if kind in _NEEDED and sound:
            kept.append(chunk)
    return b"".join(kept)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and bytes of each chunk; the bytes have its length, name and checksum too."""
    offset = len(START)
    while offset + 12 <= len(data):
        end = offset + 12 + int.from_bytes(data[offset : offset + 4], "big")
        yield data[offset + 4 : offset + 8], data[offset:end]
        offset = end
