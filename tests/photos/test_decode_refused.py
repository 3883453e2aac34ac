"""What is no picture -> an ImageError that names why; nothing waits, nothing crashes, nothing eats the memory."""

import os
import socket
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from image_files import Page, dng, draw, every_kind, heic, png_chunk, saved, tiff
from PIL import Image

from cocotag.errors import ImageError
from cocotag.photos import decode as images
from cocotag.photos.decode import REASONS, decode

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # pytest turns the package's own filter off
ALL_KINDS = sorted(every_kind(draw()))


@pytest.fixture(scope="module")
def picture():
    return draw()


@pytest.fixture(scope="module")
def noisy_files():
    """Of a picture that does not compress, so that the pixels are most of each file; the tiles of the grid too."""
    noise = np.random.default_rng(1).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    return every_kind(noise) | {"heic_grid": heic(noise, tile_size=64)}


def reason(source):
    with pytest.raises(ImageError) as caught:
        decode(source)
    assert "\n" not in str(caught.value)
    assert caught.value.reason in REASONS
    return caught.value.reason


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_cut_anywhere_is_an_error_and_not_a_grey_bottom(picture, options):
    data = saved(picture, "JPEG", quality=95, **options)
    for length in [*range(4, len(data) - 3, 97), len(data) - 4, len(data) - 3]:
        assert reason(data[:length]) == "truncated", length
    for length in (len(data) - 2, len(data) - 1):  # only the end marker is missing
        assert (decode(data[:length]) == decode(data)).all()


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


@pytest.mark.parametrize("name", ALL_KINDS)
def test_every_kind_cut_short(noisy_files, name):
    data = noisy_files[name]
    several = name in ("apng", "gif", "tiff_16_pages")  # what is cut may be the second picture
    for share in (0.02, 0.1, 0.3, *(() if several else (0.6, 0.9, 0.99))):
        assert reason(data[: int(len(data) * share)]) == ("not_an_image" if name == "tga" else "truncated"), share


def test_every_way_in_which_there_is_no_file(tmp_path):
    assert reason(tmp_path / "nowhere.jpg") == "missing"
    assert reason("nul\0in.jpg") == "missing"
    (tmp_path / "empty.jpg").touch()
    assert reason(tmp_path / "empty.jpg") == reason(b"") == "empty"
    assert reason(tmp_path / "empty.jpg" / "below.jpg") == "missing"
    (tmp_path / "folder.jpg").mkdir()
    assert reason(tmp_path / "folder.jpg") == "not_a_file"
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert reason(tmp_path / "loop.jpg") == "unreadable"


@pytest.mark.parametrize(
    "text",
    [
        "no picture, though it is called one",
        "BM is how bitmaps begin",
        "P5 is a grade",
        "GIF89a, said he",
        "RIFF with WEBP in it",
    ],
)
def test_a_text_called_jpg(tmp_path, text):
    (tmp_path / "a.jpg").write_text(text)
    assert reason(tmp_path / "a.jpg") == ("truncated" if text.startswith("GIF89a") else "not_an_image")


def test_other_files_that_are_no_images():
    film = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(99)
    for data in (film, b"%PDF-1.7\n", b"PK\x03\x04", b"\x7fELF", bytes(999), b"\xff\xd8", b"\0", b"<svg/>"):
        assert reason(data) == "not_an_image"


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    path = "a.jpg"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
    else:
        path = "/dev/zero"
    assert reason(path) == "not_a_file"


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path, picture):
    path = tmp_path / "a.png"
    code = (
        "import os, sys\nfrom cocotag.photos.decode import decode\nfrom cocotag.errors import ImageError\n"
        "stat = os.stat\n"
        "def stat_and_swap(path, **options):\n"
        "    status = stat(path, **options)\n"
        "    if str(path).endswith('a.png'):\n"
        "        os.unlink(path)\n"
        "        os.mkfifo(path)\n"
        "    return status\n"
        "os.stat = stat_and_swap\n"
        "try:\n    decode(sys.argv[1])\nexcept ImageError as error:\n    print(error.reason)"
    )
    path.write_bytes(saved(picture, "PNG"))
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "not_a_file\n"


