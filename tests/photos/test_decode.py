"""Files of every kind -> upright RGB."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from image_files import Page, dng, draw, every_kind, heic, png, saved, stored, tiff, tiff_page
from PIL import Image

from cocotag.photos.decode import HEADROOM, decode, load_square, to_square
from cocotag.photos.formats.pillow import from_pillow
from cocotag.photos.formats.table import identify

ALL_KINDS = sorted(every_kind(draw()))


@pytest.fixture(scope="module")
def picture():
    return draw()


@pytest.fixture(scope="module")
def files(picture):
    return every_kind(picture)


def close(a, b, limit=8.0):
    assert a.shape == b.shape
    return np.abs(a.astype(int) - b.astype(int)).max() <= limit


@pytest.mark.parametrize("name", ALL_KINDS)
def test_every_kind_is_known_by_content_and_decoded_whatever_its_name(files, tmp_path, name):
    expected = {"apng": "PNG", "heic": "HEIF", "dng": "RAW"}
    kind = name.split("_")[0]
    assert identify(files[name]) == expected.get(kind, kind.upper())
    path = tmp_path / ("a.jpg" if kind == "png" else "a.png")
    path.write_bytes(files[name])
    image = decode(path)
    np.testing.assert_array_equal(image, decode(str(path)))
    assert image.dtype == np.uint8 and image.flags.c_contiguous and image.flags.writeable
    assert sorted(image.shape) in ([3, 60, 90], [3, 128, 128])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000", "TGA"])
def test_lossless_formats_come_back_to_the_bit(picture, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode(saved(picture, kind, **options)), picture)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"optimize": True}], ids=["baseline", "progressive", "optimised"]
)
def test_jpeg(picture, options):
    assert close(decode(saved(picture, "JPEG", quality=98, subsampling=0, **options)), picture)


def test_jpeg_has_the_pixels_of_opencv_to_the_bit(coco_mini):
    flags = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
    for file in sorted((coco_mini / "val").glob("*.jpg"))[:12]:
        data = np.frombuffer(file.read_bytes(), np.uint8)
        shorter = min(decode(file).shape[:2])
        for scale, flag in flags.items():
            expected = cv2.cvtColor(cv2.imdecode(data, flag | cv2.IMREAD_IGNORE_ORIENTATION), cv2.COLOR_BGR2RGB)
            np.testing.assert_array_equal(decode(file, min_side=shorter // (scale * HEADROOM)), expected)


def test_cmyk_jpeg_has_the_colours_of_its_rgb(picture):
    cmyk = Image.fromarray(picture).convert("CMYK")
    assert close(decode(saved(cmyk, "JPEG", quality=98)), picture, 12)


def test_grey_becomes_three_equal_channels(picture):
    grey = Image.fromarray(picture[:, :, 0])
    for data in (saved(grey, "PNG"), saved(grey, "JPEG", quality=98), heic(grey)):
        assert close(decode(data), np.repeat(picture[:, :, :1], 3, axis=2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIC"])
def test_every_orientation_comes_out_upright(picture, kind, orientation):
    image, exif = stored(picture, orientation)
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}, "AVIF": {"quality": 98}}.get(kind, {})
    data = heic(image, exif) if kind == "HEIC" else saved(image, kind, exif=exif, **options)
    assert close(decode(data), picture, 25 if kind == "AVIF" else 8)


def test_orientation_outside_one_to_eight_is_none(picture):
    for orientation in (0, 9, 255):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind in ("JPEG", "PNG"):
            assert decode(saved(picture, kind, exif=exif)).shape == picture.shape


def test_orientation_after_xmp_and_damaged_exif(picture):
    data = saved(picture, "JPEG", exif=stored(picture, 6)[1])
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x/>"
    with_xmp = data[:2] + b"\xff\xe1" + (len(xmp) + 2).to_bytes(2, "big") + xmp + data[2:]
    assert decode(with_xmp).shape == (90, 60, 3)
    damaged = data.replace(b"Exif\0\0MM\0*", b"Exif\0\0garba").replace(b"Exif\0\0II*\0", b"Exif\0\0garba")
    assert decode(damaged).shape == (60, 90, 3)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_transparency_is_laid_on_white(picture, kind):
    alpha = np.zeros((60, 90), np.uint8)
    alpha[:, 45:] = 255
    image = Image.fromarray(np.dstack([picture, alpha]))
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 98}}.get(kind, {})
    got = decode(heic(image) if kind == "HEIC" else saved(image, kind, **options))
    assert (got[:, :44] == 255).all()
    assert close(got[:, 48:], picture[:, 48:], 25 if kind == "AVIF" else 8)


def test_grey_with_transparency():
    grey_alpha = Image.fromarray(np.zeros((8, 8), np.uint8)).convert("LA")
    grey_alpha.putalpha(0)
    assert (decode(saved(grey_alpha, "PNG")) == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_and_its_transparent_entry(kind):
    image = Image.new("P", (9, 6), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 0, 4, 6))
    plain, see_through = decode(saved(image, kind)), decode(saved(image, kind, transparency=0))
    assert plain[0, 0].tolist() == [0, 0, 255] and plain[0, 8].tolist() == [255, 0, 0]
    assert see_through[0, 0].tolist() == [0, 0, 255] and see_through[0, 8].tolist() == [255, 255, 255]


@pytest.mark.parametrize("interlaced", [False, True], ids=["straight", "interlaced"])
@pytest.mark.parametrize(
    ("channels", "depth"),
    [(1, 1), (1, 2), (1, 4), (1, 8), (1, 16), (2, 8), (2, 16), (3, 8), (3, 16), (4, 8), (4, 16)],
    ids=lambda number: str(number),
)
def test_png_of_every_kind(channels, depth, interlaced):
    levels = np.random.default_rng(3).integers(0, 2**depth, (11, 13, channels))
    colour = levels / (2**depth - 1) * 255
    if channels in (2, 4):
        opacity = colour[:, :, -1:] / 255
        colour = colour[:, :, :-1] * opacity + 255 * (1 - opacity)
    expected = np.broadcast_to(colour, (11, 13, 3))
    got = decode(png(levels, depth=depth, interlaced=interlaced))
    assert np.abs(got - expected).max() < 2  # where 16 bits are cut to 8 before they are mixed with white


@pytest.mark.parametrize("interlaced", [False, True], ids=["straight", "interlaced"])
def test_png_with_a_palette_that_is_half_transparent(interlaced):
    palette = np.array([[200, 0, 0], [0, 100, 0], [0, 0, 50]], np.uint8)
    indices = np.random.default_rng(4).integers(0, 3, (9, 14, 1))
    got = decode(png(indices, depth=2, interlaced=interlaced, palette=palette, transparency=bytes([255, 0])))
    np.testing.assert_array_equal(got, np.array([[200, 0, 0], [255] * 3, [0, 0, 50]])[indices[:, :, 0]])


@pytest.mark.parametrize(("channels", "depth"), [(1, 1), (1, 2), (1, 4), (1, 8), (1, 16), (3, 8), (3, 16)])
def test_png_with_a_level_that_stands_for_nothing(channels, depth):
    levels = np.repeat(np.arange(12).reshape(3, 4, 1) % 2**depth, channels, axis=2)
    levels = levels * 257 if depth == 16 else levels
    key = int(levels[0, 1, 0])
    got = decode(png(levels, depth=depth, transparency=key.to_bytes(2, "big") * channels))
    expected = np.where(levels == key, 255, np.rint(levels / (2**depth - 1) * 255))
    np.testing.assert_array_equal(got, np.broadcast_to(expected, (3, 4, 3)))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    got = decode(saved(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert (got == [255, 0, 0]).all()


def test_of_several_pages_the_first_is_taken(picture):
    np.testing.assert_array_equal(decode(tiff(tiff_page(picture), tiff_page(picture[::-1]))), picture)


def test_sixteen_bits_are_scaled_to_eight(picture):
    levels = np.array([[0, 257 * 10, 257 * 128, 65535]] * 2, np.uint16)
    for kind in ("PNG", "TIFF"):
        assert decode(saved(levels, kind))[0, :, 0].tolist() == [0, 10, 128, 255], kind
    for ending in (".png", ".tif"):  # OpenCV's TIFF is compressed
        encoded = cv2.imencode(ending, np.dstack([levels] * 3))[1].tobytes()
        assert decode(encoded)[0, :, 1].tolist() == [0, 10, 128, 255]
    np.testing.assert_array_equal(decode(tiff(tiff_page(picture.astype(np.uint16) * 257))), picture)
    alpha = np.full((60, 90, 1), 65535, np.uint16)
    alpha[:9] = 0
    page = tiff_page(np.dstack([picture.astype(np.uint16) * 257, alpha]), t338=2)
    np.testing.assert_array_equal(decode(tiff(page)), np.where(alpha, picture, 255))


@pytest.mark.parametrize("bits", [10, 12])
def test_ten_and_twelve_bits_of_heic(picture, bits):
    levels = np.rint(picture / 255 * (2**bits - 1)).astype(np.uint16)
    assert close(decode(heic(levels, mode=f"RGB;{bits}")), picture)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_heic_in_tiles_as_phones_write_it(orientation):
    large = draw(200, 330)
    image, exif = stored(large, orientation)
    data = heic(image, exif, tile_size=64)
    assert b"grid" in data
    assert close(decode(data), large)


def test_float_and_one_bit_images():
    floats = Image.fromarray(np.array([[0, 0.5, 1, 7, np.nan]] * 2, np.float32))
    assert decode(saved(floats, "TIFF"))[0, :, 2].tolist() == [0, 128, 255, 255, 0]
    bits = Image.fromarray(np.array([[0, 255]] * 2, np.uint8)).convert("1")
    for kind in ("PNG", "TIFF", "PPM"):
        assert decode(saved(bits, kind))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("compression", [None, "packbits", "tiff_lzw", "tiff_adobe_deflate", "zstd", "lzma"])
def test_tiff_in_every_compression_and_byte_order(picture, compression):
    np.testing.assert_array_equal(decode(saved(picture, "TIFF", compression=compression)), picture)
    np.testing.assert_array_equal(decode(saved(picture, "TIFF", compression=compression, big_tiff=True)), picture)
    assert close(decode(saved(Image.fromarray(picture).convert("CMYK"), "TIFF", compression=compression)), picture)
    tags = {256: 90, 257: 60, 258: 8, 259: 1, 262: 1, 277: 1, 278: 60}
    grey = decode(tiff(Page(tags, picture[:, :, 0].tobytes()), order=">"))
    np.testing.assert_array_equal(grey, np.repeat(picture[:, :, :1], 3, axis=2))


def test_what_cameras_append_to_a_jpeg_does_no_harm(picture):
    data = saved(picture, "JPEG", quality=95)
    whole = decode(data)
    for tail in (b"\0" * 4096, b"\xff" * 7, b"....ftypmp42" + bytes(999), data):
        np.testing.assert_array_equal(decode(data + tail), whole)


def test_what_programs_append_to_heic_does_no_harm(picture):
    data = heic(picture)
    whole = decode(data)
    for tail in (b"\0" * 4096, b"junk", b"\xff\xff\xff\xffjunk" + bytes(99)):
        np.testing.assert_array_equal(decode(data + tail), whole)


@pytest.mark.parametrize(
    ("min_side", "height"), [(None, 320), (320, 320), (81, 320), (80, 160), (41, 160), (40, 80), (20, 40), (1, 40)]
)
def test_reduced_decoding_keeps_twice_the_side(min_side, height):
    data = saved(np.zeros((320, 480, 3), np.uint8), "JPEG")
    assert decode(data, min_side=min_side).shape == (height, height * 3 // 2, 3)


def test_reduced_decoding_turns_too_and_leaves_other_formats_alone(picture):
    exif = stored(picture, 6)[1]
    assert decode(saved(picture, "JPEG", exif=exif), min_side=15).shape == (45, 30, 3)
    assert decode(saved(picture, "PNG"), min_side=15).shape == (60, 90, 3)


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(2, 600),
    width=st.integers(2, 600),
    min_side=st.integers(1, 100),
    progressive=st.booleans(),
    orientation=st.integers(1, 8),
)
def test_a_reduced_jpeg_is_large_enough_and_shows_the_same(height, width, min_side, progressive, orientation):
    image, exif = stored(draw(height, width), orientation)
    data = saved(image, "JPEG", quality=95, progressive=progressive, exif=exif)
    full, reduced = decode(data), decode(data, min_side=min_side)
    assert full.shape == (height, width, 3)
    assert min(reduced.shape[:2]) >= min(HEADROOM * min_side, height, width)
    scale = next(scale for scale in (1, 2, 4, 8) if reduced.shape[0] == -(-height // scale))
    assert reduced.shape[:2] == (-(-height // scale), -(-width // scale))
    assume(min_side >= 16)  # of a few pixels, a last column that stands for less than the others is a large part
    difference = to_square(full, min_side).astype(int) - to_square(reduced, min_side)
    assert np.abs(difference).mean() < 4


def as_mode(mode, levels):
    """A Pillow image of a mode from levels ``(H, W, 4)`` uint8, and the RGB that it shows on white."""
    alpha = levels[:, :, 3:].astype(float) / 255
    grey, colour = np.repeat(levels[:, :, :1], 3, axis=2), levels[:, :, :3]
    if mode == "1":
        return Image.fromarray(levels[:, :, 0]).point(lambda level: 255 * (level >= 128), "1"), (grey >= 128) * 255
    if mode == "L":
        return Image.fromarray(levels[:, :, 0]), grey
    if mode == "LA":
        return Image.fromarray(levels[:, :, [0, 3]]), grey * alpha + 255 * (1 - alpha)
    if mode == "P":
        image = Image.fromarray(levels[:, :, 0] // 16).convert("P")
        palette = np.random.default_rng(5).integers(0, 256, (16, 3), dtype=np.uint8)
        image.putpalette(palette.tobytes())
        return image, palette[levels[:, :, 0] // 16]
    if mode == "RGB":
        return Image.fromarray(colour), colour
    if mode == "RGBA":
        return Image.fromarray(levels), colour * alpha + 255 * (1 - alpha)
    if mode == "CMYK":
        return Image.fromarray(levels, "CMYK"), (255.0 - colour) * (1 - alpha)
    if mode == "I;16":
        sixteen = levels[:, :, 0].astype(np.uint16) * 256 + levels[:, :, 1]
        return Image.fromarray(sixteen), np.repeat(sixteen[:, :, None] / 257, 3, axis=2)
    return Image.fromarray(levels[:, :, 0].astype(np.float32) / 255), grey  # F


WRITTEN = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"),
    "GIF": ("1", "L", "P"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "PPM": ("1", "L", "RGB", "I;16"),
    "TGA": ("L", "P", "RGB", "RGBA"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA", "I;16"),
}


@settings(deadline=None, max_examples=150)
@given(
    kind_and_mode=st.sampled_from([(kind, mode) for kind, modes in WRITTEN.items() for mode in modes]),
    height=st.integers(2, 70),
    width=st.integers(2, 70),
    orientation=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_every_format_in_every_mode_shows_what_was_put_in(kind_and_mode, height, width, orientation, seed):
    kind, mode = kind_and_mode
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    image, expected = as_mode(mode, levels)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    if kind in ("PNG", "TIFF", "WEBP"):
        expected = np.asarray(stored_back(expected, orientation))
        options["exif"] = stored(levels[:, :, :3], orientation)[1]
    got = decode(saved(image, kind, **options))
    assert got.dtype == np.uint8 and got.flags.c_contiguous and got.flags.writeable
    assert got.shape == expected.shape
    assert np.abs(got - np.rint(expected)).max() <= (2 if mode == "CMYK" else 1)  # Pillow mixes in whole numbers


def stored_back(pixels, orientation):
    """What an image that lies so under an orientation looks like upright: NumPy's way to `orientation.turned`."""
    mirrored, turns = {1: (0, 0), 2: (1, 0), 3: (0, 2), 4: (1, 2), 5: (1, 1), 6: (0, 3), 7: (1, 3), 8: (0, 1)}[orientation]
    return np.rot90(pixels[:, ::-1] if mirrored else pixels, turns)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_of_many_strips_comes_together_again(orientation, monkeypatch):
    monkeypatch.setattr(
        "cocotag.photos.formats.pillow._STRIP", 90 * 7
    )  # rows of 90 pixels: strips of seven rows, and of 60 four remain
    picture = draw()
    image, exif = stored(picture, orientation)
    np.testing.assert_array_equal(decode(saved(image, "PNG", exif=exif)), picture)


