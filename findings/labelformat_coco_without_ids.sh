#!/usr/bin/env bash
# labelformat 0.1.17 writes COCO files whose annotations have no "id", and pycocotools cannot open them.
#
# Expected: an "id" for each annotation, which the COCO format has for all its tasks.
# Seen: neither the object detection nor the instance segmentation output writes it, and pycocotools raises KeyError('id') when
#   it opens the file. Object detection has no "iscrowd" and "area" either, which pycocotools needs to evaluate. labelformat
#   reads its files.
#
# Fails if this changes. Needs Python 3.11 or newer and a package index.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check labelformat==0.1.17 pycocotools==2.0.11 numpy==2.4.6
"$work/venv/bin/python" - "$work" <<'PYTHON'
import contextlib
import io
import json
import sys
from importlib.metadata import version
from pathlib import Path

from labelformat.formats import (
    COCOInstanceSegmentationInput,
    COCOInstanceSegmentationOutput,
    COCOObjectDetectionInput,
    COCOObjectDetectionOutput,
)
from pycocotools.coco import COCO

folder = Path(sys.argv[1])
person = {"bbox": [10, 10, 20, 30], "area": 600, "segmentation": [[10, 10, 30, 10, 30, 40, 10, 40]], "iscrowd": 0}
source = {
    "images": [{"id": 1, "file_name": "1.jpg", "width": 64, "height": 48}],
    "categories": [{"id": 1, "name": "person", "supercategory": "person"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **person}],
}
path = folder / "source.json"
path.write_text(json.dumps(source))


def opened(path: Path) -> str:
    """What pycocotools raises when it opens the file, or "opened"."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            COCO(str(path))
        except KeyError as error:
            return repr(error)
    return "opened"


print("labelformat", version("labelformat"), " pycocotools", version("pycocotools"))
print("source:", opened(path))
COCOObjectDetectionOutput(folder / "detection.json").save(COCOObjectDetectionInput(path))
COCOInstanceSegmentationOutput(folder / "segmentation.json").save(COCOInstanceSegmentationInput(path))
ok = opened(path) == "opened"
for name in ("detection", "segmentation"):
    written = folder / f"{name}.json"
    (entry,) = json.loads(written.read_text())["annotations"]
    result = opened(written)
    print(f"{name}: keys {sorted(entry)}, pycocotools: {result}")
    ok = ok and "id" not in entry and result == "KeyError('id')"
print("As described." if ok else "CHANGED: no longer as described.")
sys.exit(not ok)
PYTHON
