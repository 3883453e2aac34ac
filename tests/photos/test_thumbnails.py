import base64

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from cocotag.errors import ImageError
from cocotag.photos.decode import decode
from cocotag.photos.thumbnails import data_uri, shrink, thumbnail

HEAD = "data:image/jpeg;base64,"


def picture(address):
    assert address.startswith(HEAD)
    return simplejpeg.decode_jpeg(base64.b64decode(address.removeprefix(HEAD)))


@pytest.mark.parametrize(("size", "expected"), [((640, 480), (112, 84)), ((480, 640), (84, 112)), ((3000, 10), (112, 2))])
def test_the_longer_side_is_what_is_asked_for_and_proportions_are_kept(tmp_path, size, expected):
    Image.new("RGB", size, "red").save(tmp_path / "a.jpg")
    assert picture(thumbnail(tmp_path / "a.jpg")).shape[1::-1] in (expected, (expected[0], 1))


def test_a_small_picture_is_not_blown_up():
    small = np.zeros((5, 9, 3), np.uint8)
    assert shrink(small, 112) is small


def test_colours_survive():
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, :40] = 255, 0, 0
    wide[:, 40:] = 0, 0, 255
    back = picture(data_uri(wide, quality=90)).astype(int)
    assert np.abs(back[20, 10] - (255, 0, 0)).max() < 12
    assert np.abs(back[20, 70] - (0, 0, 255)).max() < 12


def test_a_thumbnail_is_upright(tmp_path):
    stored = np.zeros((100, 200, 3), np.uint8)
    stored[:, :100] = 255  # the left half is white; turned by 90 degrees clockwise it is the upper half
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(stored).save(tmp_path / "a.jpg", exif=exif)
    back = picture(thumbnail(tmp_path / "a.jpg"))
    assert back.shape[:2] == (112, 56)
    assert back[:50].mean() > 240
    assert back[62:].mean() < 15


def test_it_looks_like_the_picture_shrunk_from_full_size(coco_mini):
    path = sorted((coco_mini / "val").iterdir())[0]
    full = decode(path)
    back = picture(thumbnail(path, quality=95)).astype(float)
    exact = cv2.resize(full, back.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(back - exact).mean() < 6


def test_a_photograph_takes_a_few_kilobytes(coco_mini):
    sizes = [len(thumbnail(path)) for path in sorted((coco_mini / "val").iterdir())[:30]]
    assert max(sizes) < 8000


def test_a_file_that_is_not_an_image_is_an_error(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"a\.jpg") as caught:
        thumbnail(tmp_path / "a.jpg")
    assert caught.value.reason == "not_an_image"
