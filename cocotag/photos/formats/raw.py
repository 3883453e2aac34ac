"""The preview inside camera RAW files. Cameras store the finished image as a JPEG beside the sensor data.

A tagger needs only this preview: developing the sensor data would take seconds, and the result would not look like COCO's
photographs. LibRaw reads the preview, through rawpy, which the extra ``raw`` installs.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from cocotag.errors import ImageError

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_STARTS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")  # RAF, ORF, RW2, X3F, MRW
_SUBFILE, _PHOTOMETRIC, _SUB_IFDS, _CFA_PATTERN, _DNG_VERSION = 254, 262, 330, 33422, 50706
_SENSOR = (32803, 34892)  # photometric interpretation: colour filter array, linear raw
_MAX_DIRECTORIES = 32
_ORIENTATIONS = (1, 2, 4, 3, 5, 8, 6, 7)  # EXIF's numbers by LibRaw's flip bits: 1 mirrors, 2 flips vertically, 4 transposes


@dataclass(frozen=True, slots=True)
class Preview:
    """The preview that the camera stored.

    Attributes:
        image: A JPEG file, or ``(H, W, 3)`` RGB uint8.
        orientation: EXIF's orientation number; it applies if the JPEG itself has none.
    """

    image: bytes | NDArray[np.uint8]
    orientation: int


def available() -> bool:
    """Whether the extra ``raw`` is installed."""
    return importlib.util.find_spec("rawpy") is not None


def is_raw(data: bytes) -> bool:
    """Whether the content is a camera RAW file.

    CR2, NEF, ARW, DNG and many more begin like a TIFF whose first page is a thumbnail, which must not be used as the image.
    They have a page of sensor data, or a first page that is only a small copy of another page.
    """
    if data.startswith(_STARTS) or data[4:12] == b"ftypcrx " or data[6:14] == b"HEAPCCDR":  # the last two: CR3, CRW
        return True
    if not data.startswith(_TIFF):
        return False
    return data[8:10] == b"CR" or data[8:12] == b"IIII" or any(map(_is_sensor, _directories(data)))  # CR2, Phase One


def _is_sensor(tags: TiffImagePlugin.ImageFileDirectory_v2) -> bool:
    small_copy = tags.get(_SUBFILE) == 1 and _SUB_IFDS in tags
    return small_copy or _CFA_PATTERN in tags or _DNG_VERSION in tags or tags.get(_PHOTOMETRIC) in _SENSOR


def _directories(data: bytes) -> Iterator[TiffImagePlugin.ImageFileDirectory_v2]:
    """The first pages of a TIFF and the pages below them, as far as they can be read."""
    big = data[2:3] == b"+" or data[3:4] == b"+"
    start = data[: 16 if big else 8]
    file = io.BytesIO(data)
    try:
        offsets = [TiffImagePlugin.ImageFileDirectory_v2(start).next]
        for _ in range(_MAX_DIRECTORIES):
            while offsets and not offsets[0]:  # 0 ends a chain
                offsets.pop(0)
            if not offsets:
                return
            file.seek(offsets.pop(0))
            tags = TiffImagePlugin.ImageFileDirectory_v2(start)
            tags.load(file)
            yield tags
            below = tags.get(_SUB_IFDS, ())
            offsets += [*(below if isinstance(below, tuple) else (below,)), tags.next]
    except Exception:  # a damaged directory; decoding the file will report it
        return


def preview(name: str, data: bytes) -> Preview:
    """The largest preview in a camera RAW file.

    Args:
        name: Name of the file for messages.
        data: The file.

    Raises:
        ImageError: ``needs_raw`` without the extra, ``no_preview``, ``too_large``, or ``truncated`` (or damaged).
    """
    try:
        import rawpy
    except ImportError:
        what = f"{name}: reading the preview of a camera RAW file needs one more package."
        raise ImageError("needs_raw", f"{what} Run: pip install 'cocotag[raw]'") from None
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            image = raw.extract_thumb().data
            image = image if isinstance(image, bytes) else _as_rgb(image)
            return Preview(image, _ORIENTATIONS[raw.sizes.flip & 7])
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError, rawpy.LibRawFileUnsupportedError):
        raise ImageError("no_preview", f"{name}: camera RAW file without a readable preview. Export it as JPEG.") from None
    except (MemoryError, rawpy.LibRawTooBigError, rawpy.LibRawUnsufficientMemoryError):
        raise ImageError("too_large", f"{name}: the preview in this RAW file is too large. Export it as JPEG.") from None
    except Exception as error:
        raise ImageError("truncated", f"{name}: truncated or damaged RAW file. Copy it from the camera again.") from error


def _as_rgb(bitmap: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """A bitmap ``(H, W, 1 or 3)`` of 8 or 16 bits as ``(H, W, 3)`` uint8, copied from LibRaw's memory."""
    levels = bitmap >> 8 if bitmap.dtype == np.uint16 else bitmap
    return np.array(np.broadcast_to(levels, (*levels.shape[:2], 3)), np.uint8)
