"""Reads the keyword fields of an XMP packet, in all forms of RDF, and adds entries to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lxml import etree

from cocotag.errors import DataError
from cocotag.tagging.xmp.packets.document import (
    LISTS,
    RDF,
    Edit,
    XmpDocument,
    children,
    escape_text,
    parse_tree,
)
from cocotag.tagging.xmp.packets.keywords import (
    ACDSEE,
    MIRRORS,
    SUBJECT,
    WRITTEN,
    Entry,
    Field,
    Keyword,
    fold,
    leaves,
    without_internal,
)

_DESCRIPTION, _VALUE, _LI = (f"{{{RDF}}}{name}" for name in ("Description", "value", "li"))
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


@dataclass(frozen=True, slots=True)
class Holder:
    """One occurrence of a field.

    Attributes:
        form: A list, plain text, an attribute of the description, or a form that XMP does not allow.
        element: The property, or the description with the attribute.
        values: Its entries in order, each with its list item, or None without a list.
        container: The list, or None.
    """

    form: Literal["list", "text", "attribute", "odd"]
    element: etree._Element
    values: tuple[tuple[str, etree._Element | None], ...]
    container: etree._Element | None = None


def holders(rdf: etree._Element | None, field: Field) -> Iterator[Holder]:
    """The occurrences of a field, usually one or none. Deeper properties describe the photograph's ingredients."""
    for description in children(rdf) if rdf is not None else []:
        if field.tag in description.attrib:
            value = str(description.attrib[field.tag]).strip()
            yield Holder("attribute", description, ((value, None),) if value else ())
        for element in description.iterchildren(field.tag):
            yield _holder(element)


def _holder(element: etree._Element) -> Holder:
    container = _container(element)
    if container is not None:
        items = [(_item_text(item), item) for item in children(container)]
        return Holder("list", element, tuple((value, item) for value, item in items if value), container)
    value = _item_text(element)
    plain = not children(element) and not {*element.attrib} - {_LANG}
    return Holder("text" if plain else "odd", element, ((value, None),) if value else ())


def _container(element: etree._Element) -> etree._Element | None:
    """The list of a property, which is inside a description if it has qualifiers."""
    for _ in range(3):
        below = children(element)
        if lists := [one for one in below if one.tag in LISTS]:
            return lists[0]
        wrapped = next((one for one in below if one.tag in (_DESCRIPTION, _VALUE)), None)
        if wrapped is None:
            return None
        element = wrapped
    return None


def _item_text(item: etree._Element) -> str:
    """The text of an item, which is in ``rdf:value`` if the item has qualifiers."""
    if (value := next(item.iter(_VALUE), None)) is not None:
        item = value
    text = "".join(map(str, item.itertext())).strip()
    inner = (one.get(_VALUE) for one in item.iter(etree.Element))
    return text or next((str(value).strip() for value in inner if value), "")


def values(rdf: etree._Element | None, field: Field) -> list[str]:
    """The entries of a field; for ACDSee's, the levels of each category joined by its separator."""
    texts = [value for holder in holders(rdf, field) for value, _ in holder.values]
    return [field.spell(keyword) for text in texts for _, keyword in categories(text)] if field is ACDSEE else texts


def read_field(rdf: etree._Element | None, field: Field) -> list[Keyword]:
    """The keywords in a field."""
    return [keyword for value in values(rdf, field) for keyword in field.read(value)]


def all_keywords(
    rdf: etree._Element | None, leave_out: Iterable[Entry] = (), *, mirrored: set[str] | None = None
) -> list[Keyword]:
    """The keywords in all fields, those with a hierarchy first, without internal keywords of programs.

    Args:
        rdf: The element to search.
        leave_out: Field prefix and entry of keywords to skip, each once.
        mirrored: The folded words that are taken from `MIRRORS`; None for all.
    """
    unwanted = Counter((prefix, fold(entry)) for prefix, entry in leave_out)
    found: list[Keyword] = []
    for field in (*reversed(WRITTEN[1:]), *MIRRORS, SUBJECT):
        for value in values(rdf, field):
            if unwanted and unwanted[one := (field.prefix, fold(value))]:
                unwanted[one] -= 1
            elif field in WRITTEN or mirrored is None:
                found += field.read(value)
            else:
                found += [keyword for keyword in field.read(value) if leaves([keyword]) & mirrored]
    return without_internal(found)


def categories(text: str) -> Iterator[tuple[etree._Element, Keyword]]:
    """ACDSee's categories: XML in the text of a property, with one element per level and ``Assigned="1"`` if it applies."""
    try:
        root = parse_tree(text, "")
    except DataError:
        return
    for category in root.iter("Category"):
        if category.get("Assigned") == "1":
            above = [category, *category.iterancestors("Category")]
            if keyword := tuple(name for level in reversed(above) if (name := str(level.text or "").strip())):
                yield category, keyword


def insert(document: XmpDocument, holder: Holder, field: Field, entries: Sequence[str]) -> Edit:
    """The edit that appends entries to a field, in the style of its list.

    Raises:
        DataError: The field has a form that XMP does not allow, so that something might be lost.
    """
    if holder.form == "odd" or (holder.form == "list" and any(one.tag != _LI for one in children(holder.container))):  # type: ignore[arg-type]
        raise DataError(
            f"{document.name}: {field.label} has a form that XMP does not allow. Save it with a photo program.",
            code="xmp_form_invalid",
        )
    spans, text = document.spans, document.text
    if holder.container is not None:
        span, items = spans[holder.container], children(holder.container)
        li = _name(holder.container.prefix, "li")
        if items:
            last = spans[items[-1]]
            return last.end, last.end, _items(entries, li, document.codec, document.space_before(last.start))
        return _fill(text, span.start, span.inner, span.close, _items(entries, li, document.codec))
    span = spans[holder.element]
    prefix = next(prefix for prefix, uri in holder.element.nsmap.items() if uri == RDF)
    li, kind = _name(prefix, "li"), _name(prefix, field.kind)
    content = text[span.inner : span.close].strip()
    first = f"<{li}>{content}</{li}>" if holder.values else content
    whole = f"<{kind}>{first}{_items(entries, li, document.codec)}</{kind}>"
    if span.inner == span.end:
        return _fill(text, span.start, span.inner, span.close, whole)
    return span.inner, span.close, whole


def _fill(text: str, start: int, inner: int, close: int, content: str) -> Edit:
    """The edit that inserts content before the end tag; an empty-element tag becomes a start and an end tag."""
    if inner != close or not text.endswith("/>", start, inner):
        return close, close, content
    tag = text[start : inner - 2].rstrip()
    name = tag[1:].split(maxsplit=1)[0]
    return start, inner, f"{tag}>{content}</{name}>"


def _items(entries: Sequence[str], li: str, codec: str, lead: str = "") -> str:
    return "".join(f"{lead}<{li}>{escape_text(entry, codec)}</{li}>" for entry in entries)


def _name(prefix: str | None, local: str) -> str:
    return f"{prefix}:{local}" if prefix else local
