"""The part of a progressive JPEG that is visible at 1/8. Works on bytes only.

At 1/8 every block of 8 x 8 pixels becomes one pixel, its mean, which is the block's DC coefficient. A progressive file stores
the DC coefficients in separate scans (ITU-T T.81, annex G), about a tenth of its bytes. Most of the rest are AC coefficients
of the luma, which decoders read and then ignore. They are removed before decoding, and the pixels stay identical. Chroma at
half the resolution keeps its AC coefficients, because a block of it becomes four pixels.
"""

from __future__ import annotations

import struct

_FRAME, _TABLES, _RESTART, _SCAN, _END = b"\xff\xc2", b"\xff\xc4", b"\xff\xdd", b"\xff\xda", b"\xff\xd9"

_CODES_BY_LENGTH = bytes([0, 0, 0, 15, *[0] * 12])  # all codes have 4 bits
_RUN_TABLE = _TABLES + struct.pack(">HB", 34, 0x10) + _CODES_BY_LENGTH + bytes(range(0, 240, 16))
"""A Huffman table for AC coefficients: 4 bits ``n`` are the symbol EOBn, "at least the next 2^n blocks have none"."""


def for_eighth(data: bytes, frame: int, scan: int) -> bytes:
    """The file without the scans that are not visible at 1/8; unchanged if it is not progressive or of a rare kind.

    Args:
        data: A complete JPEG.
        frame: Offset of its frame header's marker.
        scan: Offset of its first scan's marker.
    """
    end = data.find(_END, scan)
    if data[frame : frame + 2] != _FRAME or end < 0 or _RESTART in data[:scan]:
        return data
    if not 0 < 3 * data[frame + 9] <= scan - frame - 10:
        return data
    empty = _empty_scans(data, frame)
    kept = [data[:scan]]
    for piece in data[scan + 2 : end].split(_SCAN):  # in compressed data a marker's first byte is always followed by 0
        count = piece[2] if len(piece) > 2 else 0
        if len(piece) < 6 + 2 * count:
            return data
        if piece[3 + 2 * count] == 0 or piece[3] not in empty:  # DC, or not luma
            kept += [_SCAN, piece]
        elif (tables := piece.find(_TABLES)) >= 0:  # between this scan and the next
            kept.append(piece[tables:])
    # Their absence must be encoded: if coefficients are missing, libjpeg estimates them and smooths the DC coefficients.
    return b"".join([*kept, _RUN_TABLE, *empty.values(), _END])


def _empty_scans(data: bytes, frame: int) -> dict[int, bytes]:
    """For each component of full resolution, by its id, a scan that encodes that all AC coefficients are 0."""
    height, width, count = struct.unpack_from(">HHB", data, frame + 5)
    parts = [data[offset : offset + 2] for offset in range(frame + 10, frame + 10 + 3 * count, 3)]  # id and sampling
    full = max(part[1] >> 4 for part in parts) << 4 | max(part[1] & 15 for part in parts)
    run = _run(-(-width // 8) * -(-height // 8))
    return {part[0]: _SCAN + bytes([0, 8, 1, part[0], 0, 1, 63, 0]) + run for part in parts if part[1] == full}


def _run(blocks: int) -> bytes:
    """Compressed data of a number of blocks without AC coefficients."""
    bits = ""
    while blocks:
        n = min(14, blocks.bit_length() - 1)
        covered = min(blocks, 2 ** (n + 1) - 1)
        bits += f"{n:04b}" + (f"{covered - 2**n:0{n}b}" if n else "")
        blocks -= covered
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
