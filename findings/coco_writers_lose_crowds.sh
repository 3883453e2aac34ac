#!/usr/bin/env bash
# sahi 0.12.8 and globox 2.9.0 read a COCO file with crowd regions and write it back with "iscrowd": 0 for all of them.
#
# Expected: iscrowd as in the file that was read; or an error or a warning.
# Seen: both write the constant 0. sahi's CocoAnnotation has a parameter iscrowd, and its own .json keeps a 1 that is set there,
#   but Coco.json does not; its warning is about the run-length mask, not about iscrowd. globox gives no warning. Evaluated on
#   the file written back, a detector that finds every object alone has false positives where the crowd is, and misses the
#   crowd.
#
# Fails if this changes. Needs Python 3.11 or newer and a package index.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check sahi==0.12.8 globox==2.9.0 pycocotools==2.0.11 numpy==2.4.6
"$work/venv/bin/python" - "$work" <<'PYTHON'
import contextlib
import io
import json
import sys
from importlib.metadata import version
from pathlib import Path

from globox import AnnotationSet
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sahi.utils.coco import Coco, CocoAnnotation, CocoCategory, CocoImage

folder = Path(sys.argv[1])
# One person, and a crowd in the right half of the image: a mask of 100 columns without and 100 columns with the crowd.
right_half = [100, 0, 100, 100]
crowd = {"size": [100, 200], "counts": [100 * 100, 100 * 100]}
source = {
    "images": [{"id": 1, "file_name": "1.jpg", "width": 200, "height": 100}],
    "categories": [{"id": 1, "name": "person", "supercategory": "person"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [10, 10, 50, 80], "area": 4000, "segmentation": []},
        {"id": 2, "image_id": 1, "category_id": 1, "iscrowd": 1, "segmentation": crowd, "bbox": right_half, "area": 10000},
    ],
}
# A detector that finds the person and four people of the crowd, each alone.
boxes = [[10, 10, 50, 80], *([x, 10, 20, 80] for x in (102, 126, 150, 174))]
found = [{"image_id": 1, "category_id": 1, "bbox": box, "score": 0.9} for box in boxes]
path = folder / "source.json"
path.write_text(json.dumps(source))


def average_precision(document: dict) -> float:
    """The AP of the detections at IoU 0.5, with pycocotools. Ids are counted from 1, as pycocotools never matches id 0."""
    written = folder / "written.json"
    annotations = [{**entry, "id": number} for number, entry in enumerate(document["annotations"], 1)]
    written.write_text(json.dumps({**document, "annotations": annotations}))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(written))
        evaluation = COCOeval(truth, truth.loadRes([dict(entry) for entry in found]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return round(float(evaluation.stats[1]), 2)


files = {
    "source": source,
    f"sahi {version('sahi')}": Coco.from_coco_dict_or_path(str(path)).json,
    f"globox {version('globox')}": AnnotationSet.from_coco(path).to_coco(),
}
seen = []
for name, document in files.items():
    crowds = [entry["iscrowd"] for entry in document["annotations"]]
    precision = average_precision(document)
    print(f"{name}: iscrowd {crowds}, AP at IoU 0.5 of the same detections {precision:.2f}")
    seen.append((crowds, precision))

made = CocoAnnotation(bbox=right_half, category_id=1, category_name="person", iscrowd=1)
image = CocoImage(file_name="1.jpg", height=100, width=200)
image.add_annotation(made)
coco = Coco()
coco.add_category(CocoCategory(id=1, name="person"))
coco.add_image(image)
own, all_of_it = made.json["iscrowd"], coco.json["annotations"][0]["iscrowd"]
print(f"sahi: CocoAnnotation(iscrowd=1): iscrowd {own} in its own .json, {all_of_it} in Coco.json")
ok = seen[0] == ([0, 1], 1.0) and all(crowds == [0, 0] and precision < 0.9 for crowds, precision in seen[1:])
ok = ok and (own, all_of_it) == (1, 0)
print("As described." if ok else "CHANGED: no longer as described.")
sys.exit(not ok)
PYTHON
