"""The sidecars of a photograph: their names, and what one says about another.

A photograph ``IMG.jpg`` may have ``IMG.jpg.xmp``, as digiKam, darktable and Immich write it, or ``IMG.xmp``, as Adobe's
programs do. An existing sidecar is updated, whichever name was requested. If both exist, both are written, since programs
differ in which they read. darktable makes ``IMG.jpg.xmp`` of ``IMG.xmp`` or of embedded keywords, without cocotag's notes:
then those of its source say which keywords are cocotag's.

``IMG.xmp`` belongs to a photograph only if no other picture or film in the folder has the stem ``IMG``. Beside ``IMG.cr2`` it
belongs to the RAW file, as in Adobe's programs, and ``IMG.jpg`` gets its own ``IMG.jpg.xmp``. If ``IMG.xmp`` names the ending
of its file (``photoshop:SidecarForExtension``), that decides.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from cocotag.errors import DataError
from cocotag.inference.tags import Tag
from cocotag.path_text import show
from cocotag.photos.formats.table import FORMATS, IMAGE_ENDINGS
from cocotag.tagging.xmp.in_place import LeftAloneError, Place
from cocotag.tagging.xmp.packets.document import MAX_BYTES, XmpDocument, decode
from cocotag.tagging.xmp.packets.keywords import Keyword, given_keywords, own_classes
from cocotag.tagging.xmp.packets.packet import Update, strip, update
from cocotag.tagging.xmp.packets.reading import has_notes, is_made_of, notes_in, refusals, user_keywords
from cocotag.tagging.xmp.packets.record import Record
from cocotag.tagging.xmp.photo_keywords import Inside, look_inside
from cocotag.tagging.xmp.summary import SidecarSummary, apply, counted

Naming = Literal["append", "adobe"]
NAMES: tuple[Naming, Naming] = ("append", "adobe")
"""The names of sidecars: ``IMG.jpg.xmp`` and ``IMG.xmp``."""
_RAW = frozenset(
    {
        *FORMATS["RAW"].endings,
        *(".bay", ".cap", ".cs1", ".dcr", ".dcs", ".drf", ".eip", ".fff", ".gpr", ".j6i", ".k25"),
        *(".mdc", ".mfw", ".mos", ".ptx", ".pxn", ".qtk", ".raw", ".rwz", ".srf", ".sti"),
    }
)
"""Endings of camera RAW files, including those that cocotag does not decode."""
_WITH_SIDECARS = _RAW | {
    *IMAGE_ENDINGS,
    *(".afphoto", ".ai", ".clip", ".eps", ".exr", ".hdr", ".insp", ".jxl", ".jxr", ".kra", ".pdf"),
    *(".psb", ".psd", ".svg", ".wdp", ".xcf"),
    *(".3g2", ".3gp", ".avi", ".braw", ".crm", ".insv", ".lrv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".mxf", ".r3d", ".webm", ".wmv"),
}
"""Endings of files that other programs give sidecars, in lower case."""
_NAME = "SidecarForExtension"
_FOR_ENDING = f"{{http://ns.adobe.com/photoshop/1.0/}}{_NAME}"
"""The property with the ending of the file that a sidecar belongs to, without the dot."""
ENDINGS = (".xmp", ".XMP")


class Neighbours:
    """The other files in a photograph's folder: one listing per folder, cached while its photographs come."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._stems: dict[str, list[str]] = {}

    def owns_stem(self, photo: Path) -> bool:
        """Whether ``IMG.xmp`` is the sidecar of this photograph ``IMG.jpg``, and of no other."""
        if photo.parent != self._folder:
            self._folder, self._stems = photo.parent, {}
            for path in photo.parent.iterdir():
                if path.suffix.lower() in _WITH_SIDECARS:
                    self._stems.setdefault(path.stem, []).append(path.suffix)
        if photo.stem.endswith(tuple(IMAGE_ENDINGS)) and photo.with_name(photo.stem).exists():
            return False  # IMG.jpg.xmp is the sidecar of IMG.jpg, not of IMG.jpg.png
        suffixes = {*self._stems.get(photo.stem, ()), photo.suffix}
        raw = {suffix for suffix in suffixes if suffix.lower() in _RAW}
        return len(suffixes) == 1 or raw == {photo.suffix}


