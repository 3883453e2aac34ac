"""Keywords in an XMP packet: cocotag's put in beside the user's, and taken out again. Knows no files and no images.

What holds:

- The packet is not rewritten but added to: all that is in it stays as it was, byte for byte, in the encoding it had.
- Programs read the first keyword field that is not empty, and never join two. So a field that is empty is filled with the
  user's keywords from all the others before cocotag's go in; a field that holds some keeps them and gets cocotag's.
- A keyword that the user has in a field is the user's there, whatever cocotag would give.
- Each update starts from the packet as it was without cocotag, so the same tags twice change nothing, and tags that no longer
  hold go.
- A keyword of cocotag's that a person took away in another program is not given again in this packet, until it is untagged;
  under other names neither, unless it stands for further classes there.

Where cocotag's notes of this stand, `cocotag.tagging.xmp.record` says. XMP is ISO 16684-1.
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
"""A packet that holds nothing. No version stands in it: a newer one should change no file by itself."""

IPTC_BYTES = 64
"""Longest IPTC keyword (IPTC-IIM 4.2, data set 2:25)."""


@dataclass(frozen=True, slots=True)
class Update:
    """What a packet became.

    Attributes:
        packet: Its bytes; None where none is needed.
        added: cocotag's keywords in it, and where they are.
        iptc: The IPTC keywords that go with it; None where they were not asked for.
    """

    packet: bytes | None
    added: tuple[Added, ...] = ()
    iptc: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Base:
    """A packet as it is without cocotag."""

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
    """Put cocotag's keywords in, and take out those of its that no longer hold.

    Args:
        packet: The sidecar or the photograph's own packet; None where there is none.
        given: What the tags are now, as `given_keywords` makes them.
        elsewhere: The user's keywords in other places, such as in the photograph itself. Asked only if a field is filled.
        name: What the packet is called in messages.
        iptc: The photograph's IPTC keywords, to be kept in step; None to leave IPTC alone.
        classes: Of tags that were renamed the classes they came of, as `own_classes` makes them.

    Raises:
        DataError: The packet is damaged, no XMP, or written in a way that cannot be added to. Nothing of it is changed then.
    """
    base = _without_ours(packet, name, iptc)
    refused = (*base.record.refused, *_taken_away(packet, base))
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
    text = _written(base.document, plan, Record(tuple(plan.added), refused, undo))
    written = base.document.encode(text)
    if packet is not None and not base.exact and _says_the_same(packet, text, name):
        written = packet
    if written != packet:
        _check(text, base)
    return Update(written, tuple(plan.added), iptc_now)


def strip(packet: bytes, *, name: str, iptc: Sequence[str] | None = None) -> Update:
    """Take out all that cocotag put in, its notes too.

    As long as nobody else has written the packet since, what comes back is what was there before, byte for byte. Else
    cocotag's keywords go and all the rest stays, such as the user's keywords in fields that cocotag had filled.

    Returns:
        The packet, the same bytes if there is nothing of cocotag's in it; None if it was cocotag's alone.

    Raises:
        DataError: It is damaged or no XMP.
    """
    base = _without_ours(packet, name, iptc)
    if not base.record.there:
        return Update(packet, (), base.iptc)
    return Update(None if base.new else base.document.encode(base.document.text), (), base.iptc)


def user_keywords(packet: bytes, *, name: str, iptc: Sequence[str] = ()) -> list[Keyword]:
    """The user's keywords in a packet that is only read: as far as damage lets, for other programs read it too.

    Args:
        packet: The packet.
        name: What it is called in messages.
        iptc: The IPTC keywords that stand beside it; those that are not noted as cocotag's are added.

    Returns:
        None at all for a packet with a document type.
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
    """What is to be written: per place that holds something already, per field that is new, and what of it is cocotag's."""

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
        places = [] if field is IPTC else list(holders(rdf, field))
        there = [(word,) for word in base.iptc or ()] if field is IPTC else read_field(rdf, field)
        start: list[str] = []
        if not there and wanted:
            if everything is None:
                everything = [*theirs, *elsewhere()]
            there, start = everything, entries(field, everything)
        known = leaves(there)
        ours = [one for one in wanted if fold(one[-1]) not in known and (field is not IPTC or fits_iptc(one[-1:]))]
        if not ours or (field is IPTC and not fits_iptc(start)):
            continue
        for keyword in ours:
            written[keyword].append(field.prefix)
        new = [*start, *(field.spell(keyword) for keyword in ours)]
        holder = max(places, key=lambda place: bool(place.values), default=None)
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
        # What another program repeats there of this will be ours too.
        clear = [prefix for prefix, there in mirrored.items() if fold(keyword[-1]) not in there]
        plan.added.append(Added(keyword, (*written[keyword], *clear)))
    return plan


