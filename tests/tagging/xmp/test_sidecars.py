"""The sidecar of a photograph, and atomic changes of the user's files."""

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from own_labels import picture
from xmp_samples import DARKTABLE, DIGIKAM, PACKETS, bag, wrap

from cocotag.errors import DataError, OutputError
from cocotag.inference.tags import Tag
from cocotag.path_text import show
from cocotag.tagging.outputs.write import Row
from cocotag.tagging.xmp import in_place
from cocotag.tagging.xmp.in_place import LeftAloneError, Place
from cocotag.tagging.xmp.packets.document import XmpDocument
from cocotag.tagging.xmp.packets.fields import values
from cocotag.tagging.xmp.photo_keywords import keywords_in
from cocotag.tagging.xmp.sidecars import untag, write_sidecars

DOG, CAT = Tag("dog", 0.9, 18, "animal"), Tag("cat", 0.8, 17, "animal")


def row(path, *tags, **more):
    return Row(Path(path), tags=tags, **more)


def subjects(path):
    from cocotag.tagging.xmp.packets.keywords import SUBJECT

    return values(XmpDocument.read(path.read_bytes(), "").rdf, SUBJECT)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def photo(tmp_path):
    return picture(tmp_path / "IMG.jpg")


def test_new_sidecars_get_the_requested_name(photo):
    summary = write_sidecars([row(photo, DOG)])
    assert (summary.created, summary.ok, files(photo.parent)) == (1, True, ["IMG.jpg", "IMG.jpg.xmp"])
    assert subjects(photo.with_name("IMG.jpg.xmp")) == ["dog"]
    photo.with_name("IMG.jpg.xmp").unlink()
    write_sidecars([row(photo, DOG)], naming="adobe")
    assert files(photo.parent) == ["IMG.jpg", "IMG.xmp"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(photo.with_name("IMG.xmp").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("naming", ["append", "adobe"])
@pytest.mark.parametrize("name", ["IMG.jpg.xmp", "IMG.xmp", "IMG.jpg.XMP", "IMG.XMP"])
def test_an_existing_sidecar_of_either_name_is_updated(photo, naming, name):
    photo.with_name(name).write_text(DIGIKAM)
    assert write_sidecars([row(photo, DOG)], naming=naming).updated == 1
    assert files(photo.parent) == sorted(["IMG.jpg", name])
    assert subjects(photo.with_name(name)) == ["Anna", "Café", "dog"]


@pytest.mark.parametrize(
    ("naming", "written", "left"), [("append", "IMG.jpg.xmp", "IMG.xmp"), ("adobe", "IMG.xmp", "IMG.jpg.xmp")]
)
def test_two_sidecars_are_both_written_and_what_was_empty_gets_the_keywords_of_the_other(photo, naming, written, left):
    photo.with_name(written).write_text(wrap(""))
    photo.with_name(left).write_text(wrap(bag("dc:subject", "Anna")))
    summary = write_sidecars([row(photo, DOG)], naming=naming)
    assert subjects(photo.with_name(written)) == ["Anna", "dog"]
    assert subjects(photo.with_name(left)) == ["Anna", "dog"]
    assert (summary.both, summary.updated) == (1, 2)
    assert "1 photograph has both IMG.jpg.xmp and IMG.xmp" in summary.to_text()
    assert write_sidecars([row(photo, DOG)], naming=naming).unchanged == 2
    untag([photo])
    assert photo.with_name(written).read_text() == wrap("")
    assert photo.with_name(left).read_text() == wrap(bag("dc:subject", "Anna"))


@pytest.mark.parametrize("naming", ["append", "adobe"])
def test_pictures_with_the_same_stem_do_not_share_a_sidecar(tmp_path, naming):
    raw, jpeg = picture(tmp_path / "IMG.jpg").with_name("IMG.cr2"), tmp_path / "IMG.jpg"
    shutil.copy(jpeg, raw)
    (tmp_path / "IMG.xmp").write_text(wrap(bag("dc:subject", "of the RAW file")))
    rows = [row(raw, DOG), row(jpeg, CAT)]
    write_sidecars(rows, naming=naming)
    assert files(tmp_path) == ["IMG.cr2", "IMG.jpg", "IMG.jpg.xmp", "IMG.xmp"]
    assert subjects(tmp_path / "IMG.xmp") == ["of the RAW file", "dog"]
    assert subjects(tmp_path / "IMG.jpg.xmp") == ["cat"]
    assert write_sidecars(rows, naming=naming).unchanged == 2


def test_two_pictures_with_the_same_stem_get_one_sidecar_each(tmp_path):
    rows = [row(picture(tmp_path / "a.jpg"), DOG), row(picture(tmp_path / "a.png"), CAT)]
    write_sidecars(rows, naming="adobe")
    assert files(tmp_path) == ["a.jpg", "a.jpg.xmp", "a.png", "a.png.xmp"]
    odd = picture(tmp_path / "b" / "IMG.jpg"), picture(tmp_path / "b" / "IMG.jpg.png")
    write_sidecars([row(odd[0], DOG), row(odd[1], CAT)], naming="adobe")
    assert files(tmp_path / "b") == ["IMG.jpg", "IMG.jpg.png", "IMG.jpg.png.xmp", "IMG.xmp"]


@pytest.mark.parametrize("naming", ["append", "adobe"])
@pytest.mark.parametrize("ending", ["GPR", "mos", "RAW", "dcr", "SRF", "MOV", "psd", "JXL", "mp4", "cr3", "heic"])
def test_the_sidecar_of_another_file_is_left_alone(photo, ending, naming):
    photo.with_suffix(f".{ending}").touch()
    sidecar = photo.with_name("IMG.xmp")
    sidecar.write_text(DIGIKAM)
    write_sidecars([row(photo, DOG)], naming=naming)
    assert sidecar.read_text() == DIGIKAM
    assert subjects(photo.with_name("IMG.jpg.xmp")) == ["dog"]
    assert untag([photo]).removed == 1
    assert files(photo.parent) == sorted(["IMG.jpg", "IMG.xmp", f"IMG.{ending}"])


@pytest.mark.parametrize("naming", ["append", "adobe"])
@pytest.mark.parametrize("form", ["attribute", "element"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
def test_a_sidecar_that_names_its_files_ending_belongs_to_that_file(photo, form, codec, naming):
    def naming_ending(ending):
        name = "photoshop:SidecarForExtension"
        attributes, fields = (f' {name}="{ending}"', "") if form == "attribute" else ("", f"<{name}>{ending}</{name}>")
        return wrap(fields, f' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"{attributes}')

    sidecar, own = photo.with_name("IMG.xmp"), photo.with_name("IMG.jpg.xmp")
    sidecar.write_text(naming_ending("CR2"), encoding=codec)
    before = sidecar.read_bytes()
    write_sidecars([row(photo, DOG)], naming=naming)
    assert sidecar.read_bytes() == before
    assert subjects(own) == ["dog"]
    own.unlink()
    photo.with_name("IMG.png").touch()  # without the name of the ending, IMG.xmp would belong to neither picture
    sidecar.write_text(naming_ending("JPG"), encoding=codec)
    write_sidecars([row(photo, DOG)], naming=naming)
    assert subjects(sidecar) == ["dog"]
    assert not own.exists()


def test_the_second_time_nothing_is_touched(photo):
    sidecar = photo.with_name("IMG.jpg.xmp")
    sidecar.write_text(DARKTABLE)
    write_sidecars([row(photo, DOG, CAT)])
    os.utime(sidecar, ns=(1, 1))
    before = sidecar.stat()
    for tags in ((DOG, CAT), (Tag("cat", 0.95, 17, "animal"), Tag("dog", 0.91, 18, "animal"))):
        assert write_sidecars([row(photo, *tags)]).unchanged == 1
        after = sidecar.stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_new_tags_replace_old_ones_and_without_tags_the_original_is_restored(photo):
    sidecar = photo.with_name("IMG.jpg.xmp")
    write_sidecars([row(photo, DOG)])
    write_sidecars([row(photo, CAT)])
    assert subjects(sidecar) == ["cat"]
    assert write_sidecars([row(photo)]).removed == 1
    assert files(photo.parent) == ["IMG.jpg"]
    assert write_sidecars([row(photo)]).to_text() == "sidecars: none"
    sidecar.write_text(DIGIKAM)
    write_sidecars([row(photo, DOG)])
    write_sidecars([row(photo)])
    assert sidecar.read_text() == DIGIKAM


def test_several_models_are_one_photographs_tags_and_errors_leave_the_sidecar(photo):
    sidecar = photo.with_name("IMG.jpg.xmp")
    write_sidecars([row(photo, DOG, model="a"), row(photo, CAT, DOG, model="b")])
    assert subjects(sidecar) == ["cat", "dog"]
    before = sidecar.read_bytes()
    summary = write_sidecars([row(photo, status="truncated", error="x"), row(photo.with_name("none.jpg"), DOG)])
    assert sidecar.read_bytes() == before
    assert (summary.skipped, summary.failed["missing"]) == (1, 1)


def test_new_fields_get_the_keywords_of_the_photograph(exiftool, photo):
    exiftool(photo, "-XMP-lr:HierarchicalSubject=People|Anna", "-IPTC:Keywords=Zürich", "-IPTC:CodedCharacterSet=UTF8")
    assert keywords_in(photo) == [("People", "Anna"), ("Zürich",)]
    write_sidecars([row(photo, DOG)])
    assert subjects(photo.with_name("IMG.jpg.xmp")) == ["Anna", "Zürich", "dog"]
    exiftool(photo, "-XMP-lr:HierarchicalSubject=", "-IPTC:Keywords=")
    write_sidecars([row(photo, DOG)])
    assert subjects(photo.with_name("IMG.jpg.xmp")) == ["dog"]


def test_packets_are_found_in_files_without_a_readable_header(tmp_path):
    raw = tmp_path / "a.NEF"
    raw.write_bytes(b"II*\0" + bytes(999) + PACKETS["digikam"] + bytes(99) + PACKETS["one line"] + b"<x:xmpmeta>")
    assert keywords_in(raw)[:2] == [("People", "Anna"), ("Café",)]
    assert ("Beach",) in keywords_in(raw)
    assert keywords_in(tmp_path / "none.nef") == keywords_in(tmp_path / "none.jpg") == []


def test_a_broken_sidecar_is_left_unchanged_and_the_next_is_written(tmp_path):
    photos = [picture(tmp_path / f"{number}.jpg", number) for number in range(9)]
    for photo in photos[:7]:
        photo.with_name(f"{photo.name}.xmp").write_bytes(b"<x:xmpmeta")
    summary = write_sidecars(row(photo, DOG) for photo in photos)
    assert (summary.failed["damaged"], summary.created, summary.ok) == (7, 2, False)
    assert all(photo.with_name(f"{photo.name}.xmp").read_bytes() == b"<x:xmpmeta" for photo in photos[:7])
    text = summary.to_text()
    assert "7 damaged" in text
    assert "0.jpg.xmp" in text
    assert text.endswith("and 2 more")


def test_permissions_attributes_and_links_are_kept(photo):
    real, link = photo.with_name("real.xmp"), photo.with_name("IMG.jpg.xmp")
    real.write_text(DIGIKAM)
    real.chmod(0o640)
    try:
        os.setxattr(real, "user.note", b"mine")
        noted = True
    except OSError:
        noted = False
    link.symlink_to("real.xmp")
    write_sidecars([row(photo, DOG)])
    assert link.is_symlink()
    assert str(link.readlink()) == "real.xmp"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert not noted or os.getxattr(real, "user.note") == b"mine"
    assert "dog" in subjects(real)
    untag([photo])
    assert real.read_text() == DIGIKAM
    real.unlink()
    write_sidecars([row(photo, DOG)])  # the link has no target: created there
    assert link.is_symlink()
    assert subjects(real) == ["dog"]


@pytest.mark.skipif(os.name != "posix", reason="owners are POSIX's")
def test_read_only_files_and_those_of_other_owners_are_left_unchanged(photo):
    sidecar = photo.with_name("IMG.jpg.xmp")
    sidecar.write_text(DIGIKAM)
    sidecar.chmod(0o444)
    summary = write_sidecars([row(photo, DOG)])
    assert summary.failed["read_only"] == 1
    assert "chmod" in summary.to_text()
    assert sidecar.read_text() == DIGIKAM
    sidecar.chmod(0o644)
    write_sidecars([row(photo, DOG)])
    before = sidecar.read_bytes()
    sidecar.chmod(0o444)
    assert untag([photo]).failed["read_only"] == 1
    assert sidecar.read_bytes() == before


@pytest.fixture
def open_folder():
    """A folder that every user may list."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


class as_nobody:
    """Run without the privileges of root, who may write everywhere."""

    def __enter__(self):
        self.root = os.getuid() == 0
        if self.root:
            os.setresgid(65534, 65534, 0)
            os.setresuid(65534, 65534, 0)

    def __exit__(self, *error):
        if self.root:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)


def test_an_unwritable_folder_is_reported_for_each_photograph(open_folder):
    photos = [picture(open_folder / "sub" / f"{number}.jpg") for number in range(2)]
    (open_folder / "sub").chmod(0o555)
    with as_nobody():
        summary = write_sidecars(row(photo, DOG) for photo in photos)
    (open_folder / "sub").chmod(0o755)
    assert summary.failed == {"read_only": 2}
    assert [line.split()[0] for line in summary.to_text().splitlines()[1:]] == [f"{photo}.xmp" for photo in photos]
    assert files(open_folder / "sub") == ["0.jpg", "1.jpg"]


if os.getuid() == 0:  # only root can create files of other users

    def test_owners_are_kept_or_the_file_is_left(open_folder):
        photo = picture(open_folder / "IMG.jpg")
        sidecar = open_folder / "IMG.jpg.xmp"
        sidecar.write_text(DIGIKAM)
        os.chown(sidecar, 1234, 4321)
        write_sidecars([row(photo, DOG)])
        assert (sidecar.stat().st_uid, sidecar.stat().st_gid) == (1234, 4321)
        sidecar.chmod(0o666)
        open_folder.chmod(0o777)
        before = sidecar.read_bytes()
        with as_nobody():
            summary = write_sidecars([row(photo, CAT)])
        assert summary.failed == {"other_owner": 1}
        assert "user 1234" in summary.to_text()
        assert sidecar.read_bytes() == before
        assert files(open_folder) == ["IMG.jpg", "IMG.jpg.xmp"]


def test_a_full_disk_stops_all_and_leaves_the_old_sidecar(photo, monkeypatch):
    sidecar = photo.with_name("IMG.jpg.xmp")
    sidecar.write_text(DIGIKAM)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(in_place, "_copy_attributes", full)
    with pytest.raises(OutputError, match=r"IMG\.jpg\.xmp.*No space left on device") as caught:
        write_sidecars([row(photo, DOG), row(photo.with_name("other.jpg"), DOG)])
    assert caught.value.code == "disk_full"
    assert sidecar.read_text() == DIGIKAM
    assert files(photo.parent) == ["IMG.jpg", "IMG.jpg.xmp"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_differs_from_other_errors(photo, monkeypatch):
    sidecar = photo.with_name("IMG.jpg.xmp")
    sidecar.write_text(DIGIKAM)
    monkeypatch.setattr(Path, "open", lambda self, mode="r", **_: open("/dev/full", "wb", buffering=0))  # noqa: PTH123, SIM115
    with pytest.raises(OutputError) as caught:
        Place.look(sidecar).write(b"x")
    assert caught.value.code == "disk_full"
    monkeypatch.undo()
    assert sidecar.read_text() == DIGIKAM


def test_ctrl_c_leaves_the_old_sidecar_and_nothing_beside_it(photo, monkeypatch):
    sidecar = photo.with_name("IMG.jpg.xmp")
    sidecar.write_text(DIGIKAM)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(in_place, "_copy_attributes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_sidecars([row(photo, DOG)])
    assert files(photo.parent) == ["IMG.jpg", "IMG.jpg.xmp"]
    assert sidecar.read_text() == DIGIKAM


def test_a_sidecar_that_another_program_writes_meanwhile_is_left_unchanged(photo):
    sidecar = photo.with_name("IMG.jpg.xmp")
    sidecar.write_text(DIGIKAM)
    place = Place.look(sidecar)
    sidecar.write_text(DARKTABLE)
    with pytest.raises(LeftAloneError) as caught:
        place.write(b"ours")
    assert caught.value.reason == caught.value.code == "changed"
    with pytest.raises(LeftAloneError) as caught:
        place.remove()
    assert caught.value.code == "changed"
    assert sidecar.read_text() == DARKTABLE
    nothing = Place.look(photo.with_name("new.xmp"))
    photo.with_name("new.xmp").write_text("theirs")
    with pytest.raises(LeftAloneError, match=r"new\.xmp") as caught:
        nothing.write(b"ours")
    assert caught.value.code == "changed"
    assert files(photo.parent) == ["IMG.jpg", "IMG.jpg.xmp", "new.xmp"]


def test_other_than_regular_files_are_left_unchanged(photo):
    photo.with_name("IMG.jpg.xmp").mkdir()
    assert write_sidecars([row(photo, DOG)]).failed == {"not_a_file": 1}
    os.mkfifo(photo.with_name("b.jpg.xmp"))
    assert write_sidecars([row(picture(photo.with_name("b.jpg")), DOG)]).failed == {"not_a_file": 1}
    long = picture(photo.with_name("n" * 250 + ".jpg"))
    assert write_sidecars([row(long, DOG)]).failed.total() == 1
    photo.with_name("c.jpg.xmp").symlink_to("c.jpg.xmp")
    assert write_sidecars([row(picture(photo.with_name("c.jpg")), DOG)]).failed.total() == 1


@pytest.mark.parametrize("name", [b"\xff\xfe.jpg", b"-n.jpg", b"a\nb.jpg", b"a'\"|;$(x).jpg", "ü\u0301.jpg".encode(), b" .jpg"])
def test_files_of_any_name_are_written(tmp_path, name):
    photo = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    shutil.copy(picture(tmp_path / "a.jpg"), photo)
    shown = []
    assert write_sidecars([row(photo, DOG)], show_diff=shown.append).created == 1
    sidecar = Path(f"{photo}.xmp")
    assert subjects(sidecar) == ["dog"]
    assert shown[0].encode()  # can be printed
    assert shown[0].splitlines()[1] == f"+++ {show(sidecar)}"
    assert untag([photo]).removed == 1


def test_names_cannot_send_commands_to_a_terminal():
    assert show("a\x1b[31m\n\u202e") == r"a\x1b[31m\n\u202e"
    assert show(os.fsdecode(b"\xff")) == r"\xff"


def test_dry_run_shows_and_writes_nothing(photo):
    sidecar = photo.with_name("IMG.jpg.xmp")
    sidecar.write_bytes(PACKETS["UTF-16"])
    shown = []
    summary = write_sidecars([row(photo, DOG)], dry_run=True, show_diff=shown.append)
    assert (summary.updated, sidecar.read_bytes()) == (1, PACKETS["UTF-16"])
    assert "+     <rdf:li>dog</rdf:li>" in shown[0].splitlines()
    assert f"--- {sidecar}" in shown[0]
    assert summary.to_text().startswith("sidecars (dry run): ")
    sidecar.unlink()
    write_sidecars([row(photo, DOG)], dry_run=True, show_diff=shown.append)
    assert shown[1].startswith("--- /dev/null\n")
    assert files(photo.parent) == ["IMG.jpg"]


@pytest.mark.parametrize("shape", PACKETS)
def test_tagging_and_untagging_restores_a_sidecar_byte_for_byte(photo, shape):
    sidecar = photo.with_name("IMG.xmp")
    sidecar.write_bytes(PACKETS[shape])
    assert write_sidecars([row(photo, DOG, CAT)]).updated == 1
    assert sidecar.read_bytes() != PACKETS[shape]
    assert untag([photo.parent]).updated == 1
    assert sidecar.read_bytes() == PACKETS[shape]


def test_a_missing_path_stops_before_anything_is_changed(photo):
    write_sidecars([row(photo, DOG)])
    with pytest.raises(DataError, match="none") as caught:
        untag([photo, photo.with_name("none")])
    assert caught.value.code == "path_missing"
    assert files(photo.parent) == ["IMG.jpg", "IMG.jpg.xmp"]


def test_untagging_a_photograph_keeps_the_sidecars_of_others(tmp_path):
    jpeg, raw = picture(tmp_path / "IMG.jpg"), tmp_path / "IMG.cr2"
    raw.write_bytes(b"raw")
    write_sidecars([row(raw, DOG), row(jpeg, CAT)], naming="adobe")
    assert files(tmp_path) == ["IMG.cr2", "IMG.jpg", "IMG.jpg.xmp", "IMG.xmp"]
    assert untag([jpeg]).removed == 1
    assert files(tmp_path) == ["IMG.cr2", "IMG.jpg", "IMG.xmp"]
    assert untag([jpeg]).removed == 0
    assert untag([raw]).removed == 1


def test_a_folder_that_vanishes_while_it_is_walked_is_named_and_the_rest_goes_on(tmp_path, monkeypatch):
    gone, last = picture(tmp_path / "a" / "1.jpg"), picture(tmp_path / "b" / "2.jpg")
    write_sidecars([row(gone, DOG), row(last, DOG)])
    walk = os.walk

    def vanishing(*words, **settings):
        for found in walk(*words, **settings):
            if found[0].endswith("/a"):
                shutil.rmtree(found[0])
            yield found

    monkeypatch.setattr(os, "walk", vanishing)
    summary = untag([tmp_path])
    assert (summary.removed, summary.failed) == (1, {"unreadable": 1})


def test_folders_are_walked_once_despite_links(tmp_path, photo):
    below = picture(tmp_path / "a" / "b" / "c.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / ".hidden").mkdir()
    hidden = picture(tmp_path / "a" / ".hidden" / "d.jpg")
    write_sidecars([row(photo, DOG), row(below, DOG), row(hidden, DOG)])
    summary = untag([tmp_path / "a", tmp_path])
    assert (summary.removed, summary.ok) == (3, True)
    assert not list(tmp_path.rglob("*.xmp"))


def test_a_folder_that_cannot_be_listed_is_named(open_folder):
    write_sidecars([row(picture(open_folder / "IMG.jpg"), DOG)])
    (open_folder / "closed").mkdir()
    (open_folder / "closed").chmod(0)
    open_folder.chmod(0o777)
    shutil.chown(open_folder / "IMG.jpg.xmp", 65534, 65534) if os.getuid() == 0 else None
    with as_nobody():
        summary = untag([open_folder])
    (open_folder / "closed").chmod(0o755)
    assert (summary.removed, summary.failed) == (1, {"unreadable": 1})
    assert "closed" in summary.to_text().splitlines()[1]


def test_broken_sidecars_without_cocotags_notes_are_ignored(tmp_path):
    (tmp_path / "a.xmp").write_bytes(b"<broken")
    assert untag([tmp_path]).ok
    (tmp_path / "b.xmp").write_bytes(b"<broken urn:cocotag:xmp:1.0/")
    summary = untag([tmp_path])
    assert summary.failed == {"damaged": 1}
    assert "b.xmp" in summary.to_text()
