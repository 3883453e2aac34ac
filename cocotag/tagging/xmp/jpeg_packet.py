"""The XMP packet of a JPEG file exchanged for another, all else left as it is. Knows no keywords.

exiftool would do it, but drops what XMP has more than one segment holds: phones keep depth maps there, in further segments that
the packet refers to (XMP specification part 3, 1.1.3.1). Those stay where they are here.
"""

from __future__ import annotations

import struct

from cocotag.errors import DataError

EXTENDED = b"HasExtendedXMP"
"""The property by which a packet says that there is more."""

_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
_APP1, _SCAN, _END = 0xE1, 0xDA, 0xD9
MOST = 65533 - len(_HEAD)
"""Bytes of a packet that a segment holds."""


def exchange_packet(jpeg: bytes, packet: bytes) -> bytes:
    """A JPEG file with another packet in the place of the one it has.

    Raises:
        DataError: It has none, or the new one is too large.
    """
    if len(packet) > MOST:
        raise DataError(f"its XMP would have {len(packet)} bytes; a JPEG file holds {MOST} in one piece")
    place = 2
    while place + 4 <= len(jpeg) and jpeg[place] == 0xFF:
        code = jpeg[place + 1]
        if code == 0xFF:  # filler
            place += 1
            continue
        if code in (_SCAN, _END):
            break
        (length,) = struct.unpack_from(">H", jpeg, place + 2)
        if code == _APP1 and jpeg.startswith(_HEAD, place + 4):
            segment = struct.pack(">BBH", 0xFF, _APP1, 2 + len(_HEAD) + len(packet)) + _HEAD + packet
            return jpeg[:place] + segment + jpeg[place + 2 + length :]
        place += 2 + length
    raise DataError("its XMP is not where JPEG files have it")
