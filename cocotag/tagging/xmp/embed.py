"""Writes keywords into photographs with exiftool, by the same rules as sidecars, in XMP and IPTC. Does not decode pixels.

`cocotag.tagging.xmp.packets.packet` makes the packet; exiftool reads and writes it, and writes the IPTC keywords. In JPEG
files, cocotag writes the packet itself. Pixels are unchanged. cocotag edits a copy, and checks it before it replaces the
photograph.
"""

from __future__ import annotations

import base64
import os
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import chain, groupby
from pathlib import Path

from cocotag.errors import DataError, MissingExtraError, OutputError
from cocotag.inference.tags import Tag
from cocotag.path_text import show
from cocotag.photos.formats.table import FORMATS, identify
from cocotag.photos.walk import Walk
from cocotag.tagging.decisions.rows import Row
from cocotag.tagging.xmp.exiftool import ExifTool
from cocotag.tagging.xmp.in_place import LeftAloneError, Leftovers, Place, replacing
from cocotag.tagging.xmp.jpeg_packet import exchange_packet
from cocotag.tagging.xmp.packets.document import decode, settled
from cocotag.tagging.xmp.packets.keywords import fold, given_keywords, own_classes
from cocotag.tagging.xmp.packets.packet import Update, fits_iptc, strip, update
from cocotag.tagging.xmp.packets.reading import has_notes
from cocotag.tagging.xmp.photo_keywords import Inside
from cocotag.tagging.xmp.siblings import Neighbours, Sidecars
from cocotag.tagging.xmp.summary import SidecarSummary, counted, diff

_IPTC_FORMATS = frozenset({"JPEG", "MPO", "TIFF", "DNG"})
"""Formats that get new IPTC keywords; existing IPTC keywords are updated in any format."""
_NO_IPTC = 32 * "0"
"""Photoshop's digest of a file without IPTC."""
_HEIC = frozenset(FORMATS["HEIF"].endings)
_BACKUP = "_original"
"""Suffix of the original file, as exiftool itself uses it."""


@dataclass(frozen=True, slots=True)
class _Metadata:
    """Metadata of a photograph.

    Attributes:
        xmp: Its packet, or empty bytes.
        iptc: Its IPTC keywords; None if the format does not get any.
        utf8: Whether IPTC is declared as UTF-8.
        version: IPTC's version, which every block has; empty without IPTC.
        other_iptc: Whether IPTC has more than the version, keywords and their encoding.
        unversioned: Whether the encoding is declared without its version, as some programs do.
        digest: Whether it has Photoshop's digest of IPTC, which tells programs that IPTC was changed without XMP.
    """

    xmp: bytes
    iptc: tuple[str, ...] | None
    utf8: bool
    version: str
    other_iptc: bool
    unversioned: bool
    digest: bool


