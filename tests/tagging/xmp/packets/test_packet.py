"""Keywords in every form of XMP that programs write: the user's stay, and cocotag's can be removed."""

import contextlib
import json
import re
import shutil
import subprocess
import unicodedata

import pytest
import xmp_samples
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from xmp_samples import PACKETS, RDF, bag, without, wrap

from cocotag.errors import DataError
from cocotag.inference.tags import Tag
from cocotag.photos.keywords import parse_xmp
from cocotag.tagging.xmp.packets import packet as module
from cocotag.tagging.xmp.packets.document import MAX_BYTES, XmpDocument, escape_text
from cocotag.tagging.xmp.packets.fields import values
from cocotag.tagging.xmp.packets.keywords import DIGIKAM, LIGHTROOM, SUBJECT, WRITTEN, clean, entries, fold, given_keywords
from cocotag.tagging.xmp.packets.reading import user_keywords
from cocotag.tagging.xmp.packets.record import URI, seal

DOG, PERSON, TV = ("animal", "dog"), ("person",), ("electronic", "tv-monitor")
ODD = ("gr\u00f6\u00dfe", '\U0001f415 <&">')


def update(packet, *given, elsewhere=(), name="a.xmp", **more):
    return module.update(packet, given, lambda: list(elsewhere), name=name, **more).packet


def strip(packet):
    return module.strip(packet, name="a.xmp").packet


def held(packet):
    """The keywords in the three fields."""
    rdf = XmpDocument.read(packet, "a.xmp").rdf
    return {field.prefix: values(rdf, field) for field in WRITTEN}


def levels(field, entries):
    """All words of a field; a single word is not repeated if it is a level of another keyword."""
    words = [level for entry in entries for keyword in field.read(entry) for level in keyword]
    return {fold(word) for word in words} | {fold(clean(word)) for word in words}


def rewritten(packet):
    """The packet as rewritten by another program, in its own style and with an addition."""
    root = etree.fromstring(packet, etree.XMLParser(remove_blank_text=True))
    description = root.find(f".//{{{RDF}}}Description")
    description.set("{http://ns.adobe.com/xap/1.0/}Rating", "5")
    etree.indent(root)
    return etree.tostring(root, encoding="utf-8")


@pytest.mark.parametrize("given", [(DOG,), (PERSON, DOG, TV), (ODD,)], ids=["one", "three", "odd"])
@pytest.mark.parametrize("shape", PACKETS)
def test_removal_restores_the_packet_byte_for_byte(shape, given):
    packet = PACKETS[shape]
    tagged = update(packet, *given, elsewhere=[("Places", "Zürich")])
    assert strip(tagged) == packet
    assert strip(packet) == packet
    assert update(tagged, *given, elsewhere=[("Places", "Zürich")]) == tagged
    assert update(tagged) == packet
    assert update(update(tagged, ("food", "cake")), *given, elsewhere=[("Places", "Zürich")]) == tagged


@pytest.mark.parametrize("shape", PACKETS)
def test_every_field_gets_the_tags_and_keeps_the_users(shape):
    packet = PACKETS[shape]
    before, after = held(packet), held(update(packet, PERSON, TV, elsewhere=[("Places", "Zürich")]))
    for field in WRITTEN:
        there = after[field.prefix]
        assert there[: len(before[field.prefix])] == before[field.prefix]
        assert there[-2:] == [field.spell(PERSON), field.spell(TV)]
    everything = {fold(word[-1]) for word in user_keywords(packet, name="")} | {fold("Zürich")}
    for field in WRITTEN:
        if not before[field.prefix]:
            assert everything <= levels(field, after[field.prefix])


