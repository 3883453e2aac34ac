"""Adds cocotag's keywords to an XMP packet beside the user's, and removes them. Does not depend on files or images.

Invariants:

- The packet is not rewritten: existing content stays unchanged byte for byte, in its encoding.
- Programs read the first keyword field that is not empty, and never merge two. So an empty field first gets copies of the
  user's keywords in all other fields, then cocotag's; a field with keywords keeps them and gets cocotag's. The copies in a
  field that cocotag began are made anew with each update.
- A keyword that the user has in a field stays the user's, even if cocotag would add it too.
- Each update starts from the packet without cocotag's keywords. So the same tags change nothing the second time, and outdated
  tags are removed.
- A keyword of cocotag's that the user deleted in another program is not added to this packet again, until it is untagged. It
  is not added under another name either, unless that name also stands for other classes.
- IPTC is updated where it is, and never begun: darktable shows its words beside the hierarchical keywords, each level twice.

`record` describes cocotag's notes about this, and `ownership` whose a keyword is after another program has written. XMP is
ISO 16684-1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from xml.sax.saxutils import quoteattr

from cocotag.errors import DataError
from cocotag.tagging.xmp.packets.document import (
    ABOUT,
    PADDING,
    RDF,
    Edit,
    XmpDocument,
    children,
    escape_text,
    splice,
)
from cocotag.tagging.xmp.packets.fields import Holder, holders, insert, read_field, values
from cocotag.tagging.xmp.packets.keywords import (
    IPTC,
    MIRRORS,
    SUBJECT,
    TWIN,
    WRITTEN,
    Entry,
    Field,
    Keyword,
    entries,
    fold,
    leaves,
    words_of,
)
from cocotag.tagging.xmp.packets.reading import Reading, read_packet
from cocotag.tagging.xmp.packets.record import (
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

IPTC_BYTES = 64
"""Size limit of an IPTC keyword (IPTC-IIM 4.2, data set 2:25)."""


@dataclass(frozen=True, slots=True)
class Update:
    """An updated packet.

    Attributes:
        packet: Its bytes; None if no packet is needed.
        added: cocotag's keywords in it, with their fields.
        iptc: The IPTC keywords that belong to it; None if the caller leaves IPTC alone.
        refused: Keywords that another program deleted since the last update.
        put_back: Keywords that another program wrote its own over since.
        reclaimed: Refused keywords that the user has given since.
    """

    packet: bytes | None
    added: tuple[Added, ...] = ()
    iptc: tuple[str, ...] | None = None
    refused: tuple[str, ...] = ()
    put_back: tuple[str, ...] = ()
    reclaimed: tuple[str, ...] = ()


def update(
    packet: bytes | None,
    given: Sequence[Keyword],
    elsewhere: Callable[[], Iterable[Keyword]],
    *,
    name: str,
    iptc: Sequence[str] | None = None,
    classes: Mapping[str, tuple[str, ...]] | None = None,
    made_of: Record | None = None,
    refused: Iterable[str] = (),
    claimed: Iterable[Keyword] = (),
    beside: Iterable[str] = (),
) -> Update:
    """Add cocotag's keywords to a packet, and remove its outdated ones.

    Args:
        packet: The sidecar or the photograph's packet; None if there is none.
        given: The keywords of the current tags, from `given_keywords`.
        elsewhere: Returns the user's keywords in other files, such as the photograph itself. Called only if a field that was
            empty gets keywords.
        name: The packet's name in messages.
        iptc: The photograph's IPTC keywords, to be updated too; None to leave IPTC alone.
        classes: The classes of renamed tags, from `own_classes`.
        made_of: cocotag's notes in another packet of the photograph, of which a program may have made this one.
        refused: Notes of keywords that are refused in other packets of the photograph.
        claimed: Keywords that are cocotag's in a packet of which a program might have made this one. If the user has one of
            them here, the packet gets notes in any case: without notes, it would be taken for cocotag's.
        beside: The user's own sidecars of the photograph, for `Record`.

    Raises:
        DataError: The packet is damaged, is not XMP, or has a form that cannot be extended. It is then unchanged.
    """
    base = read_packet(packet, name, iptc, made_of)
    classes = classes or {}
    theirs = base.theirs()
    theirs_now = leaves(theirs)
    gone = {word for _, word in base.ownership.gone}  # the user had it and deleted it: cocotag does not give it either
    deleted = [Added(one, (), classes.get(fold(one[-1]), ())) for one in given if fold(one[-1]) in gone - theirs_now]
    notes = base.refused(theirs_now, deleted)
    others = [note for note in refused if not refused_words([note])[0] & theirs_now]
    names, of_classes = refused_words([*notes, *others])

    def is_wanted(name: str) -> bool:
        return name in theirs_now or not (name in names or of_classes.issuperset(map(fold, classes.get(name, (name,)))))

    wanted = [keyword for keyword in given if is_wanted(fold(keyword[-1]))]
    plan = _plan(base, wanted, theirs, elsewhere, notes=bool(notes))
    plan.added = [replace(one, classes=classes.get(fold(one.keyword[-1]), ())) for one in plan.added]
    happened = _happened(base, plan, notes, theirs_now, deleted)
    iptc_now = None if base.iptc is None else (*base.iptc, *plan.iptc)
    stays = bool(notes) or bool(theirs_now & leaves(claimed))
    if not plan.added and not stays and not any(entry for _, entry in plan.copied):
        return Update(None if base.new else base.document.encode(base.document.text), (), iptc_now, *happened)
    made = base.made or base.new
    record = Record(
        tuple(plan.added),
        notes,
        base.held(),
        tuple(one for one in plan.copied if one[1] or not made),
        tuple(sorted(base.ownership.gone | plan.gone)),
        tuple(word for word in (*base.record.returned, *happened[1]) if any(word == one.keyword[-1] for one in plan.added)),
        tuple(beside),
        Undo(made=made, new=base.new),
    )
    text = _new_text(base.document, plan, record)
    written = base.document.encode(text)
    if packet is not None and not base.exact and _is_equivalent(packet, text, base):
        written = packet
    if written != packet:
        _check(text, base)
    return Update(written, tuple(plan.added), iptc_now, *happened)


def _happened(
    base: Reading, plan: _Plan, notes: Sequence[str], theirs: set[str], deleted: Sequence[Added]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The names of keywords that are refused from now on, that are put back, and that the user has taken back."""
    now = refused_words(notes)[0]
    given = {one.keyword[-1] for one in plan.added}
    earlier = [note.partition(";")[0] for note in base.record.refused]
    return (
        tuple(
            one.keyword[-1]
            for one in (*base.ownership.refused, *deleted)
            if fold(one.keyword[-1]) in now and one.refusal not in base.record.refused
        ),
        tuple(one.keyword[-1] for one in base.ownership.put_back if one.keyword[-1] in given),
        tuple(name for name in earlier if fold(name) not in now and fold(name) in theirs),
    )