def embed_keywords(
    rows: Iterable[Row],
    *,
    into: Path | None = None,
    given: Sequence[Path] = (),
    backup: bool = True,
    changed: Callable[[Path], None] | None = None,
) -> SidecarSummary:
    """Write the tags of some photographs into them, or into copies.

    Args:
        rows: As for `write_sidecars`.
        into: Folder for copies; None to change the photographs themselves. A copy that cocotag made is updated; any other
            file in the way is left unchanged and named in the summary.
        given: The given paths: copies have the same paths below ``into`` as the photographs below the common folder of these.
        backup: Keep the original of a changed photograph as ``IMG.jpg_original``, unless that exists.
        changed: Called with each changed photograph, whose size and modification time are new.

    Raises:
        MissingExtraError: exiftool is not installed, or is too old.
        OutputError: The disk is full. All files are intact.
    """
    summary = SidecarSummary(what="photographs with keywords in them" if into is None else "copies with keywords in them")
    summary.beside = beside = SidecarSummary(what="sidecars with the same keywords")
    neighbours = Neighbours()
    common = _common(given)
    leftovers = Leftovers()
    with ExifTool() as tool:
        for photo, of_photo in groupby(rows, key=lambda row: row.path):
            good = [row for row in of_photo if row.status == "ok"]
            if not good:
                summary.skipped += 1
                continue
            tags = [tag for row in good for tag in row.tags]
            with counted(summary):
                source = _look(photo)
                target = source if into is None else Place.look(into / _below(photo, common))
                leftovers.remove_in(target.path.parent)

                updates: list[Update] = []

                def new(
                    name: str, found: _Metadata, photo: Path = photo, tags: list[Tag] = tags, updates: list[Update] = updates
                ) -> Update:
                    inside = Inside(name, (found.xmp,) if found.xmp else (), found.iptc or ())
                    if into is None:  # a program that reads a sidecar does not look into the photograph
                        sidecars = Sidecars.of(photo, "append", neighbours)
                        updates += sidecars.update(tags, beside, inside=inside, only_ours=True)
                    sidecars = Sidecars.of(photo, "append", neighbours)
                    after = update(
                        found.xmp or None,
                        given_keywords(tags),
                        lambda: sidecars.keywords(inside),
                        name=name,
                        iptc=found.iptc,
                        classes=own_classes(tags),
                        refused=sidecars.refused(inside),
                        beside=sidecars.theirs(inside) if into is None else (),
                    )
                    updates.append(after)
                    return after

                summary.heic += photo.suffix.lower() in _HEIC
                try:
                    if into is not None:
                        _copy(tool, source, target, new, summary)
                    elif _rewrite(tool, source, source, new, summary, backup=backup) and changed is not None:
                        changed(photo)
                finally:
                    summary.happened(photo, updates)
    return summary


def untag_embedded(
    paths: Sequence[Path | str],
    *,
    listed: BufferedIOBase | None = None,
    dry_run: bool = False,
    show_diff: Callable[[str], None] | None = None,
) -> SidecarSummary:
    """Remove cocotag's keywords from photographs.

    Args:
        paths: As for `untag`; sidecars among them are ignored.
        listed: The list of paths that ``-`` stands for, as for `Walk`.
        dry_run: Write nothing.
        show_diff: Called with the unified diff of each changed packet.

    Raises:
        MissingExtraError: exiftool is not installed, or is too old.
        DataError: A path does not exist, or a glob has no match.
        OutputError: The disk is full. All files are intact.
    """
    summary = SidecarSummary(what="photographs with keywords in them", dry_run=dry_run)
    summary.beside = beside = SidecarSummary(what="sidecars that were made of them", dry_run=dry_run)
    neighbours, leftovers = Neighbours(), Leftovers()
    with ExifTool() as tool:
        raw: list[Path] = []  # the walk leaves RAW files out where they cannot be decoded; exiftool can write them
        walk = Walk(paths, hidden=True, listed=listed, left_out=raw)
        found = (Path(os.fsdecode(part.prefix + name)) for part in walk for name in part.names)
        for photo in chain((path for path in found if path.suffix.lower() != ".xmp"), raw):
            with counted(summary):
                place = _look(photo)
                if not dry_run:
                    leftovers.remove_in(place.path.parent)
                if not has_notes(place.path.read_bytes()):
                    summary.unchanged += 1
                    continue
                sidecars = Sidecars.of(photo, "append", neighbours)

                def stripped(name: str, found: _Metadata, sidecars: Sidecars = sidecars) -> Update:
                    sidecars.strip_made_of(Inside(name, (found.xmp,)), beside, show_diff)
                    return strip(found.xmp, name=name, iptc=found.iptc) if found.xmp else Update(None, (), found.iptc)

                _rewrite(tool, place, place, stripped, summary, backup=False, show_diff=show_diff)
    return summary


def _look(photo: Path) -> Place:
    place = Place.look(photo)
    if place.status is None:
        raise LeftAloneError("missing", f"{show(photo)} does not exist any more.")
    return place


