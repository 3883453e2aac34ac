"""The smaller version that cameras write behind a JPEG, listed by CIPA's Multi-Picture Format (DC-007)."""

from __future__ import annotations

import struct

from cocotag.photos.formats import jpeg
from cocotag.photos.formats.orientation import block_orientation
from cocotag.photos.formats.source import Preview, Source, same_aspect

_LABEL = b"MPF\0"
_APP2 = b"\xff\xe2"
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ENTRIES, _ENTRY_BYTES = 0xB002, 16
_THUMBNAIL = 0x01
"""Class of the types 0x010001 (VGA), 0x010002 (full HD) and larger: the same picture, smaller. Panoramas, depth maps and views
have other classes; gain maps have none."""

_HEADER = 2**18
"""Bytes in which the list of versions and the picture's size are looked for."""

_MOST, _MOST_LISTED = 2**24, 16
"""Bytes of a version that are read, and pictures in the list; cameras list two to four."""


def preview(source: Source, side: int) -> Preview | None:
    """The smallest version of at least ``side`` x ``side`` pixels with the picture's aspect ratio.

    Args:
        source: A JPEG file.
        side: Least pixels of both sides.

    Returns:
        The version with the picture's orientation; None if there is no such version.
    """
    head = source.begin()
    picture = jpeg.read_header(head)
    if not picture.scan:  # EXIF with a thumbnail fills what was read
        head = source.begin(_HEADER)
        picture = jpeg.read_header(head)
    if _LABEL not in head:
        return None
    if min(picture.width, picture.height) < side:
        return None
    found: list[tuple[int, bytes]] = []
    for start, length in _places(head):
        if 0 < length <= _MOST and start + length <= source.size:
            data = source.read(start, length)
            small = jpeg.read_header(data) if data.startswith(jpeg.START) else jpeg.Header()
            fits = small.complete and small.width < picture.width and min(small.width, small.height) >= side
            if fits and same_aspect((small.width, small.height), (picture.width, picture.height)):
                found.append((small.width * small.height, data))
    return Preview(min(found)[1], block_orientation(picture.exif)) if found else None


def _places(head: bytes) -> list[tuple[int, int]]:
    """Start and length of each smaller version, by the list in the file's header."""
    start = head.find(_LABEL)
    while start >= 4 and head[start - 4 : start - 2] != _APP2:
        start = head.find(_LABEL, start + 1)
    base = start + len(_LABEL)  # positions in the list count from here
    order = _ORDERS.get(head[base : base + 4])
    if start < 4 or order is None:
        return []
    try:
        (directory,) = struct.unpack_from(f"{order}I", head, base + 4)
        (fields,) = struct.unpack_from(f"{order}H", head, base + directory)
        for number in range(fields):
            tag, _, size, place = struct.unpack_from(f"{order}HHII", head, base + directory + 2 + 12 * number)
            if tag == _ENTRIES:
                entries = [
                    struct.unpack_from(f"{order}III", head, base + place + at)
                    for at in range(0, min(size, _ENTRY_BYTES * _MOST_LISTED), _ENTRY_BYTES)
                ]
                return [
                    (base + offset, length) for kind, length, offset in entries if kind >> 16 & 0xFF == _THUMBNAIL and offset
                ]
    except struct.error:  # damaged, or beyond the part that was read
        pass
    return []
