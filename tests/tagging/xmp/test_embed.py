"""Keywords in photographs, written by the real exiftool: pixels and the user's keywords stay, cocotag's can be removed."""

import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from own_labels import picture
from PIL import Image
from xmp_samples import DIGIKAM, bag, wrap

from cocotag.errors import MissingExtraError, OutputError
from cocotag.inference.tags import Tag
from cocotag.photos.decode import decode
from cocotag.tagging.outputs.write import Row
from cocotag.tagging.xmp import exiftool as module
from cocotag.tagging.xmp.embed import embed_keywords, untag_embedded
from cocotag.tagging.xmp.exiftool import ExifTool, find_exiftool
from cocotag.tagging.xmp.packets.keywords import clean
from cocotag.tagging.xmp.photo_keywords import keywords_in
from cocotag.tagging.xmp.sidecars import write_sidecars

DOG, PERSON, CAT = Tag("dog", 0.9, 18, "animal"), Tag("person", 0.8, 1, "person"), Tag("cat", 0.8, 17, "animal")
FIELDS = ("XMP-dc:Subject", "XMP-lr:HierarchicalSubject", "XMP-digiKam:TagsList", "IPTC:Keywords")
FORMATS = ("jpg", "tif", "png", "webp", "gif", "avif", "heic", "jp2")

pytestmark = pytest.mark.usefixtures("exiftool")


def row(path, *tags, **more):
    return Row(Path(path), tags=tags, **more)


def held(path):
    """The keywords that exiftool reads in each field, after it has validated the file."""
    words = [
        "exiftool",
        "-j",
        "-G1",
        "-struct",
        "-a",
        "-validate",
        *(f"-{field}" for field in FIELDS),
        "-IPTC:CodedCharacterSet",
    ]
    found = json.loads(subprocess.run([*words, path], capture_output=True, check=True).stdout)[0]
    lists = [found.get(field, []) for field in FIELDS]
    return [[str(one) for one in (words if isinstance(words, list) else [words])] for words in lists]


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def in_format(path, ending):
    pillow_heif.register_heif_opener()
    with Image.open(picture(path.parent / "made" / "a.png", size=(64, 48))) as image:
        image.save(path.with_suffix(f".{ending}"))
    return path.with_suffix(f".{ending}")


@pytest.fixture
def photo(tmp_path):
    return picture(tmp_path / "photos" / "IMG.jpg", size=(64, 48))


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_takes_the_keywords_and_keeps_its_pixels(tmp_path, ending):
    photo = in_format(tmp_path / "IMG", ending)
    before, pixels = photo.read_bytes(), decode(photo)
    changed = []
    assert embed_keywords([row(photo, DOG, PERSON)], changed=changed.append).updated == 1
    assert changed == [photo]
    assert held(photo) == [["dog", "person"], ["animal|dog", "person"], ["animal/dog", "person"], []]
    np.testing.assert_array_equal(decode(photo), pixels)
    assert photo.with_name(f"{photo.name}_original").read_bytes() == before
    os.utime(photo, ns=(1, 1))
    assert embed_keywords([row(photo, DOG, PERSON)], changed=changed.append).unchanged == 1
    assert photo.stat().st_mtime_ns == 1
    assert len(changed) == 1
    assert keywords_in(photo) == []  # cocotag's are not the user's
    embed_keywords([row(photo, CAT)])
    assert held(photo)[:1] == [["cat"]]
    assert photo.with_name(f"{photo.name}_original").read_bytes() == before  # the first stays
    assert untag_embedded([photo]).updated == 1
    assert held(photo) == [[], [], [], []]
    np.testing.assert_array_equal(decode(photo), pixels)
    assert untag_embedded([photo]).unchanged == 1
    assert files(tmp_path) == [photo.name, f"{photo.name}_original", "made"]


