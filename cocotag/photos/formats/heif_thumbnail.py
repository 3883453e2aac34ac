"""The thumbnail that phones write into HEIC and AVIF files, made a file of its own.

A file of these formats is a list of items with properties (ISO/IEC 23008-12). The thumbnail is a coded image that refers to the
primary item. Decoders open only the primary item, so the thumbnail's data and properties are copied into a small file in which
it is the primary one. Only the descriptions and the data of the thumbnail are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cocotag.photos.formats.source import Preview, Source, same_aspect

_MOST = 2**22
"""Bytes of descriptions and of a thumbnail that are read; phones write some kilobytes."""

_CODED = frozenset({b"hvc1", b"av01"})
_TURNS = (b"irot", b"imir")
_ALPHA = (b"urn:mpeg:hevc:2015:auxid:1\0", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")


@dataclass(slots=True)
class _Item:
    """One item of a file.

    Attributes:
        kind: Its four-character code.
        properties: Its properties, whole boxes, in their order, each with whether a reader must understand it.
        extents: Start and length of each part of its data in the file.
        here: Whether the data are in the file itself, at absolute positions.
        thumbnail_of: Items of which it is a thumbnail.
        auxiliary_of: Items for which it is an auxiliary image, such as a mask or a gain map.
    """

    kind: bytes = b""
    properties: list[tuple[bytes, bool]] = field(default_factory=list)
    extents: list[tuple[int, int]] = field(default_factory=list)
    here: bool = True
    thumbnail_of: list[int] = field(default_factory=list)
    auxiliary_of: list[int] = field(default_factory=list)

    def find(self, kind: bytes) -> bytes | None:
        """The content of its property of a kind."""
        return next((box[8:] for box, _ in self.properties if box[4:8] == kind), None)

    def turns(self) -> list[bytes]:
        """Its rotations and mirrorings, in their order."""
        return [box for box, _ in self.properties if box[4:8] in _TURNS]

    def size(self) -> tuple[int, int]:
        """Upright width and height, pixels; 0, 0 if unknown.

        Raises:
            ValueError: A damaged property.
        """
        clean, extent = self.find(b"clap"), self.find(b"ispe")
        if clean is not None:
            wide, wide_by, high, high_by = _unpack(">4I", clean, 0)
            if not wide_by or not high_by:
                raise ValueError("a clean aperture divided by 0")
            width, height = wide // wide_by, high // high_by
        elif extent is not None:
            width, height = _unpack(">2I", extent, 4)
        else:
            return 0, 0
        quarter_turns = sum(box[8] & 3 for box in self.turns() if box[4:8] == b"irot" and len(box) > 8)
        return (height, width) if quarter_turns % 2 else (width, height)


def preview(source: Source, side: int) -> Preview | None:
    """The smallest thumbnail of at least ``side`` x ``side`` pixels, as a file of its own.

    It has to have the aspect ratio of the picture and to be turned like it; a picture with transparency has none.

    Args:
        source: A HEIC or AVIF file.
        side: Least pixels of both sides.

    Returns:
        The thumbnail, a file of the same format; None if no thumbnail will do, or the file is damaged or unusual.
    """
    source.begin()
    try:
        boxes = {kind: (start, end) for kind, start, end in _top_level(source)}
        if b"meta" not in boxes or b"ftyp" not in boxes or max(end for _, end in boxes.values()) > source.size:
            return None
        primary, items = _read_items(_content(source, *boxes[b"meta"]))
        chosen = _choose(primary, items, side)
        if chosen is None:
            return None
        data = b"".join(source.read(start, length) for start, length in chosen.extents)
        if len(data) != sum(length for _, length in chosen.extents) or len(chosen.properties) > 127:
            return None
        return Preview(_file(_content(source, *boxes[b"ftyp"]), chosen, data))
    except (ValueError, KeyError, IndexError, struct.error):  # damaged, or of a kind that is not known here
        return None


def _choose(primary: int, items: dict[int, _Item], side: int) -> _Item | None:
    picture = items[primary]
    if any(primary in item.auxiliary_of and (item.find(b"auxC") or b"")[4:].startswith(_ALPHA) for item in items.values()):
        return None
    size = picture.size()
    fitting = [
        item
        for item in items.values()
        if primary in item.thumbnail_of
        and item.kind in _CODED
        and item.here
        and 0 < sum(length for _, length in item.extents) <= _MOST
        and min(item.size()) >= side
        and same_aspect(item.size(), size)
        and (item.turns() == picture.turns() or _is_turned_already(item, picture))
    ]
    return min(fitting, key=lambda item: item.size(), default=None)


def _is_turned_already(item: _Item, picture: _Item) -> bool:
    """Whether a thumbnail without turns is upright, to judge by its sides: the picture is turned by 90 degrees."""
    width, height = picture.size()
    quarters = [box[8] & 3 if box[4:8] == b"irot" else 0 for box in picture.turns()]
    return not item.turns() and quarters in ([1], [3]) and abs(width - height) * 20 > width


def _top_level(source: Source) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each box of the file."""
    start = 0
    while start + 8 <= source.size:
        header = source.read(start, 16)
        size, kind = _unpack(">I4s", header, 0)
        if size == 1:
            (size,) = _unpack(">Q", header, 8)
        if size == 0:
            size = source.size - start
        if size < 8:
            raise ValueError("a box smaller than its header")
        yield kind, start, start + size
        start += size


def _content(source: Source, start: int, end: int) -> bytes:
    """A box without its header."""
    if end - start > _MOST:
        raise ValueError("a box that is too large")
    data = source.read(start, end - start)
    return data[16 if data[:4] == b"\0\0\0\1" else 8 :]


