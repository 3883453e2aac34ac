"""Files of every kind -> upright RGB, or an error that names what is wrong."""

import io
import os
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from cocotag import images
from cocotag.errors import ImageError
from cocotag.images import decode, from_pillow, load_square, to_square

# What undoes each EXIF orientation, applied backwards to store an upright picture that way.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(scope="module")
def picture():
    """Smooth, in colour, without any symmetry: 60 high, 90 wide."""
    coarse = np.random.default_rng(0).integers(30, 226, (4, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (90, 60), interpolation=cv2.INTER_LINEAR)


def saved(image, kind, **options):
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def reason(source):
    with pytest.raises(ImageError) as caught:
        decode(source)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def close(a, b, limit=8.0):
    assert a.shape == b.shape
    return np.abs(a.astype(int) - b.astype(int)).max() <= limit


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_come_back_to_the_bit(picture, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode(saved(picture, kind, **options)), picture)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"optimize": True}], ids=["baseline", "progressive", "optimised"]
)
def test_jpeg(picture, options):
    got = decode(saved(picture, "JPEG", quality=98, subsampling=0, **options))
    assert got.dtype == np.uint8 and got.flags.c_contiguous
    assert close(got, picture)


def test_cmyk_jpeg_has_the_colours_of_its_rgb(picture):
    cmyk = Image.fromarray(picture).convert("CMYK")
    assert close(decode(saved(cmyk, "JPEG", quality=98)), picture, 12)


