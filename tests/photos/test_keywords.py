"""Keywords are found wherever photo programs put them; exiftool, which knows them all, writes them here."""

import pytest
from own_labels import bag, packet, picture
from PIL import Image

from cocotag.errors import DataError
from cocotag.photos.header import read_header
from cocotag.photos.keywords import parse_xmp, read_keywords


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("", []),
        (bag("dc:subject"), []),
        (bag("dc:subject", "dog", " Caf\u00e9 ", "dog", ""), ["dog", "Caf\u00e9"]),
        (bag("dc:subject", "a &amp; b", "<!-- no -->c", kind="Seq"), ["a & b", "c"]),
        (
            bag("dc:subject", "Dog", "Animals") + bag("lr:hierarchicalSubject", "Animals|Dog|Poodle"),
            ["Dog", "Animals", "Poodle"],
        ),
        (bag("digiKam:TagsList", "Animals/Dog", "Beach", kind="Seq"), ["Dog", "Beach"]),
        (
            bag("dc:subject", "darktable", "format", "jpg", "gull") + bag("lr:hierarchicalSubject", "darktable|format|jpg"),
            ["gull"],
        ),
        (bag("dc:subject", "darktable|exported", "Birds|Gulls"), ["Gulls"]),
        ("<dc:subject>dog; cat</dc:subject>", ["dog", "cat"]),
        ("<dc:title>dog</dc:title>", []),
    ],
)
@pytest.mark.parametrize("wrapped", [True, False])
def test_keywords_of_a_packet(fields, words, wrapped):
    assert parse_xmp(packet(fields, wrapped), "a.xmp") == words


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0",
        b"dog",
        packet(bag("dc:subject", "dog"))[:-60],
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + packet(bag("dc:subject", "&e;"), wrapped=False),
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + packet(bag("dc:subject", "&b;"), wrapped=False),
    ],
)
def test_a_damaged_or_hostile_packet_is_an_error(data):
    with pytest.raises(DataError, match=r"a\.xmp") as caught:
        parse_xmp(data, "a.xmp")
    assert caught.value.code == ("xmp_document_type" if data.startswith(b"<!DOCTYPE") else "xmp_damaged")


def test_the_sidecar_counts_before_the_file_and_the_closer_name_first(tmp_path):
    photo = picture(tmp_path / "a.png")
    for name, word in (("a.xmp", "second"), ("a.png.xmp", "first")):
        (tmp_path / name).write_bytes(packet(bag("dc:subject", word)))
    header = read_header(photo, metadata=True)
    assert read_keywords(photo, header) == ["first"]
    (tmp_path / "a.png.xmp").write_bytes(packet(""))  # a sidecar without keywords does not count
    assert read_keywords(photo, header) == ["second"]
    (tmp_path / "a.png.xmp").write_bytes(b"<broken")
    with pytest.raises(DataError, match=r"a\.png\.xmp") as caught:
        read_keywords(photo, header)
    assert caught.value.code == "xmp_damaged"


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "avif"])
def test_keywords_that_exiftool_wrote_into_each_format(exiftool, photographs, ending):
    photo = photographs[0].with_suffix(f".{ending}")
    if ending != "jpg":
        with Image.open(photographs[0]) as image:
            image.resize((64, 48)).save(photo)
    exiftool(photo, "-XMP-dc:Subject=dog", "-XMP-dc:Subject=Café", "-XMP-lr:HierarchicalSubject=Animals|Dog|Poodle")
    assert read_keywords(photo, read_header(photo, metadata=True)) == ["dog", "Café", "Poodle"]


def test_png_keywords_behind_the_pixels_are_found(exiftool, photographs):
    photo = photographs[0].with_suffix(".png")
    picture(photo)
    exiftool(photo, "-XMP-dc:Subject=dog", "-api", "PNGEarlyXMP=0")
    chunks = photo.read_bytes()
    if chunks.index(b"XML:com.adobe.xmp") < chunks.index(b"IDAT"):  # move the chunk to where other programs write it
        start = chunks.index(b"iTXt") - 4
        end = start + 12 + int.from_bytes(chunks[start : start + 4], "big")
        tail = chunks.index(b"IEND") - 4
        photo.write_bytes(chunks[:start] + chunks[end:tail] + chunks[start:end] + chunks[tail:])
    assert read_keywords(photo, read_header(photo, metadata=True)) == ["dog"]


@pytest.mark.parametrize("charset", [(), ("-IPTC:CodedCharacterSet=UTF8",)])
def test_iptc_counts_where_there_is_no_xmp(exiftool, photographs, charset):
    exiftool(photographs[0], *charset, "-IPTC:Keywords=Hündin", "-IPTC:Keywords=park")
    exiftool(photographs[1], "-IPTC:Keywords=old", "-XMP-dc:Subject=new")
    keywords = [read_keywords(photo, read_header(photo, metadata=True)) for photo in photographs]
    assert keywords == [["Hündin", "park"], ["new"], [], []]
