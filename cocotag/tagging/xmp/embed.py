"""Keywords into photographs themselves, by exiftool: the same rules as for sidecars, XMP and IPTC in step. Decodes no pixels.

The packet is made by `cocotag.tagging.xmp.packet`; exiftool takes it out and puts it in, and writes IPTC's keywords. Pixels are
not touched. A photograph is changed in a copy, which takes its place once it has been read back and holds what it should.
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
from itertools import groupby
from pathlib import Path

from cocotag.errors import DataError, MissingExtraError, OutputError
from cocotag.inference.tags import Tag
from cocotag.path_text import show
from cocotag.photos.walk import Walk
from cocotag.tagging.decisions.rows import Row
from cocotag.tagging.xmp.document import MAX_BYTES, decode, settled
from cocotag.tagging.xmp.exiftool import ExifTool
from cocotag.tagging.xmp.in_place import LeftAloneError, Leftovers, Place, replacing
from cocotag.tagging.xmp.jpeg_packet import EXTENDED, exchange_packet
from cocotag.tagging.xmp.keywords import Keyword, fold, given_keywords, own_classes
from cocotag.tagging.xmp.packet import Update, fits_iptc, strip, update, user_keywords
from cocotag.tagging.xmp.sidecars import MARKS, Neighbours, SidecarSummary, choose, counted, diff

_IPTC_FORMATS = frozenset({"JPEG", "MPO", "TIFF", "DNG"})
"""What IPTC keywords are begun in; where there are some already they are kept in step in any format."""
_NO_IPTC = 32 * "0"
"""Photoshop's digest where there is none."""
_BACKUP = "_original"
"""exiftool's own ending for the file as it was."""


@dataclass(frozen=True, slots=True)
class _Metadata:
    """What a photograph holds.

    Attributes:
        xmp: Its packet; empty if there is none.
        iptc: Its IPTC keywords; None in a format that has none.
        utf8: IPTC is declared to be UTF-8.
        version: IPTC's version, of which there is one in every block; empty if there is none.
        other_iptc: There is more in it than that, keywords and their encoding.
        unversioned: Its encoding is declared without the version that goes with it, as some programs do.
        digest: Photoshop's digest of IPTC is there, by which programs see whether IPTC was changed without XMP.
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
        into: Folder for copies; None to change the photographs themselves. A copy that cocotag made is brought up to date; any
            other file that is in the way is left as it is, and named.
        given: The paths that were asked for: copies lie below ``into`` as the photographs lie below what these have in common.
        backup: Keep a changed photograph as it was, as ``IMG.jpg_original``, unless there is one already.
        changed: Gets each photograph that was changed: its size and modification time are new.

    Raises:
        MissingExtraError: exiftool is not installed, or too old.
        OutputError: The disk is full. What is done so far is whole.
    """
    summary = SidecarSummary(what="photographs with keywords in them" if into is None else "copies with keywords in them")
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

                def new(name: str, found: _Metadata, photo: Path = photo, tags: list[Tag] = tags) -> Update:
                    return update(
                        found.xmp or None,
                        given_keywords(tags),
                        lambda: _in_sidecars(photo, neighbours),
                        name=name,
                        iptc=found.iptc,
                        classes=own_classes(tags),
                    )

                if into is None:
                    if _rewrite(tool, source, source, new, summary, backup=backup) and changed is not None:
                        changed(photo)
                else:
                    _copy(tool, source, target, new, summary)
    return summary


def untag_embedded(
    paths: Sequence[Path | str],
    *,
    listed: BufferedIOBase | None = None,
    dry_run: bool = False,
    show_diff: Callable[[str], None] | None = None,
) -> SidecarSummary:
    """Take out of photographs what cocotag put into them.

    Args:
        paths: As for `untag`; sidecars among them are passed over.
        listed: What a path ``-`` stands for, as for `Walk`.
        dry_run: Write nothing.
        show_diff: Gets what changes in each packet, as a unified diff.

    Raises:
        MissingExtraError: exiftool is not installed, or too old.
        DataError: One of the paths does not exist, or a glob has no match.
        OutputError: The disk is full. What is done so far is whole.
    """
    summary = SidecarSummary(what="photographs with keywords in them", dry_run=dry_run)
    leftovers = Leftovers()
    with ExifTool() as tool:
        parts = ((part.prefix, name) for part in Walk(paths, hidden=True, listed=listed) for name in part.names)
        for photo in (Path(os.fsdecode(prefix + name)) for prefix, name in parts if not name.lower().endswith(b".xmp")):
            with counted(summary):
                place = _look(photo)
                if not dry_run:
                    leftovers.remove_in(place.path.parent)
                if not _has_ours(place.path.read_bytes()):
                    summary.unchanged += 1
                    continue
                _rewrite(tool, place, place, _stripped, summary, backup=False, show_diff=show_diff)
    return summary


def _stripped(name: str, found: _Metadata) -> Update:
    return strip(found.xmp, name=name, iptc=found.iptc) if found.xmp else Update(None, (), found.iptc)


def _has_ours(data: bytes) -> bool:
    """Is there a packet of ours in a photograph? exiftool puts packets in as they are, never compressed."""
    return any(mark in data for mark in MARKS)


