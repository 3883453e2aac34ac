"""Camera RAW: told from TIFF, its preview read with the extra and refused with a word about it without."""

import sys

import numpy as np
import pytest
from image_files import Page, dng, draw, saved, stored, tiff, tiff_page
from PIL import Image

from cocotag.errors import ImageError
from cocotag.photos.decode import decode
from cocotag.photos.formats import raw
from cocotag.photos.formats.table import FORMATS, identify
from cocotag.photos.walk import find_images
from cocotag.tagging.summary import TagSummary


@pytest.fixture(scope="module")
def picture():
    return draw()


def without_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)


def close(a, b, limit=8.0):
    assert a.shape == b.shape
    return np.abs(a.astype(int) - b.astype(int)).max() <= limit


def preview(image, **options):
    return saved(image, "JPEG", quality=98, subsampling=0, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("said_by", ["the raw file", "both"])
def test_a_preview_comes_out_upright_and_is_turned_once(picture, orientation, said_by):
    image, exif = stored(picture, orientation)
    other = Image.Exif()
    other[0x010F] = "a maker"  # EXIF that says nothing of orientation
    jpeg = preview(image, exif=other if said_by == "the raw file" else exif)
    assert close(decode(dng(np.asarray(image), orientation, preview=jpeg)), picture)


@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
def test_of_several_previews_the_largest_is_taken_and_not_the_thumbnail(picture, order):
    image, _ = stored(picture, 6)
    assert close(decode(dng(np.asarray(image), 6, preview=preview(image), order=order)), picture)
    with_thumbnail_alone = decode(dng(np.asarray(image), 6, preview=b"", order=order))
    assert with_thumbnail_alone.shape == (16, 12, 3)  # turned, and better than nothing
    assert with_thumbnail_alone.flags.writeable and with_thumbnail_alone.flags.c_contiguous


def test_a_preview_can_be_read_at_reduced_scale():
    data = dng(draw(320, 480))
    assert decode(data, min_side=40).shape == (80, 120, 3)


def test_a_preview_smaller_than_the_input_does_not_stand_for_the_picture():
    data = dng(draw(320, 480))
    assert decode(data, min_side=320).shape == (320, 480, 3)
    with pytest.raises(ImageError) as caught:
        decode(data, min_side=321)
    assert caught.value.reason == "no_preview" and "480 x 320" in str(caught.value)


def test_a_preview_that_is_damaged_is_an_error_and_no_grey_bottom(picture):
    whole = preview(picture)
    with pytest.raises(ImageError) as caught:
        decode(dng(picture, preview=whole[: len(whole) // 2]))
    assert caught.value.reason == "truncated" and "preview" in str(caught.value)


SENSOR = Page({254: 0, 256: 60, 257: 40, 258: 16, 259: 1, 262: 32803, 277: 1, 278: 40}, bytes(2 * 60 * 40))


def thumbnail(picture, *below, **tags):
    page = tiff_page(picture[:12, :16], **tags)
    return Page(page.tags, page.data, below)


def like_tiff(picture):
    """Files that begin like a TIFF with a thumbnail as first page, as the makers' own formats do."""
    yield "DNG", dng(picture)
    yield "NEF", tiff(thumbnail(picture, SENSOR, t254=1))
    yield "NEF, big-endian", tiff(Page({256: 16, 257: 12, 258: 8, 259: 1, 262: 1, 277: 1}, bytes(192), (SENSOR,)), order=">")
    yield "ARW", tiff(thumbnail(picture, SENSOR._replace(tags=SENSOR.tags | {259: 32767}), t254=1))
    yield "PEF", tiff(SENSOR._replace(tags=SENSOR.tags | {259: 65535}), thumbnail(picture, t254=1))
    cr2 = bytearray(tiff(thumbnail(picture)))
    cr2[8:12] = b"CR\2\0"
    yield "CR2", bytes(cr2)
    cut = tiff(thumbnail(picture, Page({254: 0, 256: 60}), t254=1))
    yield "cut before the sensor's page", cut


@pytest.mark.parametrize(("name", "data"), [pytest.param(name, data, id=name) for name, data in like_tiff(draw())])
def test_the_thumbnail_in_front_never_passes_for_the_picture(monkeypatch, name, data):
    assert identify(data) == "RAW"
    with monkeypatch.context() as patch:
        without_extra(patch)
        with pytest.raises(ImageError, match=r"pip install 'cocotag\[raw\]'") as caught:
            decode(data)
        assert caught.value.reason == "needs_raw"


STARTS = {
    "RAF": b"FUJIFILMCCD-RAW 0201",
    "ORF": b"IIRO\x08\0\0\0",
    "RW2": b"IIU\0\x18\0\0\0",
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\1",
    "X3F": b"FOVb",
    "MRW": b"\0MRM",
    "CRW": b"II\x1a\0\0\0HEAPCCDR",
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_formats_of_their_own_are_known_and_damaged_ones_named(monkeypatch, start):
    data = start + bytes(4000)
    assert identify(data) == "RAW"
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert caught.value.reason in ("no_preview", "truncated")
    without_extra(monkeypatch)
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert caught.value.reason == "needs_raw"


def test_a_plain_tiff_is_no_raw_file_even_from_a_camera(picture):
    camera = {"t271": b"a maker\0", "t272": b"a model\0"}
    for data in (
        tiff(tiff_page(picture, **camera)),
        tiff(tiff_page(picture), thumbnail(picture, t254=1)),  # the thumbnail behind
        tiff(Page(*tiff_page(picture)[:2], (thumbnail(picture, t254=1),))),  # or below
        saved(picture, "TIFF", compression="tiff_lzw"),
    ):
        assert identify(data) == "TIFF"
        np.testing.assert_array_equal(decode(data), picture)


def test_pages_that_point_in_a_circle_end(picture):
    data = bytearray(tiff(tiff_page(picture)))
    first = int.from_bytes(data[4:8], "little")
    entries = int.from_bytes(data[first : first + 2], "little")
    link = first + 2 + 12 * entries
    data[link : link + 4] = data[4:8]
    assert not raw.is_raw(bytes(data))


def relative(files, folder):
    return [file.relative_to(folder).as_posix() for file in files]


def test_a_folder_gives_raw_files_only_where_they_can_be_read(tmp_path, monkeypatch):
    for name in ("1.CR2", "1.jpg", "2.dng", "3.nef"):
        (tmp_path / name).touch()
    assert relative(find_images([tmp_path]), tmp_path) == ["1.CR2", "1.jpg", "2.dng", "3.nef"]
    without_extra(monkeypatch)
    left_out = []
    assert relative(find_images([tmp_path, tmp_path / "2.dng"], left_out=left_out), tmp_path) == ["1.jpg", "2.dng", "2.dng"]
    assert relative(left_out, tmp_path) == ["1.CR2", "3.nef"]


def test_what_was_left_out_is_said():
    text = TagSummary(ok=2, raw_left_out=3, seconds=1).to_text()
    assert text.splitlines()[1:] == ["3 camera RAW files left out. To tag them too: pip install 'cocotag[raw]'"]


def test_every_ending_belongs_to_one_format():
    endings = [ending for row in FORMATS.values() for ending in row.endings]
    assert len(endings) == len(set(endings))
    assert all(ending == ending.lower() and ending.startswith(".") for ending in endings)
    assert {".heic", ".avif", ".dng", ".cr2", ".cr3", ".nef", ".arw"} <= set(endings)