def _rewrite(
    tool: ExifTool,
    source: Place,
    target: Place,
    new: Callable[[str, _Metadata], Update],
    summary: SidecarSummary,
    *,
    backup: bool,
    show_diff: Callable[[str], None] | None = None,
) -> bool:
    """Rewrite a photograph if its keywords are outdated; returns whether they were."""
    found = _read(tool, source.path)
    after = new(show(source.path), found)
    if _same(found.xmp, after.packet or b"") and Counter(found.iptc) == Counter(after.iptc) and source is target:
        summary.unchanged += 1
        return False
    if show_diff is not None:
        show_diff(diff(source.path, found.xmp or None, after.packet))
    if not summary.dry_run:
        with replacing(target, suffix=_suffix(source.path)) as temporary:
            shutil.copyfile(source.path, temporary)
            if source.status is not None:  # the copy must be writable even if the photograph is read-only
                temporary.chmod(stat.S_IMODE(source.status.st_mode) | stat.S_IWUSR)
            _write(tool, temporary, found, after, source.path)
            source.check()
            if backup and target is source:
                _keep(source.path)
    if target.status is None:
        summary.created += 1
    else:
        summary.updated += 1
    return True


def _copy(
    tool: ExifTool, source: Place, target: Place, new: Callable[[str, _Metadata], Update], summary: SidecarSummary
) -> None:
    """Make a copy, or update a copy that cocotag made."""
    assert source.status is not None
    if target.status is not None:
        same_time = target.status.st_mtime_ns == source.status.st_mtime_ns
        data = target.path.read_bytes()
        if not has_notes(data) and data != source.path.read_bytes():
            raise LeftAloneError("in_the_way", f"{show(target.path)} exists and was not made by cocotag. Move it away.")
        start = target if same_time else source
    else:
        start = source
        target.path.parent.mkdir(parents=True, exist_ok=True)
    if _rewrite(tool, start, target, new, summary, backup=False):
        # The same time as the photograph, as usual for a copy; a later run thus sees whether the photograph has changed.
        os.utime(target.path, ns=(source.status.st_atime_ns, source.status.st_mtime_ns))


def _keep(path: Path) -> None:
    backup = path.with_name(path.name + _BACKUP)
    if os.path.lexists(backup):
        return
    try:
        os.link(path, backup)  # the original file, since a new one replaces it
    except OSError:  # a file system without links
        shutil.copy2(path, backup)


def _read(tool: ExifTool, path: Path) -> _Metadata:
    tags = ("XMP", "IPTC:Keywords", "IPTC:CodedCharacterSet", "IPTC:all", "Photoshop:IPTCDigest", "File:FileType")
    try:
        found = tool.read(path, tags)
    except MissingExtraError:
        raise
    except OutputError as error:
        raise LeftAloneError("exiftool", f"{show(path)} cannot be read by exiftool ({error}).") from None
    words = found.get("Keywords", [])
    iptc = tuple(_word(word) for word in (words if isinstance(words, list) else [words]))
    known = {"SourceFile", "XMP", "Keywords", "CodedCharacterSet", "IPTCDigest", "FileType"}
    ours = {"EnvelopeRecordVersion", "ApplicationRecordVersion"}
    return _Metadata(
        _binary(found.get("XMP", "")),
        iptc if iptc or found.get("FileType") in _IPTC_FORMATS else None,
        found.get("CodedCharacterSet") == "UTF8",
        str(found.get("ApplicationRecordVersion", "")),
        bool(found.keys() - known - ours),
        "CodedCharacterSet" in found and "EnvelopeRecordVersion" not in found,
        "IPTCDigest" in found,
    )


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else _binary(value).decode("utf-8", "replace")


def _binary(value: object) -> bytes:
    text = str(value)
    return base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode("utf-8", "surrogatepass")


def _same(one: bytes, other: bytes) -> bool:
    return one == other or settled(decode(one)) == settled(decode(other))


