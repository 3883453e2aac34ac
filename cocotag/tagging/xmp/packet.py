"""Adds cocotag's keywords to an XMP packet beside the user's, and removes them. Does not depend on files or images.

Invariants:

- The packet is not rewritten: existing content stays unchanged byte for byte, in its encoding.
- Programs read the first keyword field that is not empty, and never merge two. So an empty field first gets the user's
  keywords from all other fields, then cocotag's; a field with keywords keeps them and gets cocotag's.
- A keyword that the user has in a field stays the user's, even if cocotag would add it too.
- Each update starts from the packet without cocotag's keywords. So the same tags change nothing the second time, and outdated
  tags are removed.
- A keyword of cocotag's that the user deleted in another program is not added to this packet again, until it is untagged. It
  is not added under another name either, unless that name also stands for other classes.

`cocotag.tagging.xmp.record` describes cocotag's notes about this. XMP is ISO 16684-1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from xml.sax.saxutils import quoteattr

from cocotag.errors import DataError
from cocotag.tagging.xmp.document import (
    ABOUT,
    PADDING,
    RDF,
    Edit,
    XmpDocument,
    children,
    escape_text,
    find_rdf,
    parse_tree,
    splice,
)
from cocotag.tagging.xmp.fields import Holder, all_keywords, holders, insert, read_field, values
from cocotag.tagging.xmp.keywords import IPTC, MIRRORS, WRITTEN, Field, Keyword, entries, fold, leaves
from cocotag.tagging.xmp.record import (
    PREFIX,
    URI,
    Added,
    Record,
    Undo,
    original_text,
    read_record,
    record_lines,
    refused_words,
    seal,
)
from cocotag.tagging.xmp.removal import is_empty, removed_text

NEW = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="cocotag">
 <rdf:RDF xmlns:rdf="{RDF}">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""
"""An empty packet. It has no version, so that a newer cocotag does not change files without need."""

IPTC_BYTES = 64
"""Size limit of an IPTC keyword (IPTC-IIM 4.2, data set 2:25)."""


@dataclass(frozen=True, slots=True)
class Update:
    """An updated packet.

    Attributes:
        packet: Its bytes; None if no packet is needed.
        added: cocotag's keywords in it, with their fields.
        iptc: The IPTC keywords that belong to it; None if the caller leaves IPTC alone.
    """

    packet: bytes | None
    added: tuple[Added, ...] = ()
    iptc: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Base:
    """A packet without cocotag's keywords and notes."""

    document: XmpDocument
    new: bool
    made: bool
    exact: bool
    record: Record
    iptc: tuple[str, ...] | None


def update(
    packet: bytes | None,
    given: Sequence[Keyword],
    elsewhere: Callable[[], Iterable[Keyword]],
    *,
    name: str,
    iptc: Sequence[str] | None = None,
    classes: Mapping[str, tuple[str, ...]] | None = None,
) -> Update:
    """Add cocotag's keywords to a packet, and remove its outdated ones.

    Args:
        packet: The sidecar or the photograph's packet; None if there is none.
        given: The keywords of the current tags, from `given_keywords`.
        elsewhere: Returns the user's keywords in other files, such as the photograph itself. Called only if an empty field
            gets keywords.
        name: The packet's name in messages.
        iptc: The photograph's IPTC keywords, to be updated too; None to leave IPTC alone.
        classes: The classes of renamed tags, from `own_classes`.

    Raises:
        DataError: The packet is damaged, is not XMP, or has a form that cannot be extended. It is then unchanged.
    """
    base = _read_base(packet, name, iptc)
    refused = (*base.record.refused, *_deleted_by_user(packet, base))
    theirs = [*all_keywords(base.document.rdf), *((word,) for word in base.iptc or ())]
    theirs_now = leaves(theirs)
    refused = tuple({fold(note): note for note in refused if not refused_words([note])[0] & theirs_now}.values())
    names, of_classes = refused_words(refused)
    classes = classes or {}

    def is_wanted(name: str) -> bool:
        return name in theirs_now or not (name in names or of_classes.issuperset(map(fold, classes.get(name, (name,)))))

    plan = _plan(base, [keyword for keyword in given if is_wanted(fold(keyword[-1]))], theirs, elsewhere)
    plan.added = [replace(one, classes=classes.get(fold(one.keyword[-1]), ())) for one in plan.added]
    iptc_now = None if base.iptc is None else (*base.iptc, *plan.iptc)
    if not plan.added and not refused:
        return Update(None if base.new else base.document.encode(base.document.text), (), iptc_now)
    made = base.made or base.new
    undo = Undo(made=made, new=base.new, iptc=tuple(plan.iptc) if not base.iptc else ())
    text = _new_text(base.document, plan, Record(tuple(plan.added), refused, undo))
    written = base.document.encode(text)
    if packet is not None and not base.exact and _is_equivalent(packet, text, name):
        written = packet
    if written != packet:
        _check(text, base)
    return Update(written, tuple(plan.added), iptc_now)