def test_real_photographs_are_validated_and_keep_their_pixels(coco_mini, tmp_path):
    photos = [Path(shutil.copy(source, tmp_path)) for source in sorted((coco_mini / "val").iterdir())[:4]]
    for photo in photos:
        photo.chmod(0o644)
    pixels = [decode(photo) for photo in photos]
    assert embed_keywords([row(photo, DOG) for photo in photos], backup=False).updated == 4
    words = ["exiftool", "-validate", "-warning", "-error", "-a", "-s3", *photos]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert told.count("OK") == 4, told
    for photo, before in zip(photos, pixels, strict=True):
        np.testing.assert_array_equal(decode(photo), before)
    assert files(tmp_path) == sorted(photo.name for photo in photos)  # no backups


def test_the_users_keywords_stay_in_every_field_and_in_new_ones(exiftool, photo):
    write = ["-XMP-lr:HierarchicalSubject=People|Anna", "-IPTC:Keywords=Zürich", "-IPTC:CodedCharacterSet=UTF8"]
    exiftool(photo, *write, "-XMP:Rating=4", "-IPTC:City=Zürich")
    photo.with_name("IMG.jpg.xmp").write_text(wrap(bag("dc:subject", "Beach", "DOG")))
    embed_keywords([row(photo, DOG, PERSON)], backup=False)
    assert held(photo) == [
        ["Anna", "Zürich", "Beach", "DOG", "person"],
        ["People|Anna", "animal|dog", "person"],
        ["People/Anna", "Zürich", "Beach", "DOG", "person"],
        ["Zürich", "dog", "person"],
    ]
    untag_embedded([photo])
    assert held(photo) == [[], ["People|Anna"], [], ["Zürich"]]
    rest = subprocess.run(["exiftool", "-s3", "-XMP:Rating", "-IPTC:City", photo], capture_output=True, text=True, check=True)
    assert rest.stdout.split() == ["4", "Zürich"]


def test_iptc_in_an_old_encoding_is_rewritten_in_utf8(exiftool, photo):
    exiftool(photo, "-charset", "iptc=Latin", "-IPTC:Keywords=Zürich", "-IPTC:Caption-Abstract=Größe")
    assert "Größe".encode("latin-1") in photo.read_bytes()
    embed_keywords([row(photo, Tag("Hündin", 0.9, 1, ""))], backup=False)
    assert held(photo)[3] == ["Zürich", "Hündin"]
    caption = subprocess.run(["exiftool", "-s3", "-Caption-Abstract", photo], capture_output=True, check=True).stdout.decode()
    assert caption.strip() == "Größe"
    assert embed_keywords([row(photo, Tag("Hündin", 0.9, 1, ""))]).unchanged == 1
    untag_embedded([photo])
    assert held(photo)[3] == ["Zürich"]


def iptc(path):
    """All of IPTC, and Photoshop's digest of it."""
    words = ["exiftool", "-j", "-a", "-G1", "-IPTC:all", "-Photoshop:IPTCDigest", path]
    return json.loads(subprocess.run(words, capture_output=True, check=True).stdout)[0]


