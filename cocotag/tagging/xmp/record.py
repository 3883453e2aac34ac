"""What cocotag notes of itself in an XMP packet: the keywords it gave, those that a person took away, and the way back.

The notes stand in a namespace of cocotag's own, in the last ``rdf:Description``:

- ``cocotag:added``, an entry for every keyword given: the prefixes of the fields it was written to, a space, its levels joined
  by ``|``; of one that was renamed the bundle's names of its classes too, each after a ``;``, which no keyword has in it.
- ``cocotag:refused``, keywords that cocotag gave and a person took away in another program: the last level, and classes so.
- ``cocotag:undo`` and ``cocotag:digest``, which lead back to the packet as it was, byte for byte, as long as nothing else
  has changed in it. Once another program has written the packet anew they are void; ``added`` still says what is whose.

Knows no files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from lxml import etree

from cocotag.tagging.xmp.document import (
    LISTS,
    PADDING,
    RDF,
    Edit,
    XmpDocument,
    children,
    escape_text,
    find_rdf,
    settled,
    splice,
)
from cocotag.tagging.xmp.keywords import Keyword, fold

URI = "urn:cocotag:xmp:1.0/"
PREFIX = "cocotag"

_ADDED, _REFUSED, _UNDO, _DIGEST = (f"{{{URI}}}{name}" for name in ("added", "refused", "undo", "digest"))
_LI = f"{{{RDF}}}li"
_CLASS = ";"


@dataclass(frozen=True, slots=True)
class Added:
    """A keyword that cocotag gave, the prefixes of the fields that it was written to, and its classes if it was renamed."""

    keyword: Keyword
    fields: tuple[str, ...]
    classes: tuple[str, ...] = ()

    @property
    def refusal(self) -> str:
        """The note of a person's having taken it away."""
        return _CLASS.join((self.keyword[-1], *self.classes))


def refused_words(notes: Sequence[str]) -> tuple[set[str], set[str]]:
    """The keywords, and the classes, that were refused, folded. A keyword that was not renamed is a class by its own name."""
    parts = [[fold(part) for part in note.split(_CLASS)] for note in notes]
    return {name for name, *_ in parts}, {one for name, *classes in parts for one in classes or [name]}


@dataclass(frozen=True, slots=True)
class Undo:
    """The way back.

    Attributes:
        edits: Changes before the notes, in places of the changed text: from, length, what stood there.
        start: Where the notes begin, with all that was written beside them.
        tail: Characters behind them, white space at the end not counted.
        was: What stood in their place.
        made: The file is cocotag's: there was none, so that nothing need stay if nothing else is in it.
        new: There was no packet at all, so the way back is to remove it.
        iptc: IPTC keywords that cocotag wrote where there were none, the user's from other fields among them.
    """

    edits: tuple[tuple[int, int, str], ...] = ()
    start: int = 0
    tail: int = 0
    was: str = ""
    made: bool = False
    new: bool = False
    iptc: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """The notes in a packet."""

    added: tuple[Added, ...] = ()
    refused: tuple[str, ...] = ()
    undo: Undo = field(default_factory=Undo)
    there: bool = False


def is_ours(name: str) -> bool:
    """Is this lxml's name of an element or attribute of cocotag's namespace?"""
    return name.startswith(f"{{{URI}}}")


def read_record(root: etree._Element) -> Record:
    """The notes; empty where there are none. Other programs may have made attributes of them."""
    added: list[Added] = []
    refused: list[str] = []
    undo, there = Undo(), False
    rdf = find_rdf(root)
    for description in children(rdf) if rdf is not None else []:
        for name, text in description.attrib.items():
            there = there or is_ours(str(name))
            if name == _UNDO:
                undo = _parse_undo(str(text))
        for note in children(description):
            there = there or is_ours(str(note.tag))
            values = [str(item.text or "") for one in children(note) if one.tag in LISTS for item in one.iter(_LI)]
            if note.tag == _ADDED:
                added += [one for value in values if (one := _parse_added(value))]
            elif note.tag == _REFUSED:
                refused += values
            elif note.tag == _UNDO:
                undo = _parse_undo(str(note.text or ""))
    return Record(tuple(added), tuple(refused), undo, there)


