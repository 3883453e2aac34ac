"""Whose a keyword is after another program has written the packet: one test for each rule of docs/formats.md."""

import pytest
from photo_programs import category, rewritten
from xmp_samples import bag, wrap

from cocotag.tagging.xmp.packets import packet as module
from cocotag.tagging.xmp.packets.document import XmpDocument
from cocotag.tagging.xmp.packets.fields import values
from cocotag.tagging.xmp.packets.keywords import ACDSEE, MIRRORS, WRITTEN
from cocotag.tagging.xmp.packets.reading import user_keywords

DOG, CAT, ANNA = ("animal", "dog"), ("animal", "cat"), ("Anna",)


def packet_of(dc=(), lr=(), listed=()):
    """A packet of the user's."""
    lists = [("dc:subject", dc, "Bag"), ("lr:hierarchicalSubject", lr, "Bag"), ("digiKam:TagsList", listed, "Seq")]
    return wrap("".join(bag(name, *words, kind=kind) for name, words, kind in lists if words)).encode()


def updated(packet, *given, **more):
    return module.update(packet, given, list, name="a.xmp", **more)


def tagged(packet, *given):
    return updated(packet, *given).packet


def untagged(packet):
    return module.strip(packet, name="a.xmp").packet


def fields(packet):
    """The entries of dc:subject, lr:hierarchicalSubject and digiKam:TagsList."""
    rdf = XmpDocument.read(packet, "a.xmp").rdf
    return [values(rdf, field) for field in WRITTEN]


def mirrors(packet):
    """The entries of the fields that repeat others."""
    rdf = XmpDocument.read(packet, "a.xmp").rdf
    return [values(rdf, field) for field in MIRRORS if field.uri != "http://ns.microsoft.com/photo/1.0"]


def by_darktable(packet, *keywords):
    """darktable writes every level into dc:subject, and never digiKam:TagsList."""
    return rewritten(packet, {"dc": [(level,) for keyword in keywords for level in keyword], "lr": keywords})


def by_lightroom(packet, *keywords):
    return rewritten(packet, {"dc": keywords, "lr": keywords})


def by_immich(packet, *keywords):
    return rewritten(packet, {"digiKam": keywords})


def by_digikam(packet, *keywords):
    """digiKam writes all fields, and four that repeat them."""
    fields = dict.fromkeys(("dc", "lr", "digiKam", "MicrosoftPhoto", "mediapro"), keywords)
    return rewritten(packet, fields, categories=f"<Categories>{''.join(map(category, keywords))}</Categories>")


# Levels above a keyword in dc:subject


def test_a_level_above_a_keyword_of_cocotags_is_cocotags():
    packet = by_darktable(tagged(packet_of(["Anna"], ["Anna"], ["Anna"]), DOG), ANNA, DOG)
    assert fields(packet)[0] == ["Anna", "animal", "dog"]
    assert fields(tagged(packet, CAT)) == [["Anna", "cat"], ["Anna", "animal|cat"], ["Anna", "animal/cat"]]
    assert fields(untagged(packet)) == [["Anna"], ["Anna"], ["Anna"]]
    assert user_keywords(packet, name="") == [ANNA, ANNA, ANNA]
    assert tagged(packet, DOG) == packet  # darktable would write the level again


def test_a_level_that_was_there_before_is_the_users():
    packet = by_darktable(tagged(packet_of(["animal"]), DOG), ("animal",), DOG)
    assert fields(tagged(packet, CAT))[0] == ["animal", "cat"]
    assert fields(untagged(packet))[0] == ["animal"]


def test_a_level_that_the_user_had_and_deleted_in_lightrooms_field_is_cocotags():
    packet = tagged(packet_of(["animal", "Anna"], ["animal", "Anna"]), DOG)
    after = tagged(by_darktable(packet, ANNA, DOG), DOG)  # dc:subject still has the level
    assert fields(after) == [["Anna", "dog"], ["Anna", "animal|dog"], ["Anna", "animal/dog"]]


