"""Several data sets as one: whose knowledge is in which cell."""

import json

import numpy as np
import pytest

from cocotag.config import SourceConfig
from cocotag.data.annotations import load_split
from cocotag.data.matching import Aliases
from cocotag.data.sources import align, join_sources
from cocotag.errors import DataError
from cocotag.imbalance.result import imbalance
from cocotag.labels import COCO80


def write(root, images, categories, *, split="train", ids=None, folder=None):
    """A data set: ``images`` is name -> class names, ``~name`` a crowd. The files themselves are not made."""
    ids = ids or {name: number for number, name in enumerate(categories, 1)}
    annotations = [
        {"image_id": row, "category_id": ids[label.lstrip("~")], "bbox": [0, 0, 4, 5], "iscrowd": int(label.startswith("~"))}
        for row, labels in enumerate(images.values(), 1)
        for label in labels
    ]
    document = {
        "images": [{"id": row, "file_name": name, "width": 10, "height": 10} for row, name in enumerate(images, 1)],
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, 1)],
        "categories": [{"id": ids[name], "name": name, "supercategory": "s"} for name in categories],
    }
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))
    if folder is None:
        (root / split).mkdir(exist_ok=True)
    return SourceConfig(str(root), split)


def cells(joined):
    """Per file name the classes as a dict: True, False or None for unknown."""
    table = joined.table
    return {
        str(name): {
            c: bool(table.targets[row, index]) if table.known[row, index] else None
            for index, c in enumerate(table.vocabulary.names)
        }
        for row, name in enumerate(table.file_names)
    }


@pytest.fixture
def two(tmp_path):
    """A source of cats and dogs, and one of dogs and birds that also lists fish, which nobody annotated."""
    first = write(tmp_path / "a", {"1.jpg": ["cat"], "2.jpg": ["dog", "dog"], "3.jpg": []}, ["cat", "dog"])
    second = write(tmp_path / "b", {"1.jpg": ["dog", "bird"], "2.jpg": ["~bird"]}, ["dog", "bird", "fish"])
    return [first, second]


def test_what_a_source_never_annotates_is_unknown_and_not_negative(two):
    assert cells(join_sources(two, "union")) == {
        "a/train/1.jpg": {"cat": True, "dog": False, "bird": None, "fish": None},
        "a/train/2.jpg": {"cat": False, "dog": True, "bird": None, "fish": None},
        "a/train/3.jpg": {"cat": False, "dog": False, "bird": None, "fish": None},
        "b/train/1.jpg": {"cat": None, "dog": True, "bird": True, "fish": None},
        "b/train/2.jpg": {"cat": None, "dog": False, "bird": None, "fish": None},  # a crowd of birds
    }


def test_paths_lead_to_the_files_and_counts_stay(two, tmp_path):
    table = join_sources(two, "union").table
    assert table.image_dir == tmp_path
    assert table.paths()[3] == tmp_path / "b" / "train" / "1.jpg"
    assert table.instances[1].tolist() == [0, 2, 0, 0]
    np.testing.assert_allclose(table.largest, [0.2, 0.2, 0, 0.2, 0])
    assert table.sizes.tolist() == [[10, 10]] * 5
    assert len(set(table.image_ids.tolist())) == 5  # both sources begin with 1


def test_the_record_says_what_happened(two):
    first, second = join_sources(two, "own").records
    assert (first.name, first.images, first.looked_for, first.unknown, first.unmapped) == ("a/train", 3, ["cat", "dog"], [], {})
    assert second.classes == {"dog": ["dog"]}
    assert second.unmapped == {"bird": 1, "fish": 0}
    assert second.unknown == ["cat"]
    assert second.sha256 == load_split(two[1].root, "train").names_sha256()
    assert json.loads(json.dumps(second.to_json()))["unmapped"] == {"bird": 1, "fish": 0}
    assert "2 classes (bird: 1, fish: 0)" in second.to_text()
    assert "unknown here: 1 class (cat)" in second.to_text()
    assert "\n" not in second.to_text()


