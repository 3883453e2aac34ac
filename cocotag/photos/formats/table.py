"""The table of image formats: one row each, with its file endings, signature, decoder, and what Pillow reads of its header.

To add a format, write its decoder in a module beside this one and add its row here. Decoding, walking folders,
`cocotag check`, sidecars and galleries use this table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cocotag.errors import ImageError
from cocotag.photos.formats import heif, heif_thumbnail, jpeg, mpf, png, raw, tiff
from cocotag.photos.formats.limits import check_size
from cocotag.photos.formats.orientation import turned
from cocotag.photos.formats.pillow import Decoder, by_pillow
from cocotag.photos.formats.source import Preview, Source, Wanted

_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # header sizes in bytes, of OS/2 and Windows
_PPM_START = re.compile(rb"P[1-6f]\s+(?:\d|#)")


@dataclass(frozen=True)
class Format:
    """One image format.

    Attributes:
        endings: File name endings, lower case, with the dot.
        signature: Whether a file's bytes are of this format; the rest of the file may still be damaged.
        decode: File -> RGB image.
        pillow_reads_size: Whether Pillow reads the size without decoding; the row's key is then Pillow's name of the format.
            Other formats must be decoded to get it.
        pillow_reads_xmp: Whether Pillow returns the XMP packet; in other formats the bytes are searched for packets.
        preview: File and least side -> the smallest version in the file with at least so many pixels on both sides; None for
            formats without.
        available: Whether the decoder is installed; if not, files of this format in folders are skipped.
    """

    endings: tuple[str, ...]
    signature: Callable[[bytes], bool]
    decode: Decoder
    pillow_reads_size: bool = False
    pillow_reads_xmp: bool = False
    preview: Callable[[Source, int], Preview | None] | None = None
    available: Callable[[], bool] = lambda: True


def identify(data: bytes) -> str | None:
    """The format of a file by its content: a key of `FORMATS`, or None. The rest of the file may still be damaged."""
    return next((name for name, row in FORMATS.items() if row.signature(data)), None)


def _starts(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(starts)


def _decode_preview(name: str, data: bytes, wanted: Wanted) -> NDArray[np.uint8]:
    """Decode the preview in a camera RAW file."""
    preview = raw.preview(name, data)
    if not isinstance(preview.image, bytes):
        check_size(name, preview.image.shape[1], preview.image.shape[0])
        image = np.ascontiguousarray(turned(preview.image, preview.orientation))
    else:
        kind = identify(preview.image)
        if kind is None or kind == "RAW":
            raise ImageError("not_an_image", f"{name} (preview): the content is not a supported image format. Leave it out.")
        image = FORMATS[kind].decode(f"{name} (preview)", preview.image, replace(wanted, orientation=preview.orientation))
    height, width = image.shape[:2]
    if wanted.side is not None and min(height, width) < wanted.side:
        size = f"{width} x {height} pixels, smaller than the network's input of {wanted.side}"
        raise ImageError("no_preview", f"{name}: the only readable preview in this RAW file has {size}. Export it as JPEG.")
    return image


FORMATS: dict[str, Format] = {
    "JPEG": Format(
        (".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"),
        _starts(jpeg.START),
        jpeg.decode_file,
        pillow_reads_size=True,
        pillow_reads_xmp=True,
        preview=mpf.preview,
    ),
    "PNG": Format((".apng", ".png"), _starts(png.START), png.decode_file, pillow_reads_size=True, pillow_reads_xmp=True),
    "GIF": Format((".gif",), _starts(b"GIF87a", b"GIF89a"), by_pillow("GIF"), pillow_reads_size=True, pillow_reads_xmp=True),
    "WEBP": Format(
        (".webp",),
        lambda data: data.startswith(b"RIFF") and data[8:12] == b"WEBP",
        by_pillow("WEBP", copies=2),
        pillow_reads_size=True,
        pillow_reads_xmp=True,
    ),
    "RAW": Format(  # before TIFF: most begin like one
        (
            *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mrw"),
            *(".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srw", ".x3f"),
        ),
        raw.is_raw,
        _decode_preview,
        available=raw.available,
    ),
    "TIFF": Format(
        (".tif", ".tiff"),
        _starts(*tiff.STARTS),
        tiff.decode_file,
        pillow_reads_size=True,
        pillow_reads_xmp=True,
    ),
    "AVIF": Format(
        (".avif",),
        lambda data: heif.identify(data) == "AVIF",
        heif.decode_avif,
        pillow_reads_size=True,
        pillow_reads_xmp=True,
        preview=heif_thumbnail.preview,
    ),
    "HEIF": Format(
        (".heic", ".heif", ".hif"),
        lambda data: heif.identify(data) == "HEIF",
        heif.decode_heic,
        pillow_reads_size=True,
        pillow_reads_xmp=True,
        preview=heif_thumbnail.preview,
    ),
    "BMP": Format(
        (".bmp", ".dib"),
        lambda data: data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADERS,
        by_pillow("BMP"),
        pillow_reads_size=True,
    ),
    "JPEG2000": Format(
        (".j2k", ".jp2"),
        _starts(b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
        by_pillow("JPEG2000", copies=2),
    ),
    "PPM": Format(
        (".pbm", ".pfm", ".pgm", ".pnm", ".ppm"),
        lambda data: _PPM_START.match(data) is not None,
        by_pillow("PPM"),
    ),
    "TGA": Format(
        (".tga",),
        lambda data: data[-18:] == b"TRUEVISION-XFILE.\0",
        by_pillow("TGA"),
    ),
}
"""The formats that `cocotag.photos.decode.decode` reads, in the order in which signatures are tried.

- JPEG: baseline and progressive; grey, colour and CMYK; EXIF orientations 1 to 8.
- PNG: palette, grey, colour, each with transparency, 1 to 16 bits, interlaced. GIF, APNG, animated WebP: the first frame.
- TIFF: 1 to 16 bits and float, tiled or not, compressed or not, also BigTIFF; the first of several pages.
- HEIF with HEVC inside, as phones write it (HEIC), and AVIF; 10 bits are scaled to 8.
- TGA of version 2, which has a signature.
- RAW: the preview that the camera stored, with the extra ``raw``.

Not EPS: Pillow would run Ghostscript on an untrusted file.
"""

IMAGE_ENDINGS = frozenset(ending for row in FORMATS.values() for ending in row.endings)
"""Endings of files that count as images in a folder, in lower case."""