def _read_items(meta: bytes) -> tuple[int, dict[int, _Item]]:
    """The primary item's number, and all items by theirs."""
    boxes = dict(_boxes(meta, 4))
    items = {number: _Item(kind) for number, kind in _infos(boxes[b"iinf"])}
    wide = boxes[b"pitm"][0] > 0
    (primary,) = _unpack(">I" if wide else ">H", boxes[b"pitm"], 4)
    _add_references(boxes.get(b"iref", bytes(4)), items)
    _add_properties(list(_boxes(boxes[b"iprp"], 0)), items)
    _add_places(boxes[b"iloc"], items)
    return primary, items


def _boxes(data: bytes, start: int) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each box within another."""
    while start + 8 <= len(data):
        size, kind = _unpack(">I4s", data, start)
        if size < 8 or start + size > len(data):
            raise ValueError("a box of a wrong size")
        yield kind, data[start + 8 : start + size]
        start += size


def _infos(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and kind of each item (ISO/IEC 14496-12, 8.11.6)."""
    for kind, box in _boxes(data, 8 if data[0] else 6):
        if kind == b"infe" and box[0] >= 2:
            wide = box[0] > 2
            number, _, code = _unpack(">IH4s" if wide else ">HH4s", box, 4)
            yield number, code


def _add_references(data: bytes, items: dict[int, _Item]) -> None:
    """References from item to item (8.11.12), of version 0 or 1."""
    number = ">I" if data[0] else ">H"
    width = struct.calcsize(number)
    for kind, box in _boxes(data, 4):
        (of,) = _unpack(number, box, 0)
        (count,) = _unpack(">H", box, width)
        to = [_unpack(number, box, width + 2 + width * index)[0] for index in range(count)]
        if kind == b"thmb" and of in items:
            items[of].thumbnail_of += to
        elif kind == b"auxl" and of in items:
            items[of].auxiliary_of += to


def _add_properties(boxes: Sequence[tuple[bytes, bytes]], items: dict[int, _Item]) -> None:
    """Properties (ISO/IEC 23008-12, 9.3): a list, and for each item the numbers of its own."""
    container = dict(boxes)[b"ipco"]
    properties = [struct.pack(">I4s", len(box) + 8, kind) + box for kind, box in _boxes(container, 0)]
    for _, box in (one for one in boxes if one[0] == b"ipma"):
        version, flags = box[0], box[3]
        offset = 8
        for _ in range(_unpack(">I", box, 4)[0]):
            (number,) = _unpack(">I" if version else ">H", box, offset)
            offset += 4 if version else 2
            count = box[offset]
            offset += 1
            for _ in range(count):
                (value,) = _unpack(">H" if flags & 1 else ">B", box, offset)
                bits = 15 if flags & 1 else 7
                offset += 2 if flags & 1 else 1
                index, essential = value & (1 << bits) - 1, bool(value >> bits)
                if index and number in items:
                    items[number].properties.append((properties[index - 1], essential))


def _add_places(data: bytes, items: dict[int, _Item]) -> None:
    """Where the data of each item are (ISO/IEC 14496-12, 8.11.3), of version 0, 1 or 2."""
    version = data[0]
    offset_size, length_size, base_size = data[4] >> 4, data[4] & 15, data[5] >> 4
    index_size = data[5] & 15 if version else 0
    place = 6

    def number(size: int) -> int:
        nonlocal place
        if place + size > len(data):
            raise ValueError("the list of places ends early")
        value = int.from_bytes(data[place : place + size], "big")
        place += size
        return value

    for _ in range(number(4 if version == 2 else 2)):
        item = items.get(number(4 if version == 2 else 2), _Item())
        method = number(2) & 15 if version else 0
        item.here = method == 0 and number(2) == 0
        if method:
            number(2)
        base = number(base_size)
        for _ in range(number(2)):
            number(index_size)
            start = base + number(offset_size)
            item.extents.append((start, number(length_size)))
        item.here = item.here and all(length for _, length in item.extents)


def _unpack(form: str, data: bytes, offset: int) -> tuple[Any, ...]:
    return struct.unpack_from(form, data, offset)


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", len(content) + 8, kind) + content


def _file(brands: bytes, item: _Item, data: bytes) -> bytes:
    """A file with this item alone."""
    before = _box(b"ftyp", brands)
    length = len(_description(item, 0, len(data)))  # it does not depend on the place
    return before + _description(item, len(before) + length + 8, len(data)) + _box(b"mdat", data)


def _description(item: _Item, start: int, length: int) -> bytes:
    """The descriptions of a file with one item, whose data are at ``start``."""
    numbers = bytes((essential << 7) | index for index, (_, essential) in enumerate(item.properties, 1))
    return _box(
        b"meta",
        bytes(4),
        _box(b"hdlr", bytes(8), b"pict", bytes(13)),
        _box(b"pitm", bytes(4), struct.pack(">H", 1)),
        _box(b"iloc", bytes(4), b"\x44\0", struct.pack(">HHHHII", 1, 1, 0, 1, start, length)),
        _box(b"iinf", bytes(4), struct.pack(">H", 1), _box(b"infe", b"\2\0\0\0", struct.pack(">HH4s", 1, 0, item.kind), b"\0")),
        _box(
            b"iprp",
            _box(b"ipco", *(box for box, _ in item.properties)),
            _box(b"ipma", bytes(4), struct.pack(">IHB", 1, 1, len(numbers)), numbers),
        ),
    )
