#!/usr/bin/env bash
# datumaro 1.13.12 writes a mask that says nothing about crowds to COCO as a crowd region, "iscrowd": 1.
#
# Expected: "iscrowd": 0. The documentation says that the attribute is_crowd marks an annotation that covers several objects,
#   and datumaro's Pascal VOC and YOLO exporters take a missing is_crowd as False.
# Seen: a Mask without the attribute is written as run lengths with "iscrowd": 1; with is_crowd False, as polygons with 0. A
#   Bbox has 0 even with is_crowd True. pycocotools ignores crowd regions, so with a ground truth of such masks there is nothing
#   to find: average precision and recall of a detector that finds all of them are -1, which stands for "no objects".
#
# Fails if this changes. Needs Python 3.11 or newer and a package index.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check datumaro==1.13.12 pycocotools==2.0.11 numpy==2.4.6
"$work/venv/bin/python" - "$work" <<'PYTHON'
import contextlib
import io
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from datumaro import Bbox, Dataset, DatasetItem, Image, Mask
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

folder = Path(sys.argv[1])
pixels = np.zeros((64, 64), bool)
pixels[10:40, 20:50] = True
encoded = run_lengths.encode(np.asfortranarray(pixels.astype(np.uint8)))
print("datumaro", version("datumaro"), " pycocotools", version("pycocotools"))


def export(name: str, annotation: object) -> tuple[int, float, float]:
    """Export one image with one annotation; return iscrowd, and AP and recall of a detector that finds exactly its pixels."""
    image = Image.from_numpy(data=np.zeros((64, 64, 3), np.uint8), ext=".png")
    items = [DatasetItem("1", subset="train", media=image, annotations=[annotation])]
    Dataset.from_iterable(items, categories=["person"]).export(str(folder / name), "coco", save_media=True)
    path = folder / name / "annotations" / "instances_train.json"
    (entry,) = json.loads(path.read_text())["annotations"]
    found = {"image_id": entry["image_id"], "category_id": entry["category_id"], "score": 0.9}
    found |= {"segmentation": encoded} if entry["segmentation"] else {"bbox": [20, 10, 30, 30]}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluation = COCOeval(truth, truth.loadRes([found]), "segm" if entry["segmentation"] else "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = (round(float(evaluation.eval[key][..., 0, -1].mean()), 2) for key in ("precision", "recall"))
    print(f"{name}: iscrowd {entry['iscrowd']}, at IoU 0.5 average precision {precision:.2f}, recall {recall:.2f}")
    return entry["iscrowd"], precision, recall


unsaid = export("Mask", Mask(pixels, label=0, group=1))
said = export("Mask, is_crowd False", Mask(pixels, label=0, group=1, attributes={"is_crowd": False}))
box = export("Bbox, is_crowd True", Bbox(20, 10, 30, 30, label=0, group=1, attributes={"is_crowd": True}))
ok = unsaid == (1, -1.0, -1.0) and said == box == (0, 1.0, 1.0)
print("As described." if ok else "CHANGED: no longer as described.")
sys.exit(not ok)
PYTHON
