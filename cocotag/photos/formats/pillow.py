"""Decoding of all formats but JPEG and camera RAW, with Pillow and its plugins."""

from __future__ import annotations

import ctypes
import io
import logging
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError, _imaging

from cocotag.errors import ImageError
from cocotag.photos.formats.limits import check_pixels, check_size
from cocotag.photos.formats.orientation import exif_orientation, turned
from cocotag.photos.formats.source import Wanted

Opener = Callable[[io.BytesIO], Image.Image]
"""Opens an image file for Pillow."""

Decoder = Callable[[str, bytes, Wanted], NDArray[np.uint8]]
"""Name for messages, the file, the wanted part -> ``(H, W, 3)`` RGB uint8, upright, contiguous; or `ImageError`."""

_TILE_WIDTH, _TILE_LENGTH = 322, 323
_STRIP = 2**20  # pixels to convert at a time


# Pillow's warnings (damaged tags, large images) are either harmless or errors here, and would break a progress bar.
# They are filtered once per process: changing the filters around each file would not be thread-safe.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
logging.getLogger("PIL").addHandler(logging.NullHandler())  # otherwise its errors go to stderr if logging is not configured


def from_pillow(image: Image.Image) -> NDArray[np.uint8]:
    """A Pillow image in any mode -> RGB uint8 ``(H, W, 3)``, upright, transparent pixels composited on white.

    Integers beyond 8 bits are read as 16-bit (0..65535), floats as 0..1; values outside are clipped. In addition to the image
    itself this takes 3 bytes per pixel: strips are converted directly to their upright position.
    """
    image.load()
    orientation = exif_orientation(image.getexif())  # after loading: Pillow applies the orientation of TIFF while loading
    width, height = image.size
    upright = np.empty((width, height, 3) if 5 <= orientation <= 8 else (height, width, 3), np.uint8)
    as_stored = turned(
        upright, {6: 8, 8: 6}.get(orientation, orientation)
    )  # a view; the other orientations are their own inverse
    rows = max(1, _STRIP // max(1, width))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        as_stored[top:bottom] = _to_rgb(image.crop((0, top, width, bottom)))
    return upright


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I") or image.mode == "F":
        stored = np.asarray(image)
        levels = stored.astype(np.float32) * (255 if image.mode == "F" else 255 / 65535)
        grey = np.rint(np.nan_to_num(levels).clip(0, 255)).astype(np.uint8)
        if image.info.get("transparency") is not None:
            grey[stored == image.info["transparency"]] = 255
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer))[:, :, :3]
    return np.asarray(image.convert("RGB"))


def decode_with_pillow(
    name: str, data: bytes, kind: str, *, copies: int = 1, opener: Opener | None = None
) -> NDArray[np.uint8]:
    """Decode an image file with one of Pillow's plugins.

    Args:
        name: Name of the file for messages.
        data: The file.
        kind: Pillow's name of the format.
        copies: Number of copies of the image that the decoder holds in memory.
        opener: Opens the file instead of Pillow's own ``Image.open``.

    Returns:
        ``(H, W, 3)`` RGB uint8, upright.

    Raises:
        ImageError: ``too_large``, ``too_small``, or ``truncated`` (or damaged).
    """
    try:
        with (opener or partial(Image.open, formats=[kind]))(io.BytesIO(data)) as image:
            check_size(name, image.width, image.height, copies)
            if isinstance(
                image, TiffImagePlugin.TiffImageFile
            ):  # a tile may be larger than the image, and is decoded as a whole
                check_pixels(name, image.tag_v2.get(_TILE_WIDTH, 0), image.tag_v2.get(_TILE_LENGTH, 0))
            if isinstance(image, ImageFile.ImageFile):
                # A JPEG's arithmetic decoder cannot pause at the end of a block, so the file is one block.
                image.decodermaxblock = max(image.decodermaxblock, len(data))
            if kind == "PNG":
                _scale_colour_key(image, data[24])
            return from_pillow(image)
    except ImageError:
        raise
    except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError("too_large", f"{name}: too many pixels to decode safely. Shrink it.") from None
    except UnidentifiedImageError:
        raise ImageError("truncated", f"{name}: begins as {kind}, but is truncated or damaged. Copy it again.") from None
    except Exception as error:  # Pillow's plugins raise many kinds of errors on damaged files
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise ImageError("truncated", f"{name}: truncated or damaged ({reason}). Copy or download it again.") from error


def _scale_colour_key(image: Image.Image, depth: int) -> None:
    """Scale the transparent level of a PNG's tRNS chunk to 8 bits; Pillow scales only the pixels."""
    key = image.info.get("transparency")
    if depth in (2, 4) and image.mode == "L" and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2**depth - 1)
    elif depth == 16 and isinstance(key, tuple):
        image.info["transparency"] = tuple(level >> 8 for level in key)


def by_pillow(kind: str, *, copies: int = 1) -> Decoder:
    """The decoder of a format that Pillow itself reads, given Pillow's name of the format."""

    def decode(name: str, data: bytes, _: Wanted) -> NDArray[np.uint8]:
        return decode_with_pillow(name, data, kind, copies=copies)

    return decode


@cache
def silence_libtiff() -> None:
    """Stop Pillow's libtiff from printing errors that Pillow raises as exceptions anyway.

    ``TIFFSetErrorHandler`` is libtiff's function for this. If Pillow links libtiff so that it cannot be found, it still prints.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