def test_untagging_restores_the_iptc_of_real_photographs(coco_mini, tmp_path):
    sources = [path for split in ("train", "val") for path in sorted((coco_mini / split).iterdir())]
    sources = [path for path in sources if b"8BIM\x04\x04" in path.read_bytes()]
    assert len(sources) > 20
    photos = [Path(shutil.copy(source, tmp_path)) for source in sources]
    for photo in photos:
        photo.chmod(0o644)
    before = [iptc(photo) for photo in photos]
    assert embed_keywords([row(photo, DOG, PERSON) for photo in photos], backup=False).updated == len(photos)
    with_keywords = [photo for photo, found in zip(photos, before, strict=True) if "IPTC:Keywords" in found]
    assert with_keywords
    assert [photo for photo in photos if {"dog", "person"} <= set(held(photo)[3])] == with_keywords
    assert embed_keywords([row(photo, DOG, PERSON) for photo in photos], backup=False).unchanged == len(photos)
    embed_keywords([row(photo, CAT) for photo in photos], backup=False)
    assert untag_embedded(photos).ok
    assert [iptc(photo) for photo in photos] == before


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ([["-IPTC:City=Bonn"]], {"ApplicationRecordVersion", "City"}),
        ([["-IPTC:City=Bonn", "-IPTC:Keywords=Anna"]], {"ApplicationRecordVersion", "City", "Keywords"}),
        ([["-IPTC:Keywords=Anna", "-IPTC:CodedCharacterSet=UTF8"]], {"ApplicationRecordVersion", "Keywords"}),
        ([["-charset", "iptc=Latin", "-IPTC:Caption-Abstract=Größe", "-IPTC:Keywords=Zoë"]], {"Caption-Abstract", "Keywords"}),
        ([["-Photoshop:IPTCDigest=" + "0" * 32]], set()),
        ([["-IPTC:Keywords=x"], ["-IPTC:Keywords=", "-IPTC:ApplicationRecordVersion=2"]], {"ApplicationRecordVersion"}),
        ([["-IPTC:City=Köln", "-IPTC:CodedCharacterSet=UTF8"], ["-IPTC:EnvelopeRecordVersion="]], {"City"}),
    ],
    ids=["text", "text and keyword", "UTF-8", "Latin-1", "none", "version alone", "encoding without version"],
)
def test_ascii_keywords_keep_the_other_values_of_iptc(exiftool, photo, written, there):
    for words in written:
        exiftool(photo, *words)
    before = iptc(photo)
    assert {f"IPTC:{name}" for name in there} <= set(before)
    embed_keywords([row(photo, DOG)], backup=False)
    assert ("dog" in held(photo)[3]) == ("Keywords" in there)  # IPTC is not begun
    if there:
        assert {name: one for name, one in iptc(photo).items() if name not in ("IPTC:Keywords", "Photoshop:IPTCDigest")} == {
            name: one for name, one in before.items() if name not in ("IPTC:Keywords", "Photoshop:IPTCDigest")
        }
    untag_embedded([photo])
    assert iptc(photo) == before


def test_photoshops_digest_of_iptc_stays_correct(exiftool, photo):
    exiftool(photo, "-IPTC:Keywords=Anna", "-Photoshop:IPTCDigest=new")
    embed_keywords([row(photo, DOG)], backup=False)
    found = subprocess.run(
        ["exiftool", "-validate", "-a", "-warning", photo], capture_output=True, text=True, check=True
    ).stdout
    assert "IPTCDigest" not in found
    assert held(photo)[3] == ["Anna", "dog"]


ODD = ["True", "2.50", "007", "a & b <c>", '$x @y \\n "q"', "x" * 80, "-all=", "\u00e9 ", "#[CSTR]x"]


@pytest.mark.parametrize("words", [["True"], ODD], ids=["one", "all"])
def test_odd_keywords_of_the_user_are_not_touched(exiftool, photo, words):
    exiftool(photo, "-m", *(f"-IPTC:Keywords={word}" for word in words), "-XMP-dc:Subject=True")
    command = ["exiftool", "-b", "-IPTC:Keywords", "-sep", "\x1e", photo]
    before = subprocess.run(command, capture_output=True, check=True).stdout
    assert before.decode().split("\x1e") == words
    embed_keywords([row(photo, DOG)], backup=False)
    assert subprocess.run(command, capture_output=True, check=True).stdout == before + b"\x1edog"
    assert embed_keywords([row(photo, DOG)]).unchanged == 1
    untag_embedded([photo])
    assert subprocess.run(command, capture_output=True, check=True).stdout == before


def test_odd_class_names_stay_text(exiftool, photo):
    exiftool(photo, "-IPTC:Keywords=Anna")
    embed_keywords([row(photo, *(Tag(name, 0.9, 1, "") for name in ODD[3:]))], backup=False)
    names = {clean(name) for name in ODD[3:]}
    assert set(held(photo)[0]) == names | {"Anna"}
    assert set(held(photo)[3]) == (names | {"Anna"}) - {"x" * 80}  # IPTC holds 64 bytes