def _look(photo: Path) -> Place:
    place = Place.look(photo)
    if place.status is None:
        raise LeftAloneError("missing", f"{show(photo)} is not there any more.")
    return place


def _in_sidecars(photo: Path, neighbours: Neighbours) -> list[Keyword]:
    place, other = choose(photo, "append", neighbours)
    places = [place] if other is None else [place, Place.look(other)]
    packets = [packet for one in places if (packet := one.read(MAX_BYTES))]
    return [keyword for packet in packets for keyword in user_keywords(packet, name=show(photo))]


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
    """Write a photograph anew if its keywords are not as they should be; whether they were not is returned."""
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
            if source.status is not None:  # a copy can be brought up to date, also one of a photograph that is read-only
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
    """Make a copy, or bring one up to date that cocotag has made."""
    assert source.status is not None
    if target.status is not None:
        same_time = target.status.st_mtime_ns == source.status.st_mtime_ns
        data = target.path.read_bytes()
        if not _has_ours(data) and data != source.path.read_bytes():
            raise LeftAloneError("in_the_way", f"{show(target.path)} is there already, and not from cocotag. Move it away.")
        start = target if same_time else source
    else:
        start = source
        target.path.parent.mkdir(parents=True, exist_ok=True)
    if _rewrite(tool, start, target, new, summary, backup=False):
        # As a copy's should be, and by it one sees later whether the photograph has changed.
        os.utime(target.path, ns=(source.status.st_atime_ns, source.status.st_mtime_ns))


def _keep(path: Path) -> None:
    backup = path.with_name(path.name + _BACKUP)
    if os.path.lexists(backup):
        return
    try:
        os.link(path, backup)  # the file itself: what takes its place is another
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
    """Let exiftool write, and read back what it wrote.

    Raises:
        LeftAloneError: It cannot write this format, or what is in the file then is not what should be.
    """
    arguments = _iptc_arguments(found, after)
    in_parts = EXTENDED in found.xmp and after.packet is not None
    if not in_parts:
        arguments = [*_xmp_arguments(tool, found, after), *arguments]
    commands = [arguments] if arguments else []
    if found.unversioned and any(one.startswith("-IPTC:Keywords") for one in arguments):
        # exiftool adds what is missing in a part that it writes, and takes it out again when asked to by itself.
        commands.append(["-IPTC:EnvelopeRecordVersion=", *(["-Photoshop:IPTCDigest=new"] if found.digest else [])])
    try:
        for command in commands:
            answer, errors = tool.run([*command, "-overwrite_original", tool.link(path, own=True)])
            if b"1 image files updated" not in answer:
                raise OutputError(errors or "nothing was written")
        if in_parts and after.packet is not None:
            path.write_bytes(exchange_packet(path.read_bytes(), after.packet))
        now = _read(tool, path)
    except MissingExtraError:
        raise
    except (OutputError, DataError) as error:
        raise LeftAloneError("exiftool", f"{show(photo)} cannot be written by exiftool ({error}).") from None
    finally:
        path.with_name(f"{path.name}_exiftool_tmp").unlink(missing_ok=True)
    wanted = Counter(map(fold, after.iptc or ()))
    if not _same(now.xmp, after.packet or b"") or Counter(map(fold, now.iptc or ())) != wanted:
        raise LeftAloneError("exiftool", f"{show(photo)} cannot hold its keywords, says exiftool; it is left as it is.")


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
    # Words in ASCII are the same in every encoding: that of what is there stays, and undeclared if it was.
    declared = not found.utf8 and not ((found.version or before) and all(word.isascii() for word in new))
    if new and declared and (found.other_iptc or before):
        # What is there is in another encoding: it is read in that and written again.
        arguments += ["-tagsFromFile", "@", "-IPTC:all"]
        arguments += [f"-IPTC:Keywords={word}" for word in new]
    else:
        arguments += [f"-IPTC:Keywords+={word}" for word in new]
    arguments += [f"-IPTC:Keywords-={word}" for word in gone]
    if new:
        arguments += ["-IPTC:CodedCharacterSet=UTF8"] if declared else []
    elif not now and not found.other_iptc and found.utf8:  # as is declared where IPTC is begun
        arguments = ["-IPTC:all="]
    elif not now and not found.other_iptc and found.version:  # was all there was: exiftool would take it away
        arguments.append(f"-IPTC:ApplicationRecordVersion={found.version}")
    if found.digest:
        arguments.append(f"-Photoshop:IPTCDigest={_NO_IPTC if arguments == ['-IPTC:all='] else 'new'}")
    return [*arguments, *(["-m"] if not fits_iptc(found.iptc or ()) else [])]


def _suffix(path: Path) -> str:
    return path.suffix if path.suffix.isascii() and path.suffix[1:].isalnum() else ".part"


def _common(given: Sequence[Path]) -> Path | None:
    folders = [path.absolute() if path.is_dir() else path.absolute().parent for path in given if path.exists()]
    return Path(os.path.commonpath([os.path.normpath(folder) for folder in folders])) if folders else None


def _below(photo: Path, common: Path | None) -> Path:
    """Where a copy lies below the folder of copies."""
    path = Path(os.path.normpath(photo.absolute()))
    if common is not None and path.is_relative_to(common):
        return path.relative_to(common)
    return path.relative_to(path.anchor)
