import copy
import json
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cocotag.data import table_cache
from cocotag.data.annotations import PER_IMAGE, load_annotations, load_split
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
    ("content", "code", "facts"),
    [
        ("", "not_json", r"instances_train\.json"),
        ("{", "not_json", r"instances_train\.json"),
        ("[" * 100_000, "not_json", r"instances_train\.json"),
        ("[]", "not_coco_json", r"instances_train\.json"),
        ('{"images": []}', "not_coco_json", "'annotations'.*'categories'"),
        (document(images=[]), "annotations_empty", "images"),
        (document(images=[{"id": True, "file_name": "b.jpg"}]), "image_entry_invalid", r"images\[0\]"),
        (document(images=[{"id": 7.5, "file_name": "b.jpg"}]), "image_entry_invalid", r"images\[0\]"),
        (document(images=[{"id": 2**63, "file_name": "b.jpg"}]), "image_entry_invalid", r"images\[0\]"),
        (document(images=[{"id": 7}]), "image_entry_invalid", r"images\[0\]"),
        (document(images=[3]), "image_entry_invalid", r"images\[0\]"),
        (
            document(images=[{"id": 7, "file_name": "a"}, {"id": 7, "file_name": "b"}], annotations=[]),
            "image_id_duplicate",
            r"images\[1\] has the id 7 of images\[0\]",
        ),
        (
            document(images=[{"id": 7, "file_name": "a"}, {"id": "7", "file_name": "b"}]),
            "image_ids_mixed",
            r"images\[1\] and images\[0\]",
        ),
        (document(images=[{"id": 7, "file_name": "../../etc/passwd"}], annotations=[]), "file_outside_folder", r"images\[0\]"),
        (document(images=[{"id": 7, "file_name": "/etc/passwd"}], annotations=[]), "file_outside_folder", r"images\[0\]"),
        (document(images=[{"id": 7, "file_name": "a/..\\b.jpg"}], annotations=[]), "file_outside_folder", r"images\[0\]"),
        (document(images=[{"id": 7, "file_name": "c:b.jpg"}], annotations=[]), "file_outside_folder", r"images\[0\]"),
        (document(images=[{"id": 7, "file_name": "b.jpg\0"}]), "file_name_invalid", r"images\[0\]"),
        (document(images=[{"id": 7, "file_name": "\ud800.jpg"}]), "file_name_invalid", r"images\[0\]"),
        (document(images=[{"id": 7, "file_name": "a" * 5000}]), "file_name_invalid", r"images\[0\]"),
        (document(categories=[]), "annotations_empty", "categories"),
        (document(categories=[{"id": 3}]), "category_invalid", r"categories\[0\]"),
        (document(categories=[*CATEGORIES, {"id": True, "name": "x"}]), "category_invalid", r"categories\[2\]"),
        (document(categories=[*CATEGORIES, {"id": 4, "name": ""}]), "category_invalid", r"categories\[2\]"),
        (document(categories=[*CATEGORIES, {"id": 4, "name": "\udc80"}]), "category_invalid", r"categories\[2\]"),
        (document(categories=[*CATEGORIES, {"id": 3, "name": "x"}]), "category_duplicate", r"categories\[2\] has the id 3"),
        (with_annotation(category_id=4), "annotation_invalid", r"annotations\[0\] \(id 9\) names category 4"),
        (with_annotation(image_id=8), "annotation_invalid", r"annotations\[0\] \(id 9\) names image 8"),
        (with_annotation(category_id=...), "annotation_invalid", r"annotations\[0\] .*names category None"),
        (with_annotation(image_id=...), "annotation_invalid", r"annotations\[0\] .*names image None"),
        (with_annotation(image_id="7"), "annotation_invalid", r"annotations\[0\] .*names image '7', .*lists 7"),
        (with_annotation(category_id=[3]), "annotation_invalid", r"annotations\[0\]"),
        (with_annotation(iscrowd="0"), "annotation_invalid", r"annotations\[0\] has iscrowd '0'"),
        (with_annotation(iscrowd=float("nan")), "annotation_invalid", r"annotations\[0\] has iscrowd nan"),
        (document(annotations=[5]), "annotation_invalid", r"annotations\[0\] is 5"),
        (
            document(images=[{"id": 1, "file_name": "a"}], annotations=[{"id": 1, "image_id": True, "category_id": 3}]),
            "annotation_invalid",
            r"annotations\[0\] .*names image True",
        ),
    ],
)
def test_an_invalid_file_is_refused_in_one_line(tmp_path, content, code, facts):
    with pytest.raises(DataError, match=facts) as caught:
        read(tmp_path, content)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert "instances_train.json" in str(caught.value)


