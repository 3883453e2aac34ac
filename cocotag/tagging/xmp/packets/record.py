"""cocotag's notes in an XMP packet: keywords it added, keywords the user deleted, and how to restore the packet.

The notes are in cocotag's own namespace, in the last ``rdf:Description``:

- ``cocotag:added``: one entry per added keyword, with the prefixes of the fields it was written to, a space, and its levels
  joined by ``|``. A renamed keyword also has the bundle's names of its classes, each after a ``;``, which no keyword contains.
  ``lr-twin`` among the prefixes stands for single words that a program made of dc:subject (`TWIN` in ``keywords``).
- ``cocotag:refused``: keywords that cocotag added and the user deleted in another program, with the last level and the classes
  in the same form.
- ``cocotag:held``: the user's entries of the fields when cocotag last wrote, each with its field's prefix and a space.
- ``cocotag:copied``: entries that cocotag copied into fields that it began, in the same form; a prefix alone is a field that it
  began without copies. cocotag began every field of a file that it made.
- ``cocotag:gone``: words of the user's that they deleted in a field, in the same form; they are not written there again.
- ``cocotag:returned``: keywords that were put back once after a program had written its database over them.
- ``cocotag:beside``: the user's own sidecars, without notes, of the photograph that has these notes: ``append`` or ``adobe``.
- ``cocotag:undo`` and ``cocotag:digest``: these restore the earlier packet byte for byte if nothing else in it has changed.
  They are void after another program rewrites the packet; ``added`` still says which keywords are cocotag's.

Does not depend on files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from lxml import etree

from cocotag.tagging.xmp.packets.document import (
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
from cocotag.tagging.xmp.packets.keywords import WRITTEN, Entry, Keyword, fold

URI = "urn:cocotag:xmp:1.0/"
PREFIX = "cocotag"

_ADDED, _REFUSED, _HELD, _COPIED, _GONE, _RETURNED, _BESIDE, _UNDO, _DIGEST = (
    f"{{{URI}}}{name}" for name in ("added", "refused", "held", "copied", "gone", "returned", "beside", "undo", "digest")
)
_LI = f"{{{RDF}}}li"
_CLASS = ";"


@dataclass(frozen=True, slots=True)
class Added:
    """A keyword that cocotag added, the prefixes of its fields, and its classes if it was renamed."""

    keyword: Keyword
    fields: tuple[str, ...]
    classes: tuple[str, ...] = ()

    @property
    def refusal(self) -> str:
        """The note that the user deleted it."""
        return _CLASS.join((self.keyword[-1], *self.classes))


def refused_words(notes: Sequence[str]) -> tuple[set[str], set[str]]:
    """The refused keywords and the refused classes, folded. A keyword that was not renamed is the class of the same name."""
    parts = [[fold(part) for part in note.split(_CLASS)] for note in notes]
    return {name for name, *_ in parts}, {one for name, *classes in parts for one in classes or [name]}


@dataclass(frozen=True, slots=True)
class Undo:
    """How to restore the packet as it was before cocotag.

    Attributes:
        edits: Changes before the notes, as positions in the changed text: start, length, original text.
        start: Start of the notes and of the new fields beside them.
        tail: Number of characters after them, without trailing white space.
        was: The original text in their place.
        made: cocotag created the file, so it can be removed if it contains nothing else.
        new: There was no packet, so the packet can be removed.
        iptc: IPTC keywords that cocotag wrote where there were none, including the user's from other fields.
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
    """cocotag's notes in a packet; ``there`` is whether it has any. The module describes the others."""

    added: tuple[Added, ...] = ()
    refused: tuple[str, ...] = ()
    held: tuple[Entry, ...] = ()
    copied: tuple[Entry, ...] = ()
    gone: tuple[Entry, ...] = ()
    returned: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    undo: Undo = field(default_factory=Undo)
    there: bool = False

    @property
    def begun(self) -> frozenset[str]:
        """Prefixes of the fields that had no keywords before cocotag."""
        return frozenset(one.prefix for one in WRITTEN) if self.undo.made else frozenset(prefix for prefix, _ in self.copied)


