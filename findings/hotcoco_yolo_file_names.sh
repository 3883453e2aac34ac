#!/usr/bin/env bash
# hotcoco 1.3.0: COCO.from_yolo with a folder of images opens each image, but writes its name without the suffix.
#
# Expected: "file_name" is the name of the image that was opened, "cup.jpg".
# Seen: it is "cup". The size is that of cup.jpg, so the image was found. Whatever opens images by "file_name" fails on such a
#   file, and hotcoco's own CocoDetection raises FileNotFoundError.
#
# Fails if this changes. Needs Python 3.11 or newer and a package index.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check hotcoco==1.3.0 pillow==13.0.0 numpy==2.4.6
"$work/venv/bin/python" - "$work" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

from hotcoco import COCO
from hotcoco.integrations import CocoDetection
from PIL import Image

folder = Path(sys.argv[1])
images, labels = folder / "images", folder / "labels"
images.mkdir()
labels.mkdir()
Image.new("RGB", (64, 48)).save(images / "cup.jpg")
Image.new("RGB", (32, 24)).save(images / "dog.png")
(labels / "data.yaml").write_text("names: [cup, dog]\n")
(labels / "cup.txt").write_text("0 0.5 0.5 0.5 0.5\n")
(labels / "dog.txt").write_text("1 0.5 0.5 0.5 0.5\n")

print("hotcoco", version("hotcoco"))
made = COCO.from_yolo(str(labels), str(images))
made.save(str(folder / "made.json"))
seen = {(image["file_name"], image["width"], image["height"]) for image in made.dataset["images"]}
print("images:", sorted(path.name for path in images.iterdir()), "in the data set:", sorted(seen))
try:
    CocoDetection(str(images), str(folder / "made.json"))[0]
    missing = False
except FileNotFoundError as error:
    missing = True
    print("CocoDetection: FileNotFoundError,", Path(error.filename).name)
ok = seen == {("cup", 64, 48), ("dog", 32, 24)} and missing
print("As described." if ok else "CHANGED: no longer as described.")
sys.exit(not ok)
PYTHON
