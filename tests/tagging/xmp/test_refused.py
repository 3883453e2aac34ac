"""A keyword that the user deleted is not added again, not even under another name, and old notes of it are still read."""

import re
from pathlib import Path

import pytest
from own_labels import picture
from xmp_samples import bag, without, wrap

from cocotag.inference.tags import Tag
from cocotag.labels import COCO80
from cocotag.tagging.decisions.rename import load_rename
from cocotag.tagging.outputs.write import Row
from cocotag.tagging.xmp.embed import embed_keywords
from cocotag.tagging.xmp.packets import packet as module
from cocotag.tagging.xmp.packets.document import XmpDocument
from cocotag.tagging.xmp.packets.fields import values
from cocotag.tagging.xmp.packets.keywords import SUBJECT, given_keywords, own_classes
from cocotag.tagging.xmp.sidecars import write_sidecars

DOG, PERSON = Tag("dog", 0.9, 18, "animal"), Tag("person", 0.8, 1, "person")
CUP, BOWL = Tag("cup", 0.7, 47, "kitchen"), Tag("bowl", 0.6, 51, "kitchen")
GERMAN = "person: '|Mensch'\ndog: Tiere|Hund\ncup: Geschirr\nbowl: Geschirr\n"


@pytest.fixture
def german(tmp_path):
    (tmp_path / "de.yaml").write_text(GERMAN)
    return load_rename(tmp_path / "de.yaml", [COCO80]).apply


def same(tags):
    return tags


def update(packet, *tags):
    given, classes = given_keywords(tags), own_classes(tags)
    return module.update(packet, given, list, name="a.xmp", classes=classes).packet


def subjects(packet):
    return values(XmpDocument.read(packet, "a.xmp").rdf, SUBJECT)


@pytest.mark.parametrize("at_once", [True, False], ids=["the next run renames", "a later run renames"])
@pytest.mark.parametrize("german_first", [True, False])
def test_a_deletion_holds_for_the_class_under_every_name(german, at_once, german_first):
    first, second = (german, same) if german_first else (same, german)
    packet = without(update(None, *first([DOG, PERSON])), "Mensch" if german_first else "person")
    if not at_once:
        packet = update(packet, *first([DOG, PERSON]))
    after = update(packet, *second([DOG, PERSON]))
    assert subjects(after) == ["dog" if german_first else "Hund"]
    assert update(after, *second([DOG, PERSON])) == after
    assert len(subjects(update(after, *first([DOG, PERSON])))) == 1
    assert len(subjects(module.update(module.strip(after, name="").packet, [("person",)], list, name="").packet)) == 1


def test_a_merged_tag_is_added_while_one_of_its_classes_is_not_refused(german):
    packet = update(without(update(None, CUP, BOWL), "cup"), CUP, BOWL)
    assert subjects(update(packet, *german([CUP, BOWL]))) == ["Geschirr"]
    assert subjects(update(packet, *german([CUP]))) == []
    both = update(without(packet, "bowl"), *german([CUP, BOWL]))
    assert subjects(both) == []
    # deleted under its merged name, it is not added under that name again, whichever classes are found
    gone = update(without(update(None, *german([CUP])), "Geschirr"), *german([CUP, BOWL]))
    assert subjects(gone) == []
    assert subjects(update(gone, CUP, BOWL)) == ["bowl"]


def test_a_keyword_that_the_user_adds_under_either_name_is_the_users(german):
    theirs = wrap(bag("dc:subject", "Anna") + bag("lr:hierarchicalSubject", "Anna")).encode()
    packet = update(without(update(theirs, PERSON), "person"), PERSON)
    mine = packet.replace(b"<rdf:li>Anna</rdf:li>", b"<rdf:li>Anna</rdf:li><rdf:li>mensch</rdf:li>", 1)
    after = update(mine, *german([PERSON]))
    assert subjects(after) == ["Anna", "mensch"]
    assert b"<rdf:li>Mensch</rdf:li>" in after  # in the other fields, as with any keyword of the user
    assert update(after, *german([PERSON])) == after


def test_notes_of_earlier_versions_refer_to_the_name(german):
    packet = update(without(update(None, DOG, PERSON), "person"), DOG, PERSON)
    assert b"<rdf:li>person</rdf:li>" in packet  # the earlier form, so nothing changes without renaming
    assert b";" not in re.search(rb"<cocotag:added>.*</cocotag:refused>", packet, re.S)[0]
    renamed = packet.replace(b"person", b"Mensch").replace(b"animal", b"Tiere").replace(b"dog", b"Hund")
    assert subjects(update(renamed, *german([DOG, PERSON]))) == ["Hund"]
    assert subjects(update(renamed, DOG, PERSON)) == ["dog", "person"]  # the note has no class


@pytest.mark.usefixtures("exiftool")
@pytest.mark.parametrize("embedded", [False, True])
def test_in_sidecars_and_in_photographs_by_the_real_exiftool(exiftool, german, tmp_path, embedded):
    photo = picture(tmp_path / "IMG.jpg")
    write = (lambda rows: embed_keywords(rows, backup=False)) if embedded else write_sidecars
    file = photo if embedded else Path(f"{photo}.xmp")
    write([Row(photo, tags=(DOG, PERSON))])
    gone = ["-XMP-dc:Subject-=person", "-XMP-lr:HierarchicalSubject-=person", "-XMP-digiKam:TagsList-=person"]
    exiftool(file, *gone, *(["-IPTC:Keywords-=person"] if embedded else []))
    write([Row(photo, tags=german([DOG, PERSON]))])
    text = file.read_text("latin-1")
    assert "<rdf:li>Hund</rdf:li>" in text
    assert "<rdf:li>Mensch" not in text
