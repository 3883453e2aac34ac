"""The data set doctor: each fault is found, counted and named; a sound data set is left in peace."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from cocotag.data.check import FEW_POSITIVES, MAX_EXAMPLES, check_split
from cocotag.errors import DataError

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}]


def make_split(root, images, annotations, *, write=True, categories=CATEGORIES):
    """A split ``train`` whose images are (file name, width, height), with ids from 1; annotations (image id, category id)."""
    (root / "annotations").mkdir(parents=True)
    (root / "train").mkdir()
    document = {
        "images": [{"id": i, "file_name": name, "width": w, "height": h} for i, (name, w, h) in enumerate(images, start=1)],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": int(bool(crowd))}
            for i, (image, category, *crowd) in enumerate(annotations, start=1)
        ],
        "categories": categories,
    }
    (root / "annotations" / "instances_train.json").write_text(json.dumps(document))
    if write:
        for name, width, height in images:
            Image.new("RGB", (width, height), "teal").save(root / "train" / name)
    return root


@pytest.fixture
def sound(tmp_path):
    """Ten images of each class: nothing to find."""
    images = [(f"{i}.png", 12, 8) for i in range(FEW_POSITIVES)]
    return make_split(tmp_path / "data", images, [(i + 1, c["id"]) for i in range(FEW_POSITIVES) for c in CATEGORIES])


def findings(root):
    return {finding.code: finding for finding in check_split(root, "train", progress=False).findings}


def edit(root, change):
    path = root / "annotations" / "instances_train.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_sound_split_has_no_findings(sound):
    report = check_split(sound, "train", progress=False)
    assert report.ok
    assert report.findings == []
    assert "nothing found" in report.to_text()


def test_missing_and_damaged_images_are_told_apart(sound):
    (sound / "train" / "0.png").unlink()
    (sound / "train" / "1.png").write_bytes(b"")
    (sound / "train" / "2.png").write_bytes(b"not a picture")
    found = findings(sound)
    assert set(found) == {"missing_images", "unreadable_images"}
    assert found["missing_images"].examples == ["0.png"]
    assert found["unreadable_images"].examples == ["1.png: empty", "2.png: not_an_image"]
    assert not check_split(sound, "train", progress=False).ok


def test_every_fault_is_counted_though_only_the_first_are_named(tmp_path):
    images = [(f"{i:03}.png", 12, 8) for i in range(MAX_EXAMPLES + 5)]
    root = make_split(tmp_path / "data", images, [(1, 1)], write=False)
    missing = findings(root)["missing_images"]
    assert missing.count == MAX_EXAMPLES + 5
    assert missing.examples == [name for name, *_ in images[:MAX_EXAMPLES]]
    assert f"{MAX_EXAMPLES + 5} of {MAX_EXAMPLES + 5}" in missing.message


def test_another_size_is_found_and_a_rotated_one_is_not(sound):
    turned = Image.new("RGB", (12, 8), "teal")
    exif = turned.getexif()
    exif[0x0112] = 6  # shown turned by 90 degrees: 8 x 12
    turned.save(sound / "train" / "0.png", "JPEG", exif=exif)
    Image.new("RGB", (6, 4), "teal").save(sound / "train" / "1.png")
    found = findings(sound)
    assert set(found) == {"size_mismatch"}
    assert found["size_mismatch"].examples == ["1.png: 12x8, file 6x4"]
    assert found["size_mismatch"].severity == "warning"


def test_a_size_that_the_json_leaves_out_is_no_mismatch(sound):
    edit(sound, lambda document: document["images"][0].pop("width"))
    assert findings(sound) == {}


def test_a_file_listed_twice_is_an_error(sound):
    edit(sound, lambda document: document["images"][4].update(file_name="3.png"))
    found = findings(sound)
    assert found["duplicate_file_names"].severity == "error"
    assert found["duplicate_file_names"].examples == ["3.png"]


def test_classes_with_none_and_with_few_positives(tmp_path):
    categories = [*CATEGORIES, {"id": 9, "name": "emu"}]
    images = [(f"{i}.png", 12, 8) for i in range(FEW_POSITIVES)]
    labels = [(i + 1, 1) for i in range(FEW_POSITIVES)] + [(i + 1, 3) for i in range(FEW_POSITIVES - 1)]
    found = findings(make_split(tmp_path / "data", images, labels, categories=categories))
    assert set(found) == {"classes_without_positives", "classes_with_few_positives"}
    assert found["classes_without_positives"].examples == ["emu"]
    assert found["classes_with_few_positives"].examples == [f"dog: {FEW_POSITIVES - 1}"]


def test_no_labels_at_all_is_an_error(tmp_path):
    report = check_split(make_split(tmp_path / "data", [("a.png", 12, 8)], []), "train", progress=False)
    assert {finding.code for finding in report.findings} == {"no_labels", "images_without_labels"}
    assert not report.ok


def test_a_crowd_is_neither_a_label_nor_its_absence(sound):
    def add(document):
        document["images"] += [{"id": 98, "file_name": "0.png"}, {"id": 99, "file_name": "1.png"}]
        document["annotations"].append({"id": 999, "image_id": 98, "category_id": 3, "bbox": [0, 0, 4, 4], "iscrowd": 1})

    edit(sound, add)
    found = findings(sound)
    assert found["crowd_only"].examples == ["0.png: dog"]
    assert found["images_without_labels"].examples == ["1.png"]  # nobody said that 0.png shows nothing


def test_errors_come_first_and_each_finding_is_one_line(sound):
    edit(sound, lambda document: document["images"][0].update(file_name="new\nline {0}.png"))
    edit(sound, lambda document: document["images"].append({"id": 99, "file_name": "1.png"}))
    report = check_split(sound, "train", progress=False)
    severities = [finding.severity for finding in report.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert len(report.to_text().splitlines()) == len(report.findings) + 1


def test_the_report_is_plain_json(sound):
    (sound / "train" / "0.png").unlink()
    report = check_split(sound, "train", progress=False)
    document = json.loads(json.dumps(report.to_json()))
    assert document["ok"] is False
    assert document["images"] == FEW_POSITIVES
    assert [finding["code"] for finding in document["findings"]] == ["missing_images"]


def test_each_image_is_decoded_once(sound, monkeypatch):
    seen = []

    def decode(path):
        seen.append(path.name)
        return np.zeros((8, 12, 3), np.uint8)

    monkeypatch.setattr("cocotag.data.check.decode", decode)
    check_split(sound, "train", progress=False)
    assert sorted(seen) == sorted(f"{i}.png" for i in range(FEW_POSITIVES))


def test_a_split_that_is_not_there_is_refused(sound):
    with pytest.raises(DataError, match="It has: train"):
        check_split(sound, "val", progress=False)


def test_without_its_folder_every_image_is_missing(sound):
    shutil.rmtree(sound / "train")
    assert findings(sound)["missing_images"].count == FEW_POSITIVES


def test_the_drawn_sample_is_sound(sample_dir):
    for split in ("train", "val"):
        assert check_split(sample_dir, split, progress=False).ok


def test_real_photographs_are_sound(coco_mini):
    report = check_split(coco_mini, "val", progress=False)
    assert report.ok
    assert "size_mismatch" not in {finding.code for finding in report.findings}
