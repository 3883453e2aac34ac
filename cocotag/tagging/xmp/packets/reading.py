"""Reads an XMP packet without cocotag's keywords, and finds what has happened to them. Does not depend on files or images."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lxml import etree

from cocotag.errors import DataError
from cocotag.tagging.xmp.packets.document import RDF, XmpDocument, find_rdf, parse_tree
from cocotag.tagging.xmp.packets.fields import all_keywords, read_field, values
from cocotag.tagging.xmp.packets.keywords import (
    IPTC,
    MIRRORS,
    SUBJECT,
    TWIN,
    WRITTEN,
    Entry,
    Field,
    Keyword,
    fold,
    leaves,
    of_field,
    words_of,
)
from cocotag.tagging.xmp.packets.ownership import Ownership, judge
from cocotag.tagging.xmp.packets.record import URI, Added, Record, original_text, read_record, refused_words
from cocotag.tagging.xmp.packets.removal import is_empty, removed_text

NEW = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="cocotag">
 <rdf:RDF xmlns:rdf="{RDF}">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""
"""An empty packet. It has no version, so that a newer cocotag does not change files without need."""

_MARKS = tuple(URI.encode(codec) for codec in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"))
"""Bytes in every packet with keywords or notes of cocotag, for each encoding."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A packet without cocotag's keywords and notes; ``filled`` are the fields that a program filled with cocotag's words."""

    document: XmpDocument
    new: bool
    made: bool
    exact: bool
    record: Record
    iptc: tuple[str, ...] | None
    ownership: Ownership = dataclasses.field(default_factory=Ownership)
    filled: frozenset[str] = frozenset()

    def theirs(self) -> list[Keyword]:
        """The user's keywords."""
        keywords = all_keywords(self.document.rdf, mirrored=_mirrored(self.record))
        return [*keywords, *((word,) for word in self.iptc or ())]

    def changed_copies(self, packet: bytes) -> dict[Field, list[str]]:
        """The copies in fields in which another program has deleted copies or added keywords, by field.

        Without them, such a field would lose what the user did there, or hide the user's other keywords.
        """
        changed = {prefix for prefix, _ in self.ownership.gone} | {
            one.prefix for one in WRITTEN if values(self.document.rdf, one)
        }
        fields = [one for one in WRITTEN if one.prefix in changed & self.record.begun]
        if not fields:
            return {}
        now = _entries(XmpDocument.read(packet, self.document.name).rdf)
        theirs = leaves(self.theirs())
        found: dict[Field, list[str]] = {}
        for one in fields:
            gone = {word for prefix, word in self.ownership.gone if prefix == one.prefix}
            if gone & theirs or values(self.document.rdf, one):
                there = set(map(fold, now[one])) - set(map(fold, values(self.document.rdf, one)))
                copies = [entry for entry in of_field(one, self.record.copied) if not words_of(one, [entry]) & gone]
                found[one] = [entry for entry in copies if fold(entry) in there]
        return {one: copies for one, copies in found.items() if copies}

    def held(self) -> tuple[Entry, ...]:
        """The user's entries of all fields, with their fields' prefixes."""
        mirrored = _mirrored(self.record)
        found = [(field, entry) for field in (*WRITTEN, *MIRRORS) for entry in values(self.document.rdf, field)]
        return tuple(
            dict.fromkeys(
                (field.prefix, entry)
                for field, entry in found
                if field in WRITTEN or mirrored is None or words_of(field, [entry]) & mirrored
            )
        )

    def refused(self, theirs: set[str], deleted: Sequence[Added] = ()) -> tuple[str, ...]:
        """The notes of refused keywords that the user does not have, earlier ones first; ``deleted`` are refused too."""
        notes = (*self.record.refused, *(one.refusal for one in (*self.ownership.refused, *deleted)))
        return tuple({fold(note): note for note in notes if not refused_words([note])[0] & theirs}.values())


def refusals(packet: bytes | None, *, name: str, made_of: Record | None = None) -> tuple[str, ...]:
    """The notes of the keywords that are refused in a packet, for the other packets of the photograph.

    Raises:
        DataError: The packet has notes, and is damaged or is not XMP.
    """
    if packet is None or (made_of is None and not has_notes(packet)):
        return ()
    base = read_packet(packet, name, None, made_of)
    return base.refused(leaves(base.theirs()))


def is_made_of(packet: bytes, record: Record, *, name: str) -> bool:
    """Whether a packet without notes has keywords that cocotag gave in the packet that has this record."""
    try:
        document = XmpDocument.read(packet, name)
    except DataError:
        return False
    return not read_record(document.root).there and _has_given(document, record)


def has_notes(data: bytes) -> bool:
    """Whether a packet, or a file with packets, has keywords or notes of cocotag. exiftool never compresses packets."""
    return any(mark in data for mark in _MARKS)


