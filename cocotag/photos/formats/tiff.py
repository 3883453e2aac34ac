"""TIFF: Pillow decodes it; what Pillow would misread or not read is named by its kind."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from cocotag.errors import ImageError
from cocotag.photos.formats.deep import scaled
from cocotag.photos.formats.pillow import decode_with_pillow, silence_libtiff
from cocotag.photos.formats.source import Wanted

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_BITS, _COMPRESSION, _SAMPLES, _PLANAR, _FORMAT = 258, 259, 277, 284, 339
_PHOTOMETRIC, _MAXIMUM, _SIGNED_MAXIMUM = 262, 281, 341
_BRIGHT_IS_MORE = (1, 2)  # grey and RGB
_FORMATS = {2: "signed integer", 3: "floating-point", 5: "complex integer", 6: "complex"}
_JPEG_XL, _WEBP, _ZSTD = 50002, 50001, 50000
_COMPRESSIONS = {_ZSTD: "Zstandard", _WEBP: "WebP", _JPEG_XL: "JPEG XL", 34712: "JPEG 2000", 34887: "LERC"}


def decode_file(name: str, data: bytes, wanted: Wanted) -> NDArray[np.uint8]:
    """Decode a TIFF file, upright; as `cocotag.photos.formats.pillow.decode_with_pillow`.

    Raises:
        ImageError: ``unsupported``: a kind that Pillow cannot read, or reads wrongly.
    """
    silence_libtiff()
    kind = _kind(data)
    if kind.planar and kind.bits > 8 and kind.samples > 1:  # Pillow 13.0 mixes up the bytes of such planes, without an error
        raise _unsupported(name, kind.words)
    try:
        return scaled(data, "TIFF", kind.declared, decode_with_pillow(name, data, "TIFF"))
    except ImageError as error:
        if error.code == "truncated" and kind.words:
            raise _unsupported(name, kind.words) from error
        raise


class _Kind(NamedTuple):
    """The kind of a TIFF.

    Attributes:
        bits: Bits per sample, the most of all channels.
        samples: Number per pixel.
        planar: Whether they lie in separate planes.
        words: The kind in words. Empty for a kind that Pillow reads: an error is then damage. Also empty if the file is too
            short for what its directory says, or if that cannot be read.
        declared: Bits of the largest sample that a 16-bit file declares; 0 if it declares none.
    """

    bits: int = 0
    samples: int = 0
    planar: bool = False
    words: str = ""
    declared: int = 0


def _unsupported(name: str, kind: str) -> ImageError:
    return ImageError("unsupported", f"{name}: a TIFF of {kind}, which is not read. Convert it to 8 or 16 bits per channel.")


def _kind(data: bytes) -> _Kind:
    start = data[: 16 if b"+" in data[2:4] else 8]
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(start)
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        every = tags.get(_BITS, (1,))
        bits, samples = max(every if isinstance(every, tuple) else (every,)), int(tags.get(_SAMPLES, 1))
        form = tags.get(_FORMAT, 1)
        form = form[0] if isinstance(form, tuple) else form
        declared = _bits(tags.get(_MAXIMUM, tags.get(_SIGNED_MAXIMUM))) if bits == 16 and form == 1 else 0
        declared = declared if tags.get(_PHOTOMETRIC) in _BRIGHT_IS_MORE else 0
        planar, compression = tags.get(_PLANAR, 1) == 2, tags.get(_COMPRESSION, 1)
        ends = [first + count for first, count in zip(_numbers(tags, 273, 324), _numbers(tags, 279, 325), strict=False)]
    except Exception:  # a damaged directory: decoding will say so
        return _Kind()
    words = []
    if form in _FORMATS:
        words.append(f"{bits}-bit {_FORMATS[form]} samples")
    elif bits > 16 or (bits == 16 and samples == 2):
        words.append(f"{samples} {bits}-bit samples per pixel")
    if planar and bits > 8 and samples > 1:
        words.append(f"{bits}-bit samples in separate planes")
    if compression in _COMPRESSIONS:
        words.append(f"{_COMPRESSIONS[compression]} compression")
    whole = bool(ends) and max(ends) <= len(data)
    return _Kind(bits, samples, planar, " and ".join(words) if whole else "", declared)


def _bits(maximum: object) -> int:
    """The number of bits of the largest sample; 0 if none is declared."""
    values = maximum if isinstance(maximum, tuple) else (maximum,)
    return max(int(value).bit_length() if isinstance(value, (int, float)) and value > 0 else 0 for value in values)


def _numbers(tags: TiffImagePlugin.ImageFileDirectory_v2, strips: int, tiles: int) -> tuple[int, ...]:
    value = tags.get(strips, tags.get(tiles, ()))
    return value if isinstance(value, tuple) else (value,)
