"""Models of photo programs: which sidecar and which fields each reads and writes, as the real ones were seen to do.

reports/photo_programs.md compares them with real programs. A `World` is one photograph with its sidecars; its steps are what
people do in programs and with cocotag, and after each step of cocotag it checks what must hold:

- A keyword of the user's that a program showed is still shown there, unless the user deleted it somewhere.
- A keyword that the user deleted in a program does not return there; a tag that was deleted anywhere is given nowhere.
- Each tag that cocotag gives, and nobody deleted, is shown in every program.
- After `untag`, no program shows a word that the user did not give.
- The same run a second time changes no byte.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import ClassVar

from lxml import etree
from PIL import Image

from cocotag.inference.tags import Tag
from cocotag.tagging.decisions.rows import Row
from cocotag.tagging.xmp.embed import embed_keywords, untag_embedded
from cocotag.tagging.xmp.jpeg_packet import exchange_packet
from cocotag.tagging.xmp.sidecars import untag, write_sidecars
from cocotag.tagging.xmp.summary import SidecarSummary

Keyword = tuple[str, ...]
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
SPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    "mediapro": "http://ns.iview-multimedia.com/mediapro/1.0/",
    "acdsee": "http://ns.acdsee.com/iptc/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
}
FIELDS = {
    "dc": ("subject", "Bag"),
    "lr": ("hierarchicalSubject", "Bag"),
    "digiKam": ("TagsList", "Seq"),
    "MicrosoftPhoto": ("LastKeywordXMP", "Bag"),
    "mediapro": ("CatalogSets", "Bag"),
}
SEPARATORS = {"lr": "|", "digiKam": "/", "MicrosoftPhoto": "/", "mediapro": "|"}
EMPTY = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about=""/></rdf:RDF></x:xmpmeta>'

TAGS = {
    "dog": Tag("dog", 0.9, 18, "animal"),
    "cat": Tag("cat", 0.8, 17, "animal"),
    "cup": Tag("cup", 0.7, 47, "kitchen"),
    "umbrella": Tag("umbrella", 0.6, 28, "accessory"),
}
GERMAN = {
    "dog": Tag("Hund", 0.9, 18, "Tiere", ("dog",)),
    "cat": Tag("Katze", 0.8, 17, "Tiere", ("cat",)),
    "cup": Tag("Tasse", 0.7, 47, "", ("cup",)),
    "umbrella": Tag("Schirm", 0.6, 28, "", ("umbrella",)),
}
WORDS: list[Keyword] = [("Berlin",), ("Orte", "Hafen"), ("Anna",), ("Urlaub", "2024", "Strand"), ("kitchen",)]
"""Keywords that people give; one is also a group of cocotag's."""


def read(packet: bytes | None, prefix: str) -> list[Keyword]:
    """The keywords in one field of a packet."""
    if packet is None:
        return []
    name, _ = FIELDS[prefix]
    found = etree.fromstring(packet).iter(f"{{{SPACES[prefix]}}}{name}")
    texts = [str(item.text or "") for one in found for item in one.iter(f"{{{RDF}}}li")]
    return [tuple(text.split(SEPARATORS[prefix])) if prefix in SEPARATORS else (text,) for text in texts]


def rewritten(packet: bytes | None, fields: Mapping[str, Iterable[Keyword]], *, categories: str | None = None) -> bytes:
    """A packet as a program with Exiv2 writes it: some fields anew, the others kept, simple properties as attributes."""
    root = etree.fromstring(packet if packet is not None else EMPTY.encode())
    rdf = next(root.iter(f"{{{RDF}}}RDF"))
    first = rdf[0] if len(rdf) else etree.SubElement(rdf, f"{{{RDF}}}Description")
    for description in list(rdf):
        for one in list(description):
            prefix = next((prefix for prefix, uri in SPACES.items() if one.tag.startswith(f"{{{uri}}}")), "")
            if prefix in fields or (prefix == "acdsee" and categories is not None):
                description.remove(one)
            elif not len(one):
                first.set(one.tag, one.text or "")
                description.remove(one)
            elif description is not first:
                first.append(one)
        for name, value in description.attrib.items():
            first.set(name, value)
        if description is not first:
            rdf.remove(description)
    for prefix, keywords in fields.items():
        name, kind = FIELDS[prefix]
        texts = [keyword[-1] if prefix == "dc" else SEPARATORS[prefix].join(keyword) for keyword in keywords]
        if texts:
            one = etree.SubElement(first, f"{{{SPACES[prefix]}}}{name}", nsmap={prefix: SPACES[prefix]})
            holder = etree.SubElement(one, f"{{{RDF}}}{kind}")
            for text in dict.fromkeys(texts):
                etree.SubElement(holder, f"{{{RDF}}}li").text = text
    if categories:
        first.set(f"{{{SPACES['acdsee']}}}categories", categories)
    return etree.tostring(root)


