"""Twelve bits in 16-bit files: scaled if the file says so, and never otherwise."""

import numpy as np
import pytest
from image_files import ORIENTATION, draw, png, png_chunk, tiff, tiff_page
from PIL import Image

from cocotag.photos.decode import decode

PICTURE = draw()
TWELVE = np.rint(PICTURE * (4095 / 255)).astype(np.uint16)


def as_png(pixels, *bits):
    data = png(pixels, depth=16)
    return data[:33] + png_chunk(b"sBIT", bytes(bits)) + data[33:]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("maximum", [4095, 4000, 2049])
@pytest.mark.parametrize("tag", ["t281", "t341"])
def test_a_tiff_is_scaled_by_the_bits_of_its_largest_sample(channels, maximum, tag):
    data = tiff(tiff_page(TWELVE[..., :channels].copy(), **{tag: [maximum] * channels}))
    np.testing.assert_array_equal(decode(data), np.broadcast_to(PICTURE[..., :channels], PICTURE.shape))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_is_scaled_by_its_significant_bits(channels):
    data = as_png(TWELVE[..., :channels], *[12] * channels)
    np.testing.assert_array_equal(decode(data), np.broadcast_to(PICTURE[..., :channels], PICTURE.shape))


def test_the_orientation_is_applied_once():
    exif = Image.Exif()
    for orientation, turns in ((3, 2), (6, -1), (8, 1)):
        exif[ORIENTATION] = orientation
        block = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        data = as_png(TWELVE, 12, 12, 12)
        np.testing.assert_array_equal(decode(data[:33] + block + data[33:]), np.rot90(PICTURE, turns))
        data = tiff(tiff_page(TWELVE, t281=[4095] * 3, **{f"t{ORIENTATION}": orientation}))
        np.testing.assert_array_equal(decode(data), np.rot90(PICTURE, turns))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_samples_that_fill_sixteen_bits_are_not_scaled_again(bits):
    full = PICTURE.astype(np.uint16) * 257
    np.testing.assert_array_equal(decode(as_png(full, bits, bits, bits)), PICTURE)
    np.testing.assert_array_equal(decode(tiff(tiff_page(full, t281=[2**bits - 1] * 3))), PICTURE)


def test_without_a_declaration_nothing_is_scaled():
    for data in (tiff(tiff_page(TWELVE)), png(TWELVE, depth=16), tiff(tiff_page(TWELVE, t281=[0, 0, 0]))):
        np.testing.assert_array_equal(decode(data), TWELVE >> 8)


def test_a_black_image_stays_black():
    assert not decode(as_png(np.zeros((40, 60, 1), np.uint16), 12)).any()