@pytest.mark.parametrize("change", ["longer", "shorter", "written again"])
def test_a_file_that_changes_while_it_is_read_is_said_to(tmp_path, picture, monkeypatch, change):
    path = tmp_path / "a.png"
    path.write_bytes(saved(picture, "PNG"))
    os.utime(path, ns=(0, 0))
    calls, fstat = [], os.fstat

    def write_then_fstat(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:  # the first is before reading, the second after
            data = path.read_bytes()
            path.write_bytes({"longer": data + b"x", "shorter": data[:-9], "written again": data}[change])
        return fstat(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(images.os, "fstat", write_then_fstat)
        assert reason(path) == "changed"
    if change != "shorter":
        np.testing.assert_array_equal(decode(path), picture)


def test_no_permission_is_unreadable(tmp_path, picture, monkeypatch):
    path = tmp_path / "secret.png"
    path.write_bytes(saved(picture, "PNG"))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(images.os, "open", refuse)
        assert reason(path) == "unreadable"


def test_names_that_would_break_a_line_are_escaped(tmp_path):
    path = tmp_path / os.fsdecode(b"two\nlines\xff.jpg")
    with pytest.raises(ImageError, match=r"two\\nlines\\udcff\.jpg") as caught:
        decode(path)
    str(caught.value).encode("utf-8")


def test_postscript_called_jpg_is_never_handed_to_ghostscript(tmp_path):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.jpg").write_bytes(eps)
    assert reason(tmp_path / "a.jpg") == "not_an_image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "HEIC", "PPM"])
def test_limits_of_size(picture, kind, monkeypatch, tmp_path):
    def made(pixels):
        return heic(pixels) if kind == "HEIC" else saved(pixels, kind)

    if kind not in ("AVIF", "HEIC"):  # their encoders want more
        for size in ((1, 1), (1, 50), (50, 1)):
            assert reason(made(np.zeros((*size, 3), np.uint8))) == "too_small"
        assert decode(made(np.zeros((2, 2, 3), np.uint8))).shape == (2, 2, 3)
    path = tmp_path / "picture"
    path.write_bytes(made(picture))
    with monkeypatch.context() as patch:
        patch.setattr("cocotag.photos.formats.limits.MAX_PIXELS", 60 * 90 - 1)
        assert reason(path) == "too_large"
    with monkeypatch.context() as patch:
        patch.setattr(images, "MAX_BYTES", path.stat().st_size - 1)
        assert reason(path) == "too_large"
    assert decode(path).shape == picture.shape


SIDE = 60_000


def patched(data, place, layout, *numbers):
    content = struct.pack(layout, *numbers)
    assert place > 0 and place + len(content) <= len(data)
    return data[:place] + content + data[place + len(content) :]


def after(data, marker, bytes_on):
    """The place so many bytes after the beginning of a marker."""
    return data.index(marker) + bytes_on


def jpeg_bomb(picture, **options):
    data = saved(picture, "JPEG", **options)
    return patched(data, after(data, b"\xff\xc2" if options else b"\xff\xc0", 5), ">HH", SIDE, SIDE)


def bombs(picture):
    """Small files that say they are 60,000 x 60,000, or as large as their format allows."""
    cmyk = saved(Image.fromarray(picture).convert("CMYK"), "JPEG")
    png, gif, bmp = saved(picture, "PNG"), saved(picture, "GIF"), saved(picture, "BMP")
    webp, lossless = saved(picture, "WEBP"), saved(picture, "WEBP", lossless=True)
    extended = saved(picture, "WEBP", exif=b"Exif\0\0II*\0")
    avif, phone, tiles = saved(picture, "AVIF"), heic(picture), heic(draw(128, 128), tile_size=64)
    jp2 = saved(picture, "JPEG2000")
    jp2 = patched(jp2, after(jp2, b"ihdr", 4), ">II", SIDE, SIDE)
    jp2 = patched(jp2, after(jp2, b"\xff\x51", 6), ">II", SIDE, SIDE)
    page = {256: SIDE, 257: SIDE, 258: [8, 8, 8], 259: 1, 262: 2, 277: 3, 278: SIDE}
    tile = {256: 16, 257: 16, 258: [8, 8, 8], 259: 8, 262: 2, 277: 3, 322: 32768, 323: 32768}
    yield "jpeg", jpeg_bomb(picture)
    yield "jpeg_progressive", jpeg_bomb(picture, progressive=True)
    yield "jpeg_cmyk", patched(cmyk, after(cmyk, b"\xff\xc0", 5), ">HH", SIDE, SIDE)
    yield "png", png[:8] + png_chunk(b"IHDR", struct.pack(">II", SIDE, SIDE) + png[24:29]) + png[33:]
    yield "gif", patched(gif, 6, "<HH", SIDE, SIDE)
    yield "gif_frame", patched(gif, after(gif, b",\0\0\0\0", 5), "<HH", SIDE, SIDE)
    yield "webp", patched(webp, after(webp, b"VP8 ", 14), "<HH", 16383, 16383)
    yield "webp_lossless", patched(lossless, after(lossless, b"VP8L", 9), "<I", 16383 | 16383 << 14)
    yield "webp_extended", patched(extended, after(extended, b"VP8X", 12), "<HBHB", *2 * ((SIDE - 1) & 0xFFFF, 0))
    yield "bmp", patched(bmp, 18, "<ii", SIDE, SIDE)
    yield "bmp_downwards", patched(bmp, 18, "<ii", SIDE, -SIDE)
    yield "tiff", tiff(Page(page, bytes(99)))
    yield "tiff_tile", tiff(Page(tile, zlib.compress(bytes(10**6))))
    yield "avif", patched(avif, after(avif, b"ispe", 8), ">II", SIDE, SIDE)
    yield "heic", patched(phone, after(phone, b"ispe", 8), ">II", SIDE, SIDE)
    yield "heic_tiles", patched(tiles, tiles.rindex(b"ispe") + 8, ">II", SIDE, SIDE)
    yield "jpeg2000", jp2
    yield "jpeg2000_stream", jp2[jp2.index(b"\xff\x4f\xff\x51") :]
    yield "ppm", b"P6 60000 60000 255\n" + bytes(99)
    yield "tga", patched(saved(picture, "TGA"), 12, "<HH", SIDE, SIDE)
    yield "dng", dng(picture, preview=jpeg_bomb(picture))


BOMBS = dict(bombs(draw()))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_from_its_header(name):
    assert reason(BOMBS[name]) == "too_large"


def test_bombs_take_no_memory(tmp_path):
    for name, data in BOMBS.items():
        (tmp_path / name).write_bytes(data)
    code = (
        "import pathlib, sys\nfrom cocotag.photos.decode import decode\nfrom cocotag.errors import ImageError\n"
        "for file in pathlib.Path(sys.argv[1]).iterdir():\n"
        "    try:\n        decode(file)\n    except ImageError:\n        pass\n"
        "print(pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200_000  # KiB, Python and the decoders themselves among them
    assert not done.stderr


def test_a_jpeg_of_thousands_of_scans_is_refused():
    data = saved(np.full((2000, 2000, 3), 99, np.uint8), "JPEG", progressive=True)
    end, last = data.rindex(b"\xff\xd9"), data.rindex(b"\xff\xda")
    again = data[:end] + data[last:end] * 2000 + data[end:]
    assert len(again) < 2e5
    assert reason(again) == "too_large"
    assert decode(data).shape == (2000, 2000, 3)


def test_a_heic_whose_item_type_is_no_text_takes_nothing_down(picture):
    data = heic(picture, Image.Exif())
    damaged = data.replace(b"Exif\0", b"Exi\x80\0", 1)
    assert damaged != data
    assert reason(damaged) == "truncated"
