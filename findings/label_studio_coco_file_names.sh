#!/usr/bin/env bash
# label-studio-sdk 2.1.2: the converter's COCO_WITH_IMAGES copies uploaded images into the export, but the JSON file names the
# originals.
#
# Expected: "file_name" is the copy, images/HASH-NAME, as for files from local storage.
# Seen: for uploaded files it is the path from the export to the project's upload folder, ../.../upload/1/HASH-NAME. The export
#   works on the machine where it was made, and loses all its images when it is moved. Users have reported it to Label Studio.
#
# Fails if this changes. Needs Python 3.11 or newer and a package index.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check label-studio-sdk==2.1.2 pillow==13.0.0
"$work/venv/bin/python" - "$work" <<'PYTHON'
import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from label_studio_sdk.converter import Converter
from PIL import Image

folder = Path(sys.argv[1]).resolve()
upload = folder / "project" / "upload"
(upload / "1").mkdir(parents=True)
name = "0a1b2c3d-cup.png"
Image.new("RGB", (64, 48)).save(upload / "1" / name)
Image.new("RGB", (64, 48)).save(folder / name)
config = (
    '<View><Image name="image" value="$image"/>'
    '<RectangleLabels name="label" toName="image"><Label value="cup"/></RectangleLabels></View>'
)
result = {
    "id": "r1",
    "type": "rectanglelabels",
    "from_name": "label",
    "to_name": "image",
    "original_width": 64,
    "original_height": 48,
    "image_rotation": 0,
    "value": {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["cup"]},
}


def export(kind: str, url: str) -> tuple[list[str], str, bool]:
    """Export one task, move the export; return its images, the file name in its JSON file, and whether this file exists."""
    out = folder / f"{kind}-export"
    task = {"id": 1, "data": {"image": url}, "annotations": [{"id": 1, "was_cancelled": False, "result": [result]}]}
    tasks = folder / f"{kind}-tasks.json"
    tasks.write_text(json.dumps([task]))
    local_files = {name: str(folder / name)}
    converter = Converter(config, str(folder / "project"), upload_dir=str(upload), local_files_resolver=local_files.get)
    converter.convert(str(tasks), str(out), "COCO_WITH_IMAGES", is_dir=False)
    moved = Path(shutil.move(out, folder / "another" / "place" / kind))
    (image,) = json.loads((moved / "result.json").read_text())["images"]
    copies = sorted(path.relative_to(moved).as_posix() for path in moved.glob("images/*"))
    there = (moved / image["file_name"]).is_file()
    print(f"{kind}: copied {copies}, file_name {image['file_name']}, in the moved export: {there}")
    return copies, image["file_name"], there


print("label-studio-sdk", version("label-studio-sdk"))
(folder / "another" / "place").mkdir(parents=True)
local = export("local", f"/data/local-files/?d={name}")
uploaded = export("uploaded", f"/data/upload/1/{name}")
ok = local[0] == [local[1]] and local[2] and uploaded == ([f"images/{name}"], f"../project/upload/1/{name}", False)
print("As described." if ok else "CHANGED: no longer as described.")
sys.exit(not ok)
PYTHON