def leaves(keywords: Iterable[Keyword]) -> set[str]:
    """The last levels."""
    return {keyword[-1] for keyword in keywords}


class Program:
    """A photo program; ``keywords`` is what it shows after reading the files anew."""

    name: ClassVar[str]
    writes: ClassVar[bool] = True

    def packet(self, world: World) -> bytes | None:
        """The packet that it reads: for most, that of the photograph."""
        return world.embedded

    def keywords(self, world: World) -> list[Keyword]:
        raise NotImplementedError

    def write(self, world: World, keywords: list[Keyword]) -> None:
        """Write these keywords, as after an edit."""


def first_of(packet: bytes | None, *prefixes: str) -> list[Keyword]:
    """The keywords of the first field that is not empty."""
    return next((found for prefix in prefixes if (found := read(packet, prefix))), [])


class Darktable(Program):
    """Reads IMG.jpg.xmp; where there is none, the photograph, and both fields of IMG.xmp. Writes all levels to dc, and lr."""

    name = "darktable"

    def packet(self, world: World) -> bytes | None:
        return next((one for one in (world.appended, world.adobe) if one is not None), world.embedded)

    def keywords(self, world: World) -> list[Keyword]:
        if world.appended is not None or world.adobe is None:
            return first_of(self.packet(world), "lr", "dc")
        found = [*first_of(world.embedded, "lr", "dc"), *read(world.adobe, "lr"), *read(world.adobe, "dc")]
        return list(dict.fromkeys(found))

    def write(self, world: World, keywords: list[Keyword]) -> None:
        levels = [(level,) for keyword in keywords for level in keyword]
        world.appended = rewritten(world.appended, {"dc": levels, "lr": keywords})


def category(keyword: Keyword) -> str:
    """ACDSee's XML of one keyword: the last level applies."""
    levels = [f'<Category Assigned="{int(number == len(keyword))}">{escape(level)}' for number, level in enumerate(keyword, 1)]
    return "".join(levels) + "</Category>" * len(keyword)


class DigiKam(Program):
    """Reads IMG.xmp where there is one; writes all fields, also those that repeat."""

    name = "digiKam"

    def packet(self, world: World) -> bytes | None:
        return next((one for one in (world.adobe, world.appended) if one is not None), world.embedded)

    def keywords(self, world: World) -> list[Keyword]:
        return first_of(self.packet(world), "digiKam", "MicrosoftPhoto", "lr", "mediapro", "dc")

    def write(self, world: World, keywords: list[Keyword]) -> None:
        fields = dict.fromkeys(FIELDS, keywords)
        text = f"<Categories>{''.join(map(category, keywords))}</Categories>" if keywords else ""
        if world.adobe is not None:
            world.adobe = rewritten(world.adobe, fields, categories=text)
        else:
            world.appended = rewritten(world.appended, fields, categories=text)


class Immich(Program):
    """Reads the first of TagsList, lr and dc that is not empty, of IMG.jpg.xmp before IMG.xmp; writes TagsList alone."""

    name = "Immich"

    def packet(self, world: World) -> bytes | None:
        return next((one for one in (world.appended, world.adobe) if one is not None), world.embedded)

    def keywords(self, world: World) -> list[Keyword]:
        return first_of(self.packet(world), "digiKam", "lr", "dc")

    def write(self, world: World, keywords: list[Keyword]) -> None:
        if world.appended is None and world.adobe is not None:
            world.adobe = rewritten(world.adobe, {"digiKam": keywords})
        else:
            world.appended = rewritten(world.appended, {"digiKam": keywords})


