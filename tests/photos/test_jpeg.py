"""Decoding no further than is needed."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cocotag.data.loading.transforms import Drawn
from cocotag.photos import decode as images
from cocotag.photos.formats import jpeg

WIDTH, HEIGHT = 203, 157


def photo(*, subsampling="4:2:0", progressive=False, grey=False, exif=None, size=(WIDTH, HEIGHT)):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1] // 4 + 1, size[0] // 4 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    options = {} if grey else {"subsampling": subsampling}
    image.convert("L" if grey else "RGB").save(buffer, "JPEG", progressive=progressive, exif=exif or Image.Exif(), **options)
    return buffer.getvalue()


@settings(max_examples=60, deadline=None)
@given(
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    grey=st.booleans(),
    rows=st.integers(0, HEIGHT + 5),
    scale=st.sampled_from([1, 2, 4, 8]),
)
def test_rows_that_are_needed_are_those_of_the_whole_picture(subsampling, grey, rows, scale):
    data = photo(subsampling=subsampling, grey=grey)
    min_side = HEIGHT // scale
    whole = images.decode(data, min_side=min_side, headroom=1)
    assert whole.shape[0] == -(-HEIGHT // scale)
    part = images.decode(data, min_side=min_side, headroom=1, rows=lambda width, height: rows)
    needed = -(-min(rows, HEIGHT) // scale)
    assert part.shape == whole.shape
    assert np.array_equal(part[:needed], whole[:needed])
    if rows + 64 < HEIGHT:
        assert not part[-1].any()  # it did stop early


@pytest.mark.parametrize("what", ["progressive", "turned"])
def test_pictures_whose_rows_do_not_lie_in_order_are_decoded_whole(what):
    exif = Image.Exif()
    exif[274] = 6
    data = photo(progressive=what == "progressive", exif=exif if what == "turned" else None)
    assert np.array_equal(images.decode(data, rows=lambda width, height: 10), images.decode(data))


def test_the_file_says_how_large_it_is():
    asked = []
    images.decode(photo(), rows=lambda width, height: asked.append((width, height)) or height)
    assert asked == [(WIDTH, HEIGHT)]


def test_a_crop_that_was_drawn_for_another_picture_needs_all_of_it():
    drawn = Drawn(WIDTH, HEIGHT, (0, 0, 50, 60), False, None)
    assert drawn.rows(WIDTH, HEIGHT) == 61
    assert drawn.rows(2 * WIDTH, 2 * HEIGHT) == 121
    assert drawn.rows(HEIGHT, WIDTH) == WIDTH  # the file is turned against what the annotations say


def test_a_truncated_picture_is_refused_even_where_its_end_is_not_needed():
    with pytest.raises(images.ImageError) as caught:
        images.decode(photo()[:-100], rows=lambda width, height: 10)
    assert caught.value.reason == "truncated"


def test_a_decoder_without_an_answer_says_so():
    data = photo()
    header = jpeg.read_header(data)
    broken = data[: header.frame + 4] + b"\x00" + data[header.frame + 5 :]  # no precision
    assert jpeg.decode(broken, header) is None
