#!/usr/bin/env bash
# hotcoco 1.3.0: COCO.from_yolo refuses a data.yaml as PyYAML writes it, with a list of class names that is not indented.
#
# Expected: the same classes as from the indented list; both are the same YAML document.
# Seen: ValueError, "names" has no entries. The indented list, the list in brackets and the mapping from numbers are read.
#
# Fails if this changes. Needs Python 3.11 or newer and a package index.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check hotcoco==1.3.0 pillow==13.0.0 numpy==2.4.6 pyyaml==6.0.3
"$work/venv/bin/python" - "$work" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import yaml
from hotcoco import COCO
from PIL import Image

folder = Path(sys.argv[1])
images, labels = folder / "images", folder / "labels"
images.mkdir()
labels.mkdir()
Image.new("RGB", (64, 48)).save(images / "cup.jpg")
(labels / "cup.txt").write_text("0 0.5 0.5 0.5 0.5\n")
names = ["cup", "dog"]
documents = {
    "written by PyYAML": yaml.safe_dump({"names": names}),
    "indented": "names:\n  - cup\n  - dog\n",
    "in brackets": "names: [cup, dog]\n",
    "mapping": "names:\n  0: cup\n  1: dog\n",
}
assert yaml.safe_load(documents["written by PyYAML"]) == yaml.safe_load(documents["indented"]) == {"names": names}

print("hotcoco", version("hotcoco"), " PyYAML", version("pyyaml"))
read = {}
for name, text in documents.items():
    (labels / "data.yaml").write_text(text)
    try:
        read[name] = [category["name"] for category in COCO.from_yolo(str(labels), str(images)).dataset["categories"]]
    except ValueError as error:
        read[name] = None
        print(f"{name}: {text!r}: ValueError,", str(error).replace(f"{folder}/", ""))
    else:
        print(f"{name}: {text!r}: {read[name]}")
ok = read == {name: None if name == "written by PyYAML" else names for name in documents}
print("As described." if ok else "CHANGED: no longer as described.")
sys.exit(not ok)
PYTHON
