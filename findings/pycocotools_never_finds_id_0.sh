#!/usr/bin/env bash
# pycocotools 2.0.11 counts the object with annotation id 0 as missed, whatever was detected, and the detection on it as wrong.
#
# Expected: the same result whatever ids the annotations have, or an error about id 0.
# Seen: COCOeval stores which object a detection matches as its id, and takes 0 as "none". With one object, perfectly detected,
#   AP is 1 if its id is 1 and 0 if its id is 0. Writers that count from 0 exist: globox 2.9.0 does.
#
# Fails if this changes. Needs Python 3.11 or newer and a package index.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pycocotools==2.0.11 globox==2.9.0 numpy==2.4.6
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

folder = Path(sys.argv[1])
print("pycocotools", version("pycocotools"), " globox", version("globox"))


def result(name: str, document: dict) -> tuple[int, float, float]:
    """The id of the one object, and AP and recall of a detector that finds exactly its box."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document))
    (entry,) = document["annotations"]
    found = {"image_id": 1, "category_id": 1, "bbox": list(entry["bbox"]), "score": 0.9}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluation = COCOeval(truth, truth.loadRes([found]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision, recall = round(float(evaluation.stats[0]), 2), round(float(evaluation.stats[8]), 2)
    print(f"{name}: annotation id {entry['id']}, average precision {precision:.2f}, recall {recall:.2f}")
    return entry["id"], precision, recall


def with_id(number: int) -> dict:
    """A ground truth with one object, which has the given id."""
    box = {"bbox": [10, 10, 20, 30], "area": 600, "segmentation": [], "iscrowd": 0}
    return {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": "person", "supercategory": "person"}],
        "annotations": [{"id": number, "image_id": 1, "category_id": 1, **box}],
    }


one = result("one", with_id(1))
zero = result("zero", with_id(0))
saved = result("globox", AnnotationSet.from_coco(folder / "one.json").to_coco())
ok = one == (1, 1.0, 1.0) and zero == saved == (0, 0.0, 0.0)
print("As described." if ok else "CHANGED: no longer as described.")
sys.exit(not ok)
PYTHON
