"""Smaller versions of a picture that phones and cameras store in its file."""

import io
import struct
import warnings

import numpy as np
import pytest
from image_files import draw, heic, mpf, saved, stored
from PIL import Image

from cocotag.errors import ImageError
from cocotag.photos.decode import decode, load_square
from cocotag.photos.formats import heif_thumbnail
from cocotag.photos.formats import mpf as room
from cocotag.photos.formats.source import HEAD, Source

PICTURE = draw(480, 640)
warnings.filterwarnings("ignore", message="Image appears to be a malformed MPO")


def close(image, expected, by=12):
    return image.shape == expected.shape and np.abs(image.astype(int) - expected).mean() < by


def shrunk(picture, side):
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.BOX)
    return image


class Counted(io.BytesIO):
    """A file that counts what is read of it."""

    def __init__(self, data):
        super().__init__(data)
        self.total = 0

    def read(self, size=-1):
        data = super().read(size)
        self.total += len(data)
        return data


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_gives_its_thumbnail_upright(orientation):
    image, exif = stored(PICTURE, orientation)
    data = heic(image, exif, thumbnails=[320])
    small = decode(data, min_side=200, previews=True)
    assert small.shape == (240, 320, 3)
    assert close(small, np.asarray(shrunk(PICTURE, 320)))
    assert decode(data, min_side=200).shape == (480, 640, 3)


def test_the_smallest_thumbnail_that_is_large_enough_is_taken():
    data = heic(PICTURE, thumbnails=[320, 160, 400])
    assert [decode(data, min_side=side, previews=True).shape[1] for side in (64, 120, 121, 240, 250, 301)] == [
        *(160, 160, 320, 320, 400, 640)
    ]


def test_a_grid_of_tiles_has_its_thumbnail_too():
    data = heic(PICTURE, thumbnails=[320], tile_size=256)
    assert b"grid" in data
    assert close(decode(data, min_side=200, previews=True), np.asarray(shrunk(PICTURE, 320)))


def test_little_more_than_the_descriptions_and_the_thumbnail_is_read():
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    data = heic(noise, thumbnails=[320])
    file = Counted(data)
    found = heif_thumbnail.preview(Source(file, len(data)), 200)
    assert file.total < HEAD + 2 * len(found.data) < len(data)


def test_a_picture_with_transparency_is_decoded_itself():
    clear = Image.fromarray(np.dstack([PICTURE, np.full(PICTURE.shape[:2], 128, np.uint8)]), "RGBA")
    assert decode(heic(clear, mode="RGBA", thumbnails=[320]), min_side=200, previews=True).shape == (480, 640, 3)


def test_a_thumbnail_of_another_shape_or_turned_otherwise_is_not_used():
    picture = heif_thumbnail._Item(b"grid", [(size_box(4032, 3024), False), (turn(1), True)])

    def thumbnail(width, height, *turns, kind=b"hvc1"):
        boxes = [(size_box(width, height), False), *((turn(one), True) for one in turns)]
        return heif_thumbnail._Item(kind, boxes, [(0, 10)], thumbnail_of=[1])

    def chosen(item, side=240):
        return heif_thumbnail._choose(1, {1: picture, 2: item}, side) is item

    assert chosen(thumbnail(320, 240, 1))
    assert chosen(thumbnail(240, 320))  # it lies upright
    assert not chosen(thumbnail(320, 240))
    assert not chosen(thumbnail(320, 240, 3))
    assert not chosen(thumbnail(320, 320, 1))
    assert not chosen(thumbnail(320, 240, 1), side=241)
    assert not chosen(thumbnail(320, 240, 1, kind=b"grid"))


def test_a_rotation_by_180_degrees_has_to_be_the_same():
    picture = heif_thumbnail._Item(b"hvc1", [(size_box(4032, 3024), False), (turn(2), True)])
    plain = heif_thumbnail._Item(b"hvc1", [(size_box(320, 240), False)], [(0, 10)], thumbnail_of=[1])
    assert heif_thumbnail._choose(1, {1: picture, 2: plain}, 240) is None


def size_box(width, height):
    return struct.pack(">I4sIII", 20, b"ispe", 0, width, height)


def turn(quarters):
    return struct.pack(">I4sB", 9, b"irot", quarters)


@pytest.mark.parametrize(("version", "form"), [(0, ">HHH"), (1, ">IHI")])
def test_references_of_both_versions_are_read(version, form):
    items = {70: heif_thumbnail._Item(), 3: heif_thumbnail._Item()}
    content = struct.pack(form, 3, 1, 70)
    box = bytes([version, 0, 0, 0]) + struct.pack(">I4s", 8 + len(content), b"thmb") + content
    heif_thumbnail._add_references(box, items)
    assert items[3].thumbnail_of == [70]