class Lightroom(Program):
    """For a JPEG, reads and writes the photograph alone: dc:subject and lr:hierarchicalSubject."""

    name = "Lightroom"

    def keywords(self, world: World) -> list[Keyword]:
        return first_of(world.embedded, "lr", "dc")

    def write(self, world: World, keywords: list[Keyword]) -> None:
        world.embedded = rewritten(world.embedded, {"dc": keywords, "lr": keywords})


class GThumb(Program):
    """Reads IMG.xmp alone, and writes a place of its own."""

    name = "gThumb"
    writes = False

    def keywords(self, world: World) -> list[Keyword]:
        return first_of(world.adobe, "dc")


class Shotwell(Program):
    """Reads the photograph alone, dc:subject and lr both, and writes into its database."""

    name = "Shotwell"
    writes = False

    def keywords(self, world: World) -> list[Keyword]:
        return [*read(world.embedded, "dc"), *read(world.embedded, "lr")]


PROGRAMS: tuple[Program, ...] = (Darktable(), DigiKam(), Immich(), Lightroom(), GThumb(), Shotwell())
SIDECARS, INSIDE = {"darktable", "digiKam", "Immich"}, {"Lightroom", "Shotwell"}
Views = dict[str, set[str]]


class Broken(AssertionError):
    """Something that must hold does not."""


