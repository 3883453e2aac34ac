"""Keywords that users gave their photographs in Lightroom, digiKam, darktable and similar programs.

They are stored as XMP (dc:subject, and the hierarchies lr:hierarchicalSubject and digiKam:TagsList), in a sidecar file beside
the photograph or inside it; older programs wrote IPTC. XMP is ISO 16684-1; https://www.adobe.com/devnet/xmp.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lxml import etree

from cocotag.errors import DataError
from cocotag.photos.header import Header

MAX_SIDECAR_BYTES = 2**26
"""Largest sidecar that is read; one with a long editing history has a few megabytes."""
INTERNAL = "darktable"
"""Root of the tags that darktable adds itself, such as ``darktable|format|jpg``."""

_DC = "{http://purl.org/dc/elements/1.1/}subject"
_LIGHTROOM = "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject"
_DIGIKAM = "{http://www.digikam.org/ns/1.0/}TagsList"
_LI = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"


def read_keywords(path: Path, header: Header) -> list[str]:
    """The keywords of a photograph, each once, in their stored order.

    The first of these sources with any keywords is used, in order of how likely it is to be current: the sidecar
    ``photo.jpg.xmp``, the sidecar ``photo.xmp``, XMP in the file, IPTC in the file. They are not merged: a keyword that was
    removed in a program that writes sidecars is still in the file. The last word of a hierarchy is the keyword
    (``Animals|Dog`` is ``Dog``).

    Args:
        path: The photograph.
        header: Its header, read with metadata.

    Raises:
        DataError: A packet is damaged or could not be read, so the keywords are not certain.
    """
    for sidecar in _sidecars(path):
        if words := parse_xmp(_read(sidecar), str(sidecar)):
            return words
    if not header.opened:
        raise DataError(
            f"{path}: keywords in this format cannot be read, and there is no sidecar. Write them to {path.name}.xmp.",
            code="keywords_unreadable",
        )
    words = parse_xmp(header.xmp, str(path)) if header.xmp else []
    return words or _each_once(header.iptc)


def parse_xmp(packet: bytes, name: str) -> list[str]:
    """The keywords in an XMP packet, each once.

    Args:
        packet: XML, with or without its ``<?xpacket?>`` wrapper.
        name: Its name in messages.

    Raises:
        DataError: The packet is not XML, or it has a document type, which XMP never has and which could name other files.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
    try:
        root = etree.fromstring(packet.strip(b"\0 \t\r\n"), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise DataError(
            f"{name}: its XMP is damaged ({error}). Save it again with the program that wrote it.", code="xmp_damaged"
        ) from None
    if root.getroottree().docinfo.doctype:  # type: ignore[union-attr]  # the stubs lack it
        raise DataError(
            f"{name}: its XMP has a document type, which XMP never has. Save it again with a photo program.",
            code="xmp_document_type",
        )
    flat, lightroom, digikam = (list(_values(root, tag)) for tag in (_DC, _LIGHTROOM, _DIGIKAM))
    paths = [value.split("|") for value in (*flat, *lightroom)] + [value.split("/") for value in digikam]
    internal = {word for path in paths if path[0] == INTERNAL for word in path}
    # darktable writes the words of its own tags into the flat list too.
    return _each_once(path[-1] for path in paths if path[0] != INTERNAL and not (len(path) == 1 and path[0] in internal))


def _values(root: etree._Element, tag: str) -> Iterator[str]:
    """Texts of a property; some programs omit the list around a single text."""
    for field in root.iter(tag):
        for item in list(field.iter(_LI)) or [field]:
            yield "".join(map(str, item.itertext())).strip()


def _each_once(words: Iterator[str] | tuple[str, ...]) -> list[str]:
    """The distinct keywords in order; some programs store several in one field, separated by semicolons."""
    parts = (part.strip() for word in words for part in word.split(";"))
    return list(dict.fromkeys(part for part in parts if part))


def _sidecars(path: Path) -> Iterator[Path]:
    for name in (f"{path.name}.xmp", f"{path.name}.XMP", f"{path.stem}.xmp", f"{path.stem}.XMP"):
        if (sidecar := path.with_name(name)).is_file():
            yield sidecar


def _read(sidecar: Path) -> bytes:
    try:
        if sidecar.stat().st_size > MAX_SIDECAR_BYTES:
            raise DataError(
                f"{sidecar} has more than {MAX_SIDECAR_BYTES} bytes, too many for a sidecar. Move it away.",
                code="sidecar_too_large",
            )
        return sidecar.read_bytes()
    except OSError as error:
        raise DataError(
            f"{sidecar} cannot be read ({error.strerror or error}). Check its permissions and the disk.", code="not_readable"
        ) from None
