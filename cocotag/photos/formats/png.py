"""PNG: Pillow decodes it, without the chunks that no pixel needs if these are what it refuses."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from cocotag.errors import ImageError
from cocotag.photos.formats.pillow import decode_with_pillow
from cocotag.photos.formats.wanted import Wanted

START = b"\x89PNG\r\n\x1a\n"

_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"})
"""Chunks that pixels and orientation need: https://www.w3.org/TR/png-3/#11Chunks."""


def decode_file(name: str, data: bytes, wanted: Wanted) -> NDArray[np.uint8]:
    """Decode a PNG file, upright; as `cocotag.photos.formats.pillow.decode_with_pillow`.

    Pillow refuses a file with a large colour profile or text, or with a wrong checksum in any chunk. Neither profile nor text
    is used here, so the file is tried again without them.
    """
    try:
        return decode_with_pillow(name, data, "PNG")
    except ImageError as error:
        if error.code != "truncated" or (needed := without_ancillary(data)) == data:
            raise
        return decode_with_pillow(name, needed, "PNG")


def without_ancillary(data: bytes) -> bytes:
    """A PNG file with only the chunks that pixels and orientation need; an orientation with a wrong checksum is dropped."""
    kept, offset = [START], len(START)
    while offset + 12 <= len(data):
        end = offset + 12 + int.from_bytes(data[offset : offset + 4], "big")
        kind = data[offset + 4 : offset + 8]
        sound = kind != b"eXIf" or zlib.crc32(data[offset + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
        if kind in _NEEDED and sound:
            kept.append(data[offset:end])
        offset = end
    return b"".join(kept)
