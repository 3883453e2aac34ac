"""The doctor's look at an annotation file: agrees with the loader where that reads it, and survives what it refuses."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cocotag.data.annotations import load_split
from cocotag.data.check.entries import read_entries
from cocotag.errors import DataError


@pytest.mark.parametrize("split", ["train", "val"])
def test_it_reads_what_the_loader_reads(coco_mini, split):
    table = load_split(coco_mini, split)
    entries = read_entries(coco_mini / "annotations" / f"instances_{split}.json")
    targets, known = entries.labels()
    assert entries.faults == {}
    assert entries.names == table.vocabulary.names
    assert entries.file_names == table.file_names.tolist()
    np.testing.assert_array_equal(targets, table.targets)
    np.testing.assert_array_equal(known, table.known)
    np.testing.assert_array_equal(entries.sizes, table.sizes)


def write(folder, **lists):
    path = folder / "instances_x.json"
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": [], **lists}))
    return path


def test_string_ids_whole_floats_and_one_name_of_two_categories(tmp_path):
    path = write(
        tmp_path,
        images=[{"id": "a", "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg", "width": 4.0, "height": 3.0}],
        categories=[{"id": "c", "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "cat"}],
        annotations=[
            {"image_id": "a", "category_id": "c"},
            {"image_id": 7.0, "category_id": 2},
            {"image_id": 7, "category_id": 3.0},
        ],
    )
    entries = read_entries(path)
    assert entries.names == ["cat", "dog"]
    assert list(zip(entries.rows.tolist(), entries.classes.tolist(), strict=True)) == [(0, 0), (1, 1), (1, 0)]
    assert entries.sizes.tolist() == [[0, 0], [4, 3]]
    assert list(entries.faults) == ["duplicate_category_names"]


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([1, 2, 10**400, float("nan"), float("inf"), "a.jpg", ""])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "x"]), inner, max_size=2),
    max_leaves=6,
)


def entry(*keys):
    return st.dictionaries(st.sampled_from(keys), anything, max_size=len(keys)) | anything


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    images=st.lists(entry("id", "file_name", "width", "height"), max_size=5),
    annotations=st.lists(entry("id", "image_id", "category_id", "bbox", "iscrowd"), max_size=6),
    categories=st.lists(entry("id", "name"), max_size=4),
)
def test_whatever_stands_in_the_file_is_counted_or_refused(tmp_path, images, annotations, categories):
    images = [*images, {"id": 1, "file_name": "a.jpg"}]
    categories = [*categories, {"id": 1, "name": "cat"}]
    entries = read_entries(write(tmp_path, images=images, annotations=annotations, categories=categories))
    counted = sum(entries.faults[code].count for code in ("bad_image_entries",) if code in entries.faults)
    assert len(entries.file_names) + counted == len(images)
    nowhere = ("bad_annotation_entries", "annotations_of_unknown_images", "annotations_of_unknown_categories")
    lost = sum(entries.faults[code].count for code in nowhere if code in entries.faults)
    assert len(entries.rows) + lost >= len(annotations) == entries.annotations
    assert all(len(fault.examples) <= fault.count for fault in entries.faults.values())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "not_json"),
        ("[", "not_json"),
        ("[" * 100_000, "not_json"),
        ("\xff", "not_json"),
        ("3", "not_coco_json"),
        ('{"images": 3, "annotations": [], "categories": []}', "not_coco_json"),
    ],
)
def test_a_file_in_another_format_is_refused(tmp_path, text, code):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.json") as caught:
        read_entries(path)
    assert caught.value.code == code


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.json") as caught:
        read_entries(tmp_path / "a.json")
    assert caught.value.code == "file_missing"