@dataclass(frozen=True)
class Sidecars:
    """The sidecars of one photograph.

    Attributes:
        photo: The photograph.
        places: Its existing sidecars, or the one to be made. With both names, ``IMG.jpg.xmp`` and ``IMG.xmp``, both are
            written: programs differ in which they read.
        names: By which name each is found.
        hidden: Whether there is an ``IMG.xmp`` that belongs to another file.
    """

    photo: Path
    places: tuple[Place, ...]
    names: tuple[Naming, ...]
    hidden: bool = False

    @classmethod
    def of(cls, photo: Path, naming: Naming, neighbours: Neighbours) -> Sidecars:
        """Find them.

        Raises:
            LeftAloneError: The photograph is missing, or a sidecar is not a regular file.
        """
        try:
            photo.stat()
        except OSError as error:
            raise LeftAloneError("missing", f"{show(photo)} cannot be read ({error.strerror or error}).") from None
        paths = existing_sidecars(photo, neighbours)
        named = _find_named(photo, photo.stem)
        hidden = named is not None and named not in paths
        found: dict[Path, tuple[Place, Naming]] = {}  # each file once, if one name is a link to the other
        for path, name in zip(paths, NAMES, strict=True):
            if path is not None:
                place = Place.look(path)
                found.setdefault(place.path, (place, name))
        if found:
            places, names = zip(*found.values(), strict=True)
            return cls(photo, places, names, hidden)
        adobe = naming == "adobe" and named is None and neighbours.owns_stem(photo)
        place = Place.look(photo.with_name(f"{photo.stem if adobe else photo.name}.xmp"))
        return cls(photo, (place,), ("adobe" if adobe else "append",), hidden)

    def update(
        self,
        tags: Sequence[Tag],
        summary: SidecarSummary,
        show_diff: Callable[[str], None] | None = None,
        *,
        inside: Inside | None = None,
        only_ours: bool = False,
    ) -> list[Update]:
        """Update them with the photograph's tags.

        Args:
            tags: The tags.
            summary: Receives the counts, and the errors of single sidecars.
            show_diff: Called with the unified diff of each changed sidecar.
            inside: What is inside the photograph; None to read it.
            only_ours: Leave out sidecars without keywords of cocotag's: the tags go into the photograph.

        Returns:
            The updated packets.

        Raises:
            LeftAloneError: A sidecar cannot be read.
            DataError: A sidecar's notes cannot be read.
        """
        given, classes = given_keywords(tags), own_classes(tags)
        packets = [place.read(MAX_BYTES) for place in self.places]
        if not given and not any(packets):
            return []
        inside = look_inside(self.photo) if inside is None else inside
        read = self._readings(packets, inside)
        updates: list[Update] = []
        for place, before, one in zip(self.places, packets, read, strict=True):
            if only_ours and not one.has_ours:
                continue
            others = [other for other in read if other is not one]
            refused = [*inside.refused(), *(note for other in others for note in other.refused)]
            claimed = [added.keyword for source in one.sources for added in source.added]
            with counted(summary):
                after = update(
                    before,
                    given,
                    lambda: [*(keyword for other in others for keyword in other.keywords()), *inside.keywords()],  # noqa: B023
                    name=one.title,
                    classes=classes,
                    made_of=one.made_of,
                    refused=refused,
                    claimed=[*claimed, *given] if claimed or others or only_ours else (),
                )
                apply(place, before, after.packet, summary, show_diff)
                updates.append(after)
        return updates

    def strip_made_of(self, inside: Inside, summary: SidecarSummary, show_diff: Callable[[str], None] | None = None) -> None:
        """Remove cocotag's keywords from those that a program made of the embedded keywords; the others keep their notes."""
        packets = [place.read(MAX_BYTES) for place in self.places]
        for place, before, one in zip(self.places, packets, self._readings(packets, inside), strict=True):
            if before is not None and one.made_of is not None:
                after = strip(before, name=one.title, made_of=one.made_of)
                apply(place, before, after.packet, summary, show_diff)

    def refused(self, inside: Inside) -> list[str]:
        """The notes of keywords that are refused in them."""
        return [note for one in self._now(inside) for note in one.refused]

    def keywords(self, inside: Inside) -> list[Keyword]:
        """The user's keywords in them."""
        return [keyword for one in self._now(inside) for keyword in one.keywords()]

    def theirs(self, inside: Inside) -> list[Naming]:
        """The names of those that were there before the keywords inside, so that no program made them of these."""
        earlier = inside.beside()
        return [one.name for one in self._now(inside) if one.packet and (one.name in earlier or not one.has_ours)]

    def _now(self, inside: Inside) -> list[_Reading]:
        return self._readings([place.read(MAX_BYTES) for place in self.places], inside)

    def _readings(self, packets: Sequence[bytes | None], inside: Inside) -> list[_Reading]:
        titles = [show(place.path) for place in self.places]
        of_photo = inside.notes() if any(packets) else None
        found: list[_Reading] = []
        for name, packet, title in zip(self.names, packets, titles, strict=True):
            of_adobe = None
            if name == "append" and "adobe" in self.names:
                at = self.names.index("adobe")
                of_adobe = notes_in(packets[at], name=titles[at])
            candidates = [of_adobe, of_photo if name not in inside.beside() else None]
            sources = tuple(record for record in candidates if record is not None)
            found.append(_Reading(packet, name, title, sources))
        return found


