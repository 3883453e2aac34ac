"""Damaged image files for `cocotag.photos.decode.decode`: each must come to a picture or to an ImageError with a known reason.

In a process of its own, so that a crash of a decoder is seen, and with what it prints. By hand, for long:

    python tests/support/image_fuzz.py --cases 100000 --seed 1                 all kinds
    python tests/support/image_fuzz.py --cases 1 --first 4711 --seed 1         one case again
"""

import argparse
import faulthandler
import json
import random
import struct
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from image_files import draw, every_kind, png_chunk
from PIL import Image

from cocotag.errors import ImageError
from cocotag.photos import decode as images

SECONDS = 10
"""Longest that one case may take; after that the process ends itself and says where it was."""
PIXELS = 2**22
"""In place of `images.MAX_PIXELS`, so that a bound on memory that grows with it can be seen."""
NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damage(rng, data, others):
    """Damage a file in one to three of the ways in which files are damaged, or in which somebody would do it."""
    for _ in range(rng.randint(1, 3)):
        data = rng.choice(WAYS)(rng, data, others) or data
    return data


def place(rng, data):
    """Mostly anywhere, but often in the header, where a byte says most."""
    return rng.randrange(min(len(data), rng.choice((32, 512, len(data)))))


def flip_bytes(rng, data, _):
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[place(rng, data)] = rng.randrange(256)
    return bytes(changed)


def flip_a_bit(rng, data, _):
    changed = bytearray(data)
    changed[place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut_the_end(rng, data, _):
    return data[: rng.randrange(1, len(data) + 1)]


def cut_out(rng, data, _):
    start = place(rng, data)
    return data[:start] + data[start + rng.randint(1, 64) :]


def insert_noise(rng, data, _):
    start = place(rng, data)
    return data[:start] + rng.randbytes(rng.randint(1, 64)) + data[start:]


def zero_a_part(rng, data, _):
    start = place(rng, data)
    length = min(rng.choice((4, 64, 4096)), len(data) - start)
    return data[:start] + bytes(length) + data[start + length :]


def repeat_a_part(rng, data, _):
    start = place(rng, data)
    part = data[start : start + rng.choice((4, 64, 1024))]
    return data[:start] + part * rng.randint(2, 4) + data[start:]


def set_a_number(rng, data, _):
    start, number = place(rng, data), rng.choice(NUMBERS)
    content = struct.pack(rng.choice("<>") + "I", number)
    if number <= 0xFFFF:
        content = struct.pack(rng.choice("<>") + "H", number)
    return data[:start] + content + data[start + len(content) :]


def splice(rng, data, others):
    """The beginning of one file with the rest of another."""
    other = rng.choice(others)
    return data[: place(rng, data) + 1] + other[place(rng, other) :]


def mend_png_checksums(rng, data, _):
    """Else no damage to a PNG would get past its checksums."""
    if not data.startswith(b"\x89PNG"):
        return None
    mended, at = data[:8], 8
    while at + 12 <= len(data):
        length = min(int.from_bytes(data[at : at + 4], "big"), len(data) - at - 12)
        mended += png_chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length])
        at += 12 + length
    return mended


WAYS = (
    *(flip_bytes, flip_bytes, flip_a_bit, cut_the_end, cut_out, insert_noise, zero_a_part),
    *(repeat_a_part, set_a_number, set_a_number, splice, mend_png_checksums),
)


def run_case(data, min_side, part=1.0):
    """Decode, and hold the promise. Returns ``ok`` or the reason."""
    try:
        image = images.decode(data, min_side=min_side, rows=None if part == 1 else lambda width, height: int(part * height))
    except ImageError as error:
        assert error.reason in images.REASONS, error.reason
        assert "\n" not in str(error)
        return error.reason
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3, (image.dtype, image.shape)
    assert min(image.shape[:2]) >= 1 and image.flags.c_contiguous and image.flags.writeable
    return "ok"


def peak_memory():
    """Of this process so far, bytes resident; `resource` would count what the parent had before it started this one."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=[""], help="only these, by the beginning of their names")
    parser.add_argument("--save", type=Path, help="write the first case there instead")
    args = parser.parse_args()
    images.MAX_PIXELS = Image.MAX_IMAGE_PIXELS = PIXELS
    files = {name: data for name, data in every_kind(draw(48, 64)).items() if name.startswith(tuple(args.kinds))}
    whole = {name: run_case(data, None) for name, data in files.items()}  # loads every decoder
    assert set(whole.values()) == {"ok"}, whole
    names, others = list(files), list(files.values())
    found = {name: Counter() for name in names}
    slowest = (0.0, -1)
    before = peak_memory()
    for case in range(args.first, args.first + args.cases):
        rng = random.Random(f"{args.seed} {case}")
        name = names[case % len(names)]
        data = damage(rng, files[name], others)
        if args.save:
            args.save.write_bytes(data)
            return
        sys.stdout.write(f"{case} {name}\n")
        sys.stdout.flush()
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        start = time.perf_counter()
        found[name][run_case(data, rng.choice((None, 1, 8, 64)), rng.choice((1, 0.5)))] += 1
        slowest = max(slowest, (time.perf_counter() - start, case))
    faulthandler.cancel_dump_traceback_later()
    grown = peak_memory() - before
    sys.stdout.write(
        json.dumps({"found": found, "slowest_s": slowest[0], "slowest_case": slowest[1], "grown_bytes": grown}) + "\n"
    )


if __name__ == "__main__":
    faulthandler.enable()
    main()
