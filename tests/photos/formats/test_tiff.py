"""TIFF files of kinds that Pillow reads wrongly or not at all: a picture, or the kind by name, never "truncated"."""

import struct

import numpy as np
import pytest

from cocotag.errors import ImageError
from cocotag.photos.decode import decode

WIDTH, HEIGHT = 60, 40


def tiff(samples, bits, form, strips, photometric=2):
    """An uncompressed TIFF: one strip, or one for each sample in planes."""
    entries, tail = [], b""
    data = b"".join(strips)
    base = 8 + len(data)

    def entry(tag, kind, values):
        nonlocal tail
        code = {3: "H", 4: "I"}[kind]
        packed = struct.pack(f"<{len(values)}{code}", *values)
        if len(packed) > 4:
            offset = base + len(tail)
            tail += packed + bytes(len(packed) % 2)
            packed = struct.pack("<I", offset)
        entries.append(struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0"))

    starts = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    for tag, kind, values in (
        (256, 4, [WIDTH]),
        (257, 4, [HEIGHT]),
        (258, 3, [bits] * samples),
        (259, 3, [1]),
        (262, 3, [photometric]),
        (273, 4, starts),
        (277, 3, [samples]),
        (278, 4, [HEIGHT]),
        (279, 4, list(map(len, strips))),
        (284, 3, [2 if len(strips) > 1 else 1]),
        (339, 3, [form] * samples),
    ):
        entry(tag, kind, values)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", base + len(tail)) + data + tail + directory


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def test_eight_bits_in_separate_planes_are_the_picture(pixels):
    planes = [np.ascontiguousarray(pixels[..., channel]).tobytes() for channel in range(3)]
    assert (decode(tiff(3, 8, 1, planes)) == pixels).all()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("planes16", "16-bit samples in separate planes"),
        ("float", "32-bit floating-point"),
        ("integers", "3 32-bit samples"),
        ("grey with alpha", "2 16-bit samples"),
    ],
)
def test_what_cannot_be_read_rightly_is_named_by_its_kind(pixels, kind, words):
    wide = pixels.astype("<u2") * 257
    data = {
        "planes16": lambda: tiff(3, 16, 1, [wide[..., channel].tobytes() for channel in range(3)]),
        "float": lambda: tiff(3, 32, 3, [(pixels / 255).astype("<f4").tobytes()]),
        "integers": lambda: tiff(3, 32, 1, [(pixels.astype("<u4") << 24).tobytes()]),
        "grey with alpha": lambda: tiff(2, 16, 1, [wide[..., :2].tobytes()], photometric=1),
    }[kind]()
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert caught.value.code == "unsupported"
    assert words in str(caught.value)
    with pytest.raises(ImageError) as caught:
        decode(data[: len(data) // 2])  # its directory is gone: damage
    assert caught.value.code == "truncated"
