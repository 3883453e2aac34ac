"""Whose the keywords of a sidecar are: one made of IMG.xmp or of embedded keywords, or one that was there before."""

import shutil
from dataclasses import replace

import pytest
from own_labels import picture
from photo_programs import WithoutExifTool, rewritten
from xmp_samples import bag, without, wrap

from cocotag.inference.tags import Tag
from cocotag.photos.formats.table import FORMATS
from cocotag.photos.header import read_header
from cocotag.tagging.decisions.rows import Row
from cocotag.tagging.xmp.embed import embed_keywords, untag_embedded
from cocotag.tagging.xmp.jpeg_packet import exchange_packet
from cocotag.tagging.xmp.packets.document import XmpDocument
from cocotag.tagging.xmp.packets.fields import values
from cocotag.tagging.xmp.packets.keywords import WRITTEN
from cocotag.tagging.xmp.sidecars import untag, write_sidecars

DOG, CAT = Tag("dog", 0.9, 18, "animal"), Tag("cat", 0.8, 17, "animal")


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.setattr("cocotag.tagging.xmp.embed.ExifTool", WithoutExifTool)
    return picture(tmp_path / "IMG.jpg")


def fields(packet):
    rdf = XmpDocument.read(packet, "").rdf
    return [values(rdf, field) for field in WRITTEN]


def inside(photo):
    return fields(read_header(photo, metadata=True).xmp)


def in_all_fields(*words):
    kinds = [("dc:subject", "Bag"), ("lr:hierarchicalSubject", "Bag"), ("digiKam:TagsList", "Seq")]
    return wrap("".join(bag(name, *words, kind=kind) for name, kind in kinds)).encode()


def write(photo, *tags, **more):
    return write_sidecars([Row(photo, tags=tags)], **more)


def embed(photo, *tags):
    return embed_keywords([Row(photo, tags=tags)], backup=False)


def by_darktable(*keywords):
    return rewritten(None, {"dc": [(level,) for keyword in keywords for level in keyword], "lr": keywords})


WAYS = {"of IMG.xmp": lambda photo, *tags: write(photo, *tags, naming="adobe"), "of what is embedded": embed}


@pytest.mark.parametrize("way", WAYS)
def test_a_tag_deleted_in_what_darktable_made_is_refused_in_every_file(photo, way):
    sidecar = photo.with_name("IMG.jpg.xmp")
    WAYS[way](photo, DOG, CAT)
    sidecar.write_bytes(by_darktable(("animal", "cat"), ("Anna",)))
    summary = WAYS[way](photo, DOG, CAT)
    assert summary.refused == {"dog": 1}
    assert fields(sidecar.read_bytes()) == [["Anna", "cat"], ["Anna", "animal|cat"], ["Anna", "animal/cat"]]
    other = inside(photo) if way != "of IMG.xmp" else fields(photo.with_name("IMG.xmp").read_bytes())
    assert [words[-1] for words in other] == ["cat", "animal|cat", "animal/cat"]
    assert "dog" not in str(other)
    before = sidecar.read_bytes()
    assert WAYS[way](photo, DOG, CAT).updated == 0
    assert sidecar.read_bytes() == before


@pytest.mark.parametrize("left", [(), ("Anna",)], ids=["all", "one of two"])
def test_what_the_user_deleted_in_what_darktable_made_is_not_copied_there_again(photo, left):
    sidecar = photo.with_name("IMG.jpg.xmp")
    photo.with_name("IMG.xmp").write_bytes(in_all_fields("Anna", "Beach"))
    write(photo, DOG)
    sidecar.write_bytes(by_darktable(*((word,) for word in left), ("animal", "dog")))
    for _ in range(2):
        write(photo, DOG)
        assert fields(sidecar.read_bytes())[:2] == [[*left, "dog"], [*left, "animal|dog"]]
    write(photo, CAT)
    assert fields(sidecar.read_bytes())[:2] == [[*left, "cat"], [*left, "animal|cat"]]