def fits_iptc(words: Iterable[str]) -> bool:
    """Can IPTC hold these keywords? A field that cannot hold all of the user's is not begun."""
    return all(len(word.encode()) <= IPTC_BYTES for word in words)


def _written(document: XmpDocument, plan: _Plan, record: Record) -> str:
    """The text with everything in it."""
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
        record = replace(record, undo=_way_back(document, edits, record.undo))
    start, end, block = _block(document, fresh, record)
    return seal(splice(document.text, [*edits, (start, end, block)]))


def _way_back(document: XmpDocument, edits: Sequence[Edit], undo: Undo) -> Undo:
    """What leads from the changed text to this one."""
    text = document.text
    back: list[tuple[int, int, str]] = []
    shift = 0
    for start, end, new in sorted(edits):
        back.append((start + shift, len(new), text[start:end]))
        shift += len(new) - (end - start)
    start, end, _, _ = _room(document)
    return replace(undo, edits=tuple(back), start=start + shift, tail=len(text.rstrip(PADDING)) - end, was=text[start:end])


def _room(document: XmpDocument) -> tuple[int, int, str, str]:
    """Where a description can be put: from, up to, and what goes before and behind it."""
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
    """The last description: the fields that are new, and cocotag's notes."""
    start, end, before, behind = _room(document)
    lead = _lead(document)
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


def _lead(document: XmpDocument) -> str:
    """The line break and indent before a description; empty in a packet that is all on one line."""
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
    return _lead(document).removesuffix(" ")


def _about(document: XmpDocument) -> str:
    """All descriptions of a packet must be of the same thing."""
    first = children(document.rdf)[:1] if document.rdf is not None else []
    return next((str(one.attrib[name]) for one in first for name in ABOUT if name in one.attrib), "")


def _without_ours(packet: bytes | None, name: str, iptc: Sequence[str] | None) -> _Base:
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
    """Prefix of the field and entry, of everything that is noted as cocotag's."""
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


def _taken_away(packet: bytes | None, base: _Base) -> list[str]:
    """Keywords of cocotag's that are no longer where it put them: a person took them away in another program.

    The first field that they were put in decides, mostly dc:subject, which every program writes;
    some drop the others.
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
    """What is written must lead back. It always has; a photograph's only copy of its keywords is worth a second look."""
    written = XmpDocument.from_text(text, base.document.name, base.document.codec, base.document.bom)
    record = read_record(written.root)
    back = original_text(written, record)
    if back is None or (not record.undo.new and back != base.document.text):
        raise DataError(f"{base.document.name} could not be changed in a way that leads back; it is left as it is.")


def _says_the_same(packet: bytes, text: str, name: str) -> bool:
    """Another program has rewritten the packet, but the keywords and whose they are are as they would be."""
    old, new = XmpDocument.read(packet, name), XmpDocument.from_text(text, name)
    ours = [read_record(one.root) for one in (old, new)]
    if (ours[0].added, ours[0].refused) != (ours[1].added, ours[1].refused):
        return False
    return all(Counter(map(fold, values(old.rdf, one))) == Counter(map(fold, values(new.rdf, one))) for one in WRITTEN)