def test_places_of_every_version_are_read():
    found = []
    for version in (0, 1, 2):
        number = ">I" if version == 2 else ">H"
        method = struct.pack(">H", 0) if version else b""
        entry = struct.pack(number, 5) + method + struct.pack(">HIHII", 0, 1000, 2, 20, 7) + struct.pack(">II", 30, 8)
        items = {5: heif_thumbnail._Item()}
        heif_thumbnail._add_places(bytes([version, 0, 0, 0, 0x44, 0x40]) + struct.pack(number, 1) + entry, items)
        found.append((items[5].extents, items[5].here))
    assert found == [([(1020, 7), (1030, 8)], True)] * 3


def test_data_in_another_box_are_not_in_the_file():
    items = {5: heif_thumbnail._Item()}
    entry = struct.pack(">HHHIHII", 5, 1, 0, 0, 1, 0, 7)
    heif_thumbnail._add_places(bytes([1, 0, 0, 0, 0x44, 0x40]) + struct.pack(">H", 1) + entry, items)
    assert not items[5].here


def test_a_truncated_heic_is_still_an_error():
    data = heic(PICTURE, thumbnails=[320])
    with pytest.raises(ImageError) as caught:
        decode(data[:-100], min_side=200, previews=True)
    assert caught.value.code == "truncated"


def test_a_thumbnail_smaller_than_said_leaves_the_picture():
    data = heic(PICTURE, thumbnails=[320])
    said = data.replace(size_box(320, 240), size_box(600, 450))
    assert said != data
    assert decode(said, min_side=400, previews=True).shape == (480, 640, 3)


def test_no_damage_to_the_descriptions_is_an_error_of_its_own():
    data = heic(PICTURE, thumbnails=[320])
    rng = np.random.default_rng(0)
    end = data.index(b"mdat")
    for _ in range(300):
        damaged = bytearray(data)
        for position in rng.integers(0, end, 3):
            damaged[position] = rng.integers(0, 256)
        found = heif_thumbnail.preview(Source.of(bytes(damaged)), 200)
        assert found is None or len(found.data) < len(data)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_jpeg_gives_its_smaller_version_upright(orientation):
    image, exif = stored(PICTURE, orientation)
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    data = mpf(image, small, exif=exif)
    assert close(decode(data, min_side=200, headroom=1, previews=True), np.asarray(shrunk(PICTURE, 320)), 4)
    assert decode(data, min_side=200, headroom=2, previews=False).shape == (480, 640, 3)


@pytest.mark.parametrize("kind", [0, 0x020001, 0x020002, 0x020003, 0x030000, 0x050000])
def test_a_gain_map_a_depth_map_or_another_view_is_no_smaller_version(kind):
    small = shrunk(PICTURE, 320)
    data = mpf(Image.fromarray(PICTURE), small, kinds=(kind,))
    assert room.preview(Source.of(data), 200) is None
    assert decode(data, min_side=400, previews=True).shape == (480, 640, 3)


def test_bars_around_a_smaller_version_refuse_it():
    wide = Image.fromarray(PICTURE).crop((0, 0, 640, 427))  # 3:2, and a version of 4:3 with bars
    bars = Image.new("RGB", (320, 240))
    bars.paste(wide.resize((320, 213)), (0, 13))
    assert room.preview(Source.of(mpf(wide, bars)), 200) is None


def test_the_smallest_camera_version_that_is_large_enough_is_taken():
    versions = [shrunk(PICTURE, 480), shrunk(PICTURE, 320)]
    data = mpf(Image.fromarray(PICTURE), *versions, kinds=(0x010002, 0x010001))
    widths = [
        None if found is None else Image.open(io.BytesIO(found.data)).width
        for side in (240, 241, 361)
        if (found := room.preview(Source.of(data), side)) or True
    ]
    assert widths == [320, 480, None]


def test_a_damaged_smaller_version_leaves_the_picture():
    data = bytearray(mpf(Image.fromarray(PICTURE), shrunk(PICTURE, 320)))
    second = data.rindex(b"\xff\xd8\xff")
    data[second:] = data[second : second + 200]  # cut off
    assert decode(bytes(data), min_side=400, previews=True).shape == (480, 640, 3)


def test_only_the_head_and_the_version_of_a_jpeg_are_read():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), np.uint8))
    data = mpf(noise, noise.resize((320, 240)))
    file = Counted(data)
    found = room.preview(Source(file, len(data)), 200)
    assert file.total == HEAD + len(found.data) < len(data) / 10


def test_of_a_file_without_previews_only_the_beginning_is_read_twice():
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    for picture, again in ((noise, HEAD), (draw(), 0)):
        data = saved(picture, "JPEG")
        file = Counted(data)
        source = Source(file, len(data))
        assert room.preview(source, 32) is None
        assert source.all() == data and file.total == len(data) + again


def test_a_square_of_a_preview_is_nearly_that_of_the_picture(tmp_path):
    path = tmp_path / "a.heic"
    path.write_bytes(heic(PICTURE, thumbnails=[320]))
    assert close(load_square(path, 224, previews=True), load_square(path, 224), 6)