@pytest.mark.parametrize("shape", PACKETS)
def test_existing_content_is_kept(shape):
    document = XmpDocument.read(PACKETS[shape], "")
    rest = iter(XmpDocument.read(update(PACKETS[shape], DOG, TV), "").text)
    lost = "/ >" if "empty" in shape or shape == "property with a space" else ""  # <rdf:Bag/> becomes <rdf:Bag></rdf:Bag>
    kept = document.text
    if "attribute" in shape:
        kept = re.sub(r" dc:subject=(\"[^\"]*\"|'')", "", kept)
    for sign in kept:
        assert sign in lost or sign in rest, sign
    new = etree.fromstring(XmpDocument.read(update(PACKETS[shape], DOG), "").text.strip("\0\n ").encode(), _utf8())
    old = etree.fromstring(document.text.strip("\0\n ").encode(), _utf8())
    for kind in (etree.Comment, etree.ProcessingInstruction):
        assert [str(one) for one in new.iter(kind)] == [str(one) for one in old.iter(kind)]
    names = [str(one.tag) for one in new.iter(etree.Element)]
    for one in old.iter(etree.Element):
        assert str(one.tag) in names
        names.remove(str(one.tag))


def _utf8():
    return etree.XMLParser(encoding="utf-8")


def test_a_new_packet_follows_the_standard_and_suits_readers():
    packet = update(None, DOG, PERSON, TV)
    text = packet.decode("utf-8")
    assert text.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/"')
    assert text.endswith('<?xpacket end="w"?>\n')
    root = etree.fromstring(packet)
    assert root.prefix == "x"
    assert [one.tag.partition("}")[2] for one in root.find(f".//{{{RDF}}}Description")][:3] == [
        "subject",
        "hierarchicalSubject",
        "TagsList",
    ]
    kinds = [root.find(f".//{field.tag}")[0].tag.partition("}")[2] for field in (SUBJECT, LIGHTROOM, DIGIKAM)]
    assert kinds == ["Bag", "Bag", "Seq"]
    assert held(packet) == {
        "dc": ["dog", "person", "tv-monitor"],
        "lr": ["animal|dog", "person", "electronic|tv-monitor"],
        "digiKam": ["animal/dog", "person", "electronic/tv-monitor"],
    }
    assert parse_xmp(packet, "a.xmp") == ["dog", "person", "tv-monitor"]
    assert strip(packet) is None
    assert update(packet) is None
    assert update(None) is None


def test_a_keyword_of_the_user_stays_the_users():
    packet = wrap(bag("dc:subject", "DOG", "Cafe\u0301") + bag("digiKam:TagsList", "Pets/Dog", kind="Seq")).encode()
    tagged = update(packet, DOG, ("food", "Caf\u00e9"), PERSON)
    assert held(tagged) == {
        "dc": ["DOG", "Cafe\u0301", "person"],
        "lr": ["Pets|Dog", "Cafe\u0301", "person"],
        "digiKam": ["Pets/Dog", "food/Caf\u00e9", "person"],
    }
    assert held(strip(rewritten(tagged))) == {"dc": ["DOG", "Cafe\u0301"], "lr": [], "digiKam": ["Pets/Dog"]}
    assert update(wrap(bag("dc:subject", "dog")).encode(), DOG) == wrap(bag("dc:subject", "dog")).encode()
    assert update(None, DOG, elsewhere=[("Pets", "Dog")]) is None


def test_a_new_field_starts_from_all_the_others():
    packet = wrap(
        bag("lr:hierarchicalSubject", "People|Anna", "darktable|format|jpg")
        + bag("MicrosoftPhoto:LastKeywordXMP", "Places/Rome", "People/Anna").replace(
            "<MicrosoftPhoto:LastKeywordXMP>",
            '<MicrosoftPhoto:LastKeywordXMP xmlns:MicrosoftPhoto="http://ns.microsoft.com/photo/1.0/">',
        )
    ).encode()
    got = held(update(packet, DOG, elsewhere=[("Beach",), ("people",), ("anna",)]))
    assert got["dc"] == ["Anna", "Rome", "Beach", "people", "dog"]
    assert got["lr"] == ["People|Anna", "darktable|format|jpg", "animal|dog"]
    assert got["digiKam"] == ["People/Anna", "Places/Rome", "Beach", "animal/dog"]


