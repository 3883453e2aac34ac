"""JPEG: reading the header, and fast decoding at full or reduced scale."""

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
from cocotag.photos.formats.source import Wanted

START = b"\xff\xd8\xff"
HEADROOM = 2
"""A reduced decode keeps at least this many times the requested side. Its filter is coarser than area averaging, so fine
patterns decoded right at the input size would differ from those of the full image."""

_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)  # skips filler bytes
_SCAN_CODE, _SCAN, _END = 0xDA, b"\xff\xda", b"\xff\xd9"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..15, less DHT, JPG and DAC
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_SCALED = frozenset({0xC0, 0xC1, 0xC2})
"""Frames that libjpeg-turbo is known to decode at reduced scale: baseline, extended and progressive, Huffman-coded."""
_ARITHMETIC = frozenset({0xC9, 0xCA})
_PRECISION = 8  # bits per sample that are read
_BELOW = 16  # extra rows to decode below the requested ones: blocks are whole, and chroma is interpolated across their borders


@dataclass(slots=True)
class Header:
    """The header before the compressed data, and whether their end was found.

    Attributes:
        width: Pixels, as stored.
        height: Pixels, as stored.
        components: 1 grey, 3 colour, 4 CMYK; 0 if no frame was found.
        exif: The EXIF block from its ``Exif`` on, empty if there is none.
        scans: Number of passes over the whole image that decoding takes; more than one in a progressive file.
        complete: Whether both start and end of the image were found.
        frame: Offset of the frame header's marker.
        scan: Offset of the first scan's marker.
        code: Code of the frame header's marker, SOF0 (0xC0) to SOF15; 0 if no frame was found.
        precision: Bits per sample.
    """

    width: int = 0
    height: int = 0
    components: int = 0
    exif: bytes = b""
    scans: int = 0
    complete: bool = False
    frame: int = 0
    scan: int = 0
    code: int = 0
    precision: int = 0

    @property
    def scalable(self) -> bool:
        """Whether the decoder is known to scale such a frame, and to stop early in it. A rarer kind can end the process."""
        return self.code in _SCALED and self.precision == _PRECISION


def read_header(data: bytes) -> Header:
    """Walk the segments up to the compressed data, and search for the end marker after that.

    Decoders fill the missing part of a truncated JPEG with grey, some without an error. In compressed data an FF is always
    followed by 00 or a restart marker, so the end marker is found only if the image is complete. Checking only the last bytes
    of the file would not be enough: cameras append previews, videos and padding.
    """
    header = Header()
    offset, progressive = 2, False
    while (marker := _MARKER.search(data, offset)) is not None and marker.end() + 8 <= len(data):
        code, offset = marker[1][0], marker.end()
        if code == _SCAN_CODE:
            header.scan = offset - 2
            header.complete = header.components > 0 and data.rfind(_END, offset) >= 0
            single = not progressive and data[offset + 2] == header.components  # one scan with all components
            header.scans = 1 if single else 1 + data.count(_SCAN, offset)
            break
        if code in _FRAMES:
            progressive = code in _PROGRESSIVE
            header.frame, header.code = offset - 2, code
            header.precision, header.height, header.width, header.components = struct.unpack_from(">BHHB", data, offset + 2)
        length = int.from_bytes(data[offset : offset + 2], "big")
        if code == 0xE1 and data.startswith(b"Exif\0\0", offset + 2):
            header.exif = header.exif or data[offset + 2 : offset + length]
        offset += length
    return header