def _write(tool: ExifTool, path: Path, found: _Metadata, after: Update, photo: Path) -> None:
    """Write the metadata, and read them back.

    Raises:
        LeftAloneError: exiftool cannot write this format, the packet is too large, or the file does not have the expected
            metadata.
    """
    arguments = _iptc_arguments(found, after)
    is_jpeg = identify(path.read_bytes()) == "JPEG"
    if not is_jpeg:
        arguments = [*_xmp_arguments(tool, found, after), *arguments]
    commands = [arguments] if arguments else []
    if found.unversioned and any(one.startswith("-IPTC:Keywords") for one in arguments):
        # exiftool adds a missing version to a record that it writes; a separate command removes it again.
        commands.append(["-IPTC:EnvelopeRecordVersion=", *(["-Photoshop:IPTCDigest=new"] if found.digest else [])])
    try:
        for command in commands:
            answer, errors = tool.run([*command, "-overwrite_original", tool.link(path, own=True)])
            if b"1 image files updated" not in answer:
                raise OutputError(errors or "nothing was written", code="exiftool_failed")
        if is_jpeg and not _same(found.xmp, after.packet or b""):
            path.write_bytes(exchange_packet(path.read_bytes(), after.packet))
        now = _read(tool, path)
    except MissingExtraError:
        raise
    except DataError as error:
        raise LeftAloneError(error.code, f"{show(photo)} cannot hold the keywords ({error}).") from None
    except OutputError as error:
        raise LeftAloneError("exiftool", f"{show(photo)} cannot be written by exiftool ({error}).") from None
    finally:
        path.with_name(f"{path.name}_exiftool_tmp").unlink(missing_ok=True)
    wanted = Counter(map(fold, after.iptc or ()))
    if not _same(now.xmp, after.packet or b"") or Counter(map(fold, now.iptc or ())) != wanted:
        raise LeftAloneError(
            "exiftool", f"{show(photo)} does not have the keywords after exiftool wrote them; it is left unchanged."
        )


def _xmp_arguments(tool: ExifTool, found: _Metadata, after: Update) -> list[str]:
    if _same(found.xmp, after.packet or b""):
        return []
    if after.packet is None:
        return ["-XMP:all="]
    packet = tool.scratch("packet.xmp")
    packet.write_bytes(after.packet)
    return [f"-XMP<={packet}"]


def _iptc_arguments(found: _Metadata, after: Update) -> list[str]:
    before, now = Counter(found.iptc), Counter(after.iptc)
    new, gone = list((now - before).elements()), list((before - now).elements())
    if not new and not gone:
        return []
    arguments: list[str] = []
    # ASCII words are the same in every encoding, so the existing encoding stays, declared or not.
    declared = not found.utf8 and not ((found.version or before) and all(word.isascii() for word in new))
    if new and declared and (found.other_iptc or before):
        # Existing values are in another encoding: exiftool reads them in that encoding and writes them again.
        arguments += ["-tagsFromFile", "@", "-IPTC:all"]
        arguments += [f"-IPTC:Keywords={word}" for word in new]
    else:
        arguments += [f"-IPTC:Keywords+={word}" for word in new]
    arguments += [f"-IPTC:Keywords-={word}" for word in gone]
    if new:
        arguments += ["-IPTC:CodedCharacterSet=UTF8"] if declared else []
    elif not now and not found.other_iptc and found.utf8:  # cocotag's own IPTC block, which it declares as UTF-8
        arguments = ["-IPTC:all="]
    elif not now and not found.other_iptc and found.version:  # a block with only a version, which exiftool would remove
        arguments.append(f"-IPTC:ApplicationRecordVersion={found.version}")
    if found.digest:
        arguments.append(f"-Photoshop:IPTCDigest={_NO_IPTC if arguments == ['-IPTC:all='] else 'new'}")
    return [*arguments, *(["-m"] if not fits_iptc(found.iptc or ()) else [])]


def _suffix(path: Path) -> str:
    """The ending of a temporary file: the photograph's own if its content agrees.

    exiftool refuses to write a file whose ending names another format; with an unknown ending it looks at the content.
    """
    kind = identify(path.read_bytes())
    agrees = kind is None or path.suffix.lower() in FORMATS[kind].endings
    return path.suffix if agrees and path.suffix.isascii() and path.suffix[1:].isalnum() else ".part"


def _common(given: Sequence[Path]) -> Path | None:
    folders = [path.absolute() if path.is_dir() else path.absolute().parent for path in given if path.exists()]
    return Path(os.path.commonpath([os.path.normpath(folder) for folder in folders])) if folders else None


def _below(photo: Path, common: Path | None) -> Path:
    """The path of a copy below the folder of copies."""
    path = Path(os.path.normpath(photo.absolute()))
    if common is not None and path.is_relative_to(common):
        return path.relative_to(common)
    return path.relative_to(path.anchor)
