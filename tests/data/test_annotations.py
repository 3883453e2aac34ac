import json

import numpy as np
import pytest

from cocotag.data.annotations import load_annotations, load_split
from cocotag.errors import DataError

CATEGORIES = [{"id": 3, "name": "car", "supercategory": "vehicle"}, {"id": 90, "name": "toothbrush", "supercategory": "indoor"}]


def document(**changes):
    return {
        "images": [
            {"id": 7, "file_name": "b.jpg", "width": 100, "height": 50},
            {"id": 2, "file_name": "sub/a.jpg"},
            {"id": 5, "file_name": "empty.jpg", "width": 10, "height": 10},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "bbox": [0, 0, 10, 50], "area": 1, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 90, "bbox": [0, 0, 10, 10], "area": 1, "iscrowd": 0},
            {"id": 3, "image_id": 7, "category_id": 3, "bbox": [0, 0, 100, 50], "area": 1, "iscrowd": 1},
            {"id": 4, "image_id": 2, "category_id": 3, "bbox": [0, 0, 5, 5], "iscrowd": 0},
            {"id": 5, "image_id": 2, "category_id": 3, "bbox": [0, 0, 5, 5], "iscrowd": 1},
        ],
        "categories": CATEGORIES,
        **changes,
    }


def read(tmp_path, content):
    path = tmp_path / "instances_train.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return load_annotations(path, tmp_path / "train")


def test_rows_classes_and_counts(tmp_path, capsys):
    table = read(tmp_path, document())
    assert table.vocabulary.names == ["car", "toothbrush"]
    assert table.file_names.tolist() == ["b.jpg", "sub/a.jpg", "empty.jpg"]
    assert table.image_ids.tolist() == [7, 2, 5]
    assert table.targets.tolist() == [[False, True], [True, False], [False, False]]
    assert table.instances.tolist() == [[0, 2], [1, 0], [0, 0]]
    assert table.positives.tolist() == [1, 1]
    assert table.sizes.tolist() == [[100, 50], [0, 0], [10, 10]]
    assert table.path(1) == tmp_path / "train" / "sub" / "a.jpg"
    assert capsys.readouterr().out == ""  # stdout is for results; pycocotools prints there


def test_a_class_that_is_only_a_crowd_is_unknown_and_nothing_else_is(tmp_path):
    table = read(tmp_path, document())
    assert table.known.tolist() == [[False, True], [True, True], [True, True]]


def test_an_image_without_annotations_is_a_negative_for_all(tmp_path):
    table = read(tmp_path, document(annotations=[]))
    assert len(table) == 3
    assert not table.targets.any()
    assert table.known.all()


def test_largest_object_over_the_image(tmp_path):
    np.testing.assert_allclose(read(tmp_path, document()).largest, [0.1, np.nan, 0])


def test_take_keeps_rows_together(tmp_path):
    table = read(tmp_path, document())
    part = table.take([2, 0])
    assert part.file_names.tolist() == ["empty.jpg", "b.jpg"]
    assert part.targets.tolist() == [[False, False], [False, True]]
    assert table.take(table.targets[:, 0]).file_names.tolist() == ["sub/a.jpg"]
    assert table.names_sha256() == table.take([1, 2, 0]).names_sha256() != part.names_sha256()


def with_annotation(**changes):
    annotation = {"id": 9, "image_id": 7, "category_id": 3, "bbox": [0, 0, 1, 1], "iscrowd": 0, **changes}
    return document(annotations=[{k: v for k, v in annotation.items() if v is not ...}])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not readable as JSON"),
        ("{", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ("[]", "is not a JSON object"),
        ('{"images": []}', "no list 'annotations', has no list 'categories'"),
        (document(images=[]), "lists no images"),
        (document(images=[{"id": "7", "file_name": "b.jpg"}]), r"images\[0\]"),
        (document(images=[{"id": 7}]), r"images\[0\]"),
        (document(images=[3]), r"images\[0\]"),
        (document(images=[{"id": 7, "file_name": "a"}, {"id": 7, "file_name": "b"}], annotations=[]), "image id 7 twice"),
        (document(images=[{"id": 7, "file_name": "../../etc/passwd"}]), "outside the image folder"),
        (document(images=[{"id": 7, "file_name": "/etc/passwd"}]), "outside the image folder"),
        (document(categories=[{"id": 3}]), r"categories\[0\]"),
        (document(categories=[*CATEGORIES, {"id": 3, "name": "x"}]), "id 3"),
        (document(categories=[*CATEGORIES, {"id": 4, "name": "car"}]), "name 'car'"),
        (with_annotation(category_id=4), r"annotations\[0\] \(id 9\) names category 4"),
        (with_annotation(image_id=8), r"annotations\[0\] \(id 9\) names image 8"),
        (with_annotation(category_id=...), "annotation"),
        (with_annotation(image_id=...), "annotation"),
        (with_annotation(id=...), "annotation"),
        (with_annotation(category_id=[3]), "annotation"),
        (document(annotations=[5]), "annotation"),
    ],
)
def test_what_is_not_coco_is_named_in_one_line(tmp_path, content, words):
    with pytest.raises(DataError, match=words) as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value)
    assert "instances_train.json" in str(error.value)


def test_a_missing_split_names_those_that_are_there(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_test.json").write_text(json.dumps(document()))
    with pytest.raises(DataError, match=r"no split 'train'\. It has: test"):
        load_split(tmp_path, "train")
    assert len(load_split(tmp_path, "test")) == 3


def test_real_photographs_agree_with_a_plain_reading(coco_mini):
    table = load_split(coco_mini, "val")
    plain = json.loads((coco_mini / "annotations" / "instances_val.json").read_text())
    assert (len(table), len(table.vocabulary)) == (150, 80)
    pairs = {(a["image_id"], a["category_id"]) for a in plain["annotations"] if not a["iscrowd"]}
    assert table.targets.sum() == len(pairs)
    ids = np.array(table.vocabulary.ids)
    assert {(int(table.image_ids[r]), int(ids[c])) for r, c in np.argwhere(table.targets)} == pairs
    assert all(path.is_file() for path in table.paths())
