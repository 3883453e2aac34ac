"""make_coco_mini.py: from the real COCO by its ids, the same again. Here the real COCO is made of coco-mini itself."""

import errno
import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cocotag.data.annotations import load_split

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "data" / "make_coco_mini.py"
IDS = json.loads(SCRIPT.with_name("coco_mini_ids.json").read_text())


def make(root, out):
    return subprocess.run([sys.executable, SCRIPT, root, out], capture_output=True, text=True, timeout=60)


def there(root):
    """Every file under a folder, hidden ones too -> a hash of its bytes."""
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()}


def without_annotations(root):
    return {name: digest for name, digest in there(root).items() if name.startswith(("train/", "val/"))}


def as_coco_has_it(annotation, shuffler):
    """An annotation with what coco-mini leaves out."""
    polygon = [[round(shuffler.uniform(0, 600), 2) for _ in range(8)]]
    return {"segmentation": polygon, **annotation, "id": shuffler.randrange(10**6), "area": annotation["area"] + 0.0012}


@pytest.fixture(scope="module")
def coco(tmp_path_factory, data_dir, coco_mini):
    """COCO's layout holding coco-mini's images in the splits they are from, and others. Not to be changed."""
    root = tmp_path_factory.mktemp("COCO")
    val2017 = {image["id"] for image in json.loads((data_dir / "labels_val2017.json").read_text())["images"]}
    shuffler = random.Random(0)
    images, annotations = {"train2017": [], "val2017": []}, {"train2017": [], "val2017": []}
    for split in ("train", "val"):
        document = json.loads((coco_mini / "annotations" / f"instances_{split}.json").read_text())
        origin = {image["id"]: "val2017" if image["id"] in val2017 else "train2017" for image in document["images"]}
        for image in document["images"]:
            home = root / origin[image["id"]]
            home.mkdir(exist_ok=True)
            (home / image["file_name"]).symlink_to(coco_mini / split / image["file_name"])
            images[home.name].append({"license": 3, "coco_url": "http://images.cocodataset.org/x.jpg", **image})
        for annotation in document["annotations"]:
            annotations[origin[annotation["image_id"]]].append(as_coco_has_it(annotation, shuffler))
    (root / "annotations").mkdir()
    for split, entries in images.items():
        stranger = 10**7 + len(entries)
        entries.append({"id": stranger, "file_name": f"{stranger:012d}.jpg", "width": 640, "height": 480})
        annotations[split].append({**annotations[split][0], "image_id": stranger, "id": 1})
        shuffler.shuffle(entries)
        # COCO's annotations are not grouped by image: the first of each, then the second of each ...
        seen = Counter()
        annotations[split].sort(key=lambda annotation: seen.update([annotation["image_id"]]) or seen[annotation["image_id"]])
        document_of_split = {"info": {}, "images": entries, "annotations": annotations[split]}
        document_of_split["categories"] = document["categories"]
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document_of_split))
    return root


@pytest.fixture(scope="module")
def rebuilt(coco, tmp_path_factory):
    out = tmp_path_factory.mktemp("rebuilt") / "coco-mini"
    done = make(coco, out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out)
    return out


def test_the_ids_are_coco_minis():
    assert {split: len(set(ids)) for split, ids in IDS.items()} == {"train": 317, "val": 150}
    assert not set(IDS["train"]) & set(IDS["val"])


def test_both_splits_of_coco_give_images(coco):
    """Else the fixture would show nothing."""
    assert all(len(list((coco / split).iterdir())) > 50 for split in ("train2017", "val2017"))


def test_the_images_are_the_same_bytes(coco_mini, rebuilt):
    assert without_annotations(rebuilt) == without_annotations(coco_mini)
    assert not any(path.is_symlink() for path in rebuilt.rglob("*"))


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_tables_are_equal(coco_mini, rebuilt, split):
    ours, theirs = load_split(rebuilt, split), load_split(coco_mini, split)
    assert ours.vocabulary == theirs.vocabulary
    for name in ("file_names", "image_ids", "targets", "known", "instances", "sizes", "largest"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_documents_are_equal(coco_mini, rebuilt, split):
    name = f"annotations/instances_{split}.json"
    assert json.loads((rebuilt / name).read_text()) == json.loads((coco_mini / name).read_text())


def test_what_is_there_is_not_touched(coco, rebuilt):
    before = there(rebuilt)
    again = make(coco, rebuilt)
    assert again.returncode == 2
    assert str(rebuilt) in again.stderr
    assert there(rebuilt) == before


def test_an_empty_folder_is_filled(coco, rebuilt, tmp_path):
    assert make(coco, tmp_path).returncode == 0
    assert there(tmp_path) == there(rebuilt)


def copy_of(coco, root):
    """Links to everything, so that one file can be taken away."""
    for path in coco.rglob("*"):
        if not path.is_dir():
            (root / path.relative_to(coco)).parent.mkdir(parents=True, exist_ok=True)
            (root / path.relative_to(coco)).symlink_to(path)
    return root


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("train2017/000000000009.jpg", "1 of 467"),
        ("annotations/instances_train2017.json", os.strerror(errno.ENOENT)),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_made(coco, tmp_path, gone, says):
    root = copy_of(coco, tmp_path / "COCO")
    (root / gone).unlink()
    done = make(root, tmp_path / "out" / "coco-mini")
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
    assert gone in done.stderr.splitlines()[-1]
    assert "download_coco.sh" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_another_data_set_is_refused(sample_dir, tmp_path):
    root = tmp_path / "COCO"
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (root / "annotations" / f"instances_{split}2017.json").symlink_to(
            sample_dir / "annotations" / f"instances_{split}.json"
        )
    done = make(root, tmp_path / "out")
    assert done.returncode == 2
    assert "of 467" in done.stderr.splitlines()[-1] and "train2017 and val2017" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_document_of_another_kind_is_refused(tmp_path):
    (tmp_path / "annotations").mkdir()
    for text in ("[]", "{}", "{", '{"images": [3]}'):
        (tmp_path / "annotations" / "instances_train2017.json").write_text(text)
        done = make(tmp_path, tmp_path / "out")
        assert done.returncode == 2
        assert "instances_train2017.json" in done.stderr.splitlines()[-1]