def test_to_square_keeps_the_borders_and_the_mean():
    image = np.full((50, 200, 3), 100, np.uint8)
    image[:, :20], image[:, -20:] = 0, 255
    square = to_square(image, 40)
    assert square.shape == (40, 40, 3) and square.dtype == np.uint8
    assert (square[:, :3] == 0).all() and (square[:, -3:] == 255).all()
    assert abs(square.mean() - image.mean()) < 1


def test_a_side_that_shrinks_is_averaged_even_if_the_other_grows():
    stripes = np.zeros((20, 640, 3), np.uint8)
    stripes[:, ::2] = 255  # a sampler would see black or white stripes where the average is grey
    assert np.abs(to_square(stripes, 64).astype(int) - 128).max() <= 1


def test_to_square_of_a_square_changes_nothing_and_takes_any_strides(picture):
    square = np.ascontiguousarray(picture[:, :60])
    np.testing.assert_array_equal(to_square(square, 60), square)
    np.testing.assert_array_equal(to_square(picture[::-1, :, ::-1], 32), to_square(picture[::-1, :, ::-1].copy(), 32))


def test_a_pillow_image_takes_the_road_of_its_file(picture, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(saved(picture, "PNG", exif=stored(picture, 6)[1]))
    with Image.open(path) as image:
        np.testing.assert_array_equal(from_pillow(image), decode(path))


def test_photographs_look_alike_on_both_roads(coco_mini):
    files = sorted((coco_mini / "val").glob("*.jpg"))[:12]
    assert files
    for file in files:
        full = to_square(decode(file), 96)
        assert np.abs(load_square(file, 96).astype(int) - full).mean() < 5, file
        with Image.open(file) as image:
            assert np.abs(decode(file).astype(int) - from_pillow(image)).mean() < 2, file


def test_decoding_a_jpeg_imports_neither_torch_nor_pandas_nor_what_it_does_not_need(tmp_path, picture):
    path = tmp_path / "a.jpg"
    path.write_bytes(saved(picture, "JPEG"))
    code = "import sys; from cocotag.photos.decode import decode; decode(sys.argv[1]); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert not {"'torch'", "'pandas'", "'pi_heif'", "'rawpy'"} & set(done.stdout.strip("[]\n").split(", "))


def test_a_raw_file_is_the_picture_that_the_camera_put_in(picture):
    assert close(decode(dng(picture, preview=saved(picture, "JPEG", quality=98, subsampling=0))), picture)