def test_known_says_better(two):
    second = SourceConfig(two[1].root, known=["dog", "fish"])
    joined = join_sources([two[0], second], "union")
    assert cells(joined)["b/train/1.jpg"] == {"cat": None, "dog": True, "bird": True, "fish": False}
    assert cells(joined)["b/train/2.jpg"] == {"cat": None, "dog": False, "bird": None, "fish": False}
    assert joined.records[1].only_positive == ["bird"]
    assert any("negatives of 1 class (bird)" in line for line in joined.to_lines())


def test_where_nothing_was_looked_for_only_labels_count_and_what_says_nothing_is_left_out(two):
    second = SourceConfig(two[1].root, known=[])
    joined = join_sources([two[0], second], "own")
    assert cells(joined)["b/train/1.jpg"] == {"cat": None, "dog": True}
    assert "b/train/2.jpg" not in cells(joined)
    assert joined.records[1].left_out == 1
    assert joined.members.tolist() == [[True, False]] * 3 + [[False, True]]


def test_a_class_of_several_was_looked_for_if_all_of_them_were(tmp_path):
    aliases = tmp_path / "aliases.yaml"
    aliases.write_text("names: {man: person, woman: person, boy: person}")
    first = write(tmp_path / "a", {"1.jpg": ["person"], "2.jpg": []}, ["person"])
    images = {"1.jpg": ["man", "woman"], "2.jpg": ["woman"], "3.jpg": [], "4.jpg": ["~man"], "5.jpg": ["~man", "woman"]}
    second = write(tmp_path / "b", images, ["man", "woman", "boy"])  # no boy was annotated
    for known, absent in ((None, False), (["man", "woman"], False), (["man"], None)):
        joined = join_sources([first, SourceConfig(second.root, aliases=str(aliases), known=known)])
        found = [cells(joined).get(f"b/train/{name}", {"person": None})["person"] for name in images]
        assert found == [True, True, absent, None, True]
    assert joined.table.instances[2].tolist() == [2]


def test_one_image_in_two_sources_is_one_row_with_the_knowledge_of_both(tmp_path):
    one = write(tmp_path / "a", {"1.jpg": ["cat"], "2.jpg": [], "3.jpg": ["~cat"]}, ["cat", "dog"])
    names = {"2.jpg": ["cat", "cat"], "./1.jpg": [], "3.jpg": []}
    write(tmp_path / "b", names, ["cat", "bird"], folder=False)
    (tmp_path / "b" / "train").symlink_to(tmp_path / "a" / "train")  # other labels for the same images
    joined = join_sources([one, SourceConfig(str(tmp_path / "b"), known=["cat", "bird"])], "union")
    assert cells(joined) == {
        "a/train/1.jpg": {"cat": True, "dog": None, "bird": False},  # a label outweighs not finding it
        "a/train/2.jpg": {"cat": True, "dog": None, "bird": False},
        "a/train/3.jpg": {"cat": None, "dog": None, "bird": False},  # a crowd stays one
    }
    assert joined.records[1].shared == 3
    assert joined.table.instances[1].tolist() == [2, 0, 0]
    assert joined.members.all()


def test_a_file_that_one_source_lists_twice_is_one_image(tmp_path):
    source = write(tmp_path / "a", {"1.jpg": ["cat"], "./1.jpg": ["dog"], "2.jpg": []}, ["cat", "dog"])
    joined = join_sources([source], "union")
    assert cells(joined) == {"1.jpg": {"cat": True, "dog": True}, "2.jpg": {"cat": False, "dog": False}}
    assert joined.records[0].shared == 0


def test_the_order_of_sources_changes_names_and_no_knowledge(two):
    there, back = cells(join_sources(two, "union")), cells(join_sources(two[::-1], "union"))
    assert there == back


def test_one_source_in_its_own_classes_is_that_data_set(sample_dir):
    joined, alone = join_sources([SourceConfig(str(sample_dir))]), load_split(sample_dir, "train")
    assert joined.table.vocabulary == alone.vocabulary
    assert joined.table.names_sha256() == alone.names_sha256() == joined.records[0].sha256
    for name in ("targets", "known", "instances", "sizes", "largest", "image_ids", "file_names"):
        np.testing.assert_array_equal(getattr(joined.table, name), getattr(alone, name))


