#!/usr/bin/env bash
# pylabel 0.1.55: ImportVOC drops images without objects.
#
# Expected: the image stays in the data set and in the exported COCO file, without annotations, as with ImportCoco.
# Seen: it is gone, without a warning. Such images are the negatives of a data set: a model trained on the exported file never
#   sees them, and an evaluation on it does not count what a detector wrongly finds on them.
#
# Fails if this changes. Needs Python 3.11 or newer and a package index.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pylabel==0.1.55 pandas==2.3.3 numpy==2.4.6
"$work/venv/bin/python" - "$work" <<'PYTHON'
import json
import sys
from importlib.metadata import version
from pathlib import Path

from pylabel import importer

folder = Path(sys.argv[1])
voc = folder / "voc"
voc.mkdir()
box = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
cup = f"<object><name>cup</name>{box}</object>"
size = "<size><width>64</width><height>48</height><depth>3</depth></size>"
for name, objects in (("one", cup), ("none", ""), ("two", cup + cup)):
    (voc / f"{name}.xml").write_text(f"<annotation><filename>{name}.jpg</filename>{size}{objects}</annotation>")
source = {
    "images": [
        {"id": 0, "file_name": "one.jpg", "width": 64, "height": 48},
        {"id": 1, "file_name": "none.jpg", "width": 64, "height": 48},
    ],
    "categories": [{"id": 0, "name": "cup", "supercategory": "none"}],
    "annotations": [
        {"id": 0, "image_id": 0, "category_id": 0, "iscrowd": 0, "bbox": [5, 5, 25, 35], "area": 875, "segmentation": []},
    ],
}
(folder / "coco.json").write_text(json.dumps(source))

from_voc = importer.ImportVOC(str(voc))
from_coco = importer.ImportCoco(str(folder / "coco.json"))
kept = {}
for name, dataset in (("VOC", from_voc), ("COCO", from_coco)):
    written = folder / f"{name}.json"
    dataset.export.ExportToCoco(str(written))
    kept[name] = sorted(image["file_name"] for image in json.loads(written.read_text())["images"])
print("\npylabel", version("pylabel"))
print("VOC: one, none, two ->", kept["VOC"])
print("COCO: one, none ->", kept["COCO"])
ok = kept == {"VOC": ["one.jpg", "two.jpg"], "COCO": ["none.jpg", "one.jpg"]}
print("As described." if ok else "CHANGED: no longer as described.")
sys.exit(not ok)
PYTHON