@dataclass
class World:
    """One photograph, its sidecars, and what the user has done to its keywords.

    Attributes:
        folder: An empty folder.
        given: Words that the user has given at any time, with all their levels.
        deleted: Program -> words that the user deleted there.
        seen: What each program showed after cocotag's last run: of other words, cocotag cannot know that they were deleted.
        refused: Tag -> program in which it was deleted.
        lost: Words that were deleted in any program, or that a program wrote over without knowing them.
        unsure: Tags that were deleted in a way in which a database would remove them, too: they may return.
        library: What darktable's database has, once the photograph is in it.
        steps: What was done, for the message.
    """

    folder: Path
    given: set[str] = field(default_factory=set)
    deleted: dict[str, set[str]] = field(default_factory=lambda: {one.name: set() for one in PROGRAMS})
    seen: Views = field(default_factory=lambda: {one.name: set() for one in PROGRAMS})
    refused: dict[str, str] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    library: list[Keyword] | None = None
    ours: set[str] = field(default_factory=set)
    steps: list[str] = field(default_factory=list)
    both: bool = False

    def __post_init__(self) -> None:
        """Make the photograph."""
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, "JPEG")
        self.photo.write_bytes(buffer.getvalue())

    @property
    def photo(self) -> Path:
        """The photograph."""
        return self.folder / "IMG.jpg"

    def _get(self, name: str) -> bytes | None:
        path = self.folder / name
        return path.read_bytes() if path.exists() else None

    @property
    def appended(self) -> bytes | None:
        """The packet of IMG.jpg.xmp."""
        return self._get("IMG.jpg.xmp")

    @appended.setter
    def appended(self, packet: bytes) -> None:
        (self.folder / "IMG.jpg.xmp").write_bytes(packet)

    @property
    def adobe(self) -> bytes | None:
        """The packet of IMG.xmp."""
        return self._get("IMG.xmp")

    @adobe.setter
    def adobe(self, packet: bytes) -> None:
        (self.folder / "IMG.xmp").write_bytes(packet)

    @property
    def embedded(self) -> bytes | None:
        """The packet in the photograph."""
        with Image.open(self.photo) as image:
            return image.info.get("xmp")

    @embedded.setter
    def embedded(self, packet: bytes) -> None:
        self.photo.write_bytes(exchange_packet(self.photo.read_bytes(), packet))

    def views(self) -> Views:
        """What each program shows."""
        return {program.name: leaves(program.keywords(self)) for program in PROGRAMS}

    def words(self) -> set[str]:
        """All levels of all keywords in all files."""
        packets = (self.appended, self.adobe, self.embedded)
        return {level for packet in packets for prefix in FIELDS for keyword in read(packet, prefix) for level in keyword}

    # Steps in programs

    def edit(self, program: Program, change: Callable[[list[Keyword]], list[Keyword]], *, stale: bool = False) -> None:
        """Read the files, change the keywords, write them.

        Args:
            program: A program that writes.
            change: The change.
            stale: darktable does not read the file again before. That is only done where its database never had tags of
                cocotag's: then it writes the user's own keywords over them.
        """
        before = self.views()
        if isinstance(program, Darktable):
            if self.library is None:
                self.library = program.keywords(self)
                program.write(self, self.library)
            overwrites = stale and not leaves(self.library) & self.ours
            keywords = self.library if overwrites else program.keywords(self)
        else:
            overwrites, keywords = False, program.keywords(self)
        now = change(keywords)
        program.write(self, now)
        if isinstance(program, Darktable):
            self.library = now
        removed = leaves(keywords) - leaves(now)
        self._note(program, removed, {level for keyword in now if keyword not in keywords for level in keyword})
        self.lost |= {level for keyword in keywords for level in keyword} - {level for keyword in now for level in keyword}
        after = self.views()
        for name, words in before.items():
            self.lost |= words - after[name] - removed
        if overwrites:
            self.lost |= self.given - leaves(now)
        for name, words in self.deleted.items():
            words -= after[name]
        back = {tag for tag, where in self.refused.items() if tag in after[where]}  # another program did not know of it
        self.unsure |= back
        self.refused = {tag: where for tag, where in self.refused.items() if tag not in back}

    def _note(self, program: Program, removed: set[str], added: set[str]) -> None:
        self.given |= added
        self.lost = self.lost | removed - added
        for words in self.deleted.values():
            words -= added
        self.deleted[program.name] |= removed & self.seen[program.name]
        for word in added:
            self.refused.pop(word, None)
            self.unsure.discard(word)
        for word in removed & self.ours - self.given:
            self.refused[word] = program.name

    # Steps of cocotag

    def tag(self, tags: Iterable[Tag], *, naming: str = "append", embed: bool = False) -> None:
        """Tag, and check what must hold."""
        tags = list(tags)
        before = self.views()
        if not any(b"urn:cocotag" in packet for packet in (self.appended, self.adobe, self.embedded) if packet):
            for words in self.deleted.values():  # what was deleted before cocotag's first notes cannot be known
                words.clear()
            self.refused.clear()
        for name, words in self.deleted.items():
            packet = BY_NAME[name].packet(self)
            if packet is None or (b"urn:cocotag" not in packet and not self.ours & leaves(BY_NAME[name].keywords(self))):
                words.clear()
        excused = self._ambiguous()
        rows = [Row(self.photo, tags=tuple(tags))]
        summary = self._run(rows, naming, embed=embed)
        if not summary.ok:
            raise Broken(f"{self.steps}: {summary.to_text()}")
        after = self.seen = self.views()
        files = self._files()
        self._run(rows, naming, embed=embed)
        if self._files() != files:
            raise Broken(f"{self.steps}: a second run changes files")
        given = {one.name for one in tags}
        self.ours |= given
        refused = set(self.refused) | self.unsure | self._refused_classes()
        for name in BY_NAME:
            shown = {level for keyword in BY_NAME[name].keywords(self) for level in keyword}
            left = shown if given - refused else self.words()  # copies go as with untag
            lost = (before[name] & self.given) - left - self.lost
            if lost:
                raise Broken(f"{self.steps}: {name} no longer shows {lost}")
            returned = (self.deleted[name] - before[name] - excused) & after[name]
            if name in ("digiKam", "Immich") and not read(BY_NAME[name].packet(self), "digiKam"):
                returned = set()  # with the last keyword of its field gone, it reads another field
            if not embed and BY_NAME[name].packet(self) == self.embedded:
                continue  # an earlier run has written into the photograph, this one beside it
            if returned:
                raise Broken(f"{self.steps}: {name} shows {returned} again")
            again = set(self.refused) & given & after[name] - before[name] - excused
            if again:
                raise Broken(f"{self.steps}: {name} shows {again}, which was deleted in another program")
        readers = SIDECARS if not embed else INSIDE if self.appended or self.adobe else SIDECARS | INSIDE
        for name in sorted(readers):
            missing = given - after[name] - refused - set().union(*self.deleted.values())
            if missing:
                raise Broken(f"{self.steps}: {name} does not show {missing}")
        for tag in excused & set(self.refused):
            del self.refused[tag]
            self.unsure.add(tag)
        for words in self.deleted.values():
            words -= excused

    def _refused_classes(self) -> set[str]:
        """Tags whose class was deleted under another name."""
        names = {**{one.name: one for one in TAGS.values()}, **{one.name: one for one in GERMAN.values()}}
        gone = {name for tag in {*self.refused, *self.unsure} if tag in names for name in (names[tag].classes or (tag,))}
        return {name for name, one in names.items() if set(one.classes or (name,)) <= gone}

    def _ambiguous(self) -> set[str]:
        """Words that were deleted so that it looks like a database that never had them, or with the whole field."""
        found: set[str] = set()
        inside = self.embedded
        for packet in (self.appended, self.adobe, inside):
            shared = leaves([*read(packet, "dc"), *read(packet, "lr")])
            listed = leaves(read(packet, "digiKam"))
            if listed & self.ours and not shared & self.ours:
                found |= listed
            if not shared or not listed:
                found |= shared | listed
            sidecar = packet is not None and packet is not inside
            if sidecar and b"urn:cocotag" not in packet and not (shared | listed) & self.ours:
                found |= self.ours  # nothing says that a program made it of what has cocotag's keywords
        return found

    def untag(self, *, embed: bool = False) -> None:
        """Remove everything of cocotag's, and check that only the user's words are left."""
        before = self.views()
        summaries = [untag_embedded([self.photo])] if embed else []
        summaries.append(untag([self.folder]))
        if not all(one.ok for one in summaries):
            raise Broken(f"{self.steps}: {[one.to_text() for one in summaries]}")
        inside = embed or not self.embedded or b"urn:cocotag" not in self.embedded
        after = self.seen = self.views()
        for name, words in after.items():
            if inside and words - self.given:
                raise Broken(f"{self.steps}: after untag, {name} shows {words - self.given}")
        kept = set().union(*before.values()) & self.given - self.lost
        if kept - self.words():
            raise Broken(f"{self.steps}: after untag, {kept - self.words()} is nowhere")

    def _run(self, rows: list[Row], naming: str, *, embed: bool) -> SidecarSummary:
        if embed:
            return embed_keywords(rows, backup=False)
        return write_sidecars(rows, naming=naming)  # type: ignore[arg-type]

    def _files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