def strip(packet: bytes, *, name: str, iptc: Sequence[str] | None = None) -> Update:
    """Remove all keywords and notes of cocotag from a packet.

    If no other program has changed the packet since, the result is the original packet, byte for byte. Otherwise cocotag's
    keywords are removed and the rest is kept, such as the user's keywords in fields that cocotag had filled.

    Returns:
        The packet; the same bytes if it has nothing of cocotag's; None if it had nothing else.

    Raises:
        DataError: The packet is damaged or is not XMP.
    """
    base = _read_base(packet, name, iptc)
    if not base.record.there:
        return Update(packet, (), base.iptc)
    return Update(None if base.new else base.document.encode(base.document.text), (), base.iptc)


def user_keywords(packet: bytes, *, name: str, iptc: Sequence[str] = ()) -> list[Keyword]:
    """The user's keywords in a packet. A damaged packet is read up to the damage, as other programs do.

    Args:
        packet: The packet.
        name: Its name in messages.
        iptc: The IPTC keywords of the same photograph; those that are not noted as cocotag's are included.

    Returns:
        The keywords; for a packet with a document type, only those of ``iptc``.
    """
    try:
        root = XmpDocument.read(packet, name).root
    except DataError:
        try:
            root = parse_tree(packet.decode("utf-8", "replace"), name, recover=True)
        except DataError:
            return [(word,) for word in iptc]
    record = read_record(root)
    return [*all_keywords(find_rdf(root), _ours(record)), *((word,) for word in _iptc_without_ours(iptc, record))]


@dataclass(slots=True)
class _Plan:
    """The entries to write into existing fields and new fields, and which of them are cocotag's keywords."""

    into: list[tuple[Field, Holder, list[str]]]
    fresh: list[tuple[Field, list[str]]]
    added: list[Added]
    iptc: list[str]


def _plan(base: _Base, wanted: Sequence[Keyword], theirs: list[Keyword], elsewhere: Callable[[], Iterable[Keyword]]) -> _Plan:
    rdf = base.document.rdf
    plan = _Plan([], [], [], [])
    everything: list[Keyword] | None = None
    written: dict[Keyword, list[str]] = {keyword: [] for keyword in wanted}
    for field in (*WRITTEN, IPTC) if base.iptc is not None else WRITTEN:
        found = [] if field is IPTC else list(holders(rdf, field))
        existing = [(word,) for word in base.iptc or ()] if field is IPTC else read_field(rdf, field)
        start: list[str] = []
        if not existing and wanted:
            if everything is None:
                everything = [*theirs, *elsewhere()]
            existing, start = everything, entries(field, everything)
        present = leaves(existing)
        ours = [one for one in wanted if fold(one[-1]) not in present and (field is not IPTC or fits_iptc(one[-1:]))]
        if not ours or (field is IPTC and not fits_iptc(start)):
            continue
        for keyword in ours:
            written[keyword].append(field.prefix)
        new = [*start, *(field.spell(keyword) for keyword in ours)]
        holder = max(found, key=lambda one: bool(one.values), default=None)
        if field is IPTC:
            plan.iptc = [" ".join(word.split()) for word in new]
        elif holder is not None and holder.form != "attribute":
            plan.into.append((field, holder, new))
        else:
            plan.fresh.append((field, new))
    mirrored: dict[str, set[str]] = {mirror.prefix: set() for mirror in MIRRORS}
    for mirror in MIRRORS:
        mirrored[mirror.prefix] |= leaves(read_field(rdf, mirror))
    for keyword in filter(written.get, wanted):
        # If another program repeats the keyword in such a field, the repetition is cocotag's too.
        clear = [prefix for prefix, words in mirrored.items() if fold(keyword[-1]) not in words]
        plan.added.append(Added(keyword, (*written[keyword], *clear)))
    return plan


