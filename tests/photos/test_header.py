"""What a file says of itself is what decoding finds."""

import numpy as np
import pytest
from own_labels import picture
from PIL import Image

from cocotag.errors import ImageError
from cocotag.photos.decode import decode
from cocotag.photos.header import read_header


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "gif", "bmp", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_in_the_header_is_the_size_that_is_decoded(tmp_path, ending, orientation):
    if ending in ("gif", "bmp") and orientation > 1:
        return  # they have no EXIF
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {} if ending in ("gif", "bmp") else {"exif": exif}
    path = picture(tmp_path / f"a.{ending}", size=(40, 24), **options)
    header = read_header(path, metadata=True)
    assert header.opened
    assert (header.height, header.width) == decode(path).shape[:2]
    assert read_header(path) == header


def test_what_pillow_does_not_know_is_left_to_the_decoder(tmp_path):
    path = picture(tmp_path / "a.ppm", size=(40, 24))
    header = read_header(path)
    assert (header.width, header.height, header.opened) == (40, 24, False)
    with pytest.raises(ImageError) as caught:
        read_header(picture(tmp_path / "dot.png", size=(1, 1)))
    assert caught.value.reason == "too_small"


def test_a_jpeg_that_is_cut_short_is_left_out_before_anything_is_decoded(tmp_path):
    path = picture(tmp_path / "a.jpg", size=(64, 64))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ImageError) as caught:
        read_header(path)
    assert caught.value.reason == "truncated"


def test_a_jpeg_that_lacks_only_its_end_marker_keeps_its_keywords(tmp_path):
    packet = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    path = picture(tmp_path / "a.jpg", size=(64, 48), xmp=packet)
    path.write_bytes(path.read_bytes().removesuffix(b"\xff\xd9"))
    header = read_header(path, metadata=True)
    assert (header.width, header.height, header.opened, header.xmp) == (64, 48, True, packet)


def test_camera_raw_has_the_size_of_its_preview_not_of_its_thumbnail(tmp_path, monkeypatch):
    path = picture(tmp_path / "a.tif")  # RAW begins like a TIFF
    monkeypatch.setattr("cocotag.photos.header.raw.is_raw", lambda data: True)
    monkeypatch.setattr("cocotag.photos.header.decode", lambda path: np.zeros((300, 200, 3), np.uint8))
    header = read_header(path)
    assert (header.width, header.height, header.opened) == (200, 300, True)
