"""Real image files of every kind, made from a picture; where no library writes a kind, by hand from its specification."""

import io
import struct
import zlib
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

# What stores an upright picture under each EXIF orientation.
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
ORIENTATION = 0x0112


def draw(height=60, width=90, seed=0):
    """A picture that is smooth, in colour and without any symmetry, uint8 (height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(30, 226, (4, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def saved(image, kind, **options):
    """As a file that Pillow writes."""
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def stored(picture, orientation):
    """As it lies in a file of that orientation, and the EXIF block that says so."""
    image = Image.fromarray(picture)
    if STORED[orientation] is not None:
        image = image.transpose(STORED[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return image, exif


def heic(image, exif=None, *, mode=None, **options):
    """As phones write it: HEVC in HEIF, lossy, the orientation of ``exif`` as a property of the picture and in EXIF.

    Args:
        image: A Pillow image or ``(H, W, 3)``; uint16 below 1024 with mode ``RGB;10`` for 10 bits.
        exif: EXIF block.
        mode: Of the array, if not 8-bit RGB.
        options: ``tile_size`` makes a grid of tiles, ``quality=-1`` is lossless but for the colour space.
    """
    import pillow_heif

    size = image.size if isinstance(image, Image.Image) else image.shape[1::-1]
    mode = mode or (image.mode if isinstance(image, Image.Image) else "RGB")
    heif = pillow_heif.from_bytes(mode, size, image.tobytes())
    if exif is not None:
        heif.info["exif"] = exif.tobytes()
    file = io.BytesIO()
    heif.save(file, **{"quality": 90, "chroma": 444} | options)
    return file.getvalue()


def mpf(image, *smaller, kinds=(0x010002,), exif=None, after=b""):
    """A JPEG with smaller versions behind it, as cameras write them, by Pillow's writer of the Multi-Picture Format.

    Args:
        image: A Pillow image.
        smaller: Smaller ones.
        kinds: The type of each; Pillow writes none.
        exif: EXIF block.
        after: Bytes at the end of the last version.
    """
    options = {} if exif is None else {"exif": exif}
    data = bytearray(saved(image, "MPO", save_all=True, append_images=list(smaller), quality=90, **options) + after)
    base = data.index(b"MPF\0") + 4
    order = "<" if data[base : base + 2] == b"II" else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, base + 4)
    (fields,) = struct.unpack_from(f"{order}H", data, base + directory)
    for number in range(fields):
        tag, _, _, place = struct.unpack_from(f"{order}HHII", data, base + directory + 2 + 12 * number)
        if tag == 0xB002:
            for index, kind in enumerate(kinds, 1):
                (start,) = struct.unpack_from(f"{order}I", data, base + place + 16 * index + 8)
                if index == len(smaller):  # Pillow gives the third picture a wrong length, and does not know of the rest
                    struct.pack_into(f"{order}I", data, base + place + 16 * index + 4, len(data) - base - start)
                struct.pack_into(f"{order}I", data, base + place + 16 * index, kind)
    return bytes(data)


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # x, y, dx, dy


def png(pixels, *, depth=8, interlaced=False, palette=None, transparency=None):
    """A PNG of any kind (ISO/IEC 15948), unfiltered. Pillow writes neither interlaced ones nor 16-bit colour.

    Args:
        pixels: ``(H, W, C)`` whole numbers below ``2 ** depth``; C is 1 grey or palette, 2 with alpha, 3 colour, 4 with alpha.
        depth: Bits per channel.
        interlaced: By Adam7.
        palette: ``(N, 3)`` uint8, then the pixels are indices.
        transparency: Bytes of the tRNS chunk.
    """
    height, width, channels = pixels.shape
    colour = 3 if palette is not None else {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = bytearray()
    for x, y, dx, dy in ADAM7 if interlaced else ((0, 0, 1, 1),):
        for row in pixels[y::dy, x::dx]:
            if row.size:
                bits = np.unpackbits(row.reshape(-1, 1).astype(">u2").view(np.uint8), axis=1)[:, 16 - depth :]
                rows += b"\0" + np.packbits(bits).tobytes()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))]
    chunks += [(b"PLTE", palette.tobytes())] if palette is not None else []
    chunks += [(b"tRNS", transparency)] if transparency is not None else []
    chunks += [(b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


class Page(NamedTuple):
    """A page of a TIFF: number of tag -> values (whole numbers, pairs for fractions, or bytes for text), one strip of data."""

    tags: dict
    data: bytes = b""
    below: tuple = ()


BYTE, TEXT, SHORT, LONG, RATIONAL, SIGNED_RATIONAL = 1, 2, 3, 4, 5, 10
_TYPES = {50706: BYTE, 50707: BYTE, 33422: BYTE, 271: TEXT, 272: TEXT, 50708: TEXT, 50721: SIGNED_RATIONAL, 50728: RATIONAL}
_SHORTS = {258, 259, 262, 274, 277, 284, 317, 338, 339, 33421, 50778}


def tiff(*pages, order="<"):
    """A TIFF 6.0 file of these pages, pages below them as SubIFDs."""
    out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))

    def put(content):
        out.extend(b"\0" * (len(out) % 2) + content)
        return len(out) - len(content)

    def put_page(page):
        tags = dict(page.tags)
        if page.data:
            offset, count = (324, 325) if 322 in tags else (273, 279)  # of tiles or of strips
            tags |= {offset: put(page.data), count: len(page.data)}
        if page.below:
            tags[330] = [put_page(below)[0] for below in page.below]
        entries = b""
        for tag, values in sorted(tags.items()):
            kind = _TYPES.get(tag, SHORT if tag in _SHORTS else LONG)
            values = [values] if isinstance(values, int) else list(values)
            letter = {BYTE: "B", TEXT: "B", SHORT: "H", LONG: "I", RATIONAL: "II", SIGNED_RATIONAL: "ii"}[kind]
            numbers = [number for value in values for number in (value if isinstance(value, tuple) else (value,))]
            content = struct.pack(order + letter * len(values), *numbers)
            inline = content.ljust(4, b"\0") if len(content) <= 4 else struct.pack(order + "I", put(content))
            entries += struct.pack(order + "HHI", tag, kind, len(values)) + inline
        place = put(struct.pack(order + "H", len(tags)) + entries + bytes(4))
        return place, place + 2 + len(entries)

    link = 4
    for page in pages:
        place, end = put_page(page)
        out[link : link + 4] = struct.pack(order + "I", place)
        link = end
    return bytes(out)


def tiff_page(pixels, **tags):
    """An uncompressed page of ``(H, W, C)`` uint8 or uint16, little-endian; further tags as ``t258=...``."""
    height, width, channels = pixels.shape
    depth = pixels.dtype.itemsize * 8
    own = {256: width, 257: height, 258: [depth] * channels, 259: 1, 262: 2 if channels >= 3 else 1, 277: channels, 278: height}
    return Page(own | {int(name[1:]): value for name, value in tags.items()}, pixels.tobytes())


def dng(picture, orientation=1, *, preview=None, order="<"):
    """A DNG 1.4: a thumbnail of 16 x 12 as the first page, below it the sensor's readings (even grey) and the preview.

    Args:
        picture: As stored, ``(H, W, 3)`` uint8.
        orientation: In the file's own tags.
        preview: The JPEG; by default of the picture, without EXIF. Empty for none.
        order: Of bytes.
    """
    height, width, _ = picture.shape
    thumbnail = tiff_page(cv2.resize(picture, (16, 12), interpolation=cv2.INTER_AREA))
    first = {254: 1, 271: b"cocotag\0", 272: b"drawn\0", ORIENTATION: orientation, 50706: [1, 4, 0, 0], 50707: [1, 1, 0, 0]}
    first |= {50708: b"cocotag drawn\0", 50721: [(n, 1) for n in np.eye(3, dtype=int).ravel().tolist()]}
    first |= {50728: [(1, 1)] * 3, 50778: 21}
    sensor = {254: 0, 256: width, 257: height, 258: 16, 259: 1, 262: 32803, 277: 1, 278: height, 284: 1}
    sensor |= {33421: [2, 2], 33422: [0, 1, 1, 2], 50714: 0, 50717: 65535}
    below = [Page(sensor, np.full((height, width), 500, order + "u2").tobytes())]
    if preview is None:
        preview = saved(picture, "JPEG", quality=95)
    if preview:
        size = {254: 1, 256: width, 257: height, 258: [8, 8, 8], 259: 7, 262: 6, 277: 3, 278: height, 284: 1}
        below.append(Page(size, preview))
    return tiff(Page(thumbnail.tags | first, thumbnail.data, tuple(below)), order=order)


def every_kind(picture):
    """Name -> file, of every kind that is decoded, and in their variants."""
    image = Image.fromarray(picture)
    with_alpha = image.copy()
    with_alpha.putalpha(image.getchannel("G"))
    sixteen = picture.astype(np.uint16) * 257
    exif = stored(picture, 6)[1]
    frames = {"save_all": True, "append_images": [image.rotate(180)]}
    return {
        "jpeg": saved(picture, "JPEG", quality=90, exif=exif),
        "jpeg_progressive": saved(picture, "JPEG", quality=90, progressive=True),
        "jpeg_grey": saved(image.convert("L"), "JPEG", quality=90),
        "jpeg_cmyk": saved(image.convert("CMYK"), "JPEG", quality=90),
        "png": saved(picture, "PNG", exif=exif),
        "png_alpha": saved(with_alpha, "PNG"),
        "png_palette": saved(image.quantize(16), "PNG", transparency=3),
        "png_interlaced_16": png(sixteen, depth=16, interlaced=True),
        "apng": saved(picture, "PNG", **frames),
        "gif": saved(picture, "GIF", **frames),
        "webp": saved(picture, "WEBP", exif=exif),
        "webp_lossless_alpha": saved(with_alpha, "WEBP", lossless=True),
        "webp_animated": saved(picture, "WEBP", **frames),
        "bmp": saved(picture, "BMP"),
        "tiff": saved(picture, "TIFF"),
        "tiff_lzw": saved(picture, "TIFF", compression="tiff_lzw"),
        "tiff_deflate": saved(with_alpha, "TIFF", compression="tiff_adobe_deflate"),
        "tiff_jpeg": saved(picture, "TIFF", compression="jpeg"),
        "tiff_16_pages": tiff(tiff_page(sixteen), tiff_page(sixteen[::-1])),
        "avif": saved(picture, "AVIF", exif=exif),
        "heic": heic(picture, exif, quality=60),
        "heic_grid": heic(draw(128, 128), quality=60, tile_size=64),
        "jpeg2000": saved(picture, "JPEG2000"),
        "ppm": saved(picture, "PPM"),
        "tga": saved(picture, "TGA"),
        "dng": dng(picture, 6),
    }
