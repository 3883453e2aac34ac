"""Decoding no further than is needed."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import draw, saved
from PIL import Image, ImageFile

from cocotag.data.loading.transforms import Drawn
from cocotag.photos import decode as images
from cocotag.photos.decode import decode
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


# What may be decoded at reduced scale, and what is complete


def as_frame(data, code=None, precision=None):
    """The same file with another frame marker, or another number of bits in its header."""
    offset = jpeg.read_header(data).frame
    changed = bytearray(data)
    changed[offset + 1] = data[offset + 1] if code is None else code
    changed[offset + 4] = data[offset + 4] if precision is None else precision
    return bytes(changed)


@pytest.mark.parametrize("code", sorted(set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}))
def test_only_frames_that_the_decoder_is_known_to_scale_are_scaled(code):
    header = jpeg.read_header(as_frame(photo(size=(800, 800)), code))
    assert header.code == code
    assert jpeg.reduction(header, 100) == (8 if code in (0xC0, 0xC1, 0xC2) else 1)
    assert jpeg.reduction(jpeg.read_header(as_frame(photo(size=(800, 800)), precision=12)), 100) == 1


def test_a_jpeg_of_twelve_bits_is_named_and_not_called_truncated():
    with pytest.raises(images.ImageError) as caught:
        images.decode(as_frame(photo(), precision=12))
    assert caught.value.code == "unsupported"
    assert "12 bits" in str(caught.value)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_a_file_that_lacks_only_its_end_marker_is_complete(progressive, grey):
    data = photo(progressive=progressive, grey=grey)
    assert data.endswith(b"\xff\xd9")
    assert np.array_equal(images.decode(data[:-2]), images.decode(data))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.98])
def test_a_file_that_lacks_more_is_truncated(progressive, kept):
    data = photo(progressive=progressive)
    with pytest.raises(images.ImageError) as caught:
        images.decode(data[: int(kept * len(data))])
    assert caught.value.code == "truncated"


def test_a_progressive_file_cut_between_two_scans_is_truncated():
    data = photo(progressive=True)
    scans = [place for place in range(len(data)) if data.startswith(b"\xff\xda", place)]
    assert len(scans) > 3
    for place in scans[1:]:
        start = data.rfind(b"\xff\xc4", 0, place)  # the tables of this scan go too
        with pytest.raises(images.ImageError):
            images.decode(data[: start if start > scans[0] else place])


def test_the_limit_of_pixels_is_on_what_is_decoded(monkeypatch):
    data = photo(size=(800, 800))
    monkeypatch.setattr("cocotag.photos.formats.limits.MAX_PIXELS", 100 * 100)
    assert images.decode(data, min_side=100, headroom=1).shape == (100, 100, 3)
    for refused in ({}, {"min_side": 101, "headroom": 1}):
        with pytest.raises(images.ImageError) as caught:
            images.decode(data, **refused)
        assert caught.value.code == "too_large"
    with pytest.raises(images.ImageError):  # a progressive file is held whole
        images.decode(photo(size=(800, 800), progressive=True), min_side=100, headroom=1)


ARITHMETIC_CMYK = base64.b64decode(
    b"/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAKBwcIBwYKCAgICwoKCw4YEA4NDQ4dFRYRGCMfJSQiHyIhJis3LyYpNCkhIjBBMTQ5Oz4+PiUuRElDPE"
    b"g3PT47/8kAFAgAIAAgBEMRAE0RAFkRAEsRAP/MAAYAEBAF/9oADgRDAE0AWQBLAAA/ALAWR173sY/rX0T0sJ6QUtmKZWgdeYjP6wiars3dsJEk"
    b"7cs9IWNEts62j+gulSzT6zB7LupGd/vFDX52609R6XQxF125Vj1BqWivRd17L3yvh8bosSs6/wDRzH+c+aA0yPoQVSWYjInmaIRTmuIKjd0iSa"
    b"7pdvCtX+fvSnVKqZi8ptjSbc9nM2bFRE6XvSZjTGliO0cHjBBNBnrOSF+CJOeHfTvDUJG3OhW4LmI7eMUVF8CT/dW8osoJ+7A041dzbAI4y9mI"
    b"PsahDweVOmOb5OML4kRUFvFWBsVB1vL3JVtVVX7XvUC1gqCbn7SIfQcG6eqjfmiYCHK+xDorzE3OhJRObUodvDFlCbj+WWT0fYZm84n2X0sWah"
    b"WnAvELwF2iPRFrZS77aywof2vIrDpnKeC30wbrFBUnAEE2NRe8SDj9I9vQKvZUuiteRCoBM7XHW/Pc47zYbaIKRuiuset+wpqNhj9Bw+PpxTuD"
    b"qc2J0/49+jOKPv8ACqAUij3/2Q=="
)
"""`draw(32, 32)` in CMYK, quality 70, transcoded by ``jpegtran -arithmetic``: no library here writes such files."""


@pytest.mark.parametrize("block", [64, 200, 65536])
def test_an_arithmetic_coded_cmyk_file_larger_than_a_block_is_a_picture(monkeypatch, block):
    huffman = decode(saved(Image.fromarray(draw(32, 32)).convert("CMYK"), "JPEG", quality=70))
    monkeypatch.setattr(ImageFile, "MAXBLOCK", block)  # Pillow decodes so many bytes at a time; its default is 65536
    np.testing.assert_array_equal(decode(ARITHMETIC_CMYK), huffman)
