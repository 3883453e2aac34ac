"""The user's keywords inside a photograph: XMP and IPTC, in any format. Does not decode pixels."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from cocotag.errors import ImageError
from cocotag.photos.formats.table import FORMATS
from cocotag.photos.header import Header, read_header
from cocotag.tagging.xmp.keywords import Keyword
from cocotag.tagging.xmp.packet import user_keywords

_BEGIN, _END = b"<x:xmpmeta", b"</x:xmpmeta>"
_SEARCHED = frozenset(ending for row in FORMATS.values() if not row.pillow_reads_xmp for ending in row.endings)
"""Endings of files that are searched for XMP: a packet is recognisable anywhere in a file."""
_MOST_PACKETS = 8


def keywords_in(photo: Path) -> list[Keyword]:
    """The keywords in a photograph, without those that cocotag's notes claim.

    A damaged packet is read up to the damage, as other programs do.
    """
    if photo.suffix.lower() in _SEARCHED:
        return _searched(photo)
    try:
        header = read_header(photo, metadata=True)
    except ImageError:
        header = Header(0, 0, opened=False)
    if not header.opened:
        return _searched(photo)
    if not header.xmp:
        return [(word,) for word in header.iptc]
    return user_keywords(header.xmp, name=str(photo), iptc=header.iptc)


def _searched(photo: Path) -> list[Keyword]:
    data = b""
    with suppress(OSError):
        data = photo.read_bytes()  # not memory-mapped: if the file shrank meanwhile, the process would crash
    words: list[Keyword] = []
    end = 0
    for _ in range(_MOST_PACKETS):
        start = data.find(_BEGIN, end)
        end = data.find(_END, start) + len(_END)
        if start < 0 or end < start:
            break
        words += user_keywords(data[start:end], name=str(photo))
    return words