def test_elsewhere_is_called_only_if_an_empty_field_gets_keywords():
    def never():
        raise AssertionError

    full = wrap(bag("dc:subject", "a") + bag("lr:hierarchicalSubject", "a") + bag("digiKam:TagsList", "a", kind="Seq"))
    assert module.update(full.encode(), [DOG], never, name="").packet
    assert module.update(full.encode(), [], never, name="").packet == full.encode()


@pytest.mark.parametrize("shape", ["digikam", "darktable", "lightroom", "exiftool", "UTF-8 with mark"])
def test_cocotags_keywords_are_found_after_another_program_rewrote_the_packet(shape):
    packet = PACKETS[shape]
    tagged = rewritten(update(packet, DOG, TV))
    assert update(tagged, DOG, TV) == tagged  # all is as it should be: not touched
    other = update(tagged, PERSON)
    for field in WRITTEN:
        there = held(other)[field.prefix]
        assert there[-1] == "person"
        assert not {"animal|dog", "animal/dog", "electronic|tv-monitor", "tv-monitor"} & set(there)
        assert set(held(packet)[field.prefix]) <= set(there)
    clean_again = strip(tagged)
    assert b"cocotag" not in clean_again
    assert b'Rating="5"' in clean_again
    for field in WRITTEN:
        assert set(held(packet)[field.prefix]) <= set(held(clean_again)[field.prefix])
    assert strip(update(clean_again, DOG)) == clean_again


def test_a_packet_that_another_program_left_empty_is_removed():
    tagged = update(None, DOG)
    root = etree.fromstring(tagged)
    etree.indent(root)
    assert strip(etree.tostring(root)) is None
    assert strip(rewritten(tagged)) is not None  # it now has a rating


def test_digikams_repetitions_of_cocotags_keywords_are_cocotags():
    space = 'xmlns:MicrosoftPhoto="http://ns.microsoft.com/photo/1.0/"'
    tagged = rewritten(update(wrap(bag("dc:subject", "Anna")).encode(), DOG, PERSON)).decode()
    mirrors = bag("MicrosoftPhoto:LastKeywordXMP", "Anna", "animal/dog", "person")
    end = tagged.index("</rdf:Description>")
    both = (tagged[:end] + mirrors.replace("XMP>", f"XMP {space}>", 1) + tagged[end:]).encode()
    assert user_keywords(both, name="") == [("Anna",)]  # what repeats others is nobody's
    left = strip(both)
    assert b"dog" not in left
    assert b"person" not in left
    assert left.count(b">Anna<") == 2  # the copies in the two fields that cocotag began go with its keywords


def test_a_mirror_field_keeps_a_keyword_that_it_had_before():
    space = 'xmlns:MicrosoftPhoto="http://ns.microsoft.com/photo/1.0/"'
    mirror = bag("MicrosoftPhoto:LastKeywordXMP", "animal/dog").replace("XMP>", f"XMP {space}>", 1)
    packet = wrap(bag("dc:subject", "Anna") + mirror).encode()
    assert b"animal/dog" in strip(rewritten(update(packet, DOG, PERSON)))


def test_a_deletion_by_the_user_holds_until_they_add_the_keyword_again():
    tagged = update(wrap(bag("dc:subject", "Anna")).encode(), DOG, PERSON)
    deleted = without(tagged, "dog")
    after = update(deleted, DOG, PERSON)
    assert held(after)["dc"] == ["Anna", "person"]
    assert update(after, DOG, PERSON) == after
    assert held(update(after, PERSON))["dc"] == ["Anna", "person"]
    assert held(update(update(after), DOG, PERSON))["dc"] == ["Anna", "person"]  # also over a run that did not give it
    assert held(update(rewritten(after), DOG, PERSON))["dc"] == ["Anna", "person"]
    again = after.replace(b"<rdf:li>Anna</rdf:li>", b"<rdf:li>Anna</rdf:li><rdf:li>Dog</rdf:li>")
    back = update(again, DOG, PERSON)
    assert held(back)["dc"] == ["Anna", "Dog", "person"]
    assert b"refused" not in back
    assert held(update(strip(after), DOG, PERSON))["dc"] == ["Anna", "dog", "person"]  # untagging forgets