@pytest.mark.parametrize("program", [by_darktable, by_immich], ids=["lr", "TagsList"])
def test_a_level_that_the_user_has_in_a_field_with_a_hierarchy_is_the_users(program):
    packet = by_darktable(tagged(packet_of(["Anna"], ["Anna"], ["Anna"]), DOG), ANNA, DOG)
    packet = program(packet, ANNA, DOG, ("animal", "horse"))
    packet = by_darktable(packet, ANNA, DOG, ("animal", "horse")) if program is by_darktable else packet
    assert "animal" in fields(untagged(packet))[0]


# Deleted in a program


@pytest.mark.parametrize("program", [by_darktable, by_lightroom, by_immich, by_digikam])
def test_a_field_with_other_entries_that_lacks_a_keyword_takes_it_away(program):
    packet = program(tagged(packet_of(["Anna"], ["Anna"], ["Anna"]), DOG, CAT), ANNA, CAT)
    after = updated(packet, DOG, CAT)
    assert fields(after.packet) == [["Anna", "cat"], ["Anna", "animal|cat"], ["Anna", "animal/cat"]]
    assert (after.refused, after.put_back) == (("dog",), ())
    assert updated(after.packet, DOG, CAT).refused == ()  # told once
    assert tagged(after.packet, DOG, CAT) == after.packet


@pytest.mark.parametrize("program", [by_darktable, by_lightroom, by_immich])
def test_a_field_that_is_wholly_gone_says_nothing(program):
    packet = program(tagged(packet_of(["Anna"], ["Anna"], ["Anna"]), DOG))
    after = updated(packet, DOG)
    assert after.refused == ()
    assert [words[-1] for words in fields(after.packet)] == ["dog", "animal|dog", "animal/dog"]


def test_a_keyword_that_all_its_fields_lack_was_deleted_even_with_the_fields():
    after = updated(by_digikam(tagged(packet_of(["Anna"], ["Anna"], ["Anna"]), DOG)), DOG)
    assert after.refused == ("dog",)
    assert "dog" not in str(fields(after.packet))


def test_a_refused_keyword_that_the_user_gives_is_the_users():
    refused = tagged(by_digikam(tagged(packet_of(["Anna"]), DOG, CAT), ANNA, CAT), DOG, CAT)
    after = updated(by_digikam(refused, ANNA, CAT, ("dog",)), DOG, CAT)
    assert after.reclaimed == ("dog",)
    assert [sorted(words) for words in fields(after.packet)] == [
        ["Anna", "cat", "dog"],
        ["Anna", "animal|cat", "dog"],
        ["Anna", "animal/cat", "dog"],
    ]
    assert "dog" in fields(untagged(after.packet))[0]
    assert updated(after.packet, DOG, CAT).reclaimed == ()


# Written over by a database


def test_what_a_database_was_written_over_is_put_back_once():
    packet = tagged(packet_of(["Anna"], ["Anna"], ["Anna"]), CAT, DOG)
    again = updated(by_darktable(packet, ANNA), CAT, DOG)
    assert (again.put_back, again.refused) == (("cat", "dog"), ())
    assert fields(again.packet) == fields(packet)
    assert tagged(again.packet, CAT, DOG) == again.packet
    after = updated(by_darktable(again.packet, ANNA), CAT, DOG)
    assert (after.put_back, after.refused) == ((), ("cat", "dog"))
    assert fields(after.packet) == [["Anna"], ["Anna"], ["Anna"]]


def test_it_was_not_a_database_if_one_of_cocotags_is_left():
    packet = tagged(packet_of(["Anna"], ["Anna"], ["Anna"]), CAT, DOG)
    after = updated(by_darktable(packet, ANNA, CAT), CAT, DOG)
    assert (after.put_back, after.refused) == ((), ("dog",))


# Copies of the user's keywords in fields that cocotag began


def test_copies_follow_the_field_they_came_from():
    packet = tagged(packet_of(["Anna", "Beach"], ["Anna", "Beach"]), DOG)
    assert fields(packet)[2] == ["Anna", "Beach", "animal/dog"]
    after = tagged(by_darktable(packet, ANNA, ("Lake",), DOG), DOG)  # Beach deleted, Lake added
    assert fields(after)[2] == ["Anna", "Lake", "animal/dog"]
    assert fields(untagged(after)) == [["Anna", "Lake"], ["Anna", "Lake"], []]


