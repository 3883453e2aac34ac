"""The data set doctor: each fault is found, counted and named; a sound data set is left in peace."""

import json
import os
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from cocotag.data.check.doctor import FEW_POSITIVES, MAX_EXAMPLES, WIDTH, check_split
from cocotag.errors import DataError

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}]


def draw(path, width=12, height=8, low=0, high=255):
    """A picture of noise, another for each path and the same each time."""
    seed = int.from_bytes(str(path).encode()[-12:], "big")
    pixels = np.random.default_rng(seed).integers(low, high + 1, (height, width, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make_split(root, images, annotations, *, split="train", write=True, categories=CATEGORIES):
    """A split whose images are (file name, width, height), with ids from 1; annotations (image id, category id, crowd)."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir()
    document = {
        "images": [{"id": i, "file_name": name, "width": w, "height": h} for i, (name, w, h) in enumerate(images, start=1)],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": int(bool(crowd))}
            for i, (image, category, *crowd) in enumerate(annotations, start=1)
        ],
        "categories": categories,
    }
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))
    if write:
        for name, width, height in images:
            draw(root / split / name, width, height)
    return root


@pytest.fixture
def sound(tmp_path):
    """Ten images of each class: nothing to find."""
    images = [(f"{i}.png", 12, 8) for i in range(FEW_POSITIVES)]
    return make_split(tmp_path / "data", images, [(i + 1, c["id"]) for i in range(FEW_POSITIVES) for c in CATEGORIES])


def check(root):
    return check_split(root, "train", progress=False)


def findings(root):
    return {finding.code: finding for finding in check(root).findings}


def edit(root, change):
    path = root / "annotations" / "instances_train.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_sound_split_has_no_findings(sound):
    report = check(sound)
    assert report.ok
    assert report.findings == []
    assert "nothing found" in report.to_text()


# Image files


def test_missing_and_damaged_images_are_told_apart(sound):
    folder = sound / "train"
    (folder / "0.png").unlink()
    (folder / "1.png").write_bytes(b"")
    (folder / "2.png").write_bytes(b"not a picture")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:-60])
    (folder / "4.png").unlink()
    os.mkfifo(folder / "4.png")  # opening it would wait for ever
    found = findings(sound)
    assert {code: finding.examples for code, finding in found.items()} == {
        "missing_images": ["0.png"],
        "empty_images": ["1.png"],
        "truncated_images": ["3.png"],
        "unreadable_images": ["2.png: not_an_image", "4.png: not_a_file"],
    }
    assert {finding.severity for finding in found.values()} == {"error"}
    assert not check(sound).ok


def test_every_fault_is_counted_though_only_the_first_are_named(tmp_path):
    images = [(f"{i:03}.png", 12, 8) for i in range(MAX_EXAMPLES + 5)]
    root = make_split(tmp_path / "data", images, [(1, 1)], write=False)
    missing = findings(root)["missing_images"]
    assert missing.count == MAX_EXAMPLES + 5
    assert missing.examples == [name for name, *_ in images[:MAX_EXAMPLES]]
    assert f"{MAX_EXAMPLES + 5} of {MAX_EXAMPLES + 5}" in missing.message


def test_a_file_that_is_there_by_another_name_is_pointed_at(sound):
    (sound / "train" / "0.png").rename(sound / "train" / "0.PNG")
    found = findings(sound)
    assert set(found) == {"missing_images", "unlisted_files"}
    assert "(0.PNG for 0.png)" in found["missing_images"].message


def test_without_its_folder_every_image_is_missing(sound):
    shutil.rmtree(sound / "train")
    found = findings(sound)
    assert found["missing_images"].count == FEW_POSITIVES
    assert str(sound / "train") in found["missing_images"].advice


def test_another_size_is_found_and_a_rotated_one_is_not(sound):
    turned = Image.open(sound / "train" / "0.png").copy()
    exif = turned.getexif()
    exif[0x0112] = 6  # shown turned by 90 degrees: 8 x 12
    turned.save(sound / "train" / "0.png", "JPEG", exif=exif)
    draw(sound / "train" / "1.png", 6, 4)
    found = findings(sound)
    assert set(found) == {"size_mismatch"}
    assert found["size_mismatch"].examples == ["1.png: 12x8, file 6x4"]
    assert found["size_mismatch"].severity == "warning"


def test_a_large_jpeg_has_the_size_of_its_header_though_it_is_decoded_smaller(sound):
    Image.effect_noise((2000, 1600), 90).convert("RGB").save(sound / "train" / "0.png", "JPEG")
    edit(sound, lambda document: document["images"][0].update(width=2000, height=1600))
    assert findings(sound) == {}


def test_a_size_that_the_json_leaves_out_is_no_mismatch(sound):
    edit(sound, lambda document: document["images"][0].pop("width"))
    assert findings(sound) == {}


def test_files_that_nothing_lists_are_noted(sound):
    draw(sound / "train" / "new" / "a.png")
    (sound / "train" / ".hidden").write_text("")
    found = findings(sound)
    assert set(found) == {"unlisted_files"}
    assert found["unlisted_files"].examples == ["new/a.png"]
    assert found["unlisted_files"].severity == "note"


def test_two_splits_in_one_folder_are_not_each_others_forgotten_files(sound):
    make_split(sound, [("v.png", 12, 8)], [(1, 1)], split="val")
    shutil.move(sound / "val" / "v.png", sound / "train" / "v.png")
    (sound / "val").rmdir()
    (sound / "val").symlink_to(sound / "train")
    assert findings(sound) == {}


def test_dark_bright_and_flat_images(sound):
    draw(sound / "train" / "0.png", high=60)
    draw(sound / "train" / "1.png", low=200)
    draw(sound / "train" / "2.png", low=120, high=125)
    draw(sound / "train" / "3.png", low=0, high=3)  # flat rather than dark: one finding is enough
    found = findings(sound)
    assert {code: [example[:5] for example in finding.examples] for code, finding in found.items()} == {
        "dark_images": ["0.png"],
        "bright_images": ["1.png"],
        "low_contrast_images": ["2.png", "3.png"],
    }
    assert check(sound).ok


def test_an_image_unlike_the_rest_is_told_by_the_robust_z(tmp_path):
    images = [(f"{i}.png", 12, 8) for i in range(40)]
    root = make_split(tmp_path / "data", images, [(i + 1, c["id"]) for i in range(40) for c in CATEGORIES])
    draw(root / "train" / "7.png", low=90, high=255)  # bright, but nothing near to white everywhere
    found = findings(root)
    assert set(found) == {"bright_images"}
    assert found["bright_images"].examples[0].startswith("7.png: mean 168, ")


def test_pixels_of_0_and_1_are_an_alarm(tmp_path):
    images = [(f"{i}.png", 12, 8) for i in range(FEW_POSITIVES)]
    root = make_split(tmp_path / "data", images, [(i + 1, c["id"]) for i in range(FEW_POSITIVES) for c in CATEGORIES])
    for name, *_ in images:
        draw(root / "train" / name, high=1)
    report = check(root)
    assert not report.ok
    assert {finding.code for finding in report.findings} == {"fed_divided_twice", "low_contrast_images"}


# The same picture twice


def test_identical_pixels_are_found_whatever_the_file(sound):
    folder = sound / "train"
    Image.open(folder / "0.png").save(folder / "1.png", "BMP")
    edit(sound, lambda document: document["annotations"].pop(0))  # the cat on 0.png
    found = findings(sound)
    assert found["identical_images"].examples == ["1.png = 0.png (other labels)"]
    assert found["identical_images"].severity == "warning"


def test_copies_of_many_with_other_labels_are_an_error(sound):
    for number in range(1, 7):
        shutil.copy(sound / "train" / "0.png", sound / "train" / f"{number}.png")
    assert findings(sound)["identical_images"].severity == "warning"
    edit(sound, lambda document: document["annotations"].pop(0))
    assert findings(sound)["identical_images"].severity == "error"


def test_pixels_in_two_splits_are_an_error(sound):
    make_split(sound, [("v.png", 12, 8), ("w.png", 12, 8)], [(1, 1)], split="val")
    assert findings(sound) == {}
    shutil.copy(sound / "train" / "3.png", sound / "val" / "w.png")
    found = findings(sound)
    assert set(found) == {"leaked_images"}
    assert found["leaked_images"].examples == ["3.png = val/w.png"]
    assert not check(sound).ok
    assert not check_split(sound, "val", progress=False).ok


def test_a_split_that_the_loader_refuses_is_compared_all_the_same(sound):
    make_split(sound, [("v.png", 12, 8)], [(1, 1)], split="val")
    shutil.copy(sound / "train" / "3.png", sound / "val" / "v.png")
    edit(sound, ENTRY_FAULTS["annotations_of_unknown_images"])
    found = {finding.code: finding for finding in check_split(sound, "val", progress=False).findings}
    assert found["leaked_images"].examples == ["v.png = train/3.png"]


def test_a_link_shared_by_two_splits_is_leakage_too(sound):
    make_split(sound, [("v.png", 12, 8)], [(1, 1)], split="val")
    (sound / "val" / "v.png").unlink()
    (sound / "val" / "v.png").symlink_to(sound / "train" / "0.png")
    assert findings(sound)["leaked_images"].examples == ["0.png = val/v.png"]


def test_a_handful_of_thousands_in_common_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr("cocotag.data.check.images.LEAK_SHARE", 0.2)
    root = make_split(tmp_path / "data", [(f"{i}.png", 12, 8) for i in range(10)], [(1, 1)])
    make_split(root, [(f"{i}.png", 12, 8) for i in range(10)], [(1, 1)], split="val", write=False)
    for i in range(10):
        draw(root / "val" / f"{i + 2}.png")
    shutil.copy(root / "train" / "3.png", root / "val" / "3.png")
    assert findings(root)["leaked_images"].severity == "warning"


def test_a_large_other_split_is_compared_by_bytes_and_says_so(sound, monkeypatch):
    make_split(sound, [("v.png", 12, 8), ("w.png", 12, 8)], [(1, 1)], split="val")
    shutil.copy(sound / "train" / "3.png", sound / "val" / "w.png")
    monkeypatch.setattr("cocotag.data.check.survey.MAX_OTHERS", 1)
    found = findings(sound)
    assert found["leaked_images"].examples == ["3.png = val/w.png"]
    assert "cocotag check" in found["compared_by_bytes"].advice


def test_a_split_that_cannot_be_compared_is_named(sound):
    (sound / "annotations" / "instances_val.json").write_text("{")
    make_split(sound, [("t.png", 12, 8)], [(1, 1)], split="test", write=False)
    found = findings(sound)
    assert set(found) == {"splits_not_compared"}
    assert [example.split(":")[0] for example in found["splits_not_compared"].examples] == ["val", "test"]


# Leaving the data folder


@pytest.mark.parametrize("name", ["../../away.png", "/etc/hostname", "a/../../../away.png", "..\\..\\away.png", "C:/a.png"])
def test_names_that_leave_the_folder_are_errors_and_not_looked_at(sound, name):
    draw(sound.parent / "away.png")
    edit(sound, lambda document: document["images"][0].update(file_name=name))
    found = findings(sound)
    assert found.pop("unlisted_files").examples == ["0.png"]
    assert set(found) == {"outside_paths"}
    assert found["outside_paths"].examples == [name]
    assert found["outside_paths"].severity == "error"


def test_links_that_leave_the_folder_are_errors_and_others_are_not(sound, tmp_path):
    shutil.move(sound / "train" / "0.png", tmp_path / "away.png")
    (sound / "train" / "0.png").symlink_to(tmp_path / "away.png")
    shutil.move(sound / "train" / "1.png", sound / "pool.png")
    (sound / "train" / "1.png").symlink_to("../pool.png")
    draw(tmp_path / "else" / "2.png")
    (sound / "train" / "sub").symlink_to(tmp_path / "else")
    edit(sound, lambda document: document["images"][2].update(file_name="sub/2.png"))
    found = findings(sound)
    assert found["outside_paths"].examples == ["0.png", "sub/2.png"]
    assert set(found) == {"outside_paths", "unlisted_files"}


def test_the_image_folder_may_itself_be_a_link(sound, tmp_path):
    shutil.move(sound / "train", tmp_path / "large_disk")
    (sound / "train").symlink_to(tmp_path / "large_disk")
    assert findings(sound) == {}


# Entries


def remove_key(key):
    return lambda document: document["annotations"][0].pop(key)


ENTRY_FAULTS = {
    "duplicate_image_ids": lambda d: d["images"][4].update(id=4),
    "duplicate_category_ids": lambda d: d["categories"][1].update(id=1),
    "bad_image_entries": lambda d: d["images"][4].pop("file_name"),
    "bad_category_entries": lambda d: d["categories"].append({"id": None, "name": "emu"}),
    "bad_annotation_entries": lambda d: d["annotations"][4].pop("category_id"),
    "annotations_of_unknown_images": lambda d: d["annotations"][4].update(image_id=999),
    "annotations_of_unknown_categories": lambda d: d["annotations"][4].update(category_id=2),
    "annotations_refused": lambda d: d["annotations"][4].update(iscrowd="perhaps"),
}


@pytest.mark.parametrize("code", ENTRY_FAULTS)
def test_what_the_loader_refuses_is_named_and_the_rest_is_still_checked(sound, code):
    edit(sound, ENTRY_FAULTS[code])
    (sound / "train" / "9.png").unlink()
    found = findings(sound)
    assert found[code].severity == "error"
    assert found[code].count == 1
    assert found["missing_images"].examples == ["9.png"]


def test_all_annotations_that_point_nowhere_are_counted(sound):
    def point_nowhere(document):
        for annotation in document["annotations"][:4]:
            annotation["image_id"] += 1000
        document["annotations"][5]["category_id"] = "dog"

    edit(sound, point_nowhere)
    found = findings(sound)
    assert found["annotations_of_unknown_images"].count == 4
    assert found["annotations_of_unknown_images"].examples[0] == "id 1: image 1001"
    assert found["annotations_of_unknown_categories"].examples == ["id 6: category 'dog'"]


def test_a_file_listed_twice_is_an_error(sound):
    (sound / "train" / "4.png").unlink()
    edit(sound, lambda document: document["images"][4].update(file_name="3.png"))
    found = findings(sound)
    assert set(found) == {"duplicate_file_names"}
    assert found["duplicate_file_names"].severity == "error"
    assert found["duplicate_file_names"].examples == ["3.png"]


def test_what_is_only_odd_is_no_error(sound):
    def spoil(document):
        document["annotations"][1]["id"] = 1
        document["annotations"][2]["bbox"] = [0, 0, float("nan"), 4]
        document["annotations"][3]["bbox"] = [0, 0, 4]
        document["annotations"][4]["bbox"] = [1, 1, 0, 4]
        document["annotations"][5]["bbox"] = [10, 2, 4, 4]  # of 12 x 8
        document["annotations"][6]["bbox"] = [-9, 2, 4, 4]
        document["annotations"][7]["bbox"] = [-0.4, 0, 12.8, 8]  # rounded
        document["annotations"][8].pop("bbox")  # an image-level label
        document["categories"].append({"id": 5, "name": "dog"})

    edit(sound, spoil)
    found = findings(sound)
    assert {code: finding.count for code, finding in found.items()} == {
        "duplicate_annotation_ids": 1,
        "bad_boxes": 2,
        "boxes_without_area": 1,
        "boxes_outside": 2,
        "duplicate_category_names": 1,
    }
    assert "1 of them lie entirely outside" in found["boxes_outside"].message
    assert found["boxes_outside"].examples[0] == "2.png: [10, 2, 4, 4] in 12x8 (id 6)"
    assert check(sound).ok


# Labels


def test_classes_with_none_and_with_few_positives(tmp_path):
    categories = [*CATEGORIES, {"id": 9, "name": "emu"}]
    images = [(f"{i}.png", 12, 8) for i in range(FEW_POSITIVES)]
    labels = [(i + 1, 1) for i in range(FEW_POSITIVES)] + [(i + 1, 3) for i in range(FEW_POSITIVES - 1)]
    found = findings(make_split(tmp_path / "data", images, labels, categories=categories))
    assert set(found) == {"classes_without_positives", "classes_with_few_positives"}
    assert found["classes_without_positives"].examples == ["emu"]
    assert found["classes_with_few_positives"].examples == [f"dog: {FEW_POSITIVES - 1}"]


def test_no_labels_at_all_is_an_error(tmp_path):
    report = check(make_split(tmp_path / "data", [("a.png", 12, 8)], []))
    assert {finding.code for finding in report.findings} == {"no_labels", "images_without_labels"}
    assert not report.ok


def test_a_crowd_is_neither_a_label_nor_its_absence(sound):
    draw(sound / "train" / "crowd.png")
    draw(sound / "train" / "bare.png")

    def add(document):
        document["images"] += [{"id": 98, "file_name": "crowd.png"}, {"id": 99, "file_name": "bare.png"}]
        document["annotations"].append({"id": 999, "image_id": 98, "category_id": 3, "bbox": [0, 0, 4, 4], "iscrowd": 1})

    edit(sound, add)
    found = findings(sound)
    assert found["crowd_only"].examples == ["crowd.png: dog"]
    assert found["images_without_labels"].examples == ["bare.png"]  # nobody said that crowd.png shows nothing
    assert {finding.severity for finding in found.values()} == {"note"}


def test_a_split_that_is_mostly_without_labels_is_more_than_a_note(sound):
    def drop(document):
        document["annotations"] = [a for a in document["annotations"] if a["image_id"] <= 4]

    edit(sound, drop)
    assert findings(sound)["images_without_labels"].severity == "warning"


# The report


def test_errors_come_first_and_no_line_is_too_long_or_broken(sound):
    edit(sound, lambda document: document["images"][0].update(file_name="new\nline\x1b[31m {0}.png"))
    edit(sound, lambda document: document["images"].append({"id": 99, "file_name": "1.png"}))
    edit(sound, lambda document: document["annotations"][3].update(bbox=[9, 9, 99, 99]))
    draw(sound / "train" / "2.png", high=60)
    report = check(sound)
    severities = [finding.severity for finding in report.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert len(set(severities)) == 3
    lines = report.to_text().splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert all(line.isprintable() for line in lines)
    text = "\n".join(lines)
    assert all(f"[{finding.code}]" in text for finding in report.findings)
    assert text.index("2 ERRORS:") < text.index("WARNING") < text.index("NOTE")


def test_the_report_is_plain_json(sound):
    (sound / "train" / "0.png").unlink()
    document = json.loads(json.dumps(check(sound).to_json(), allow_nan=False))
    assert document["ok"] is False
    assert document["images"] == FEW_POSITIVES
    assert document["fed"]["images"] == FEW_POSITIVES - 1
    assert [finding["code"] for finding in document["findings"]] == ["missing_images"]


def test_a_missing_split_is_refused(sound):
    with pytest.raises(DataError, match=r"'val'.*train") as caught:
        check_split(sound, "val", progress=False)
    assert caught.value.code == "split_missing"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "not_json"),
        ("[]", "not_coco_json"),
        ('{"images": [], "annotations": [], "categories": []}', "annotations_empty"),
    ],
)
def test_a_file_with_nothing_to_check_is_refused(sound, text, code):
    (sound / "annotations" / "instances_train.json").write_text(text)
    with pytest.raises(DataError, match=r"instances_train\.json") as caught:
        check(sound)
    assert caught.value.code == code


# Real data


def test_the_drawn_sample_is_sound(sample_dir):
    for split in ("train", "val"):
        report = check_split(sample_dir, split, progress=False)
        assert report.ok
        assert {finding.code for finding in report.findings} <= {
            "classes_with_few_positives",
            "classes_without_positives",
            "dark_images",
            "bright_images",
            "images_without_labels",
        }


def test_real_photographs_are_sound_and_damaged_ones_are_not(coco_mini, tmp_path):
    report = check_split(coco_mini, "val", progress=False)
    assert report.ok
    assert report.compared_with == ["train"]
    assert {finding.code for finding in report.findings} <= {
        "classes_with_few_positives",
        "classes_without_positives",
        "dark_images",
        "bright_images",
    }
    assert np.abs(report.fed.mean).max() < 0.2
    assert np.abs(report.fed.std - 1).max() < 0.3

    shutil.copytree(coco_mini / "val", tmp_path / "train")
    shutil.copytree(coco_mini / "annotations", tmp_path / "annotations")
    (tmp_path / "annotations" / "instances_val.json").replace(tmp_path / "annotations" / "instances_train.json")
    for path in (tmp_path / "train").iterdir():  # the usual mistake with OpenCV: RGB is written as if it were BGR
        cv2.imwrite(str(path), cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
    found = findings(tmp_path)
    assert found["fed_channels_swapped"].severity == "warning"


def test_one_file_under_two_names_is_listed_twice(sound):
    def again(document):
        document["images"].append({**document["images"][0], "id": 99, "file_name": "./0.png"})

    edit(sound, again)
    found = findings(sound)["duplicate_file_names"]
    assert (found.count, found.severity) == (1, "error")