def test_a_deletion_is_remembered_in_a_packet_that_cocotag_created():
    after = update(without(update(None, DOG), "dog"), DOG)
    assert held(after) == {"dc": [], "lr": [], "digiKam": []}
    assert update(after, DOG) == after
    assert strip(after) is None


def test_a_field_that_a_program_drops_is_not_a_deletion():
    tagged = update(wrap(bag("dc:subject", "Anna")).encode(), DOG)
    dropped = re.sub(rb"<digiKam:TagsList>.*</digiKam:TagsList>", b"", tagged, flags=re.S)
    assert held(dropped)["digiKam"] == []
    assert held(update(dropped, DOG))["digiKam"] == ["Anna", "animal/dog"]


def test_a_keyword_of_the_user_in_a_field_that_cocotag_created_stays():
    tagged = update(None, DOG)
    added = tagged.replace(b"<rdf:li>dog</rdf:li>", b"<rdf:li>dog</rdf:li>\n     <rdf:li>Anna</rdf:li>")
    assert held(update(added, PERSON))["dc"] == ["Anna", "person"]
    assert held(strip(added)) == {"dc": ["Anna"], "lr": [], "digiKam": []}


def test_scores_and_models_do_not_change_the_order():
    tags = [
        Tag("zebra", 0.9, 1, "animal"),
        Tag("Dog", 0.8, 2, "animal"),
        Tag("dog", 0.7, 3, "pets"),
        Tag("person", 0.6, 4, "Person"),
    ]
    assert given_keywords(tags) == given_keywords(tags[::-1]) == [("animal", "Dog"), ("animal", "zebra"), ("person",)]


@pytest.mark.parametrize(
    ("name", "keyword"),
    [("tv/monitor", "tv-monitor"), ("a | b;c", "a-b-c"), (" a\n\tb\x00\ud800 ", "a b"), ("/", ""), ("no.1", "no.1")],
)
def test_names_become_keywords_that_no_field_splits(name, keyword):
    assert clean(name) == keyword


def test_hierarchical_fields_leave_out_words_that_are_levels_of_other_keywords():
    keywords = [("People", "Anna"), ("anna",), ("PEOPLE",), ("Beach",), ("Beach",)]
    assert entries(LIGHTROOM, keywords) == ["People|Anna", "Beach"]
    assert entries(SUBJECT, keywords) == ["Anna", "PEOPLE", "Beach"]