def notes_in(packet: bytes | None, *, name: str) -> Record | None:
    """The notes in a packet; None if it has none or cannot be read."""
    if packet is None:
        return None
    try:
        record = read_record(XmpDocument.read(packet, name).root)
    except DataError:
        return None
    return record if record.there else None


def user_keywords(packet: bytes, *, name: str, iptc: Sequence[str] = (), made_of: Record | None = None) -> list[Keyword]:
    """The user's keywords in a packet, without copies. A damaged packet is read up to the damage, as other programs do.

    Args:
        packet: The packet.
        name: Its name in messages.
        iptc: The IPTC keywords of the same photograph; those that are not noted as cocotag's are included.
        made_of: As for `update`.

    Returns:
        The keywords; for a packet with a document type, only those of ``iptc``.
    """
    try:
        document = XmpDocument.read(packet, name)
        root, record = document.root, _record(document, made_of)
    except DataError:
        try:
            root = parse_tree(packet.decode("utf-8", "replace"), name, recover=True)
        except DataError:
            return [(word,) for word in iptc]
        record = read_record(root)
    rdf = find_rdf(root)
    ours = judge(_entries(rdf), record).ours
    return [*all_keywords(rdf, ours, mirrored=_mirrored(record)), *((word,) for word in _iptc_without_ours(iptc, record))]


def read_packet(packet: bytes | None, name: str, iptc: Sequence[str] | None, made_of: Record | None = None) -> Reading:
    """Read a packet without cocotag's keywords: as it was before, or, where another program has written since, what is left.

    Args:
        packet: The packet; None for a new one.
        name: Its name in messages.
        iptc: The photograph's IPTC keywords; None to leave IPTC alone.
        made_of: cocotag's notes in another packet of the photograph, of which a program may have made this one.

    Raises:
        DataError: The packet is damaged or is not XMP.
    """
    if packet is None:
        document = XmpDocument.from_text(NEW, name)
        return Reading(document, True, True, True, Record(), None if iptc is None else tuple(iptc))
    document = XmpDocument.read(packet, name)
    record = _record(document, made_of)
    kept = None if iptc is None else tuple(_iptc_without_ours(iptc, record))
    if not record.there:
        return Reading(document, False, False, True, record, kept)
    made = record.undo.made
    if (original := original_text(document, record)) is not None:
        ownership = Ownership(gone=frozenset((prefix, fold(word)) for prefix, word in record.gone))
        if record.undo.new:
            return Reading(XmpDocument.from_text(NEW, name), True, made, True, record, kept, ownership)
        before = XmpDocument.from_text(original, name, document.codec, document.bom)
        return Reading(before, False, made, True, record, kept, ownership)
    now = _entries(document.rdf)
    ownership = judge(now if iptc is None else {**now, IPTC: iptc}, record)
    text = removed_text(document, ownership.ours)
    before = XmpDocument.from_text(text, name, document.codec, document.bom)
    if made and is_empty(before):
        return Reading(XmpDocument.from_text(NEW, name), True, made, False, record, kept, ownership)
    inherited = not read_record(document.root).there
    filled = frozenset(field.prefix for field in WRITTEN if inherited and now[field])
    return Reading(before, False, made, False, record, kept, ownership, filled)


def _record(document: XmpDocument, made_of: Record | None) -> Record:
    """The notes of a packet; without any, those of the packet that it was made of, if it has keywords of cocotag's."""
    record = read_record(document.root)
    if record.there or made_of is None or not _has_given(document, made_of):
        return record
    added = (replace(one, fields=(*one.fields, TWIN)) if SUBJECT.prefix in one.fields else one for one in made_of.added)
    return Record(tuple(added), made_of.refused, there=True)


def _has_given(document: XmpDocument, record: Record) -> bool:
    given = leaves(added.keyword for added in record.added)
    return any(given & leaves(read_field(document.rdf, field)) for field in WRITTEN)


def _entries(rdf: etree._Element | None) -> dict[Field, list[str]]:
    """The entries of all fields."""
    return {field: values(rdf, field) for field in (*WRITTEN, *MIRRORS)}


def _mirrored(record: Record) -> set[str] | None:
    """The words that are taken from fields that repeat others: all before cocotag has written, then those from before."""
    if not record.there:
        return None
    return {word for field in MIRRORS for word in words_of(field, of_field(field, record.held))}


def _iptc_without_ours(words: Sequence[str], record: Record) -> list[str]:
    begun = set(map(fold, record.undo.iptc))
    if begun and set(map(fold, words)) <= begun:
        return []
    ours = Counter(fold(one.keyword[-1]) for one in record.added if IPTC.prefix in one.fields)
    kept: list[str] = []
    for word in words:
        if ours[fold(word)]:
            ours[fold(word)] -= 1
        else:
            kept.append(word)
    return kept
