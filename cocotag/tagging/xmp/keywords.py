"""The fields in which photo programs keep keywords, and what it takes for two keywords to be one. Knows no XML and no files.

A keyword is its levels, the widest first: ``("animal", "dog")``; one without a hierarchy has one level. Fields spell it
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
"""Roots of what darktable and digiKam note for themselves in the guise of keywords."""
_SEPARATORS = re.compile(r"\s*[|/;]\s*")
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no place for: control characters, halves of surrogate pairs."""


@dataclass(frozen=True, slots=True)
class Field:
    """A list of keywords in XMP.

    Attributes:
        label: What it is called, such as ``dc:subject``.
        uri: Namespace.
        kind: RDF's name of the list, ``Bag`` or ``Seq``.
        separator: Between the levels; a field without a hierarchy gets the last level alone.
        flat: It has no hierarchy.
    """

    label: str
    uri: str
    kind: str = "Bag"
    separator: str = "|"
    flat: bool = False

    @property
    def prefix(self) -> str:
        """The usual short name of the namespace, by which cocotag's notes name the field."""
        return self.label.partition(":")[0]

    @property
    def tag(self) -> str:
        """As lxml writes it."""
        return f"{{{self.uri}}}{self.label.partition(':')[2]}"

    def spell(self, keyword: Keyword) -> str:
        """A keyword as this field has it."""
        return keyword[-1] if self.flat else self.separator.join(keyword)

    def read(self, value: str) -> list[Keyword]:
        """The keywords in one entry. Some programs put several into one, with semicolons between them."""
        parts = value.split(";") if self.flat else [value]
        levels = (tuple(level.strip() for level in part.split(self.separator)) for part in parts)
        return [keyword for one in levels if (keyword := tuple(level for level in one if level))]


SUBJECT = Field("dc:subject", "http://purl.org/dc/elements/1.1/", flat=True)
LIGHTROOM = Field("lr:hierarchicalSubject", "http://ns.adobe.com/lightroom/1.0/")
DIGIKAM = Field("digiKam:TagsList", "http://www.digikam.org/ns/1.0/", kind="Seq", separator="/")
WRITTEN = (SUBJECT, LIGHTROOM, DIGIKAM)
"""The fields that cocotag writes."""
MIRRORS = (
    Field("MicrosoftPhoto:LastKeywordXMP", "http://ns.microsoft.com/photo/1.0/", separator="/"),
    Field("MicrosoftPhoto:LastKeywordXMP", "http://ns.microsoft.com/photo/1.0", separator="/"),  # as exiftool spells it
    Field("mediapro:CatalogSets", "http://ns.iview-multimedia.com/mediapro/1.0/"),
)
"""Fields that cocotag reads alone. digiKam repeats every keyword in them, ours too, and reads them where its own is empty."""
IPTC = Field("iptc:Keywords", "", flat=True)
"""Not in XMP: the older block of JPEG and TIFF, which `cocotag.tagging.xmp.embed` writes."""


def fold(text: str) -> str:
    """What two spellings of one keyword share: case and Unicode's normal form do not count (Unicode 3.13, D145)."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())


def clean(text: str) -> str:
    """A name as one level of a keyword: what separates levels or keywords in any of the fields becomes a hyphen."""
    return _SEPARATORS.sub("-", " ".join(NOT_XML.sub("", text).split())).strip("- ")


def given_keywords(tags: Iterable[Tag]) -> list[Keyword]:
    """Keywords for tags, each name once, in an order that does not hang on scores: they may differ in the last digit."""
    found: dict[str, Keyword] = {}
    for keyword in sorted(tuple(filter(None, map(clean, levels(tag)))) for tag in tags):
        if keyword:
            found.setdefault(fold(keyword[-1]), keyword)
    return sorted(found.values(), key=lambda keyword: [fold(level) for level in keyword])


def own_classes(tags: Iterable[Tag]) -> dict[str, tuple[str, ...]]:
    """By its folded name the classes that a tag stands for, where that is not just the one of this name."""
    found: dict[str, set[str]] = {}
    for tag in tags:
        found.setdefault(fold(clean(tag.name)), set()).update(map(clean, tag.classes or (tag.name,)))
    return {name: tuple(sorted(classes)) for name, classes in found.items() if set(map(fold, classes)) != {name}}


def leaves(keywords: Iterable[Keyword]) -> set[str]:
    """The last levels, folded: what a keyword is known by. Who files dogs under Pets has ``dog`` all the same."""
    last = [keyword[-1] for keyword in keywords]
    # "tv/monitor" in a field without a hierarchy is what we would write "tv-monitor"
    return {fold(one) for one in last} | {fold(clean(one)) for one in last if _SEPARATORS.search(one)}


def without_internal(keywords: Sequence[Keyword]) -> list[Keyword]:
    """Leave out what programs note for themselves; darktable repeats the words of its own tags as bare words."""
    own = {level for keyword in keywords if keyword[0] in _INTERNAL for level in keyword}
    return [one for one in keywords if one[0] not in _INTERNAL and not (len(one) == 1 and one[0] in own)]


def entries(field: Field, keywords: Sequence[Keyword]) -> list[str]:
    """What a field holds that starts from these keywords, each once.

    In a field with hierarchies a bare word is left out if it is a level of another keyword: it is the same one, as the fields
    without hierarchies have it.
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
