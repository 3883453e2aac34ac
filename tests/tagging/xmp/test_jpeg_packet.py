"""XMP packets and odd JPEG files: every byte that is not cocotag's stays, and files that lie about their format are written."""

import struct

import numpy as np
import pytest
from image_files import draw, saved, stored
from xmp_samples import bag, wrap

from cocotag.errors import DataError
from cocotag.inference.tags import Tag
from cocotag.photos.decode import decode
from cocotag.tagging.decisions.rows import Row
from cocotag.tagging.xmp.embed import embed_keywords, untag_embedded
from cocotag.tagging.xmp.jpeg_packet import MOST, exchange_packet
from cocotag.tagging.xmp.photo_keywords import keywords_in

DOG = Tag("dog", 0.9, 18, "animal")
IPTC = b"Photoshop 3.0\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"


def embedded(photo):
    return embed_keywords([Row(photo, tags=(DOG,))], backup=False)


def entry(tag, kind, count, value):
    return struct.pack("<HHII", tag, kind, count, value)


def directory(*entries):
    return struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


def with_exif(block, jpeg):
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block + jpeg[2:]


BAD_EXIF = {
    "interop": b"II*\0"
    + struct.pack("<I", 8)
    + directory(entry(0x8769, 4, 1, 26))
    + directory(entry(0xA005, 4, 1, 44))
    + directory(entry(1, 282, 4, 0)),
    "exif": b"II*\0" + struct.pack("<I", 8) + directory(entry(0x8769, 4, 1, 26)) + directory(entry(0x9003, 99, 1, 0)),
    "pointer": b"II*\0" + struct.pack("<I", 8) + directory(entry(0x8769, 4, 1, 60_000)),
    "gps": b"II*\0" + struct.pack("<I", 8) + directory(entry(0x8825, 4, 1, 26)) + directory(entry(2, 300, 3, 0)),
}


def without_ours(jpeg):
    """The file without its XMP and IPTC segments."""
    kept, offset = jpeg[:2], 2
    while jpeg[offset + 1] != 0xDA:
        end = offset + 2 + int.from_bytes(jpeg[offset + 2 : offset + 4], "big")
        if not jpeg.startswith((XMP, IPTC), offset + 4):
            kept += jpeg[offset:end]
        offset = end
    return kept + jpeg[offset:]


@pytest.mark.usefixtures("exiftool")
@pytest.mark.parametrize("name", BAD_EXIF)
def test_a_photograph_with_a_damaged_exif_directory_takes_keywords(tmp_path, name):
    photo = tmp_path / "IMG.jpg"
    before = with_exif(BAD_EXIF[name], saved(draw(), "JPEG"))
    photo.write_bytes(before)
    assert embedded(photo).updated == 1
    assert without_ours(photo.read_bytes()) == before
    assert XMP in photo.read_bytes()
    assert embedded(photo).unchanged == 1
    assert untag_embedded([photo]).updated == 1
    assert photo.read_bytes() == before


@pytest.mark.usefixtures("exiftool")
@pytest.mark.parametrize(
    ("kind", "ending"), [("PNG", "jpg"), ("JPEG", "png"), ("WEBP", "JPG"), ("TIFF", "jpeg"), ("GIF", "png"), ("AVIF", "heic")]
)
def test_a_file_whose_ending_lies_is_written_by_its_content(tmp_path, kind, ending):
    photo = tmp_path / f"IMG.{ending}"
    photo.write_bytes(saved(draw(), kind))
    pixels = decode(photo)
    summary = embedded(photo)
    assert summary.updated == 1, summary.to_text()
    np.testing.assert_array_equal(decode(photo), pixels)
    assert embedded(photo).unchanged == 1
    assert keywords_in(photo) == []
    assert untag_embedded([photo]).updated == 1
    assert b"dog" not in photo.read_bytes()
    assert list(tmp_path.iterdir()) == [photo]


def test_a_packet_goes_behind_exif_and_comes_out_again():
    image, exif = stored(draw(), 6)
    jpeg = saved(image, "JPEG", exif=exif)
    packet = wrap(bag("dc:subject", "Anna")).encode()
    new = exchange_packet(jpeg, packet)
    assert 0 < new.index(b"Exif\0\0") < new.index(packet)
    assert len(new) == len(jpeg) + len(packet) + 4 + len(XMP)
    assert exchange_packet(new, None) == jpeg
    assert exchange_packet(exchange_packet(new, packet + b" " * 999), packet) == new
    assert exchange_packet(jpeg, None) == jpeg


def test_the_largest_packet_fits_and_one_byte_more_is_an_error():
    jpeg = saved(draw(), "JPEG")
    new = exchange_packet(jpeg, b"x" * MOST)
    assert exchange_packet(new, None) == jpeg
    np.testing.assert_array_equal(*(decode(data) for data in (new, jpeg)))
    with pytest.raises(DataError) as caught:
        exchange_packet(jpeg, b"x" * (MOST + 1))
    assert caught.value.code == "xmp_too_large"


@pytest.mark.parametrize("packet", [wrap("").encode(), None], ids=["new", "removed"])
@pytest.mark.parametrize("where", ["start", "EXIF", "packet", "before the picture"])
def test_a_file_that_ends_before_its_picture_is_an_error(where, packet):
    image, exif = stored(draw(), 6)
    whole = exchange_packet(saved(image, "JPEG", exif=exif), wrap(bag("dc:subject", "Anna")).encode())
    ends = {"start": 3, "EXIF": whole.index(b"Exif") + 9, "packet": whole.index(b"Anna"), "before the picture": None}
    jpeg = whole[: ends[where]] if where != "before the picture" else b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    with pytest.raises(DataError) as caught:
        exchange_packet(jpeg, packet)
    assert caught.value.code == "jpeg_cut"
