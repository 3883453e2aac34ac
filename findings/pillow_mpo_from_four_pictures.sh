#!/usr/bin/env bash
# Pillow 13.0.0 writes wrong lengths into the index of a Multi-Picture file (MPO, CIPA DC-007) from the third picture on.
#
# Expected: the index gives each picture its length and place, so that readers find all of them.
# Seen: the third length is that of all the pictures up to there but the second; the places, which are sums of the lengths, are
#   wrong from the fourth picture on. Pillow itself then cannot open the fourth picture of a file that it has just written.
#
# Fails if this changes. Needs Python 3.11 or newer and a package index.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0
"$work/venv/bin/python" - <<'PYTHON'
import io
import struct
import sys

import PIL
from PIL import Image

print("Pillow", PIL.__version__)
pictures = [Image.radial_gradient("L").resize((64 * n, 48 * n)).convert("RGB") for n in (4, 3, 2, 1)]
file = io.BytesIO()
pictures[0].save(file, "MPO", save_all=True, append_images=pictures[1:])
data = file.getvalue()

base = data.index(b"MPF\0") + 4
order = "<" if data[base : base + 2] == b"II" else ">"
(directory,) = struct.unpack_from(f"{order}I", data, base + 4)
(fields,) = struct.unpack_from(f"{order}H", data, base + directory)
for number in range(fields):
    tag, _, size, place = struct.unpack_from(f"{order}HHII", data, base + directory + 2 + 12 * number)
    if tag == 0xB002:
        listed = [struct.unpack_from(f"{order}II", data, base + place + 16 * at + 4) for at in range(size // 16)]
listed = [(base + start if start else 0, length) for length, start in listed]
starts = [0]
while (found := data.find(b"\xff\xd8\xff", starts[-1] + 3)) >= 0:
    starts.append(found)
true = [(start, end - start) for start, end in zip(starts, [*starts[1:], len(data)])]
print("bytes of the file:", len(data))
for number, (said, is_so) in enumerate(zip(listed, true, strict=True), 1):
    print(f"picture {number}: listed at {said[0]} with {said[1]} bytes, is at {is_so[0]} with {is_so[1]} bytes")
opened = []
with Image.open(io.BytesIO(data)) as image:
    for number in range(4):
        try:
            image.seek(number)
            image.load()
            opened.append(image.size)
        except Exception as error:
            opened.append(type(error).__name__)
print("Pillow opens:", opened)
right = [said == is_so for said, is_so in zip(listed, true, strict=True)]
lengths = listed[2][1] == sum(true[2]) - true[1][1]
ok = right == [True, True, False, False] and listed[2][0] == true[2][0] and lengths and opened[:3] == [(256, 192), (192, 144), (128, 96)]
ok = ok and isinstance(opened[3], str)
print("As described." if ok else "CHANGED: no longer as described.")
sys.exit(not ok)
PYTHON