def test_a_missing_split_names_those_that_are_there(tmp_path):
    (tmp_path / "annotations").mkdir()
    for split in ("test", "other"):
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(json.dumps(document()))
    with pytest.raises(DataError, match=r"'train'.*other, test") as caught:
        load_split(tmp_path, "train")
    assert caught.value.code == "split_missing"
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


def test_string_ids_are_kept(tmp_path):
    table = read(
        tmp_path,
        {
            "images": [{"id": "a12", "file_name": "a.jpg"}, {"id": "été", "file_name": "b.jpg"}],
            "annotations": [
                {"id": "x", "image_id": "été", "category_id": "c1"},
                {"id": "y", "image_id": "a12", "category_id": "c0"},
            ],
            "categories": [{"id": "c0", "name": "cat"}, {"id": "c1", "name": "dog"}],
        },
    )
    assert table.image_ids.tolist() == ["a12", "été"]
    assert table.vocabulary.ids == ["c0", "c1"]
    assert table.targets.tolist() == [[True, False], [False, True]]


def test_whole_numbers_that_an_exporter_wrote_as_floats_are_integers(tmp_path):
    table = read(
        tmp_path,
        {
            "images": [{"id": 7.0, "file_name": "a.jpg", "width": 20.0, "height": 10.0}],
            "annotations": [{"id": 1.0, "image_id": 7.0, "category_id": 3.0, "bbox": [0, 0, 5, 10], "iscrowd": 0.0}],
            "categories": [{"id": 3.0, "name": "cat"}],
        },
    )
    assert table.image_ids.tolist() == [7]
    assert table.vocabulary.ids == [3]
    assert table.largest.tolist() == [0.25]


def test_categories_of_one_name_are_one_class_and_it_is_said(tmp_path, caplog):
    categories = [*CATEGORIES, {"id": 91, "name": "car", "supercategory": "toy"}]
    extra = [
        {"id": 6, "image_id": 5, "category_id": 91, "bbox": [0, 0, 1, 1], "iscrowd": 0},
        {"id": 7, "image_id": 7, "category_id": 91, "bbox": [0, 0, 1, 1], "iscrowd": 0},
    ]
    table = read(tmp_path, document(categories=categories, annotations=[*document()["annotations"], *extra]))
    assert table.vocabulary.to_json() == CATEGORIES
    assert table.instances.tolist() == [[1, 2], [1, 0], [1, 0]]
    assert table.known.all()  # image 7 has a crowd of the one and an object of the other
    assert "1 categories have the name of an earlier category" in caplog.text
    assert "'car'" in caplog.text


def test_supercategories_and_gaps_in_ids_are_kept(tmp_path):
    categories = [*CATEGORIES, {"id": 1000, "name": "猫", "supercategory": None}]
    vocabulary = read(tmp_path, document(categories=categories)).vocabulary
    assert vocabulary.ids == [3, 90, 1000]
    assert vocabulary.supercategories == ["vehicle", "indoor", ""]
    assert vocabulary.names[2] == "猫"


def test_unicode_and_repeated_file_names_load(tmp_path):
    names = ["été/猫 🐈.jpg", "a.jpg", "a.jpg", "raw \udcff byte.jpg"]
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    assert read(tmp_path, document(images=images, annotations=[])).file_names.tolist() == names


@pytest.mark.parametrize(
    ("box", "largest"),
    [
        (None, 0),
        ([0, 0, 10], 0),
        ("abcd", 0),
        ([0, 0, "5", 5], 0),
        ([0, 0, float("nan"), 5], 0),
        ([0, 0, float("inf"), 0], 0),
        ([0, 0, 1e308, 1e308], 0),
        ([0, 0, 10**400, 5], 0),
        ([0, 0, -5, -5], 0),
        ([0, 0, 1e9, 1e9], 1),
        ([0, 0, 50, 50], 0.5),
    ],
)
def test_a_box_that_is_none_has_no_area_and_none_is_larger_than_its_image(tmp_path, box, largest):
    table = read(tmp_path, with_annotation(bbox=box))
    assert table.largest[0] == largest
    assert table.targets[0].tolist() == [True, False]


