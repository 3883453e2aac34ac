"""JPEG: what the header says, and fast decoding at full or reduced scale."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from cocotag.errors import ImageError
from cocotag.photos.formats.limits import MAX_SCANNED, check_size
from cocotag.photos.formats.orientation import block_orientation, turned
from cocotag.photos.formats.pillow import decode_with_pillow
from cocotag.photos.formats.progressive import for_eighth
from cocotag.photos.formats.wanted import Wanted

START = b"\xff\xd8\xff"
HEADROOM = 2
"""A reduced decode keeps at least so many times the side that is asked for: its filter is coarser than area averaging,
and right down at the input size fine patterns would come out otherwise than from the full picture."""

_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)  # over filler bytes
_SCAN_CODE, _SCAN, _END = 0xDA, b"\xff\xda", b"\xff\xd9"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..15, less DHT, JPG and DAC
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_BELOW = 16  # rows that are decoded below those asked for: blocks are whole, and chroma is interpolated across their borders


@dataclass(slots=True)
class Header:
    """What stands before the compressed data, and what is known of their end.

    Attributes:
        width: Pixels, as stored.
        height: Pixels, as stored.
        components: 1 grey, 3 colour, 4 CMYK; 0 if no frame was found.
        exif: The EXIF block from its ``Exif`` on, empty if there is none.
        scans: Passes over the whole picture that decoding takes; more than one in a progressive file.
        complete: The picture begins and ends.
        frame: Where the frame header's marker is.
        scan: Where the first scan's marker is.
    """

    width: int = 0
    height: int = 0
    components: int = 0
    exif: bytes = b""
    scans: int = 0
    complete: bool = False
    frame: int = 0
    scan: int = 0


def read_header(data: bytes) -> Header:
    """Walk the segments up to the compressed data, and look for the end marker after that.

    Decoders fill what is missing of a cut JPEG with grey, some without a word. In compressed data an FF is always
    followed by 00 or a restart marker, so the end marker is found only where the picture is whole. Looking at the
    file's last bytes would not do: cameras append previews, films and padding.
    """
    header = Header()
    place, progressive = 2, False
    while (marker := _MARKER.search(data, place)) is not None and marker.end() + 8 <= len(data):
        code, place = marker[1][0], marker.end()
        if code == _SCAN_CODE:
            header.scan = place - 2
            header.complete = header.components > 0 and data.rfind(_END, place) >= 0
            whole = not progressive and data[place + 2] == header.components  # one scan that holds all components
            header.scans = 1 if whole else 1 + data.count(_SCAN, place)
            break
        if code in _FRAMES:
            progressive = code in _PROGRESSIVE
            header.frame = place - 2
            header.height, header.width, header.components = struct.unpack_from(">HHB", data, place + 3)
        length = int.from_bytes(data[place : place + 2], "big")
        if code == 0xE1 and data.startswith(b"Exif\0\0", place + 2):
            header.exif = header.exif or data[place + 2 : place + length]
        place += length
    return header


def decode(data: bytes, header: Header, min_side: int | None = None, rows: int | None = None) -> NDArray[np.uint8] | None:
    """Decode a grey or colour JPEG with libjpeg-turbo, at 1/2, 1/4 or 1/8 where that is enough.

    Damage inside is drawn over as far as it can be, as browsers do. The decoder is simplejpeg's, which gives OpenCV's pixels
    to the bit; OpenCV's own prints a line to the terminal for every damaged file.

    Args:
        data: The file.
        header: Its header.
        min_side: The shorter side keeps at least so many pixels; None for full size.
        rows: So many rows of the full size are needed, from the top; what lies below may come out black. None for all.

    Returns:
        ``(H, W, 3)`` RGB uint8 as stored, not turned; None where this decoder has no answer.
    """
    shorter = min(header.width, header.height)
    scale = next((scale for scale in (8, 4, 2) if min_side is not None and shorter // scale >= min_side), 1)
    height, width = -(-header.height // scale), -(-header.width // scale)
    decoded = height
    if rows is not None and header.scans == 1 and rows + _BELOW < header.height:
        # The compressed data hold the rows in order, so a decoder that takes the picture to be lower stops early.
        place = header.frame + 5
        data = data[:place] + struct.pack(">H", rows + _BELOW) + data[place + 2 :]
        decoded = -(-(rows + _BELOW) // scale)
    if scale == 8:
        data = for_eighth(data, header.frame, header.scan)
    image = np.empty((height, width, 3), np.uint8)
    try:
        made = simplejpeg.decode_jpeg(data, "RGB", min_height=decoded, min_width=width, strict=False, buffer=image)
    except (ValueError, RuntimeError):
        return None
    if made.shape != (decoded, width, 3):  # or it would lie askew in the larger picture
        return None
    image[decoded:] = 0
    return image


def decode_file(name: str, data: bytes, wanted: Wanted) -> NDArray[np.uint8]:
    """Decode a JPEG file, upright; CMYK, and what libjpeg-turbo refuses, by Pillow.

    Args:
        name: Of the file, for messages.
        data: The file.
        wanted: What is needed of it.

    Raises:
        ImageError: ``truncated``, ``too_large`` or ``too_small``.
    """
    header = read_header(data)
    if not header.complete:
        raise ImageError("truncated", f"{name}: the JPEG data end early, after {len(data)} bytes. Copy it again.")
    check_size(name, header.width, header.height)
    if header.scans * header.width * header.height > MAX_SCANNED:
        what = f"{name}: {header.scans} scans over {header.width} x {header.height} pixels, made to keep a decoder busy."
        raise ImageError("too_large", f"{what} Leave it out.")
    orientation = block_orientation(header.exif, wanted.orientation)
    needed = wanted.rows(header.width, header.height) if wanted.rows is not None and orientation == 1 else None
    image = decode(data, header, wanted.min_side, needed) if header.components in (1, 3) else None  # CMYK is Pillow's
    if image is None:
        return decode_with_pillow(name, data, "JPEG")
    return np.ascontiguousarray(turned(image, orientation))