def test_copies_go_with_untag_after_another_program_has_written():
    packet = by_digikam(tagged(packet_of(["Anna"]), DOG), ANNA, DOG)
    assert fields(packet) == [["Anna", "dog"], ["Anna", "animal|dog"], ["Anna", "animal/dog"]]
    assert fields(untagged(packet)) == [["Anna"], [], []]


def test_a_copy_that_the_user_deleted_is_not_made_there_again():
    packet = tagged(packet_of(["Anna", "Beach"]), DOG)
    after = tagged(by_immich(packet, ("Beach",), DOG), DOG)
    assert fields(after) == [["Anna", "Beach", "dog"], ["Anna", "Beach", "animal|dog"], ["Beach", "animal/dog"]]
    assert tagged(after, DOG) == after
    later = tagged(by_lightroom(tagged(after, CAT), ANNA, ("Beach",), ("Lake",), CAT), CAT)
    assert sorted(fields(later)[2]) == ["Beach", "Lake", "animal/cat"]


def test_untag_leaves_what_the_user_deleted_in_a_field_that_cocotag_began():
    packet = tagged(packet_of(["Anna", "Lake"], ["Anna", "Lake"]), DOG)
    immich = by_immich(packet, ANNA, DOG)
    for one in (immich, tagged(immich, DOG)):
        assert fields(untagged(one)) == [["Anna", "Lake"], ["Anna", "Lake"], ["Anna"]]


def test_untag_leaves_what_the_user_added_in_a_field_that_cocotag_began_with_the_rest():
    packet = tagged(packet_of(["Anna"], ["Anna"]), DOG)
    immich = by_immich(packet, ANNA, DOG, ("Lake",))
    for one in (immich, tagged(immich, DOG)):
        dc, lr, listed = fields(untagged(one))
        assert (dc, lr, sorted(listed)) == (["Anna"], ["Anna"], ["Anna", "Lake"])


def test_what_the_user_adds_in_a_field_that_cocotag_began_reaches_the_other_fields_that_it_began():
    packet = tagged(None, DOG)
    after = tagged(by_immich(packet, DOG, ("Orte", "Hafen")), DOG)
    assert fields(after) == [["Hafen", "dog"], ["Orte|Hafen", "animal|dog"], ["Orte/Hafen", "animal/dog"]]
    assert fields(untagged(after)) == [[], [], ["Orte/Hafen"]]


# Fields that repeat others


def test_fields_that_repeat_others_own_nothing():
    packet = by_digikam(tagged(packet_of(["Anna"], ["Anna"], ["Anna"]), DOG), ANNA, DOG)
    assert mirrors(packet) == [["Anna", "animal/dog"], ["Anna", "animal|dog"], ["Anna", "animal|dog"]]
    assert user_keywords(packet, name="") == [ANNA, ANNA, ANNA]
    after = tagged(packet, CAT)
    assert fields(after) == [["Anna", "cat"], ["Anna", "animal|cat"], ["Anna", "animal/cat"]]
    assert mirrors(after) == [["Anna"], ["Anna"], ["Anna"]]
    left = untagged(packet)
    assert fields(left) == mirrors(left) == [["Anna"], ["Anna"], ["Anna"]]
    assert b"dog" not in left and b"animal" not in left


def test_a_keyword_that_only_a_field_that_repeats_others_had_is_the_users():
    before = rewritten(packet_of(["Anna"]), {"mediapro": [ANNA, DOG]})
    packet = tagged(before, CAT, DOG)
    assert fields(packet)[0] == ["Anna", "cat", "dog"]
    left = untagged(rewritten(packet, {"mediapro": [ANNA, DOG, CAT]}))
    assert mirrors(left)[1] == ["Anna", "animal|dog"]


def test_a_field_that_repeats_others_keeps_what_it_had_before():
    before = by_digikam(packet_of(["Anna"]), ANNA, DOG)
    left = untagged(by_digikam(tagged(before, DOG, CAT), ANNA, DOG, CAT))
    assert fields(left) == [["Anna", "dog"], ["Anna", "animal|dog"], ["Anna", "animal/dog"]]
    assert mirrors(left) == [["Anna", "animal/dog"], ["Anna", "animal|dog"], ["Anna", "animal|dog"]]