def reduction(header: Header, min_side: int | None) -> int:
    """The divisor of a reduced decode, 1, 2, 4 or 8: the largest that leaves ``min_side`` pixels on the shorter side."""
    if min_side is None or not header.scalable:
        return 1
    shorter = min(header.width, header.height)
    return next((divisor for divisor in (8, 4, 2) if shorter // divisor >= min_side), 1)


def is_complete(data: bytes, header: Header) -> bool:
    """Whether the image is complete, with or without its end marker.

    Without one, the compressed data are complete if they decode without a warning once the marker is added, and if the scans of
    a progressive file have all bits of all coefficients (ITU-T T.81, G.1.1.1). Decodes the image, so check its size before.
    """
    if header.complete or not header.scalable or not header.scan:
        return header.complete
    try:
        simplejpeg.decode_jpeg(data + _END, "RGB", min_height=1, min_width=1, strict=True)  # at 1/8: the same data, less memory
    except (ValueError, RuntimeError):
        return False
    return header.code != 0xC2 or _has_all_scans(data, header)


def _has_all_scans(data: bytes, header: Header) -> bool:
    components = [data[header.frame + 10 + 3 * number] for number in range(header.components)]
    missing = {component: set(range(64)) for component in components}  # coefficients without their last bit
    offset = header.scan
    while (offset := data.find(_SCAN, offset)) >= 0:
        count = data[offset + 4]
        scanned = [data[offset + 5 + 2 * number] for number in range(count)]
        first, last, bits = data[offset + 5 + 2 * count : offset + 8 + 2 * count]
        if bits & 15 == 0:
            for component in scanned:
                missing.get(component, set()).difference_update(range(first, last + 1))
        offset += 2
    return not any(missing.values())


def decode(data: bytes, header: Header, min_side: int | None = None, rows: int | None = None) -> NDArray[np.uint8] | None:
    """Decode a grey or colour JPEG with libjpeg-turbo, at 1/2, 1/4 or 1/8 if that is enough.

    Damage in the compressed data is concealed as far as possible, as browsers do. The decoder is simplejpeg's, which gives the
    same pixels as OpenCV's; OpenCV's own prints a line to the terminal for every damaged file.

    Args:
        data: The file.
        header: Its header.
        min_side: Least number of pixels on the shorter side; None for full size.
        rows: Number of rows of the full size that are needed, from the top; the rows below may be black. None for all.

    Returns:
        ``(H, W, 3)`` RGB uint8 as stored, without orientation; None if this decoder fails.
    """
    scale = reduction(header, min_side)
    height, width = -(-header.height // scale), -(-header.width // scale)
    decoded = height
    if rows is not None and header.scalable and header.scans == 1 and rows + _BELOW < header.height:
        # The compressed data store the rows in order, so a decoder stops early if the header declares a smaller height.
        offset = header.frame + 5
        data = data[:offset] + struct.pack(">H", rows + _BELOW) + data[offset + 2 :]
        decoded = -(-(rows + _BELOW) // scale)
    if scale == 8:
        data = for_eighth(data, header.frame, header.scan)
    image = np.empty((height, width, 3), np.uint8)
    try:
        result = simplejpeg.decode_jpeg(data, "RGB", min_height=decoded, min_width=width, strict=False, buffer=image)
    except (ValueError, RuntimeError):
        return None
    if result.shape != (decoded, width, 3):  # its rows would be shifted in the larger buffer
        return None
    image[decoded:] = 0
    return image


def decode_file(name: str, data: bytes, wanted: Wanted) -> NDArray[np.uint8]:
    """Decode a JPEG file, upright; Pillow decodes CMYK and files that libjpeg-turbo refuses.

    Args:
        name: Name of the file for messages.
        data: The file.
        wanted: The part of the image that is needed.

    Raises:
        ImageError: ``truncated``, ``too_large``, ``too_small`` or ``unsupported``.
    """
    header = read_header(data)
    if header.components and header.precision != _PRECISION:
        raise ImageError(
            "unsupported", f"{name}: a JPEG with {header.precision} bits per sample, which is not read. Convert it to 8 bits."
        )
    if not header.components:
        raise ImageError("truncated", f"{name}: the JPEG data end early, after {len(data)} bytes. Copy it again.")
    divisor = reduction(header, wanted.min_side) if header.scans == 1 and header.components in (1, 3) else 1
    check_size(name, header.width, header.height, divisor=divisor)
    if not is_complete(data, header):
        raise ImageError("truncated", f"{name}: the JPEG data end early, after {len(data)} bytes. Copy it again.")
    if header.scans * header.width * header.height > MAX_SCANNED:
        size = f"{header.scans} scans of {header.width} x {header.height} pixels"
        raise ImageError("too_large", f"{name}: {size} would take too long to decode. Leave it out.")
    orientation = block_orientation(header.exif, wanted.orientation)
    needed = wanted.rows(header.width, header.height) if wanted.rows is not None and orientation == 1 else None
    image = decode(data, header, wanted.min_side, needed) if header.components in (1, 3) else None  # Pillow decodes CMYK
    if image is None:
        if header.code not in _SCALED | _ARITHMETIC:
            raise ImageError(
                "unsupported", f"{name}: a rare kind of JPEG (SOF{header.code - 0xC0}), which is not read. Convert it."
            )
        return decode_with_pillow(name, data, "JPEG")
    return np.ascontiguousarray(turned(image, orientation))