NAMES = [
    b"-all=.jpg",
    b"a\n-all=\n.jpg",
    b"\xff\xfe.jpg",
    b"%d%f.jpg",
    b"$(touch x)`.jpg",
    b"touch hacked.jpg|",
    b"#x.jpg",
    b" x .jpg ",
]


def test_a_file_name_is_never_an_option_or_a_command(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = Path(os.fsdecode(b"../-f\n%d\xff|"))
    folder.mkdir()
    photos = [folder / os.fsdecode(name) for name in NAMES]
    for number, photo in enumerate(photos):
        shutil.move(picture(tmp_path / "made.jpg", number), photo)
    text = embed_keywords([row(photo, DOG) for photo in photos], backup=False).to_text()
    assert text == f"photographs with keywords in them: {len(NAMES)} changed"
    assert embed_keywords([row(photo, CAT) for photo in photos], into=Path("copies"), given=[folder]).created == len(NAMES)
    for number, photo in enumerate(photos):
        shutil.copy(photo, tmp_path / f"{number}.jpg")
        shutil.copy(Path("copies") / photo.name, tmp_path / f"{number}-copy.jpg")
    words = [
        "exiftool",
        "-s3",
        "-XMP-dc:Subject",
        *(tmp_path / f"{number}{copy}.jpg" for number in range(8) for copy in ("", "-copy")),
    ]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in lines if line[0] not in "= "] == ["dog", "cat"] * 8
    assert untag_embedded(photos).updated == len(NAMES)
    assert files(folder) == sorted(photo.name for photo in photos)
    assert files(tmp_path / "here") == ["copies"]


def test_further_segments_of_a_jpeg_are_kept(exiftool, photo):
    long = "x" * 120_000
    exiftool(photo, "-XMP-dc:Subject=Anna", f"-XMP-dc:Description={long}")
    before, pixels = photo.read_bytes(), decode(photo)
    assert b"HasExtendedXMP" in before
    embed_keywords([row(photo, DOG)], backup=False)
    description = ["exiftool", "-b", "-XMP-dc:Description", photo]
    assert subprocess.run(description, capture_output=True, text=True, check=True).stdout == long
    assert held(photo)[0] == ["Anna", "dog"]
    assert embed_keywords([row(photo, DOG)]).unchanged == 1
    untag_embedded([photo])
    assert subprocess.run(description, capture_output=True, text=True, check=True).stdout == long
    assert held(photo) == [["Anna"], [], [], []]
    np.testing.assert_array_equal(decode(photo), pixels)


def test_a_packet_that_does_not_fit_is_left_unchanged(exiftool, photo):
    exiftool(photo, "-XMP-dc:Subject=Anna", f"-XMP-dc:Rights={'x' * 64_000}")
    before = photo.read_bytes()
    tags = [Tag(f"{number} {'x' * 60}", 0.9, 1, "") for number in range(99)]
    summary = embed_keywords([row(photo, *tags)])
    assert summary.failed == {"xmp_too_large": 1}
    assert photo.read_bytes() == before


@pytest.mark.parametrize("ending", ["bmp", "ppm", "tga"])
def test_formats_that_exiftool_cannot_write_are_named(tmp_path, ending):
    photo = in_format(tmp_path / "IMG", ending)
    before = photo.read_bytes()
    summary = embed_keywords([row(photo, DOG)])
    assert summary.failed == {"exiftool": 1}
    assert f"IMG.{ending}" in summary.to_text().splitlines()[1]
    assert photo.read_bytes() == before
    assert files(tmp_path) == [photo.name, "made"]


def test_damaged_and_missing_files_are_reported_and_the_next_is_written(tmp_path, photo):
    cut = photo.with_name("cut.jpg")
    cut.write_bytes(photo.read_bytes()[:200])
    rows = [row(cut, DOG), row(photo.with_name("none.jpg"), DOG), row(photo, status="truncated"), row(photo, DOG)]
    broken = photo.with_name("broken.png")
    picture(broken)
    broken.write_bytes(broken.read_bytes()[:60])
    summary = embed_keywords([row(broken, DOG), *rows])
    assert held(photo)[0] == ["dog"]
    assert summary.failed["missing"] == 1
    assert (summary.failed["exiftool"], summary.failed["jpeg_cut"]) == (1, 1)
    assert summary.updated == 1
    assert cut.stat().st_size == 200


