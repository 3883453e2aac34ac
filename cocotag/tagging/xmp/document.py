"""An XMP packet as text in which one knows where each element stands, so that it can be changed without being rewritten.

lxml reads it and says what is in it; where that stands is found by going through the text once more. Knows no keywords.
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
from cocotag.tagging.xmp.keywords import NOT_XML

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
META = "adobe:ns:meta/"
LISTS = tuple(f"{{{RDF}}}{kind}" for kind in ("Bag", "Seq", "Alt"))
ABOUT = (f"{{{RDF}}}about", "about")
MAX_BYTES = 2**24
"""Largest packet that is changed; those with a long editing history have some megabytes."""

_BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_BARE = ((b"<\0\0\0", "utf-32-le"), (b"\0\0\0<", "utf-32-be"), (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
"""How a packet begins that is neither in ASCII's kin nor has a byte order mark."""
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
"""Characters from, up to, and what takes their place."""


class Span(NamedTuple):
    """Where an element stands in the text: its start tag is ``[start, inner)``, its end tag ``[close, end)``.

    Of an element that is one empty tag, ``inner``, ``close`` and ``end`` are the same.
    """

    start: int
    inner: int
    close: int
    end: int


@dataclass(frozen=True)
class XmpDocument:
    """A packet that has been read.

    Attributes:
        text: All of it, without the byte order mark.
        root: lxml's tree of it, without comments and processing instructions.
        name: What it is called in messages.
        codec: Python's name of its encoding.
        bom: The byte order mark it began with.
    """

    text: str
    root: etree._Element
    name: str
    codec: str = "utf-8"
    bom: bytes = b""

    @classmethod
    def read(cls, packet: bytes, name: str) -> XmpDocument:
        """Read a packet; no document type is accepted, so there are no entities to expand and no files to fetch.

        Raises:
            DataError: Too large, not XML, no XMP, or with a document type.
        """
        if len(packet) > MAX_BYTES:
            raise DataError(f"{name} has {len(packet)} bytes; XMP of more than {MAX_BYTES} is left alone. Write it anew.")
        bom, codec = _encoding(packet, name)
        try:
            text = packet[len(bom) :].decode(codec)
        except UnicodeDecodeError as error:
            raise _damaged(name, f"it is not {codec}: {error.reason} at byte {error.start}") from None
        return cls.from_text(text, name, codec, bom)

    @classmethod
    def from_text(cls, text: str, name: str, codec: str = "utf-8", bom: bytes = b"") -> XmpDocument:
        """As `read`, from text that is decoded already.

        Raises:
            DataError: As `read`.
        """
        root = parse_tree(text, name)
        document = cls(text, root, name, codec, bom)
        if document.rdf is None and root.tag not in (f"{{{META}}}xmpmeta", f"{{{META}}}xapmeta"):
            raise DataError(f"{name} is XML, but no XMP ({etree.QName(root).localname}). Write it again with a photo program.")
        return document

    def encode(self, text: str) -> bytes:
        """Text in the encoding that the packet has, byte order mark included."""
        return self.bom + text.encode(self.codec)

    @cached_property
    def rdf(self) -> etree._Element | None:
        """The element that holds everything; None in a packet that holds nothing."""
        return find_rdf(self.root)

    @cached_property
    def spans(self) -> dict[etree._Element, Span]:
        """Where each element stands. lxml and the text must agree on how many there are.

        Raises:
            DataError: They do not.
        """
        spans: list[Span] = []
        open_ones: list[tuple[int, int, int]] = []  # which, its start, where its start tag ends
        for markup in _MARKUP.finditer(self.text):
            if markup["close"]:
                if not open_ones:
                    break
                number, start, inner = open_ones.pop()
                spans[number] = Span(start, inner, markup.start(), markup.end())
            elif markup["open"]:
                start, end = markup.span()
                if not markup["empty"]:
                    open_ones.append((len(spans), start, end))
                spans.append(Span(start, end, end, end))
        elements = list(self.root.iter(etree.Element))
        if open_ones or len(elements) != len(spans):
            raise _damaged(self.name, "its elements cannot be told apart")
        return dict(zip(elements, spans, strict=True))

    def attributes(self, element: etree._Element) -> Iterator[tuple[str, int, int, str]]:
        """The attributes of an element as they stand: name as lxml has it, from (with the space before), up to, raw value.

        Declarations of namespaces are among them, as ``xmlns`` or ``xmlns:PREFIX``.
        """
        span = self.spans[element]
        for found in _ATTRIBUTE.finditer(self.text, span.start, span.inner):
            prefix, colon, local = found[1].rpartition(":")
            known = colon and prefix not in ("xmlns", "xml")
            name = f"{{{element.nsmap.get(prefix, '')}}}{local}" if known else found[1]
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
    """Text without what changes when a packet is put into a photograph: white space around it, its mark for read-only."""
    return _WRITABLE.sub(r"\1w\2", text.strip(PADDING))


def find_rdf(root: etree._Element) -> etree._Element | None:
    """The first ``rdf:RDF``, or None."""
    return next(root.iter(f"{{{RDF}}}RDF"), None)


def parse_tree(text: str, name: str, *, recover: bool = False) -> etree._Element:
    """The tree that lxml makes of a packet, without comments and processing instructions.

    Args:
        text: The packet, decoded.
        name: What it is called in messages.
        recover: Read on behind damage, as far as that goes.

    Raises:
        DataError: Not XML, or with a document type.
    """
    body = text.strip(PADDING)
    prologue = _PROLOGUE.match(body)
    if prologue is not None and body.startswith("<!DOCTYPE", prologue.end()):  # before any parser sees it
        raise DataError(f"{name}: its XMP has a document type, which XMP never has. Write it again with a photo program.")
    parser = etree.XMLParser(
        encoding="utf-8",  # whatever it declares: it is decoded already
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
        raise _damaged(name, "there is no XML in it")
    return root


def children(element: etree._Element) -> list[etree._Element]:
    """The elements right below."""
    return [child for child in element if isinstance(child.tag, str)]


def splice(text: str, edits: Iterable[Edit]) -> str:
    """Text with some parts exchanged; they must not overlap."""
    parts: list[str] = []
    place = 0
    for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
        if start < place or end < start:
            raise ValueError("edits overlap")
        parts += text[place:start], new
        place = end
    return "".join((*parts, text[place:]))


def escape_text(value: str, codec: str) -> str:
    """A value as the content of an element, in an encoding that may lack some of its letters."""
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
        raise _damaged(name, f"it is declared as {codec}, which is not read here")
    return b"", "latin-1" if codec in ("iso-8859-1", "latin1") else codec


def _damaged(name: str, why: str) -> DataError:
    return DataError(f"{name}: its XMP is damaged ({why}). Write it again with the program that made it.")