def strip(packet: bytes, *, name: str, iptc: Sequence[str] | None = None, made_of: Record | None = None) -> Update:
    """Remove all keywords and notes of cocotag from a packet.

    If no other program has changed the packet since, the result is the original packet, byte for byte. Otherwise cocotag's
    keywords and the copies that it made are removed, and the rest is kept. The copies stay in a field in which the user has
    deleted some, or added keywords: programs would read other fields without it, or that field alone. ``made_of`` is as for
    `update`.

    Returns:
        The packet; the same bytes if it has nothing of cocotag's; None if it had nothing else.

    Raises:
        DataError: The packet is damaged or is not XMP.
    """
    base = read_packet(packet, name, iptc, made_of)
    if not base.record.there:
        return Update(packet, (), base.iptc)
    if copies := base.changed_copies(packet):
        return Update(base.document.encode(_with_copies(base.document, copies)), (), base.iptc)
    return Update(None if base.new else base.document.encode(base.document.text), (), base.iptc)


def _with_copies(document: XmpDocument, copies: Mapping[Field, list[str]]) -> str:
    """The text with more entries in its fields, without notes."""
    edits: list[Edit] = []
    fresh: list[tuple[Field, list[str]]] = []
    for field, new in copies.items():
        holder = next((one for one in holders(document.rdf, field) if one.values and one.form != "attribute"), None)
        if holder is None:
            fresh.append((field, new))
        else:
            edits.append(insert(document, holder, field, new))
    return splice(document.text, [*edits, *([_block(document, fresh, None)] if fresh else [])])


@dataclass(slots=True)
class _Plan:
    """The entries to write into existing fields and new fields, and which of them are cocotag's keywords."""

    into: list[tuple[Field, Holder, list[str]]]
    fresh: list[tuple[Field, list[str]]]
    added: list[Added]
    copied: list[Entry]
    iptc: list[str]
    gone: set[Entry]