def test_single_words_that_darktable_makes_of_both_fields_of_an_adobe_sidecar_are_cocotags(photo):
    sidecar = photo.with_name("IMG.jpg.xmp")
    write(photo, DOG, CAT, naming="adobe")
    made = [("animal", "dog"), ("dog",), ("animal", "cat"), ("cat",), ("Anna",)]
    sidecar.write_bytes(by_darktable(*made))
    assert not write(photo, DOG, CAT).reclaimed
    assert fields(sidecar.read_bytes())[1] == ["Anna", "animal|cat", "animal|dog"]
    sidecar.write_bytes(rewritten(sidecar.read_bytes(), {"dc": [(level,) for one in made for level in one], "lr": made}))
    assert not write(photo, DOG, CAT).reclaimed  # its database still has them
    assert fields(sidecar.read_bytes())[1] == ["Anna", "animal|cat", "animal|dog"]
    without_dog = [one for one in made if one != ("animal", "dog")]
    dc = [(level,) for one in without_dog for level in one]
    sidecar.write_bytes(rewritten(sidecar.read_bytes(), {"dc": dc, "lr": without_dog}))
    assert write(photo, DOG, CAT).refused == {"dog": 1}
    assert fields(sidecar.read_bytes())[:2] == [["Anna", "cat"], ["Anna", "animal|cat"]]
    untag([photo])
    assert fields(sidecar.read_bytes()) == [["Anna"], ["Anna"], []]


@pytest.mark.parametrize("way", WAYS)
def test_untag_takes_cocotags_keywords_from_what_darktable_made(photo, way):
    sidecar = photo.with_name("IMG.jpg.xmp")
    WAYS[way](photo, DOG)
    sidecar.write_bytes(by_darktable(("animal", "dog"), ("Anna",)))
    assert untag([photo.parent]).ok
    assert fields(sidecar.read_bytes()) == [["Anna"], ["Anna"], []]


def test_untag_embedded_takes_them_from_what_darktable_made_too(photo):
    sidecar = photo.with_name("IMG.jpg.xmp")
    embed(photo, DOG)
    sidecar.write_bytes(by_darktable(("animal", "dog"), ("Anna",)))
    summary = untag_embedded([photo.parent])
    assert (summary.updated, summary.beside.updated) == (1, 1)
    assert "sidecars that were made of them: 1 changed" in summary.to_text()
    assert fields(sidecar.read_bytes()) == [["Anna"], ["Anna"], []]
    assert not read_header(photo, metadata=True).xmp


@pytest.mark.parametrize("way", WAYS)
def test_a_sidecar_that_was_there_before_keeps_the_users_keywords(photo, way):
    sidecar, other = photo.with_name("IMG.jpg.xmp"), photo.with_name("IMG.xmp")
    theirs = in_all_fields("dog")
    sidecar.write_bytes(theirs)
    if way == "of IMG.xmp":
        other.write_bytes(in_all_fields("Berlin"))
    else:
        photo.write_bytes(exchange_packet(photo.read_bytes(), in_all_fields("Berlin")))
    for tag in (DOG, DOG, CAT, DOG):
        WAYS[way](photo, tag)
        assert all("dog" in words for words in fields(sidecar.read_bytes()))
    untag([photo.parent])
    assert sidecar.read_bytes() == theirs
    untag_embedded([photo])
    assert sidecar.read_bytes() == theirs
    assert (inside(photo) if way != "of IMG.xmp" else fields(other.read_bytes())) == [["Berlin"]] * 3


def test_a_keyword_that_the_user_adds_to_a_sidecar_that_was_there_before_embedding_is_theirs(photo):
    sidecar = photo.with_name("IMG.jpg.xmp")
    sidecar.write_bytes(in_all_fields("Anna"))
    embed(photo, DOG)
    theirs = in_all_fields("Anna", "dog")
    sidecar.write_bytes(theirs)
    for tag in (DOG, CAT, DOG):
        embed(photo, tag)
        assert sidecar.read_bytes() == theirs
    write(photo, DOG)
    write(photo)
    untag_embedded([photo])
    untag([photo.parent])
    assert sidecar.read_bytes() == theirs


def test_embedding_is_stable_when_the_users_sidecar_gets_tags_too(photo):
    photo.with_name("IMG.jpg.xmp").write_bytes(in_all_fields("Anna"))
    for work in (embed, write):
        work(photo, DOG)
    for work in (embed, write):
        assert work(photo, DOG).unchanged == 1


