#!/usr/bin/env bash
# Pillow 13.0.0 opens an RGB TIFF of 16 bits per sample with separate planes (PlanarConfiguration 2) without an error or a
# warning, as mode RGB, but the pixels are wrong.
#
# Expected: what it gives for the same pixels with PlanarConfiguration 1, the upper 8 bits of each sample; or an error, as for
#   other kinds of TIFF that it cannot read.
# Seen: each plane is read as if its samples had 8 bits, so upper and lower bytes become neighbouring pixels, the upper half of
#   the image is stretched to twice its width, and the lower half is lost. tifffile reads both files alike.
#
# Fails if this changes. Needs Python 3.11 or newer and a package index.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.1.28 numpy==2.4.1
"$work/venv/bin/python" - "$work" <<'PYTHON'
import sys
import warnings
from pathlib import Path

import numpy as np
import PIL
import tifffile
from PIL import Image

warnings.simplefilter("error")
folder = Path(sys.argv[1])
rows, columns = np.mgrid[0:8, 0:8]
image = np.stack([rows * 8000, columns * 8000, (rows + columns) * 4000], axis=-1).astype(np.uint16)
upper = (image >> 8).astype(np.uint8)
tifffile.imwrite(folder / "chunky.tif", image, photometric="rgb", planarconfig="contig")
tifffile.imwrite(folder / "planar.tif", image.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")

read = {}
for name in ("chunky", "planar"):
    path = folder / f"{name}.tif"
    stored = tifffile.imread(path)
    stored = stored if stored.shape == image.shape else stored.transpose(1, 2, 0)
    assert np.array_equal(stored, image), "tifffile reads the pixels as they were written"
    with Image.open(path) as opened:
        read[name] = np.asarray(opened)
        mode = opened.mode
    wrong = float((read[name] != upper).mean())
    print(f"Pillow {PIL.__version__}  {name}  mode {mode}  {wrong:.0%} of the samples are not the upper 8 bits")

print("red, first row, expected:", upper[0, :, 0].tolist(), "planar:", read["planar"][0, :, 0].tolist())
print("red, last row,  expected:", upper[7, :, 0].tolist(), "planar:", read["planar"][7, :, 0].tolist())
ok = np.array_equal(read["chunky"], upper) and not np.array_equal(read["planar"], upper)
print("As described." if ok else "CHANGED: no longer as described.")
sys.exit(not ok)
PYTHON
