import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from cocotag.photos.formats import jpeg
from cocotag.photos.formats.progressive import for_eighth


@pytest.fixture(scope="module")
def photograph(coco_mini):
    return Image.open(sorted((coco_mini / "val").iterdir())[0]).convert("RGB")


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def reduced(data):
    header = jpeg.read_header(data)
    return for_eighth(data, header.frame, header.scan)


def eighth(data):
    header = jpeg.read_header(data)
    return simplejpeg.decode_jpeg(data, min_height=-(-header.height // 8), min_width=-(-header.width // 8))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(640, 480), (633, 477), (17, 9), (8, 8), (1000, 3), (2047, 1025)])
def test_an_eighth_is_the_same_to_the_bit_and_much_smaller(photograph, subsampling, mode, size):
    data = saved(photograph.convert(mode).resize(size), subsampling=subsampling, progressive=True)
    small = reduced(data)
    np.testing.assert_array_equal(eighth(small), eighth(data))
    if min(size) > 400:
        assert len(small) < (0.45 if mode == "RGB" and subsampling != "4:4:4" else 0.25) * len(data)


def test_decode_takes_this_road(photograph):
    data = saved(photograph, progressive=True)
    side = min(photograph.size) // 8
    np.testing.assert_array_equal(jpeg.decode(data, jpeg.read_header(data), side), eighth(data))


def test_what_is_not_progressive_stays_as_it_is(photograph):
    data = saved(photograph)
    assert reduced(data) is data


def test_a_preview_after_the_picture_is_not_taken_for_a_part_of_it(photograph):
    data = saved(photograph, progressive=True) + saved(photograph.resize((160, 120)), progressive=True)
    np.testing.assert_array_equal(eighth(reduced(data)), eighth(data))


def test_damaged_files_raise_nothing(photograph):
    whole = saved(photograph.resize((160, 120)), progressive=True)
    rng = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 5):
            data[place] = rng.integers(256)
        header = jpeg.read_header(bytes(data))
        if header.complete:
            assert isinstance(for_eighth(bytes(data), header.frame, header.scan), bytes)
    for end in range(2, len(whole), 97):
        assert isinstance(for_eighth(whole[:end], 0, 0), bytes)