def fits_iptc(words: Iterable[str]) -> bool:
    """Whether IPTC can hold these keywords. An IPTC field that cannot hold all of the user's keywords is not created."""
    return all(len(word.encode()) <= IPTC_BYTES for word in words)


def _new_text(document: XmpDocument, plan: _Plan, record: Record) -> str:
    """The text with the new entries and notes."""
    edits = [insert(document, holder, field, new) for field, holder, new in plan.into]
    fresh: list[tuple[Field, list[str]]] = []
    for field, new in plan.fresh:
        old: list[str] = []
        for holder in holders(document.rdf, field):
            if holder.form == "attribute":
                old += [value for value, _ in holder.values]
                edits += [(start, end, "") for name, start, end, _ in document.attributes(holder.element) if name == field.tag]
        fresh.append((field, [*old, *new]))
    if not record.undo.new:
        record = replace(record, undo=_undo_for(document, edits, record.undo))
    start, end, block = _block(document, fresh, record)
    return seal(splice(document.text, [*edits, (start, end, block)]))


def _undo_for(document: XmpDocument, edits: Sequence[Edit], undo: Undo) -> Undo:
    """The undo from the changed text to the document's text."""
    text = document.text
    back: list[tuple[int, int, str]] = []
    shift = 0
    for start, end, new in sorted(edits):
        back.append((start + shift, len(new), text[start:end]))
        shift += len(new) - (end - start)
    start, end, _, _ = _insertion(document)
    return replace(undo, edits=tuple(back), start=start + shift, tail=len(text.rstrip(PADDING)) - end, was=text[start:end])


def _insertion(document: XmpDocument) -> tuple[int, int, str, str]:
    """The range of text to replace with a description, and the text before and after the description."""
    spans, text = document.spans, document.text
    rdf = document.rdf
    holder = document.root if rdf is None else rdf
    span = spans[holder]
    below = children(holder)
    if below and rdf is not None:
        return spans[below[-1]].end, spans[below[-1]].end, "", ""
    before, behind = ("", "") if rdf is not None else (f'<rdf:RDF xmlns:rdf="{RDF}">', "</rdf:RDF>")
    if span.inner != span.end:
        return span.inner, span.inner, before, behind
    tag = text[span.start : span.inner - 2].rstrip()
    return span.start, span.inner, f"{tag}>{before}", f"{behind}</{tag[1:].split(maxsplit=1)[0]}>"


def _block(document: XmpDocument, fresh: Sequence[tuple[Field, list[str]]], record: Record) -> Edit:
    """The edit that adds the last description, with the new fields and cocotag's notes."""
    start, end, before, behind = _insertion(document)
    lead = _indent(document)
    used = {field.prefix: field.uri for field, _ in fresh} | {PREFIX: URI}
    if document.rdf is not None and document.rdf.nsmap.get("rdf") != RDF:
        used = {"rdf": RDF, **used}
    spaces = [f"xmlns:{prefix}={quoteattr(uri)}" for prefix, uri in used.items()]
    about = quoteattr(_about(document)).encode(document.codec, "xmlcharrefreplace").decode(document.codec)
    lines: list[tuple[int, str]] = []
    for field, new in fresh:
        items = [(2, f"<rdf:li>{escape_text(entry, document.codec)}</rdf:li>") for entry in new]
        lines += [(0, f"<{field.label}>"), (1, f"<rdf:{field.kind}>"), *items]
        lines += [(1, f"</rdf:{field.kind}>"), (0, f"</{field.label}>")]
    lines += record_lines(record, document.codec)
    head = "".join(f"{lead}   {one}" if lead else f" {one}" for one in spaces)
    body = "".join(f"{lead}{' ' * (depth + 1) if lead else ''}{line}" for depth, line in lines)
    tail = _closing_space(document) if behind else ""
    return start, end, f"{before}{lead}<rdf:Description rdf:about={about}{head}>{body}{lead}</rdf:Description>{tail}{behind}"


