"""Puts an XMP packet into a JPEG file and leaves everything else unchanged. Does not depend on keywords.

exiftool refuses this for a file whose EXIF has a damaged directory, and it drops extended XMP. Phones keep depth maps there, in
further segments that the packet refers to (XMP specification part 3, 1.1.3.1). These segments are kept here.
"""

from __future__ import annotations

import struct

from cocotag.errors import DataError

_HEAD, _EXIF = b"http://ns.adobe.com/xap/1.0/\0", b"Exif\0\0"
_APP0, _APP1, _SCAN, _END = 0xE0, 0xE1, 0xDA, 0xD9
MOST = 65533 - len(_HEAD)
"""Size limit of a packet: it must fit one segment."""


def exchange_packet(jpeg: bytes, packet: bytes | None) -> bytes:
    """The bytes of a JPEG file with its packet replaced, inserted or removed.

    A new packet is inserted after the leading JFIF and EXIF segments, where other programs expect it.

    Args:
        jpeg: The file.
        packet: The packet; None to remove the existing one.

    Raises:
        DataError: ``xmp_too_large``: The packet does not fit one segment. ``jpeg_cut``: The file ends before its picture.
    """
    if packet is not None and len(packet) > MOST:
        raise DataError(
            f"the XMP would have {len(packet)} bytes; a segment of a JPEG file may have {MOST}", code="xmp_too_large"
        )
    segment = b"" if packet is None else struct.pack(">BBH", 0xFF, _APP1, 2 + len(_HEAD) + len(packet)) + _HEAD + packet
    offset, start, leading = 2, 2, True
    while offset + 4 <= len(jpeg) and jpeg[offset] == 0xFF:
        marker = jpeg[offset + 1]
        if marker == 0xFF:  # fill byte
            offset += 1
            continue
        if marker in (_SCAN, _END):
            break
        (length,) = struct.unpack_from(">H", jpeg, offset + 2)
        end = offset + 2 + length
        if marker == _APP1 and jpeg.startswith(_HEAD, offset + 4) and end < len(jpeg):
            return jpeg[:offset] + segment + jpeg[end:]
        leading = leading and (marker == _APP0 or (marker == _APP1 and jpeg.startswith(_EXIF, offset + 4)))
        offset = end
        if leading:
            start = offset
    if offset + 4 > len(jpeg):
        raise DataError("the file ends before its picture", code="jpeg_cut")
    return jpeg[:start] + segment + jpeg[start:]
