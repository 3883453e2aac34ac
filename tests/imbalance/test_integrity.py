import shutil

import pytest

from cocotag.data.annotations import load_split
from cocotag.data.check.doctor import check_split
from cocotag.errors import DataError
from cocotag.imbalance.integrity import look_over


def annotations(root, split):
    return root / "annotations" / f"instances_{split}.json"


def facts(findings):
    return [(finding.severity, finding.code, finding.message) for finding in findings]


def broken(sample_dir, root):
    """The sample with a missing, an empty and an unlisted file, and one photograph in both splits."""
    shutil.copytree(sample_dir, root)
    first, second, third, *_ = load_split(root, "train").paths()
    first.unlink()
    second.write_bytes(b"")
    shutil.copy(load_split(root, "val").path(0), third)
    (root / "train" / "extra.png").write_bytes(b"x")
    return root


def test_it_finds_what_cocotag_check_finds(sample_dir, tmp_path):
    root = broken(sample_dir, tmp_path / "data")
    table = load_split(root, "val")
    others = {"val": (root / "val", table.file_names.tolist())}
    found, seen = look_over(annotations(root, "train"), "train", root / "train", others=others, progress=False)
    expected = check_split(root, "train", progress=False)
    assert facts(found.findings) == facts(expected.findings)
    assert {"missing_images", "empty_images", "leaked_images", "unlisted_files"} <= {f.code for f in found.findings}
    assert found.compared_with == expected.compared_with == ["val"]
    assert found.images_read
    assert seen.usable.sum() == len(load_split(root, "train")) - 2
    assert found.to_json()["findings"] == expected.to_json()["findings"]
    assert found.to_text().startswith("train: 3 errors, 1 warning")


def test_without_images_only_the_labels_are_checked(sample_dir, tmp_path):
    root = broken(sample_dir, tmp_path / "data")
    found, seen = look_over(annotations(root, "train"), "train", progress=False)
    assert seen is None
    assert not found.images_read
    whole = check_split(root, "train", progress=False).findings
    codes = {finding.code for finding in found.findings}
    assert not codes & {"missing_images", "empty_images", "leaked_images", "unlisted_files", "dark_images"}
    assert facts(found.findings) == [entry for entry in facts(whole) if entry[1] in codes]
    assert found.to_text().endswith("labels (the images are not available)")


def test_a_file_that_is_not_coco_is_refused(tmp_path):
    path = tmp_path / "instances_a.json"
    path.write_text("[]")
    with pytest.raises(DataError, match=path.name) as caught:
        look_over(path, "a", progress=False)
    assert caught.value.code == "not_coco_json"