@dataclass(frozen=True)
class _Reading:
    """A sidecar's packet, its name, its path in messages, and the notes of what a program might have made it of."""

    packet: bytes | None
    name: Naming
    title: str
    sources: tuple[Record, ...]

    @cached_property
    def made_of(self) -> Record | None:
        """The notes of what a program has made it of; None if it has notes itself."""
        if not self.packet or has_notes(self.packet):
            return None
        return next((record for record in self.sources if is_made_of(self.packet, record, name=self.title)), None)

    @cached_property
    def refused(self) -> tuple[str, ...]:
        return refusals(self.packet, name=self.title, made_of=self.made_of)

    @property
    def has_ours(self) -> bool:
        return self.packet is not None and (has_notes(self.packet) or self.made_of is not None)

    def keywords(self) -> list[Keyword]:
        return user_keywords(self.packet, name=self.title, made_of=self.made_of) if self.packet else []


def existing_sidecars(photo: Path, neighbours: Neighbours) -> tuple[Path | None, Path | None]:
    """The existing sidecars that belong to a photograph, by each name."""
    appended, adobe = _find_named(photo, photo.name), _find_named(photo, photo.stem)
    if adobe == appended or (adobe is not None and not _belongs(adobe, photo, neighbours)):
        adobe = None
    return appended, adobe


def _belongs(sidecar: Path, photo: Path, neighbours: Neighbours) -> bool:
    """Whether ``IMG.xmp`` belongs to a photograph ``IMG.jpg``."""
    ending = _named_ending(sidecar)
    return ending.casefold() == photo.suffix[1:].casefold() if ending else neighbours.owns_stem(photo)


def _named_ending(sidecar: Path) -> str:
    """The ending that a sidecar names as that of its file, without the dot; empty if it names none or cannot be read."""
    with suppress(LeftAloneError, DataError):  # writing will name the fault
        packet = Place.look(sidecar).read(MAX_BYTES) or b""
        if _NAME in decode(packet):
            root = XmpDocument.read(packet, str(sidecar)).root
            values = (one.get(_FOR_ENDING) or (one.text if one.tag == _FOR_ENDING else None) for one in root.iter())
            return next((value.strip().lstrip(".") for value in values if value), "")
    return ""


def _find_named(photo: Path, stem: str) -> Path | None:
    return next((path for ending in ENDINGS if os.path.lexists(path := photo.with_name(stem + ending))), None)
