"""An XMP packet as text with the position of each element, so that it can be edited without rewriting the rest.

lxml parses the packet; a second pass over the text finds the positions. Does not depend on keywords.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from xml.sax.saxutils import escape

from lxml import etree

from cocotag.errors import DataError
from cocotag.tagging.xmp.packets.keywords import NOT_XML

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
META = "adobe:ns:meta/"
LISTS = tuple(f"{{{RDF}}}{kind}" for kind in ("Bag", "Seq", "Alt"))
ABOUT = (f"{{{RDF}}}about", "about")
MAX_BYTES = 2**24
"""Size limit of a packet; packets with a long editing history have some megabytes."""

_BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_BARE = ((b"<\0\0\0", "utf-32-le"), (b"\0\0\0<", "utf-32-be"), (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
"""First bytes of packets in UTF-16 or UTF-32 without a byte order mark."""
_DECLARED = re.compile(rb"""<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z][\w.-]*)""")
_CODECS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252"})

PADDING = "\0 \t\r\n"
_PROLOGUE = re.compile(r"(?:\s+|<!--.*?-->|<\?.*?\?>)*+", re.DOTALL)
_MARKUP = re.compile(
    r"""<(?:!--.*?-->|\?.*?\?>|!\[CDATA\[.*?\]\]>|(?P<close>/)[^>]*>"""
    r"""|(?P<open>[^\s/>!?]+)(?:[^>"'/]|/(?!>)|"[^"]*"|'[^']*')*+(?P<empty>/?)>)""",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"""\s+([^\s=/>]+)\s*=\s*("[^"]*"|'[^']*')""")

_WRITABLE = re.compile(r"""(<\?xpacket\s+end=["'])r(["']\s*\?>)$""")

Edit = tuple[int, int, str]
"""Start and end of a range of characters, and its replacement."""


class Span(NamedTuple):
    """Position of an element in the text: its start tag is ``[start, inner)``, its end tag ``[close, end)``.

    For an empty-element tag, ``inner``, ``close`` and ``end`` are the same.
    """

    start: int
    inner: int
    close: int
    end: int


@dataclass(frozen=True)
class XmpDocument:
    """A parsed packet.

    Attributes:
        text: The whole text, without the byte order mark.
        root: lxml's tree, without comments and processing instructions.
        name: The packet's name in messages.
        codec: Python's name of its encoding.
        bom: Its byte order mark, or an empty string.
    """

    text: str
    root: etree._Element
    name: str
    codec: str = "utf-8"
    bom: bytes = b""

    @classmethod
    def read(cls, packet: bytes, name: str) -> XmpDocument:
        """Parse a packet. A document type is refused, so there are no entities to expand and no files to fetch.

        Raises:
            DataError: It is too large, not XML, not XMP, or has a document type.
        """
        if len(packet) > MAX_BYTES:
            raise DataError(
                f"{name} has {len(packet)} bytes; XMP may have at most {MAX_BYTES}. It is left unchanged. Write it again with "
                "a photo program.",
                code="too_large",
            )
        bom, codec = _encoding(packet, name)
        try:
            text = packet[len(bom) :].decode(codec)
        except UnicodeDecodeError as error:
            raise _damaged(name, f"it is not {codec}: {error.reason} at byte {error.start}") from None
        return cls.from_text(text, name, codec, bom)

    @classmethod
    def from_text(cls, text: str, name: str, codec: str = "utf-8", bom: bytes = b"") -> XmpDocument:
        """Parse a packet that is already decoded, as `read` does.

        Raises:
            DataError: See `read`.
        """
        root = parse_tree(text, name)
        document = cls(text, root, name, codec, bom)
        if document.rdf is None and root.tag not in (f"{{{META}}}xmpmeta", f"{{{META}}}xapmeta"):
            raise DataError(
                f"{name} is XML but not XMP ({etree.QName(root).localname}). Write it again with a photo program.",
                code="not_xmp",
            )
        return document

    def encode(self, text: str) -> bytes:
        """The text in the packet's encoding, with its byte order mark."""
        return self.bom + text.encode(self.codec)

    @cached_property
    def rdf(self) -> etree._Element | None:
        """The ``rdf:RDF`` element, which contains all properties; None in an empty packet."""
        return find_rdf(self.root)

    @cached_property
    def spans(self) -> dict[etree._Element, Span]:
        """The position of each element. The tree and the text must have the same number of elements.

        Raises:
            DataError: They differ.
        """
        spans: list[Span] = []
        open_elements: list[tuple[int, int, int]] = []  # index, start, end of the start tag
        for markup in _MARKUP.finditer(self.text):
            if markup["close"]:
                if not open_elements:
                    break
                number, start, inner = open_elements.pop()
                spans[number] = Span(start, inner, markup.start(), markup.end())
            elif markup["open"]:
                start, end = markup.span()
                if not markup["empty"]:
                    open_elements.append((len(spans), start, end))
                spans.append(Span(start, end, end, end))
        elements = list(self.root.iter(etree.Element))
        if open_elements or len(elements) != len(spans):
            raise _damaged(self.name, "its elements cannot be located")
        return dict(zip(elements, spans, strict=True))

    def attributes(self, element: etree._Element) -> Iterator[tuple[str, int, int, str]]:
        """The attributes of an element in the text: lxml's name, start (with the space before), end, raw value.

        These include namespace declarations, as ``xmlns`` or ``xmlns:PREFIX``.
        """
        span = self.spans[element]
        for found in _ATTRIBUTE.finditer(self.text, span.start, span.inner):
            prefix, colon, local = found[1].rpartition(":")
            qualified = colon and prefix not in ("xmlns", "xml")
            name = f"{{{element.nsmap.get(prefix, '')}}}{local}" if qualified else found[1]
            yield name, found.start(), found.end(), found[2][1:-1]

    def space_before(self, position: int) -> str:
        """The white space that ends at a position."""
        start = position
        while start and self.text[start - 1] in " \t\r\n":
            start -= 1
        return self.text[start:position]


def decode(packet: bytes) -> str:
    """The text of a packet, to be shown: what cannot be read of it is marked."""
    try:
        bom, codec = _encoding(packet, "")
    except DataError:
        bom, codec = b"", "utf-8"
    return packet[len(bom) :].decode(codec, "backslashreplace")


def settled(text: str) -> str:
    """The text without what changes when it is embedded in a photograph: surrounding white space and its read-only mark."""
    return _WRITABLE.sub(r"\1w\2", text.strip(PADDING))


def find_rdf(root: etree._Element) -> etree._Element | None:
    """The first ``rdf:RDF``, or None."""
    return next(root.iter(f"{{{RDF}}}RDF"), None)


def parse_tree(text: str, name: str, *, recover: bool = False) -> etree._Element:
    """The lxml tree of a packet, without comments and processing instructions.

    Args:
        text: The decoded packet.
        name: Its name in messages.
        recover: Continue after damage as far as possible.

    Raises:
        DataError: It is not XML, or has a document type.
    """
    body = text.strip(PADDING)
    prologue = _PROLOGUE.match(body)
    if prologue is not None and body.startswith("<!DOCTYPE", prologue.end()):  # before any parser sees it
        raise DataError(
            f"{name}: the XMP has a document type, which XMP does not allow. Write it again with a photo program.",
            code="xmp_document_type",
        )
    parser = etree.XMLParser(
        encoding="utf-8",  # overrides the declaration, since the text is already decoded
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
        recover=recover,
    )
    try:
        root = etree.fromstring(body.encode(), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise _damaged(name, str(error)) from None
    if root is None or root.getroottree().docinfo.doctype:  # type: ignore[union-attr]  # the stubs lack it
        raise _damaged(name, "it does not contain XML")
    return root


def children(element: etree._Element) -> list[etree._Element]:
    """The child elements."""
    return [child for child in element if isinstance(child.tag, str)]


def splice(text: str, edits: Iterable[Edit]) -> str:
    """The text after the edits, which must not overlap."""
    parts: list[str] = []
    position = 0
    for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
        if start < position or end < start:
            raise ValueError("edits overlap")
        parts += text[position:start], new
        position = end
    return "".join((*parts, text[position:]))


def escape_text(value: str, codec: str) -> str:
    """A value escaped as the content of an element; letters that the encoding lacks become character references."""
    return escape(NOT_XML.sub("", value), {"\r": "&#13;"}).encode(codec, "xmlcharrefreplace").decode(codec)


def _encoding(packet: bytes, name: str) -> tuple[bytes, str]:
    for bom, codec in _BOMS:
        if packet.startswith(bom):
            return bom, codec
    for first, codec in _BARE:
        if packet.startswith(first):
            return b"", codec
    declared = _DECLARED.match(packet[:300].lstrip(b" \t\r\n"))
    codec = declared[1].decode().lower() if declared else "utf-8"
    if codec not in _CODECS:
        raise _damaged(name, f"its encoding {codec} is not supported")
    return b"", "latin-1" if codec in ("iso-8859-1", "latin1") else codec


def _damaged(name: str, why: str) -> DataError:
    return DataError(f"{name}: the XMP is damaged ({why}). Write it again with the program that made it.", code="xmp_damaged")