def test_cocos_80_with_voc_and_open_images(tmp_path):
    voc = write(tmp_path / "voc", {"1.jpg": ["aeroplane"], "2.jpg": ["sofa"]}, ["aeroplane", "sofa"])
    images = {"1.jpg": ["Man", "Mouse"], "2.jpg": ["Mouse"], "3.jpg": ["Accordion", "Flying disc"]}
    opened = write(tmp_path / "oi", images, ["Man", "Mouse", "Accordion", "Flying disc"])
    joined = join_sources([SourceConfig(voc.root, aliases="voc"), SourceConfig(opened.root, aliases="open_images")], "coco80")
    table = joined.table
    assert table.vocabulary == COCO80
    assert table.file_names.tolist() == ["voc/train/1.jpg", "voc/train/2.jpg", "oi/train/1.jpg", "oi/train/3.jpg"]
    assert [int(row.sum()) for row in table.known] == [2, 2, 1, 1]
    assert joined.records[1].unmapped == {"Mouse": 2, "Accordion": 1}
    assert joined.records[1].left_out == 1
    lines = "\n".join(joined.to_lines())
    assert "No source labels 76 classes" in lines
    assert "negatives of 2 classes (person, frisbee)" in lines


def test_another_split_is_seen_with_the_knowledge_of_its_source(tmp_path):
    aliases = Aliases({"Hund": "dog"})
    write(tmp_path / "a", {"1.jpg": ["Hund"], "2.jpg": ["~cat"]}, ["Hund", "cat", "fish"], split="val")
    table = load_split(tmp_path / "a", "val")
    learned = join_sources([write(tmp_path / "b", {"1.jpg": ["dog"]}, ["dog", "cat", "bird", "fish"])]).table.vocabulary
    seen = align(table, learned, name="val", aliases=aliases, looked_for=["dog", "cat"])
    assert seen.vocabulary == learned
    assert seen.names_sha256() == table.names_sha256()
    assert seen.known.tolist() == [[True, True, False, False], [True, False, False, False]]
    assert seen.targets.tolist() == [[True, False, False, False], [False] * 4]
    assert align(table, learned, name="val", aliases=aliases).known[0].tolist() == [True, True, False, True]
    looked = Aliases({"Hund": "dog"}, known=["Hund"])  # what the alias file says of the data set
    assert align(table, learned, name="val", aliases=looked).known.tolist() == [[True, False, False, False]] * 2
    several = Aliases({"Hund": "cat"}, known=["cat"])  # one of two that are one class was not looked for
    assert align(table, learned, name="val", aliases=several).known[:, learned.names.index("cat")].tolist() == [True, False]
    with pytest.raises(DataError, match=r"^val ") as caught:
        align(table.take([0]), COCO80, name="val", aliases=Aliases({"cat": None}))
    assert caught.value.code == "no_common_class"


def test_sources_that_cannot_be_joined_are_refused(two, tmp_path):
    third = write(tmp_path / "c", {"1.jpg": ["x"]}, ["x", "y"])
    with pytest.raises(DataError, match=r"c, split 'train', .* 2 classes \(x, y\)") as caught:
        join_sources([*two, third])
    assert caught.value.code == "no_common_class"
    with pytest.raises(DataError, match=r"data\.sources\[1\]\.known names 'brid'.*there is bird") as caught:
        join_sources([two[0], SourceConfig(two[1].root, known=["brid"])])
    assert caught.value.code == "unknown_class"
    with pytest.raises(DataError, match="'test'") as caught:
        join_sources([two[0], SourceConfig(two[1].root, "test")])
    assert caught.value.code == "split_missing"


def test_the_imbalance_report_counts_known_cells_only(two):
    found = imbalance(join_sources(two, "union").table).classes.set_index("name")
    assert found["known"].to_dict() == {"cat": 3, "dog": 5, "bird": 1, "fish": 0}
    assert found["frequency"].dropna().to_dict() == {"cat": 1 / 3, "dog": 2 / 5, "bird": 1.0}
