"""The user's keywords inside a photograph: XMP and IPTC, in any format. Does not decode pixels."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cocotag.errors import DataError, ImageError
from cocotag.photos.formats.table import FORMATS
from cocotag.photos.header import Header, read_header
from cocotag.tagging.xmp.packets.keywords import Keyword
from cocotag.tagging.xmp.packets.reading import has_notes, notes_in, refusals, user_keywords
from cocotag.tagging.xmp.packets.record import Record

_BEGIN, _END = b"<x:xmpmeta", b"</x:xmpmeta>"
_SEARCHED = frozenset(ending for row in FORMATS.values() if not row.pillow_reads_xmp for ending in row.endings)
"""Endings of files that are searched for XMP: a packet is recognisable anywhere in a file."""
_MOST_PACKETS = 8


@dataclass(frozen=True, slots=True)
class Inside:
    """The metadata inside a photograph that may have keywords.

    Attributes:
        name: The photograph's name in messages.
        packets: Its XMP packets.
        iptc: Its IPTC keywords.
    """

    name: str
    packets: tuple[bytes, ...] = ()
    iptc: tuple[str, ...] = ()

    def keywords(self) -> list[Keyword]:
        """The user's keywords. A damaged packet is read up to the damage, as other programs do."""
        if not self.packets:
            return [(word,) for word in self.iptc]
        first, *others = self.packets
        found = user_keywords(first, name=self.name, iptc=self.iptc)
        return [*found, *(keyword for packet in others for keyword in user_keywords(packet, name=self.name))]

    def notes(self) -> Record | None:
        """The notes of cocotag, if it has written into the photograph."""
        found = (notes_in(packet, name=self.name) for packet in self.packets if has_notes(packet))
        return next((record for record in found if record is not None), None)

    def beside(self) -> tuple[str, ...]:
        """The names of the sidecars that were there before cocotag's keywords, as in `Record`."""
        record = self.notes()
        return record.beside if record is not None else ()

    def refused(self) -> tuple[str, ...]:
        """The notes of keywords that are refused in the photograph."""
        with suppress(DataError):
            return tuple(note for one in self.packets if has_notes(one) for note in refusals(one, name=self.name))
        return ()


def look_inside(photo: Path) -> Inside:
    """Read the XMP and IPTC of a photograph; nothing if it cannot be read."""
    if photo.suffix.lower() in _SEARCHED:
        return Inside(str(photo), _searched(photo))
    try:
        header = read_header(photo, metadata=True)
    except ImageError:
        header = Header(0, 0, opened=False)
    if not header.opened:
        return Inside(str(photo), _searched(photo))
    return Inside(str(photo), (header.xmp,) if header.xmp else (), tuple(header.iptc))


def keywords_in(photo: Path) -> list[Keyword]:
    """The keywords in a photograph, without those that cocotag's notes claim."""
    return look_inside(photo).keywords()


def _searched(photo: Path) -> tuple[bytes, ...]:
    data = b""
    with suppress(OSError):
        data = photo.read_bytes()  # not memory-mapped: if the file shrank meanwhile, the process would crash
    packets: list[bytes] = []
    end = 0
    for _ in range(_MOST_PACKETS):
        start = data.find(_BEGIN, end)
        end = data.find(_END, start) + len(_END)
        if start < 0 or end < start:
            break
        packets.append(data[start:end])
    return tuple(packets)