def test_grey_becomes_three_equal_channels(picture):
    grey = picture[:, :, 0]
    for data in (saved(grey, "PNG"), saved(grey, "JPEG", quality=98)):
        got = decode(data)
        assert close(got, np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_every_orientation_comes_out_upright(picture, kind, orientation):
    stored = Image.fromarray(picture)
    if STORED[orientation] is not None:
        stored = stored.transpose(STORED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    assert close(decode(saved(stored, kind, exif=exif, **options)), picture)


def test_orientation_outside_one_to_eight_is_none(picture):
    for orientation in (0, 9, 255):
        exif = Image.Exif()
        exif[0x0112] = orientation
        assert decode(saved(picture, "JPEG", exif=exif)).shape == picture.shape


def test_orientation_after_xmp_and_damaged_exif(picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(picture, "JPEG", exif=exif)
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x/>"
    with_xmp = data[:2] + b"\xff\xe1" + (len(xmp) + 2).to_bytes(2, "big") + xmp + data[2:]
    assert decode(with_xmp).shape == (90, 60, 3)
    assert decode(data.replace(b"Exif\0\0MM\0*", b"Exif\0\0garba").replace(b"Exif\0\0II*\0", b"Exif\0\0garba")).shape == (
        60,
        90,
        3,
    )


def test_transparency_is_laid_on_white(picture):
    alpha = np.zeros((60, 90), np.uint8)
    alpha[:, 45:] = 255
    got = decode(saved(np.dstack([picture, alpha]), "PNG"))
    assert (got[:, :45] == 255).all()
    np.testing.assert_array_equal(got[:, 45:], picture[:, 45:])
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


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        got = decode(saved(frames[0], kind, save_all=True, append_images=frames[1:], **options))
        assert (got == [255, 0, 0]).all(), kind


def test_sixteen_bits_are_scaled_to_eight():
    levels = np.array([[0, 257 * 10, 257 * 128, 65535]] * 2, np.uint16)
    for kind in ("PNG", "TIFF"):
        assert decode(saved(levels, kind))[0, :, 0].tolist() == [0, 10, 128, 255], kind
    encoded = cv2.imencode(".png", np.dstack([levels] * 3))[1].tobytes()
    assert decode(encoded)[0, :, 1].tolist() == [0, 10, 128, 255]


def test_float_and_one_bit_images():
    floats = Image.fromarray(np.array([[0, 0.5, 1, 7, np.nan]] * 2, np.float32))
    assert decode(saved(floats, "TIFF"))[0, :, 2].tolist() == [0, 128, 255, 255, 0]
    bits = Image.fromarray(np.array([[0, 255]] * 2, np.uint8)).convert("1")
    assert decode(saved(bits, "PNG"))[0, :, 0].tolist() == [0, 255]


def test_avif(picture):
    if not Image.registered_extensions().get(".avif"):
        pytest.skip("this Pillow reads no AVIF")
    assert close(decode(saved(picture, "AVIF", quality=95)), picture, 25)


def test_content_counts_and_not_the_ending(tmp_path, picture):
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(saved(picture, "PNG"))
    np.testing.assert_array_equal(decode(path), picture)
    np.testing.assert_array_equal(decode(str(path)), picture)


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_cut_anywhere_is_an_error_and_not_a_grey_bottom(picture, options):
    data = saved(picture, "JPEG", quality=95, **options)
    for length in [*range(4, len(data) - 1, 97), len(data) - 2, len(data) - 1]:
        assert reason(data[:length]) == "truncated", length


def test_a_jpeg_whose_end_was_never_downloaded_is_truncated(picture):
    data = saved(picture, "JPEG", quality=95)
    assert reason(data[: len(data) // 2].ljust(len(data), b"\0")) == "truncated"


def test_a_thumbnail_does_not_pass_for_the_end_of_the_picture(picture):
    exif = Image.Exif()
    exif[0x010F] = "x" + saved(picture[:16, :16], "JPEG").decode("latin-1")  # holds an end marker of its own
    data = saved(picture, "JPEG", quality=95, exif=exif.tobytes() + saved(picture[:16, :16], "JPEG"))
    assert data.count(b"\xff\xd9") >= 2
    assert reason(data[:-40]) == "truncated"
    assert decode(data).shape == picture.shape


def test_what_cameras_append_to_a_jpeg_does_no_harm(picture):
    data = saved(picture, "JPEG", quality=95)
    whole = decode(data)
    for tail in (b"\0" * 4096, b"\xff" * 7, b"....ftypmp42" + bytes(999), data):
        np.testing.assert_array_equal(decode(data + tail), whole)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_other_formats_cut_short(kind):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = saved(noise, kind)
    for share in (0.3, 0.6, 0.9):
        assert reason(data[: int(len(data) * share)]) in ("truncated", "not_an_image")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_any_damage_is_a_picture_or_an_image_error(picture):
    rng = np.random.default_rng(2)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        data = saved(picture, kind)
        for _ in range(40):
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), 5):
                damaged[place] = rng.integers(0, 256)
            try:
                got = decode(bytes(damaged))
            except ImageError as error:
                assert error.reason in ("truncated", "not_an_image", "too_large", "too_small")
            else:
                assert got.ndim == 3 and got.shape[2] == 3 and got.dtype == np.uint8


def test_every_reason_has_its_name(tmp_path):
    assert reason(tmp_path / "nowhere.jpg") == "missing"
    assert reason("nul\0in.jpg") == "missing"
    (tmp_path / "empty.jpg").touch()
    assert reason(tmp_path / "empty.jpg") == reason(b"") == "empty"
    assert reason(tmp_path / "empty.jpg" / "below.jpg") == "missing"
    (tmp_path / "text.jpg").write_text("no picture, though it is called one")
    assert reason(tmp_path / "text.jpg") == "not_an_image"
    (tmp_path / "folder.jpg").mkdir()
    assert reason(tmp_path / "folder.jpg") == "not_a_file"
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert reason(tmp_path / "loop.jpg") == "unreadable"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason(tmp_path / "pipe.jpg") == "not_a_file"


def test_no_permission_is_unreadable(tmp_path, picture, monkeypatch):
    path = tmp_path / "secret.png"
    path.write_bytes(saved(picture, "PNG"))

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    assert reason(path) == "unreadable"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_limits_of_size(picture, kind, monkeypatch, tmp_path):
    for size in ((1, 1), (1, 50)):
        assert reason(saved(np.zeros((*size, 3), np.uint8), kind)) == "too_small"
    assert decode(saved(np.zeros((2, 2, 3), np.uint8), kind)).shape == (2, 2, 3)
    path = tmp_path / "picture"
    path.write_bytes(saved(picture, kind))
    with monkeypatch.context() as patch:
        patch.setattr(images, "MAX_PIXELS", 60 * 90 - 1)
        assert reason(path) == "too_large"
    with monkeypatch.context() as patch:
        patch.setattr(images, "MAX_BYTES", path.stat().st_size - 1)
        assert reason(path) == "too_large"


def test_a_bomb_is_refused_from_its_header():
    jpeg = bytearray(saved(np.zeros((8, 8, 3), np.uint8), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    assert reason(bytes(jpeg)) == "too_large"
    png = bytearray(saved(np.zeros((8, 8, 3), np.uint8), "PNG"))
    png[16:24] = (50_000).to_bytes(4, "big") * 2
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    assert reason(bytes(png)) == "too_large"


def test_names_that_would_break_a_line_are_escaped(tmp_path):
    path = tmp_path / os.fsdecode(b"two\nlines\xff.jpg")
    with pytest.raises(ImageError, match=r"two\\nlines\\udcff\.jpg") as caught:
        decode(path)
    str(caught.value).encode("utf-8")


@pytest.mark.parametrize(
    ("min_side", "height"), [(None, 320), (320, 320), (81, 320), (80, 160), (41, 160), (40, 80), (20, 40), (1, 40)]
)
def test_reduced_decoding_keeps_twice_the_side(min_side, height):
    data = saved(np.zeros((320, 480, 3), np.uint8), "JPEG")
    assert decode(data, min_side=min_side).shape == (height, height * 3 // 2, 3)


def test_reduced_decoding_turns_too_and_leaves_other_formats_alone(picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(saved(picture, "JPEG", exif=exif), min_side=15).shape == (45, 30, 3)
    assert decode(saved(picture, "PNG"), min_side=15).shape == (60, 90, 3)


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


def test_a_pillow_image_takes_the_road_of_its_file(picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(picture, "PNG", exif=exif)
    np.testing.assert_array_equal(from_pillow(Image.open(io.BytesIO(data))), decode(data))


def test_photographs_look_alike_on_both_roads(coco_mini):
    files = sorted((coco_mini / "val").glob("*.jpg"))[:12]
    assert files
    for file in files:
        full = to_square(decode(file), 96)
        assert np.abs(load_square(file, 96).astype(int) - full).mean() < 5, file
        with Image.open(file) as image:
            assert np.abs(decode(file).astype(int) - from_pillow(image)).mean() < 2, file


def test_decoding_imports_neither_torch_nor_pandas():
    code = "import sys, cocotag.images; sys.exit(bool({'torch', 'pandas', 'pi_heif'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_postscript_called_jpg_is_never_handed_to_ghostscript(tmp_path):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.jpg").write_bytes(eps)
    with pytest.raises(ImageError) as error:
        decode(tmp_path / "a.jpg")
    assert error.value.reason == "not_an_image"