def test_nbytes_counts_every_array(tmp_path):
    table = read(tmp_path, document())
    assert table.nbytes == sum(getattr(table, name).nbytes for name in PER_IMAGE) > 0


# Broken documents

TEXT = st.one_of(st.sampled_from(["", "a12", "..", "/", "c:x", "\0", "\ud800", "猫", "nan"]), st.text(max_size=4))
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-2, 9), st.sampled_from([2**63, -(2**64), 10**400]), st.floats(), TEXT)
DEEP = "seventy thousand levels"
ODD = st.one_of(
    SCALAR,
    st.just(DEEP),
    st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3)),
)
KEYS = st.sampled_from(
    ["id", "file_name", "width", "height", "image_id", "category_id", "bbox", "iscrowd", "name", "supercategory"]
)
LISTS = st.sampled_from(["images", "annotations", "categories"])


@st.composite
def broken_documents(draw):
    """A sound document, then a few things done to it."""
    broken = copy.deepcopy(document(categories=[*CATEGORIES, {"id": 91, "name": "car"}]))
    if draw(st.booleans()):
        for entry in (*broken["images"], *broken["annotations"], *broken["categories"]):
            entry.update({key: f"n{entry[key]}" for key in ("id", "image_id", "category_id") if key in entry})
    for _ in range(draw(st.integers(0, 3))):
        which, key, odd = draw(LISTS), draw(KEYS), draw(ODD)
        entries = broken.get(which)
        place = draw(st.integers(0, 7))
        done = draw(st.sampled_from(["set", "drop", "repeat", "insert", "replace", "list", "lose"]))
        if done == "lose":
            broken.pop(which, None)
        elif done == "list" or not isinstance(entries, list) or not entries:
            broken[which] = odd
        elif done == "repeat":
            entries.append(copy.deepcopy(entries[place % len(entries)]))
        elif done == "insert":
            entries.insert(place, odd)
        elif done == "replace" or not isinstance(entries[place % len(entries)], dict):
            entries[place % len(entries)] = odd
        elif done == "drop":
            entries[place % len(entries)].pop(key, None)
        else:
            entries[place % len(entries)][key] = odd
    return broken


def text_of(broken):
    return json.dumps(broken).replace(json.dumps(DEEP), "[" * 70_000 + "]" * 70_000)


PLACE = re.compile(r"(images|annotations|categories)\[\d+\]")
WHOLE_FILE = {"not_json", "not_coco_json", "annotations_empty"}


@settings(max_examples=300, deadline=None)
@given(broken_documents().map(text_of) | ODD.map(text_of))
@example('{"images": ' + "[" * 900 + "]" * 900 + ', "annotations": [], "categories": []}')
def test_any_document_ends_in_a_table_or_in_an_error_that_names_the_place(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("broken")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_cache, "MIN_BYTES", 0)
        patch.setattr(table_cache, "SETTLED_NS", 0)
        patch.setenv("XDG_CACHE_HOME", str(folder))
        try:
            table = read(folder, text)
        except DataError as error:
            message = str(error)
            assert PLACE.search(message) or error.code in WHOLE_FILE, message
            assert "\n" not in message
            assert len(message) < 1000
            assert message.isprintable()
            return
        assert len(table) == len(json.loads(text)["images"])
        assert table.targets.shape == table.known.shape == table.instances.shape == (len(table), len(table.vocabulary))
        assert ((table.largest >= 0) & (table.largest <= 1) | np.isnan(table.largest)).all()
        patch.setattr("cocotag.data.annotations._tabulate", None)  # from now on only the cache can answer
        assert_same(load_annotations(folder / "instances_train.json", folder / "train"), table)


def assert_same(one, other):
    assert one.vocabulary == other.vocabulary
    assert one.image_dir == other.image_dir
    for name in PER_IMAGE:
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype, name
        assert a.flags.writeable == b.flags.writeable, name
        np.testing.assert_array_equal(a, b, err_msg=name)