def test_a_tag_that_the_user_has_taken_back_stays_theirs_beside_embedded_keywords(photo):
    sidecar = photo.with_name("IMG.jpg.xmp")
    embed(photo, DOG)
    write(photo, DOG)
    sidecar.write_bytes(without(sidecar.read_bytes(), "dog"))
    write(photo, DOG)
    sidecar.write_bytes(rewritten(sidecar.read_bytes(), dict.fromkeys(("dc", "lr", "digiKam"), (("dog",),))))
    assert write(photo, DOG).reclaimed == {"dog": 1}
    write(photo)
    untag([photo.parent])
    assert fields(sidecar.read_bytes()) == [["dog"]] * 3


# With both names, and with --embed


def test_a_sidecar_with_cocotags_keywords_is_updated_with_the_photograph_and_others_are_not(photo):
    sidecar = photo.with_name("IMG.jpg.xmp")
    theirs = in_all_fields("Anna")
    sidecar.write_bytes(theirs)
    assert embed(photo, DOG).beside.updated == 0
    assert sidecar.read_bytes() == theirs
    write(photo, DOG)
    summary = embed(photo, CAT)
    assert summary.beside.updated == 1
    assert summary.to_text().splitlines()[-1] == "sidecars with the same keywords: 1 changed"
    assert fields(sidecar.read_bytes()) == [["Anna", "cat"], ["Anna", "animal|cat"], ["Anna", "animal/cat"]]
    assert inside(photo) == [["Anna", "cat"], ["Anna", "animal|cat"], ["Anna", "animal/cat"]]
    assert embed(photo, CAT).beside.unchanged == 1


def test_a_tag_deleted_in_the_sidecar_is_refused_in_the_photograph_and_told_once(photo):
    sidecar = photo.with_name("IMG.jpg.xmp")
    for work in (write, embed):
        work(photo, DOG, CAT)
    sidecar.write_bytes(without(sidecar.read_bytes(), "dog"))
    summary = embed(photo, DOG, CAT)
    assert inside(photo) == [["cat"], ["animal|cat"], ["animal/cat"]]
    assert summary.refused == {"dog": 1}
    assert summary.events == [{"event": "keyword", "what": "refused", "keyword": "dog", "path": str(photo)}]
    assert embed(photo, DOG, CAT).events == []


def test_a_fault_in_one_sidecar_leaves_neither_the_other_nor_the_photograph_without_tags(photo):
    sidecar, other = photo.with_name("IMG.jpg.xmp"), photo.with_name("IMG.xmp")
    other.write_bytes(b"<damaged")
    sidecar.write_bytes(in_all_fields("Anna"))
    summary = write(photo, DOG)
    assert (summary.updated, summary.failed) == (1, {"damaged": 1})
    assert fields(sidecar.read_bytes())[0] == ["Anna", "dog"]
    other.unlink()
    sidecar.chmod(0o444)
    summary = embed(photo, CAT)
    assert (summary.updated, summary.faults, summary.ok) == (1, 1, False)
    assert summary.beside.failed == {"read_only": 1}
    assert "IMG.jpg.xmp is read-only" in summary.to_text()
    assert inside(photo)[0] == ["Anna", "cat"]


def test_one_file_with_both_names_is_written_once(photo):
    sidecar, link = photo.with_name("IMG.jpg.xmp"), photo.with_name("IMG.xmp")
    sidecar.write_bytes(in_all_fields("Anna"))
    link.symlink_to("IMG.jpg.xmp")
    summary = write(photo, DOG)
    assert (summary.updated, summary.both, summary.ok) == (1, 0, True)
    assert link.is_symlink()
    assert fields(sidecar.read_bytes())[0] == ["Anna", "dog"]


@pytest.mark.usefixtures("exiftool")
def test_raw_files_in_a_folder_are_untagged_where_they_cannot_be_decoded(tmp_path, monkeypatch):
    raw = tmp_path / "IMG.dng"
    shutil.move(picture(tmp_path / "made.tif", size=(64, 48)), raw)
    embed(raw, DOG)
    assert b"urn:cocotag" in raw.read_bytes()
    monkeypatch.setitem(FORMATS, "RAW", replace(FORMATS["RAW"], available=lambda: False))
    summary = untag_embedded([tmp_path])
    assert (summary.updated, summary.ok) == (1, True)
    assert b"dog" not in raw.read_bytes()