def is_ours(name: str) -> bool:
    """Whether lxml's name of an element or attribute is in cocotag's namespace."""
    return name.startswith(f"{{{URI}}}")


def read_record(root: etree._Element) -> Record:
    """The notes of a packet; empty if it has none. Other programs may have converted them to attributes."""
    found: dict[str, list[str]] = {}
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
            found.setdefault(str(note.tag), []).extend(values)
            if note.tag == _UNDO:
                undo = _parse_undo(str(note.text or ""))

    def entries(name: str) -> tuple[Entry, ...]:
        return tuple((prefix, entry) for prefix, _, entry in (value.partition(" ") for value in found.get(name, ())))

    added = tuple(one for value in found.get(_ADDED, ()) if (one := _parse_added(value)))
    refused, returned, beside = (tuple(found.get(name, ())) for name in (_REFUSED, _RETURNED, _BESIDE))
    return Record(added, refused, entries(_HELD), entries(_COPIED), entries(_GONE), returned, beside, undo, there)


def original_text(document: XmpDocument, record: Record) -> str | None:
    """The packet as it was before cocotag; None if something else has changed since, so that it cannot be restored."""
    span = _digest_span(document)
    if span is None:
        return None
    start, end = span
    text, undo = document.text, record.undo
    if text[start:end] != _digest(text[:start] + text[end:]):
        return None
    back: list[Edit] = [(first, first + length, was) for first, length, was in undo.edits]
    back.append((undo.start, len(text.rstrip(PADDING)) - undo.tail, undo.was))
    try:
        return splice(text, back)
    except ValueError:
        return None


def record_lines(record: Record, codec: str) -> list[tuple[int, str]]:
    """The notes as lines of XML, each with its depth, without the digest, which `seal` adds."""
    lines: list[tuple[int, str]] = []
    added = [f"{','.join(one.fields)} {_CLASS.join(('|'.join(one.keyword), *one.classes))}" for one in record.added]
    held, copied, gone = (
        [f"{prefix} {entry}".rstrip() for prefix, entry in entries] for entries in (record.held, record.copied, record.gone)
    )
    notes = {"added": added, "refused": record.refused, "held": held, "copied": copied, "gone": gone}
    for name, values in {**notes, "returned": record.returned, "beside": record.beside}.items():
        if values:
            items = [(2, f"<rdf:li>{escape_text(value, codec)}</rdf:li>") for value in values]
            lines += [(0, f"<{PREFIX}:{name}>"), (1, "<rdf:Bag>"), *items, (1, "</rdf:Bag>"), (0, f"</{PREFIX}:{name}>")]
    lines.append((0, f"<{PREFIX}:undo>{escape_text(_undo_text(record.undo), codec)}</{PREFIX}:undo>"))
    lines.append((0, f"<{PREFIX}:digest></{PREFIX}:digest>"))
    return lines


def seal(text: str) -> str:
    """The text with the digest of everything but the digest itself."""
    tag = f"<{PREFIX}:digest>"
    position = text.rindex(f"{tag}</{PREFIX}:digest>") + len(tag)
    return text[:position] + _digest(text) + text[position:]


def _digest(text: str) -> str:
    return hashlib.sha256(settled(text).encode("utf-8", "surrogatepass")).hexdigest()


def _digest_span(document: XmpDocument) -> tuple[int, int] | None:
    if document.rdf is None:
        return None
    for description in children(document.rdf):
        for note in children(description):
            if note.tag == _DIGEST:
                span = document.spans[note]
                return span.inner, span.close
    return None


def _undo_text(undo: Undo) -> str:
    """The undo as ASCII JSON, which suits every encoding of a packet."""
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
    """The undo from JSON; an empty one if the text is not from cocotag."""
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