BY_NAME = {program.name: program for program in PROGRAMS}


class WithoutExifTool:
    """Stands in for exiftool where only the packet of a JPEG is read, which takes a hundredth of the time."""

    def __enter__(self) -> WithoutExifTool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, path: Path, tags: object) -> dict[str, object]:
        """The packet, as exiftool's JSON has it."""
        with Image.open(path) as image:
            packet = image.info.get("xmp")
        return {"FileType": "JPEG", **({"XMP": packet.decode()} if packet else {})}


Step = tuple[object, ...]


def do(world: World, step: Step) -> None:
    """Do one step of a sequence."""
    world.steps.append(repr(step))
    what, *more = step
    match what:
        case "tag" | "rename":
            names = TAGS if what == "tag" else GERMAN
            tags, how = more
            world.tag([names[one] for one in tags], naming="adobe" if how == "adobe" else "append", embed=how == "embed")
        case "untag":
            world.untag(embed=True)
        case _:
            program = BY_NAME[str(what)]
            action, number, stale = more
            word = WORDS[number % len(WORDS)]

            def change(keywords: list[Keyword]) -> list[Keyword]:
                rest = [keyword for keyword in keywords if keyword[-1] != word[-1]]
                if action == "add":
                    return keywords if len(rest) < len(keywords) else [*keywords, word]
                if action == "rate" or not keywords:
                    return keywords
                gone = sorted(keywords)[number % len(keywords)]
                kept = [keyword for keyword in keywords if keyword[-1] != gone[-1]]
                return [*kept, word] if action == "rename" and word not in kept else kept

            world.edit(program, change, stale=bool(stale))
