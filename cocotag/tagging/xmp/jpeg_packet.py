"""Replaces the XMP packet of a JPEG file and leaves everything else unchanged. Does not depend on keywords.

exiftool would do it too, but it drops extended XMP. Phones keep depth maps there, in further segments that the packet refers
to (XMP specification part 3, 1.1.3.1). These segments are kept here.
"""

from __future__ import annotations

import struct

from cocotag.errors import DataError

EXTENDED = b"HasExtendedXMP"
"""The property of a packet that has extended XMP."""

_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
_APP1, _SCAN, _END = 0xE1, 0xDA, 0xD9
MOST = 65533 - len(_HEAD)
"""Size limit of a packet: it must fit one segment."""


def exchange_packet(jpeg: bytes, packet: bytes) -> bytes:
    """The bytes of a JPEG file with its packet replaced.

    Raises:
        DataError: The file has no packet, or the new one is too large.
    """
    if len(packet) > MOST:
        raise DataError(
            f"the XMP would have {len(packet)} bytes; a segment of a JPEG file may have {MOST}", code="xmp_too_large"
        )
    offset = 2
    while offset + 4 <= len(jpeg) and jpeg[offset] == 0xFF:
        marker = jpeg[offset + 1]
        if marker == 0xFF:  # fill byte
            offset += 1
            continue
        if marker in (_SCAN, _END):
            break
        (length,) = struct.unpack_from(">H", jpeg, offset + 2)
        if marker == _APP1 and jpeg.startswith(_HEAD, offset + 4):
            segment = struct.pack(">BBH", 0xFF, _APP1, 2 + len(_HEAD) + len(packet)) + _HEAD + packet
            return jpeg[:offset] + segment + jpeg[offset + 2 + length :]
        offset += 2 + length
    raise DataError("the JPEG file has no XMP segment", code="xmp_missing")