@pytest.mark.parametrize(
    ("packet", "code", "value"),
    [
        (b"", "xmp_damaged", ""),
        (b"\0\0", "xmp_damaged", ""),
        (b"dog", "xmp_damaged", ""),
        (PACKETS["digikam"][:-80], "xmp_damaged", ""),
        (PACKETS["digikam"].replace(b"Caf\xc3\xa9", b"Caf\xe9"), "xmp_damaged", "utf-8"),
        (PACKETS["UTF-16"][:-1], "xmp_damaged", "utf-16"),
        (PACKETS["one line"].replace(b"Anna", b"&nbsp;"), "xmp_damaged", "nbsp"),
        (b'<?xml version="1.0" encoding="ebcdic-cp-us"?>' + PACKETS["no wrapper"], "xmp_damaged", "ebcdic-cp-us"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_xmp", "svg"),
        (
            b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + PACKETS["no wrapper"].replace(b"Anna", b"&e;"),
            "xmp_document_type",
            "",
        ),
        (b'<?xml version="1.0"?>\n<!-- a --><!DOCTYPE x [<!ENTITY a "aa">]>' + PACKETS["no wrapper"], "xmp_document_type", ""),
        (
            PACKETS["UTF-16"].replace("<?xpacket begin".encode("utf-16-le"), "<!DOCTYPE x><?xpacket begin".encode("utf-16-le")),
            "xmp_document_type",
            "",
        ),
        (wrap('<dc:subject rdf:resource="urn:x"/>').encode(), "xmp_form_invalid", "dc:subject"),
        (wrap("<dc:subject><a/></dc:subject>").encode(), "xmp_form_invalid", "dc:subject"),
        (wrap("<dc:subject><rdf:Bag><rdf:_1>a</rdf:_1></rdf:Bag></dc:subject>").encode(), "xmp_form_invalid", "dc:subject"),
        (b"<a>" * 300 + b"</a>" * 300, "xmp_damaged", ""),
        (b" " * (MAX_BYTES + 1), "too_large", str(MAX_BYTES)),
    ],
)
def test_damaged_and_hostile_packets_are_refused(packet, code, value):
    with pytest.raises(DataError) as caught:
        update(packet, DOG)
    assert caught.value.code == code
    assert value in str(caught.value)
    assert str(caught.value).startswith("a.xmp")
    assert "\n" not in str(caught.value)


def test_entities_are_never_expanded(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    bomb = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True))
    for doctype in (f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>', f'<!DOCTYPE x [<!ENTITY a "x">{bomb}]>'):
        packet = (doctype + xmp_samples.TEXTS["no wrapper"].replace("Anna", "&e;" if "SYSTEM" in doctype else "&j;")).encode()
        with pytest.raises(DataError):
            strip(packet)
        assert user_keywords(packet, name="", iptc=["Beach"]) == [("Beach",)]


@pytest.mark.parametrize(
    "undo",
    [
        "",
        "[]",
        "{}",
        '{"edits": 5}',
        '{"edits": [[1]]}',
        '{"edits": [[-1, 2, ""]]}',
        '{"edits": [["a", 2, ""]]}',
        '{"start": 1e9}',
        '{"iptc": 7}',
        "[" * 99999,
        '{"edits": [[5, 900000, ""], [7, 2, ""]], "start": 0, "tail": 0, "was": ""}',
    ],
)
def test_an_invalid_undo_is_not_used(undo):
    tagged = update(wrap(bag("dc:subject", "Anna")).encode(), DOG).decode()
    broken = re.sub("(<cocotag:undo>).*(</cocotag:undo>)", lambda found: found[1] + undo + found[2], tagged)
    assert held(strip(broken.encode())) == {"dc": ["Anna"], "lr": [], "digiKam": []}
    sealed = seal(re.sub("<cocotag:digest>.*?<", "<cocotag:digest><", broken)).encode()
    with contextlib.suppress(DataError):  # the digest fits an invalid undo: an error, and unchanged
        assert strip(sealed) is not None


def test_a_damaged_packet_in_a_photograph_is_read_up_to_the_damage():
    packet = wrap(bag("dc:subject", "Anna", "Beach")).replace("Beach</rdf:li>", "Beach</rdf:l>").encode()
    assert ("Anna",) in user_keywords(packet, name="", iptc=["Lake"])
    assert ("Lake",) in user_keywords(b"\xff\xfe\0", name="", iptc=["Lake"])


def test_cocotags_keywords_are_not_the_users():
    tagged = module.update(wrap(bag("dc:subject", "Anna")).encode(), [DOG], list, name="", iptc=["Beach"])
    assert tagged.iptc == ("Beach", "dog")
    words = user_keywords(tagged.packet, name="", iptc=tagged.iptc)
    assert {word[-1] for word in words} == {"Anna", "Beach"}


def test_iptc_is_updated_with_xmp_where_it_is():
    first = module.update(None, [DOG, TV], lambda: [("Beach",)], name="", iptc=["Lake"])
    assert first.iptc == ("Lake", "dog", "tv-monitor")
    assert held(first.packet)["dc"] == ["Lake", "Beach", "dog", "tv-monitor"]
    second = module.update(first.packet, [PERSON], lambda: [("Beach",)], name="", iptc=first.iptc)
    assert second.iptc == ("Lake", "person")
    gone = module.strip(second.packet, name="", iptc=second.iptc)
    assert (gone.packet, gone.iptc) == (None, ("Lake",))
    added = module.strip(second.packet, name="", iptc=(*second.iptc, "River"))
    assert added.iptc == ("Lake", "River")


def test_iptc_is_not_begun():
    """darktable shows its words beside the hierarchy, so that each level would be there twice."""
    tagged = module.update(None, [DOG], lambda: [("places", "Rome")], name="", iptc=[])
    assert tagged.iptc == ()
    assert held(tagged.packet)["lr"] == ["places|Rome", "animal|dog"]


def test_iptc_that_an_earlier_version_began_is_still_taken_back():
    packet = module.update(None, [DOG], list, name="", iptc=[]).packet.decode()
    packet = packet.replace('"made": true', '"made": true, "iptc": ["Beach", "dog"]').encode()
    assert module.strip(packet, name="", iptc=["Beach", "dog"]).iptc == ()


LETTERS = st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\ufffe\uffff|/;")
WORDS = st.text(LETTERS, min_size=1, max_size=8).map(str.strip).filter(lambda word: word and clean(word))
PATHS = st.lists(WORDS, min_size=1, max_size=3).map(tuple)
SPACES = st.sampled_from(["", "\n", "\n  ", "\r\n\t", " "])


@st.composite
def packets(draw):
    """Packets of any mix of fields, spacing, splitting and encoding."""
    space, quote = draw(SPACES), draw(st.sampled_from("'\""))
    fields = []
    for field in WRITTEN:
        words = draw(st.lists(PATHS, max_size=4))
        form = draw(st.sampled_from(["none", "list", "list", "text", "empty"]))
        items = [f"<rdf:li>{escape_text(field.spell(word), 'utf-8')}</rdf:li>" for word in words]
        if form == "list" and words:
            kind = draw(st.sampled_from(["Bag", "Seq"]))
            fields.append(f"<{field.label}>{space}<rdf:{kind}>{space}{space.join(items)}{space}</rdf:{kind}></{field.label}>")
        elif form == "text" and words:
            fields.append(f"<{field.label}>{escape_text(field.spell(words[0]), 'utf-8')}</{field.label}>")
        elif form == "empty":
            fields.append(draw(st.sampled_from([f"<{field.label}/>", f"<{field.label}><rdf:Seq/></{field.label}>"])))
    fields.append(draw(st.sampled_from(["", "<xmp:Rating>3</xmp:Rating>", "<!-- -->", "<?a b?>"])))
    text = wrap(space.join(draw(st.permutations(fields))))
    if draw(st.booleans()):
        text = text.replace("><", f">{space}<").replace(f"?>{space}<", "?><")
    if quote == "'":
        text = text.replace('rdf:about=""', "rdf:about=''")
    codec = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    return text.encode(codec)


@settings(max_examples=300, deadline=None)
@given(packets(), st.lists(PATHS, max_size=4), st.lists(PATHS, max_size=4), st.lists(PATHS, max_size=3))
def test_tagging_any_packet_keeps_the_users_keywords_and_can_be_undone(packet, first, second, elsewhere):
    first, second = (given_keywords(Tag(word[-1], 1, 1, "|".join(word[:-1])) for word in words) for words in (first, second))
    before = held(packet)
    one = update(packet, *first, elsewhere=elsewhere)
    two = update(one, *second, elsewhere=elsewhere)
    assert update(one, *first, elsewhere=elsewhere) == one
    assert two == update(packet, *second, elsewhere=elsewhere)
    assert strip(one) == strip(two) == packet
    after = held(one)
    for field in WRITTEN:
        old, new = before[field.prefix], after[field.prefix]
        assert new[: len(old)] == old
        if new:
            words = levels(field, new)
            theirs = user_keywords(packet, name="")
            if not old:
                assert {fold(word[-1]) for word in (*theirs, *elsewhere)} <= words
            assert {fold(word[-1]) for word in first} <= words


@settings(max_examples=100, deadline=None)
@given(packets(), st.lists(PATHS, min_size=1, max_size=4), st.lists(PATHS, max_size=3))
def test_after_another_program_removal_keeps_the_users_keywords_only(packet, words, elsewhere):
    ours = given_keywords(Tag(word[-1], 1, 1, "|".join(word[:-1])) for word in words)
    before = held(packet)
    tagged = update(packet, *ours, elsewhere=elsewhere)
    left = strip(rewritten(tagged))
    after = held(left)
    theirs = {unicodedata.normalize("NFC", part[-1]) for part in (*user_keywords(packet, name=""), *elsewhere)}
    for field in WRITTEN:
        assert [" ".join(value.split()) for value in before[field.prefix]] == [
            " ".join(value.split()) for value in after[field.prefix][: len(before[field.prefix])]
        ]
        rest = after[field.prefix][len(before[field.prefix]) :]
        assert {unicodedata.normalize("NFC", part[-1]) for value in rest for part in field.read(value)} <= theirs
    assert URI.encode() not in left


@pytest.fixture(scope="module")
def tagged_files(tmp_path_factory):
    """Every form in a file, before and after."""
    folder = tmp_path_factory.mktemp("xmp")
    files = {}
    for number, (shape, packet) in enumerate([("new", update(None, PERSON)), *PACKETS.items()]):
        files[shape] = folder / f"{number}-before.xmp", folder / f"{number}-after.xmp"
        files[shape][0].write_bytes(packet)
        files[shape][1].write_bytes(update(packet, DOG, TV, elsewhere=[("Anna",)]))
    return files


@pytest.mark.usefixtures("exiftool")
def test_the_real_exiftool_validates_and_reads_every_shape(tagged_files):
    fields = {"XMP-dc:Subject": "dc", "XMP-lr:HierarchicalSubject": "lr", "XMP-digiKam:TagsList": "digiKam"}
    words = ["exiftool", "-j", "-struct", "-G1", "-validate", "-warning", "-error", "-a", *(f"-{key}" for key in fields)]
    paths = [path for both in tagged_files.values() for path in both]
    rows = json.loads(subprocess.run([*words, *paths], capture_output=True, check=False).stdout)
    assert len(rows) == len(paths)
    read = set()
    for shape, before, after in zip(tagged_files, rows[::2], rows[1::2], strict=True):
        faults = [{value for key, value in row.items() if re.search("Validate|Warning|Error", key)} for row in (before, after)]
        assert faults[1] <= faults[0] | {"OK"}, shape
        there = []
        for row, path in zip((before, after), tagged_files[shape], strict=True):
            lists = {prefix: row.get(key, []) for key, prefix in fields.items()}
            lists = {prefix: one if isinstance(one, list) else [one] for prefix, one in lists.items()}
            lists = {prefix: [str(one) for one in words if str(one).strip()] for prefix, words in lists.items()}
            there.append(lists == held(path.read_bytes()))
        assert there[1] or not there[0], shape  # it cannot read some odd forms, with or without our keywords
        read |= {shape} if there[1] else set()
    assert {"new", "digikam", "darktable", "lightroom", "exiftool", "UTF-8 with mark", "UTF-16"} <= read
    assert len(read) > len(PACKETS) - 8
    for opinion in (["exiv2", "-pX"], ["xmllint", "--noout", "--nonet"]):
        if shutil.which(opinion[0]):  # the library of digiKam and darktable, and a parser; where they are to be had
            for shape, files in tagged_files.items():
                codes = [subprocess.run([*opinion, file], capture_output=True, check=False).returncode for file in files]
                assert codes[1] == 0 or codes[0] != 0, (shape, opinion)
