"""The keyword fields of photo programs, and the comparison of keywords. Does not depend on XML or files.

A keyword is a tuple of levels, the widest first: ``("animal", "dog")``; without a hierarchy it has one level. Fields spell it
differently: ``dog``, ``animal|dog``, ``animal/dog``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cocotag.inference.tags import Tag
from cocotag.photos.keywords import INTERNAL
from cocotag.tagging.decisions.rename import levels

Keyword = tuple[str, ...]

_INTERNAL = (INTERNAL, "_Digikam_Internal_Tags_")
"""Root levels of the internal keywords of darktable and digiKam."""
_SEPARATORS = re.compile(r"\s*[|/;]\s*")
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not allow: control characters, lone surrogates."""


@dataclass(frozen=True, slots=True)
class Field:
    """A list of keywords in XMP.

    Attributes:
        label: Its name, such as ``dc:subject``.
        uri: Its namespace.
        kind: RDF type of the list, ``Bag`` or ``Seq``.
        separator: Separator of the levels; a flat field has only the last level.
        flat: Whether it has no hierarchy.
    """

    label: str
    uri: str
    kind: str = "Bag"
    separator: str = "|"
    flat: bool = False

    @property
    def prefix(self) -> str:
        """The usual prefix of the namespace, which names the field in cocotag's notes."""
        return self.label.partition(":")[0]

    @property
    def tag(self) -> str:
        """The field's name as lxml writes it."""
        return f"{{{self.uri}}}{self.label.partition(':')[2]}"

    def spell(self, keyword: Keyword) -> str:
        """A keyword as this field spells it."""
        return keyword[-1] if self.flat else self.separator.join(keyword)

    def read(self, value: str) -> list[Keyword]:
        """The keywords in one entry. Some programs write several keywords into one entry, separated by semicolons."""
        parts = value.split(";") if self.flat else [value]
        split = (tuple(level.strip() for level in part.split(self.separator)) for part in parts)
        return [keyword for levels in split if (keyword := tuple(level for level in levels if level))]


SUBJECT = Field("dc:subject", "http://purl.org/dc/elements/1.1/", flat=True)
LIGHTROOM = Field("lr:hierarchicalSubject", "http://ns.adobe.com/lightroom/1.0/")
DIGIKAM = Field("digiKam:TagsList", "http://www.digikam.org/ns/1.0/", kind="Seq", separator="/")
WRITTEN = (SUBJECT, LIGHTROOM, DIGIKAM)
"""The fields that cocotag writes."""
ACDSEE = Field("acdsee:categories", "http://ns.acdsee.com/iptc/1.0/")
"""XML in the text of a property: one element per level."""
MIRRORS = (
    Field("MicrosoftPhoto:LastKeywordXMP", "http://ns.microsoft.com/photo/1.0/", separator="/"),
    Field("MicrosoftPhoto:LastKeywordXMP", "http://ns.microsoft.com/photo/1.0", separator="/"),  # as exiftool spells it
    Field("mediapro:CatalogSets", "http://ns.iview-multimedia.com/mediapro/1.0/"),
    ACDSEE,
)
"""Fields that cocotag only reads. digiKam repeats every keyword in them, including cocotag's, and reads them if its own field
is empty."""
TWIN = "lr-twin"
"""Stands in a note for single words in lr:hierarchicalSubject that a program made of dc:subject, beside the same keyword with
its levels: darktable reads both fields of ``IMG.xmp``."""
Entry = tuple[str, str]
"""Prefix of a field, and one of its entries."""
IPTC = Field("iptc:Keywords", "", flat=True)
"""The older block of JPEG and TIFF, outside XMP, which `cocotag.tagging.xmp.embed` writes."""


def fold(text: str) -> str:
    """The text for comparisons, without differences of case and Unicode normal form (Unicode 3.13, D145)."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())


def clean(text: str) -> str:
    """A name as one level of a keyword: the separators of all fields become hyphens."""
    return _SEPARATORS.sub("-", " ".join(NOT_XML.sub("", text).split())).strip("- ")


def given_keywords(tags: Iterable[Tag]) -> list[Keyword]:
    """Keywords for tags, each name once, in an order that does not depend on scores, which may differ in the last digit."""
    found: dict[str, Keyword] = {}
    for keyword in sorted(tuple(filter(None, map(clean, levels(tag)))) for tag in tags):
        if keyword:
            found.setdefault(fold(keyword[-1]), keyword)
    return sorted(found.values(), key=lambda keyword: [fold(level) for level in keyword])


def own_classes(tags: Iterable[Tag]) -> dict[str, tuple[str, ...]]:
    """Folded name of a tag -> its classes, for tags that are not just the class of the same name."""
    found: dict[str, set[str]] = {}
    for tag in tags:
        found.setdefault(fold(clean(tag.name)), set()).update(map(clean, tag.classes or (tag.name,)))
    return {name: tuple(sorted(classes)) for name, classes in found.items() if set(map(fold, classes)) != {name}}


def leaves(keywords: Iterable[Keyword]) -> set[str]:
    """The folded last levels, which identify keywords: a user who files dogs under Pets also has ``dog``."""
    last = [keyword[-1] for keyword in keywords]
    # "tv/monitor" in a flat field is the keyword that cocotag writes as "tv-monitor"
    return {fold(one) for one in last} | {fold(clean(one)) for one in last if _SEPARATORS.search(one)}


def words_of(field: Field, entries: Iterable[str]) -> set[str]:
    """The `leaves` of a field's entries."""
    return leaves(keyword for entry in entries for keyword in field.read(entry))


def of_field(field: Field, entries: Iterable[Entry]) -> list[str]:
    """The entries of one field."""
    return [entry for prefix, entry in entries if prefix == field.prefix]


def without_internal(keywords: Sequence[Keyword]) -> list[Keyword]:
    """The keywords without internal ones of programs; darktable repeats the levels of its internal keywords as plain words."""
    own = {level for keyword in keywords if keyword[0] in _INTERNAL for level in keyword}
    return [one for one in keywords if one[0] not in _INTERNAL and not (len(one) == 1 and one[0] in own)]


def entries(field: Field, keywords: Sequence[Keyword]) -> list[str]:
    """The entries of a field with these keywords, each once.

    A field with a hierarchy leaves out a single word that is a level of another keyword: it is the same keyword as flat
    fields spell it.
    """
    if field.flat:
        spelled = [field.spell(keyword) for keyword in keywords]
    else:
        levels = {fold(level) for keyword in keywords if len(keyword) > 1 for level in keyword}
        spelled = [field.spell(keyword) for keyword in keywords if len(keyword) > 1 or fold(keyword[0]) not in levels]
    found: dict[str, str] = {}
    for one in spelled:
        found.setdefault(fold(one), one)
    return list(found.values())