def _plan(
    base: Reading,
    wanted: Sequence[Keyword],
    theirs: list[Keyword],
    elsewhere: Callable[[], Iterable[Keyword]],
    *,
    notes: bool,
) -> _Plan:
    rdf = base.document.rdf
    plan = _Plan([], [], [], [], [], set())
    everything: list[Keyword] | None = None
    written: dict[Keyword, list[str]] = {keyword: [] for keyword in wanted}
    for field in WRITTEN:
        found = list(holders(rdf, field))
        existing = read_field(rdf, field)
        present = leaves(existing)
        gone = {word for prefix, word in base.ownership.gone if prefix == field.prefix}
        start: list[str] = []
        begun = field.prefix in base.record.begun or not existing
        stays = bool(gone) or notes  # a sidecar that stays hides what is in the photograph, so its copies stay, too
        if begun and (wanted or stays):
            if everything is None:
                everything = [*theirs, *elsewhere()]
            if field.prefix in base.filled:  # what the program's source has besides was deleted there
                gone |= leaves(everything) - present
                plan.gone |= {(field.prefix, word) for word in gone}
            start = [one for one in entries(field, everything) if not words_of(field, [one]) & (gone | present)]
        present |= words_of(field, start)
        ours = [one for one in wanted if fold(one[-1]) not in present | gone]
        if not ours and not (stays and start):
            noted = field.prefix in base.record.begun if existing else begun and gone
            plan.copied += [(field.prefix, "")] if noted else []
            continue
        if begun:
            plan.copied += [(field.prefix, entry) for entry in start or [""]]
        for keyword in ours:
            written[keyword].append(field.prefix)
        new = [*start, *(field.spell(keyword) for keyword in ours)]
        holder = max(found, key=lambda one: bool(one.values), default=None)
        if holder is not None and holder.form != "attribute":
            plan.into.append((field, holder, new))
        else:
            plan.fresh.append((field, new))
    if base.iptc:
        present = leaves((word,) for word in base.iptc)
        for keyword in wanted:
            if fold(keyword[-1]) not in present and fits_iptc(keyword[-1:]):
                written[keyword].append(IPTC.prefix)
                plan.iptc.append(" ".join(keyword[-1].split()))
    mirrored: dict[str, set[str]] = {mirror.prefix: set() for mirror in MIRRORS}
    for mirror in MIRRORS:
        mirrored[mirror.prefix] |= leaves(read_field(rdf, mirror))
    twins = {fold(one.keyword[-1]) for one in base.record.added if TWIN in one.fields}
    for keyword in filter(written.get, wanted):
        # If another program repeats the keyword in such a field, the repetition is cocotag's too.
        clear = [prefix for prefix, words in mirrored.items() if fold(keyword[-1]) not in words]
        twin = [TWIN] if fold(keyword[-1]) in twins else []
        plan.added.append(Added(keyword, (*written[keyword], *clear, *twin)))
    return plan


def fits_iptc(words: Iterable[str]) -> bool:
    """Whether IPTC can hold these keywords."""
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


def _block(document: XmpDocument, fresh: Sequence[tuple[Field, list[str]]], record: Record | None) -> Edit:
    """The edit that adds the last description, with the new fields and cocotag's notes, if any."""
    start, end, before, behind = _insertion(document)
    lead = _indent(document)
    used = {field.prefix: field.uri for field, _ in fresh} | ({} if record is None else {PREFIX: URI})
    if document.rdf is not None and document.rdf.nsmap.get("rdf") != RDF:
        used = {"rdf": RDF, **used}
    spaces = [f"xmlns:{prefix}={quoteattr(uri)}" for prefix, uri in used.items()]
    about = quoteattr(_about(document)).encode(document.codec, "xmlcharrefreplace").decode(document.codec)
    lines: list[tuple[int, str]] = []
    for field, new in fresh:
        items = [(2, f"<rdf:li>{escape_text(entry, document.codec)}</rdf:li>") for entry in new]
        lines += [(0, f"<{field.label}>"), (1, f"<rdf:{field.kind}>"), *items]
        lines += [(1, f"</rdf:{field.kind}>"), (0, f"</{field.label}>")]
    lines += [] if record is None else record_lines(record, document.codec)
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


def _check(text: str, base: Reading) -> None:
    """Check that the written text can be undone, since it may be the only copy of the user's keywords."""
    written = XmpDocument.from_text(text, base.document.name, base.document.codec, base.document.bom)
    record = read_record(written.root)
    back = original_text(written, record)
    if back is None or (not record.undo.new and back != base.document.text):
        raise DataError(
            f"{base.document.name} is left unchanged: a change could not be undone. Write it again with a photo program.",
            code="xmp_not_reversible",
        )


def _is_equivalent(packet: bytes, text: str, base: Reading) -> bool:
    """Whether a packet that another program rewrote already has the keywords and notes of the text.

    Levels that the program added to dc:subject may stay: it would write them again.
    """
    old, new = XmpDocument.read(packet, base.document.name), XmpDocument.from_text(text, base.document.name)
    ours = [replace(read_record(one.root), undo=Undo(), returned=()) for one in (old, new)]
    if ours[0] != ours[1]:
        return False
    levels = {SUBJECT: Counter(map(fold, base.ownership.levels))}
    return all(
        Counter(map(fold, values(old.rdf, one))) - levels.get(one, Counter()) == Counter(map(fold, values(new.rdf, one)))
        for one in WRITTEN
    )
