#!/usr/bin/env bash
# datumaro 1.13.12 gives the images of the same data set other ids in COCO files from one run of Python to the next.
#
# Expected: the same files for the same items in the same order.
# Seen: ids are counted over all subsets, and the subsets are taken from a set of strings, whose order Python changes from
#   process to process (PYTHONHASHSEED). Detections that were made with one export cannot be scored with the next one, although
#   it has the same images: their image ids name other images, or none.
#
# Fails if this changes. Needs Python 3.11 or newer and a package index.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check datumaro==1.13.12 numpy==2.4.6
cat > "$work/export.py" <<'PYTHON'
import json
import sys
from pathlib import Path

import numpy as np
from datumaro import Bbox, Dataset, DatasetItem, Image

items = [
    DatasetItem(
        f"{subset}-{number}",
        subset=subset,
        media=Image.from_numpy(data=np.zeros((32, 32, 3), np.uint8), ext=".png"),
        annotations=[Bbox(4, 4, 8, 8, label=0, group=1)],
    )
    for subset, count in (("train", 4), ("val", 2))
    for number in range(count)
]
Dataset.from_iterable(items, categories=["person"]).export(sys.argv[1], "coco", save_media=True)
for subset in ("train", "val"):
    document = json.loads((Path(sys.argv[1]) / "annotations" / f"instances_{subset}.json").read_text())
    print(subset, [image["id"] for image in document["images"]], end="  ")
PYTHON
"$work/venv/bin/python" - "$work" <<'PYTHON'
import os
import subprocess
import sys
from importlib.metadata import version

print("datumaro", version("datumaro"))
seen = []
for seed in range(16):
    command = [sys.executable, f"{sys.argv[1]}/export.py", f"{sys.argv[1]}/{seed}"]
    ids = subprocess.check_output(command, env={**os.environ, "PYTHONHASHSEED": str(seed)}, text=True).strip()
    print(f"PYTHONHASHSEED={seed}: image ids {ids}")
    seen.append(ids)
    if len(set(seen)) > 1:
        break
first, second = "train [1, 2, 3, 4]  val [5, 6]", "train [3, 4, 5, 6]  val [1, 2]"
ok = {first, second} == set(seen)
print("As described." if ok else "CHANGED: no longer as described.")
sys.exit(not ok)
PYTHON