def original_text(document: XmpDocument, record: Record) -> str | None:
    """The packet as it was before cocotag, or None if something else has changed in it since, so that nobody can say."""
    place = _digest_place(document)
    if place is None:
        return None
    start, end = place
    text, undo = document.text, record.undo
    if text[start:end] != _digest(text[:start] + text[end:]):
        return None
    back: list[Edit] = [(place, place + length, was) for place, length, was in undo.edits]
    back.append((undo.start, len(text.rstrip(PADDING)) - undo.tail, undo.was))
    try:
        return splice(text, back)
    except ValueError:
        return None


def record_lines(record: Record, codec: str) -> list[tuple[int, str]]:
    """The notes as lines of XML, each with its depth, without the digest's value: `seal` puts that in."""
    lines: list[tuple[int, str]] = []
    added = [f"{','.join(one.fields)} {_CLASS.join(('|'.join(one.keyword), *one.classes))}" for one in record.added]
    for name, values in (("added", added), ("refused", record.refused)):
        if values:
            items = [(2, f"<rdf:li>{escape_text(value, codec)}</rdf:li>") for value in values]
            lines += [(0, f"<{PREFIX}:{name}>"), (1, "<rdf:Bag>"), *items, (1, "</rdf:Bag>"), (0, f"</{PREFIX}:{name}>")]
    lines.append((0, f"<{PREFIX}:undo>{escape_text(_undo_text(record.undo), codec)}</{PREFIX}:undo>"))
    lines.append((0, f"<{PREFIX}:digest></{PREFIX}:digest>"))
    return lines


def seal(text: str) -> str:
    """Put the digest in: of all the text but the digest itself."""
    tag = f"<{PREFIX}:digest>"
    place = text.rindex(f"{tag}</{PREFIX}:digest>") + len(tag)
    return text[:place] + _digest(text) + text[place:]


def _digest(text: str) -> str:
    return hashlib.sha256(settled(text).encode("utf-8", "surrogatepass")).hexdigest()


def _digest_place(document: XmpDocument) -> tuple[int, int] | None:
    if document.rdf is None:
        return None
    for description in children(document.rdf):
        for note in children(description):
            if note.tag == _DIGEST:
                span = document.spans[note]
                return span.inner, span.close
    return None


def _undo_text(undo: Undo) -> str:
    """JSON in ASCII, whatever the packet's encoding."""
    values: dict[str, object] = {}
    if undo.made:
        values["made"] = True
    if undo.iptc:
        values["iptc"] = undo.iptc
    if undo.new:
        values["new"] = True
    else:
        values |= {"edits": undo.edits, "start": undo.start, "tail": undo.tail, "was": undo.was}
    return json.dumps(values)


def _parse_undo(text: str) -> Undo:
    """Nothing where it is not what cocotag writes."""
    try:
        values = json.loads(text)
        edits: Sequence[Sequence[object]] = values.get("edits", [])
        return Undo(
            tuple((_number(start), _number(length), _string(was)) for start, length, was in edits),
            _number(values.get("start", 0)),
            _number(values.get("tail", 0)),
            _string(values.get("was", "")),
            values.get("made") is True,
            values.get("new") is True,
            tuple(_string(word) for word in values.get("iptc", [])),
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        return Undo()


def _number(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise TypeError
    return value


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _parse_added(value: str) -> Added | None:
    fields, space, levels = value.partition(" ")
    levels, *classes = levels.split(_CLASS)
    keyword = tuple(level for level in levels.split("|") if level)
    return Added(keyword, tuple(fields.split(",")), tuple(classes)) if space and keyword else None