def test_acdsees_categories_are_cleaned_in_an_encoding_that_lacks_their_letters():
    packet = by_digikam(tagged(packet_of(["Anna"], ["Anna"], ["Anna"]), DOG), ANNA, DOG, ("\u5317",))
    narrow = b'<?xml version="1.0" encoding="iso-8859-1"?>' + packet.decode().encode("latin-1", "xmlcharrefreplace")
    rdf = XmpDocument.read(untagged(narrow), "a.xmp").rdf
    assert values(rdf, ACDSEE) == ["Anna", "\u5317"]


# Made by another program of a packet that has the notes


def test_notes_hold_for_a_packet_that_was_made_of_theirs():
    source = module.update(packet_of(["Anna"]), [DOG, CAT], list, name="").packet
    record = module.read_record(XmpDocument.read(source, "").root)
    made = by_darktable(None, ANNA, CAT)  # without the notes; dog was deleted there
    after = updated(made, DOG, CAT, made_of=record)
    assert after.refused == ("dog",)
    assert fields(after.packet) == [["Anna", "cat"], ["Anna", "animal|cat"], ["Anna", "animal/cat"]]
    assert fields(module.strip(made, name="", made_of=record).packet) == [["Anna"], ["Anna"], []]


def test_a_packet_without_cocotags_keywords_was_not_made_of_theirs():
    record = module.read_record(XmpDocument.read(tagged(None, DOG), "").root)
    theirs = by_darktable(None, ANNA)
    after = updated(theirs, DOG, made_of=record)
    assert after.refused == ()
    assert fields(after.packet)[0] == ["Anna", "dog"]


def test_a_keyword_of_the_users_that_another_file_claims_is_noted():
    theirs = packet_of(["dog"], ["dog"], ["dog"])
    assert tagged(theirs, DOG) == theirs
    noted = updated(theirs, DOG, claimed=[DOG]).packet
    assert b"urn:cocotag" in noted
    assert updated(noted, DOG, claimed=[DOG]).packet == noted
    assert untagged(noted) == theirs


# Keywords of the user's that cocotag would give too


@pytest.mark.parametrize("program", [by_immich, by_darktable])
def test_a_keyword_that_the_user_deleted_in_a_field_is_not_given_there(program):
    packet = tagged(packet_of(["Anna", "dog"], ["Anna", "dog"], ["Anna", "dog"]), DOG, CAT)
    after = updated(program(packet, ANNA, CAT), DOG, CAT)
    left = {"dc": ["Anna", "dog", "cat"], "lr": ["Anna", "dog", "animal|cat"], "digiKam": ["Anna", "dog", "animal/cat"]}
    for prefix in ("digiKam",) if program is by_immich else ("dc", "lr"):
        left[prefix].remove("dog")
    assert [sorted(words) for words in fields(after.packet)] == [sorted(words) for words in left.values()]
    assert after.refused == ()
    assert tagged(after.packet, DOG, CAT) == after.packet


def test_a_keyword_that_the_user_deleted_in_all_fields_is_refused():
    packet = tagged(packet_of(["Anna", "dog"], ["Anna", "dog"], ["Anna", "dog"]), DOG, CAT)
    after = updated(by_digikam(packet, ANNA, CAT), DOG, CAT)
    assert after.refused == ("dog",)
    assert fields(after.packet) == [["Anna", "cat"], ["Anna", "animal|cat"], ["Anna", "animal/cat"]]
    again = updated(after.packet, DOG, CAT)
    assert (again.packet, again.refused) == (after.packet, ())


@pytest.mark.parametrize("level", [(), ("Pets",)], ids=["renamed", "beside cocotag's"])
def test_a_word_that_the_user_adds_under_other_levels_stays_in_dc_subject(level):
    packet = tagged(packet_of(["Anna"], ["Anna"], ["Anna"]), DOG, CAT)
    packet = by_darktable(packet, ANNA, CAT, (*level, "dog"), *([DOG] if level else []))
    assert fields(untagged(packet)) == [["Anna", *level, "dog"], ["Anna", "|".join((*level, "dog"))], ["Anna"]]
    after = tagged(packet, CAT)
    assert sorted(fields(after)[0]) == sorted(["Anna", *level, "cat", "dog"])
    assert tagged(after, CAT) == after
