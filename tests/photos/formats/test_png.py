"""PNG files with chunks that Pillow refuses and no pixel needs."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cocotag.errors import ImageError
from cocotag.photos.decode import decode
from cocotag.photos.formats.png import without_ancillary


def chunk(kind, data, wrong=0):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ wrong)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.fixture
def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def with_chunk(png, extra):
    return png[:33] + extra + png[33:]  # behind IHDR


def test_a_wrong_checksum_in_a_chunk_without_pixels_is_passed_over(png, pixels):
    assert (decode(with_chunk(png, chunk(b"pHYs", bytes(9), wrong=1))) == pixels).all()


def test_a_colour_profile_of_any_size_is_passed_over(png, pixels):
    profile = zlib.compress(bytes(3_000_000))
    assert (decode(with_chunk(png, chunk(b"iCCP", b"p\0\0" + profile))) == pixels).all()
    assert (decode(with_chunk(png, chunk(b"zTXt", b"t\0\0" + profile))) == pixels).all()


def test_the_orientation_is_kept_unless_its_checksum_is_wrong(png, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    bad = chunk(b"pHYs", bytes(9), wrong=1)
    assert (decode(with_chunk(png, bad + chunk(b"eXIf", block))) == np.rot90(pixels, -1)).all()
    assert (decode(with_chunk(png, bad + chunk(b"eXIf", block, wrong=1))) == pixels).all()


@pytest.mark.parametrize("cut", [0.5, 0.9])
def test_missing_pixels_are_still_damage(png, cut):
    with pytest.raises(ImageError) as caught:
        decode(with_chunk(png, chunk(b"pHYs", bytes(9), wrong=1))[: int(cut * len(png))])
    assert caught.value.code == "truncated"


def test_only_what_pixels_need_is_kept(png):
    assert without_ancillary(png) == png
    assert without_ancillary(with_chunk(png, chunk(b"tEXt", b"a\0b"))) == png
    assert without_ancillary(without_ancillary(png)) == without_ancillary(png)
