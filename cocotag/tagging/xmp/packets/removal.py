"""Removal of cocotag's keywords and notes from an XMP packet that another program has rewritten since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

from lxml import etree

from cocotag.tagging.xmp.packets.document import ABOUT, Edit, XmpDocument, children, escape_text, splice
from cocotag.tagging.xmp.packets.fields import categories, holders
from cocotag.tagging.xmp.packets.keywords import ACDSEE, MIRRORS, WRITTEN, Entry, fold, of_field
from cocotag.tagging.xmp.packets.record import URI, is_ours


def removed_text(document: XmpDocument, ours: Sequence[Entry]) -> str:
    """The text without cocotag's entries and notes. A list, property or description that is then empty is removed too.

    Args:
        document: The packet.
        ours: Field prefix and entry of what to remove, each once.
    """
    gone = _entries(document, ours)
    attributes = _categories(document, of_field(ACDSEE, ours), gone)
    rdf = document.rdf
    for description in children(rdf) if rdf is not None else []:
        gone |= {note for note in children(description) if is_ours(str(note.tag))}
        left = [one for one in children(description) if one not in gone]
        kept = {str(name) for name in description.attrib if not is_ours(str(name))} - {*ABOUT}
        touched = len(left) < len(children(description)) or any(is_ours(str(name)) for name in description.attrib)
        if touched and not left and not kept:
            gone.add(description)
    for element, span in document.spans.items():
        if " xmlns:" in document.text[span.start : span.inner] or any(is_ours(str(name)) for name in element.attrib):
            attributes += [
                (start, end, "")
                for name, start, end, raw in document.attributes(element)
                if is_ours(name) or (name.startswith("xmlns:") and raw == URI)
            ]
    cuts = [document.spans[element] for element in gone]
    edits = [(span.start - len(document.space_before(span.start)), span.end, "") for span in cuts]
    return splice(document.text, _outermost([*edits, *attributes]))


def _entries(document: XmpDocument, ours: Sequence[Entry]) -> set[etree._Element]:
    """The items to remove, and the properties that would be empty without them."""
    wanted = Counter((prefix, fold(entry)) for prefix, entry in ours)
    exact = Counter(ours)
    gone: set[etree._Element] = set()
    for field in (*WRITTEN, *MIRRORS):
        if field is ACDSEE:
            continue
        for holder in holders(document.rdf, field):
            # an entry in cocotag's exact spelling is removed before one that the user added in another case
            for value, item in sorted(holder.values, key=lambda entry: not exact[field.prefix, entry[0]]):
                target = holder.element if item is None else item
                if wanted[field.prefix, fold(value)] and holder.form in ("list", "text"):
                    wanted[field.prefix, fold(value)] -= 1
                    gone.add(target)
            touched = field.prefix in {prefix for prefix, _ in ours}
            if touched and holder.container is not None and all(item in gone for _, item in holder.values):
                gone.add(holder.element)
    return gone


def _categories(document: XmpDocument, ours: Sequence[str], gone: set[etree._Element]) -> list[Edit]:
    """The edits of ACDSee's categories. A property that has none left is added to ``gone``, an attribute is cut."""
    edits: list[Edit] = []
    unwanted = set(map(fold, ours))
    for holder in holders(document.rdf, ACDSEE) if ours else ():
        for text, _ in holder.values:
            found = [(one, keyword) for one, keyword in categories(text) if fold(ACDSEE.spell(keyword)) in unwanted]
            for category, _ in found:
                category.set("Assigned", "0")
            kept = _pruned([category for category, _ in found])
            if not found:
                continue
            if holder.form == "attribute":
                for name, start, end, _ in document.attributes(holder.element):
                    if name == ACDSEE.tag:
                        label = document.text[start:end].partition("=")[0]
                        value = quoteattr(kept).encode(document.codec, "xmlcharrefreplace").decode(document.codec)
                        edits.append((start, end, f"{label}={value}" if kept else ""))
            elif not kept:
                gone.add(holder.element)
            elif holder.form == "text":
                span = document.spans[holder.element]
                edits.append((span.inner, span.close, escape_text(kept, document.codec)))
    return edits


def _pruned(unassigned: Sequence[etree._Element]) -> str:
    """The XML of the categories without these and the levels above them, where they have no category below; else empty."""
    root = None
    for category in unassigned:
        root = category.getroottree().getroot()
        while (above := category.getparent()) is not None and not len(category) and category.get("Assigned") != "1":
            above.remove(category)
            category = above
    return etree.tostring(root, encoding="unicode") if root is not None and len(root) else ""


def _outermost(edits: list[Edit]) -> list[Edit]:
    """The edits without those inside another edit."""
    kept: list[Edit] = []
    for edit in sorted(edits, key=lambda one: (one[0], -one[1])):
        if not kept or edit[0] >= kept[-1][1]:
            kept.append(edit)
    return kept


def is_empty(document: XmpDocument) -> bool:
    """Whether the packet has no properties of the photograph."""
    if document.rdf is None:
        return True
    return all(not children(one) and not {*map(str, one.attrib)} - {*ABOUT} for one in children(document.rdf))