def _indent(document: XmpDocument) -> str:
    """The line break and indentation before a description; empty in a packet on one line."""
    rdf = document.rdf
    if rdf is None:
        return "\n" if "\n" in document.text else ""
    below = children(rdf)
    space = document.space_before(document.spans[below[-1] if below else rdf].start)
    if "\n" not in space:
        return ""
    indent = space[space.rindex("\n") + 1 :] + ("" if below else " ")
    return ("\r\n" if "\r\n" in space else "\n") + indent


def _closing_space(document: XmpDocument) -> str:
    return _indent(document).removesuffix(" ")


def _about(document: XmpDocument) -> str:
    """The ``rdf:about`` of the first description; all descriptions of a packet must have the same."""
    first = children(document.rdf)[:1] if document.rdf is not None else []
    return next((str(one.attrib[name]) for one in first for name in ABOUT if name in one.attrib), "")


def _read_base(packet: bytes | None, name: str, iptc: Sequence[str] | None) -> _Base:
    if packet is None:
        document = XmpDocument.from_text(NEW, name)
        return _Base(document, True, True, True, Record(), None if iptc is None else tuple(iptc))
    document = XmpDocument.read(packet, name)
    record = read_record(document.root)
    kept = None if iptc is None else tuple(_iptc_without_ours(iptc, record))
    if not record.there:
        return _Base(document, False, False, True, record, kept)
    made = record.undo.made
    if (original := original_text(document, record)) is not None:
        if record.undo.new:
            return _Base(XmpDocument.from_text(NEW, name), True, made, True, record, kept)
        before = XmpDocument.from_text(original, name, document.codec, document.bom)
        return _Base(before, False, made, True, record, kept)
    text = removed_text(document, _ours(record))
    before = XmpDocument.from_text(text, name, document.codec, document.bom)
    if made and is_empty(before):
        return _Base(XmpDocument.from_text(NEW, name), True, made, False, record, kept)
    return _Base(before, False, made, False, record, kept)


def _ours(record: Record) -> list[tuple[str, str]]:
    """Field prefix and entry of everything noted as cocotag's."""
    fields = {field.prefix: field for field in (*WRITTEN, *MIRRORS)}
    return [(one, fields[one].spell(added.keyword)) for added in record.added for one in added.fields if one in fields]


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


def _deleted_by_user(packet: bytes | None, base: _Base) -> list[str]:
    """Keywords of cocotag's that are no longer in their field, since the user deleted them in another program.

    The first field of a keyword decides, usually dc:subject, which every program writes; some drop the others.
    """
    if packet is None or base.exact:
        return []
    rdf = XmpDocument.read(packet, base.document.name).rdf
    gone: list[str] = []
    for added in base.record.added:
        field = next((field for field in WRITTEN if field.prefix in added.fields), None)
        if field is not None and fold(added.keyword[-1]) not in leaves(read_field(rdf, field)):
            gone.append(added.refusal)
    return gone


def _check(text: str, base: _Base) -> None:
    """Check that the written text can be undone, since it may be the only copy of the user's keywords."""
    written = XmpDocument.from_text(text, base.document.name, base.document.codec, base.document.bom)
    record = read_record(written.root)
    back = original_text(written, record)
    if back is None or (not record.undo.new and back != base.document.text):
        raise DataError(
            f"{base.document.name} is left unchanged: a change could not be undone. Write it again with a photo program.",
            code="xmp_not_reversible",
        )


def _is_equivalent(packet: bytes, text: str, name: str) -> bool:
    """Whether a packet that another program rewrote already has the keywords and notes of the text."""
    old, new = XmpDocument.read(packet, name), XmpDocument.from_text(text, name)
    ours = [read_record(one.root) for one in (old, new)]
    if (ours[0].added, ours[0].refused) != (ours[1].added, ours[1].refused):
        return False
    return all(Counter(map(fold, values(old.rdf, one))) == Counter(map(fold, values(new.rdf, one))) for one in WRITTEN)