def test_a_broken_packet_is_left_unchanged(exiftool, photo, tmp_path):
    (tmp_path / "broken").write_bytes(b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF>")
    exiftool(photo, f"-XMP<={tmp_path / 'broken'}")
    before = photo.read_bytes()
    assert embed_keywords([row(photo, DOG)]).failed == {"damaged": 1}
    assert photo.read_bytes() == before


def test_links_permissions_and_read_only_photographs(photo):
    link = photo.with_name("link.jpg")
    link.symlink_to("IMG.jpg")
    photo.chmod(0o640)
    embed_keywords([row(link, DOG)])
    assert link.is_symlink()
    assert photo.stat().st_mode & 0o777 == 0o640
    assert files(photo.parent) == ["IMG.jpg", "IMG.jpg_original", "link.jpg"]
    photo.chmod(0o444)
    summary = embed_keywords([row(photo, CAT)])
    assert summary.failed == {"read_only": 1}
    assert held(photo)[0] == ["dog"]


def test_copies_have_the_photographs_paths_and_are_updated(photo, tmp_path):
    other = picture(photo.parent / "sub" / "b.png", 1)
    photo.chmod(0o444)
    originals = {path: path.read_bytes() for path in (photo, other)}
    rows = [row(photo, DOG), row(other)]
    into = tmp_path / "copies"
    assert embed_keywords(rows, into=into, given=[photo.parent]).created == 2
    assert held(into / "IMG.jpg")[0] == ["dog"]
    assert filecmp.cmp(into / "sub" / "b.png", other, shallow=False)  # no tags: a plain copy
    assert (into / "IMG.jpg").stat().st_mtime_ns == photo.stat().st_mtime_ns
    before = (into / "IMG.jpg").stat()
    assert embed_keywords(rows, into=into, given=[photo.parent]).unchanged == 2
    assert (into / "IMG.jpg").stat().st_ino == before.st_ino
    assert embed_keywords([row(photo, CAT), row(other, CAT)], into=into, given=[photo.parent]).updated == 2
    assert held(into / "IMG.jpg")[0] == held(into / "sub" / "b.png")[0] == ["cat"]
    assert {path: path.read_bytes() for path in originals} == originals
    assert files(into) == ["IMG.jpg", "sub"]
    picture(other, 2)  # another picture: copied again
    embed_keywords([row(other, CAT)], into=into, given=[photo.parent])
    np.testing.assert_array_equal(decode(into / "sub" / "b.png"), decode(other))


def test_a_file_in_the_way_of_a_copy_is_left_unchanged(photo, tmp_path):
    theirs = picture(tmp_path / "copies" / "IMG.jpg", 9)
    before = theirs.read_bytes()
    summary = embed_keywords([row(photo, DOG)], into=tmp_path / "copies", given=[photo])
    assert summary.failed == {"in_the_way": 1}
    assert theirs.read_bytes() == before


def test_copies_of_several_places_do_not_meet(tmp_path):
    one, two = picture(tmp_path / "a" / "x.jpg", 1), picture(tmp_path / "b" / "x.jpg", 2)
    embed_keywords([row(one, DOG), row(two, DOG)], into=tmp_path / "out", given=[one.parent, two])
    for photo, copy in ((one, tmp_path / "out/a/x.jpg"), (two, tmp_path / "out/b/x.jpg")):
        np.testing.assert_array_equal(decode(photo), decode(copy))


def test_sidecar_and_photograph_together_are_stable_after_one_run(photo):
    photo.with_name("IMG.jpg.xmp").write_text(DIGIKAM)
    rows = [row(photo, DOG, PERSON)]
    embed_keywords(rows)
    write_sidecars(rows)
    assert embed_keywords(rows).unchanged == write_sidecars(rows).unchanged == 1
    assert held(photo)[0] == held(photo.with_name("IMG.jpg.xmp"))[0] == ["Anna", "Café", "dog", "person"]


def test_without_exiftool_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    for work in (find_exiftool, lambda: embed_keywords([]), lambda: untag_embedded([])):
        with pytest.raises(MissingExtraError, match="apt install libimage-exiftool-perl") as caught:
            work()
        assert caught.value.code == "missing_exiftool"
        assert "\n" not in str(caught.value)


def test_an_old_exiftool_is_refused(photo, monkeypatch):
    monkeypatch.setattr(module, "OLDEST", (99, 0))
    with pytest.raises(MissingExtraError, match=r"99\.0") as caught:
        embed_keywords([row(photo, DOG)])
    assert caught.value.code == "exiftool_outdated"


def test_an_exiftool_that_dies_costs_one_photograph(exiftool, photo, monkeypatch):
    others = [picture(photo.with_name(f"{number}.jpg"), number) for number in range(2)]
    for one in (photo, *others):
        exiftool(one, "-IPTC:Keywords=Anna")
    run, died = ExifTool.run, []

    def dying(self, arguments):
        if any("-IPTC:Keywords+=" in one for one in arguments) and not died:
            died.append(self._process)
            os.kill(self._process.pid, signal.SIGKILL)
        return run(self, arguments)

    monkeypatch.setattr(ExifTool, "run", dying)
    summary = embed_keywords([row(path, DOG) for path in (photo, *others)])
    assert summary.failed == {"exiftool": 1}
    assert len(summary.first_failures) == 1 and ".jpg" in summary.first_failures[0]
    assert summary.updated == 2
    assert files(photo.parent) == ["0.jpg", "0.jpg_original", "1.jpg", "1.jpg_original", "IMG.jpg"]
    assert died[0].returncode is not None  # no process is left behind


def test_exiftool_ends_with_a_process_that_is_killed():
    code = """
import os, signal
from cocotag.tagging.xmp.exiftool import ExifTool
with ExifTool() as tool:
    tool.run(["-ver"])
    os.write(1, f"{tool._process.pid} {tool._folder}".encode())
    os.kill(os.getpid(), signal.SIGKILL)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as killed:
        number, folder = killed.stdout.read().split()
    try:
        assert killed.returncode == -signal.SIGKILL
        assert ends(int(number))
    finally:
        shutil.rmtree(folder)


def ends(number, seconds=20):
    """Whether a process that is not our child ends soon."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = Path(f"/proc/{number}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    os.kill(number, signal.SIGKILL)
    return False


def test_the_users_settings_are_not_read(photo, tmp_path, monkeypatch):
    (tmp_path / ".ExifTool_config").write_text(f'open F, ">{tmp_path}/hacked"; 1;')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EXIFTOOL_HOME", str(tmp_path))
    monkeypatch.setenv("PERL_UNICODE", "SDL")
    assert embed_keywords([row(photo, DOG)]).updated == 1
    assert not (tmp_path / "hacked").exists()


def test_no_line_break_gets_into_a_command():
    with ExifTool() as tool, pytest.raises(ValueError, match="line break"):
        tool.run(["-ver\n-all="])


def test_ctrl_c_leaves_the_photograph(photo, monkeypatch):
    before = photo.read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("cocotag.tagging.xmp.embed._write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embed_keywords([row(photo, DOG)])
    assert photo.read_bytes() == before
    assert files(photo.parent) == ["IMG.jpg"]


def test_a_full_disk_leaves_the_photograph_and_stops(photo, monkeypatch):
    import errno

    before = photo.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match=r"IMG\.jpg") as caught:
        embed_keywords([row(photo, DOG)])
    assert caught.value.code == "disk_full"
    assert photo.read_bytes() == before
    assert files(photo.parent) == ["IMG.jpg"]
