"""EXIF orientation in every type that exiftool follows, and in both byte orders."""

import io
import json
import struct
import subprocess

import numpy as np
import pytest
from image_files import ORIENTATION, draw, png_chunk, saved, tiff_page
from PIL import Image

from cocotag.photos.decode import decode
from cocotag.photos.formats.orientation import block_orientation
from cocotag.photos.header import read_header

CODES = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d"}
KINDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)


def content(kind, order, number):
    """A value of a TIFF 6.0 type, its bytes and its count."""
    if kind == 2:
        return str(number).encode() + b"\0", 2
    if kind in (5, 10):
        return struct.pack(order + ("II" if kind == 5 else "ii"), 2 * number, 2), 1
    return struct.pack(order + CODES[kind], number), 1


def block(kind, order, number, *, start=b""):
    """A TIFF whose only directory has only an orientation."""
    value, count = content(kind, order, number)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 1)
    entry = struct.pack(order + "HHI", ORIENTATION, kind, count)
    inline = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", 26)
    return start + head + entry + inline + bytes(4) + (value if len(value) > 4 else b"")


def jpeg(exif, picture):
    data = saved(picture, "JPEG", quality=98, subsampling=0)
    part = b"Exif\0\0" + exif
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part + data[2:]


def png(exif, picture):
    data = saved(picture, "PNG")
    return data[:33] + png_chunk(b"eXIf", exif) + data[33:]


def tiff(kind, order, number, picture):
    """A TIFF whose orientation has another type than SHORT."""
    import image_files

    value, count = content(kind, order, number)
    page = tiff_page(picture)
    page.tags[ORIENTATION] = 0
    data = bytearray(image_files.tiff(page))
    entry = data.index(struct.pack("<HHI", ORIENTATION, 3, 1))
    inline = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", len(data))
    data[entry : entry + 12] = struct.pack("<HHI", ORIENTATION, kind, count) + inline
    return bytes(data) + (value if len(value) > 4 else b"")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_type_is_followed(tmp_path, kind, order):
    picture = draw()
    for number in range(1, 9):
        assert block_orientation(block(kind, order, number, start=b"Exif\0\0")) == number
    exif = block(kind, order, 6)
    for name, data in {"a.jpg": jpeg(exif, picture), "a.png": png(exif, picture)}.items():
        np.testing.assert_allclose(decode(data).astype(int), np.rot90(picture, -1), atol=8)
        (tmp_path / name).write_bytes(data)
        header = read_header(tmp_path / name)
        assert (header.width, header.height) == (60, 90)


@pytest.mark.parametrize("number", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_in_a_tiff_too(tmp_path, kind, number):
    picture = draw()
    data = tiff(kind, "<", number, picture)
    turns = {1: 0, 3: 2, 6: 3, 8: 1}[number]
    np.testing.assert_array_equal(decode(data), np.rot90(picture, turns))
    (tmp_path / "a.tif").write_bytes(data)
    header = read_header(tmp_path / "a.tif")
    assert (header.height, header.width) == decode(data).shape[:2]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "value", [(7, b"\6\0"), (2, b" 6\0"), (2, b"6x\0"), (11, struct.pack("<f", 6.5)), (5, bytes(8)), (3, b"\t\t")]
)
def test_what_is_not_a_number_from_one_to_eight_is_none(value, order):
    kind, content = value
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 1)
    count = {7: 2, 2: len(content)}.get(kind, 1)
    inline = content.ljust(4, b"\0") if len(content) <= 4 else struct.pack(order + "I", 26)
    entry = struct.pack(order + "HHI", ORIENTATION, kind, count) + inline
    assert block_orientation(b"Exif\0\0" + head + entry + bytes(4) + content) == 1


@pytest.mark.usefixtures("exiftool")
@pytest.mark.parametrize("order", ["<", ">"])
def test_exiftool_reads_the_same(tmp_path, order):
    for kind in KINDS:
        for number in (1, 6, 8):
            (tmp_path / f"{kind}-{number}.jpg").write_bytes(jpeg(block(kind, order, number), draw()))
    words = ["exiftool", "-j", "-n", "-q", "-IFD0:Orientation", "-FileName", tmp_path]
    found = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    assert len(found) == 3 * len(KINDS)
    for one in found:
        number = int(one["FileName"].split("-")[1][0])
        assert one["Orientation"] == number
        assert decode(tmp_path / one["FileName"]).shape == ((90, 60, 3) if number > 4 else (60, 90, 3))


def test_pillow_reads_the_pixels_as_stored():
    """The files of these tests are as meant: without orientation they show the picture as it lies."""
    picture = draw()
    with Image.open(io.BytesIO(png(block(3, "<", 6), picture))) as image:
        np.testing.assert_array_equal(np.asarray(image), picture)
