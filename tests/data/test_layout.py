"""Data sets as other programs lay them out: every label on the right picture, and one sentence about what was taken."""

import json
import shutil
import unicodedata

import exports
import numpy as np
import pytest

from cocotag.config import DataConfig
from cocotag.data.annotations import load_annotations, load_split
from cocotag.data.check.doctor import check_split
from cocotag.data.layout import Given, find, find_splits
from cocotag.data.splits import Splits
from cocotag.errors import DataError

WRITERS = {
    "datumaro": (exports.datumaro, {}, "train", "val"),
    "datumaro, polygons": (exports.datumaro, {"kind": "polygons"}, "train", "val"),
    "datumaro, image labels": (exports.datumaro, {"kind": "labels"}, "train", "val"),
    "datumaro, keypoints": (exports.datumaro, {"kind": "keypoints"}, "train", "val"),
    "roboflow": (exports.roboflow, {}, "train", "valid"),
    "label studio": (exports.label_studio, {}, "train", "val"),
    "label studio, uploaded": (exports.label_studio, {"uploaded": True}, "train", "val"),
    "fiftyone": (exports.fiftyone, {}, "train", "val"),
    "labelme2coco": (exports.labelme2coco, {}, "train", "val"),
    "labelme2coco, each": (exports.labelme2coco, {"each": True}, "train", "val"),
    "labelformat": (exports.labelformat, {}, "train", "val"),
    "hotcoco": (exports.hotcoco, {}, "train", "val"),
    "sahi": (exports.sahi, {}, "train", "val"),
    "pylabel": (exports.pylabel, {}, "train", "val"),
    "globox": (exports.globox, {}, "train", "val"),
    "supervision": (exports.supervision, {}, "train", "val"),
    "supervision, documented": (exports.supervision, {"documented": True}, "train", "valid"),
}
WHOLE = {
    "datumaro": (exports.datumaro, {"subsets": False}),
    "label studio": (exports.label_studio, {"together": True}),
    "fiftyone": (exports.fiftyone, {"together": True}),
}


@pytest.fixture(params=WRITERS)
def export(request, tmp_path):
    """A data set with its two splits, and the pictures whose labels are expected."""
    writer, options, *splits = WRITERS[request.param]
    writer(tmp_path, **options)
    return tmp_path, splits


def labels(table):
    """The classes of each picture, by the stem that its file had at first."""
    names = np.array(table.vocabulary.names)
    assert all(path.is_file() for path in table.paths())
    rows = zip(table.file_names.tolist(), table.targets, strict=True)
    return {exports.original(name): set(names[row].tolist()) for name, row in rows}


def test_every_label_is_on_its_picture(export):
    root, splits = export
    found = {}
    for split in splits:
        found |= labels(load_split(root, split))
    assert found.items() <= exports.truth().items()
    with_objects = {stem: names for stem, names in exports.truth().items() if names}
    assert with_objects.items() <= found.items()  # pylabel leaves out pictures without objects
    assert found == exports.truth() or len(found) == len(with_objects)


def test_training_can_start_and_knows_the_same_classes(export):
    root, (train, val) = export
    splits = Splits(DataConfig(root=str(root), train_split=train, val_split=val, tune_split=val), seed=0)
    assert splits.faults() == []
    assert set(splits.vocabulary.names) >= set(exports.CLASSES)
    table = splits.tune  # numbered otherwise by some programs
    assert table.vocabulary == splits.vocabulary
    truth = exports.truth()
    for name, row, known in zip(table.file_names.tolist(), table.targets, table.known, strict=True):
        present = np.isin(splits.vocabulary.names, list(truth[exports.original(name)]))
        assert (row[known] == present[known]).all()


def test_the_doctor_finds_the_images(export):
    root, splits = export
    for split in splits:
        report = check_split(root, split, progress=False)
        codes = {finding.code for finding in report.findings if finding.severity == "error"}
        assert not codes, report.to_text()
        assert report.classes == len(load_split(root, split).vocabulary)


@pytest.mark.parametrize("program", WHOLE)
def test_a_data_set_without_splits_is_the_train_split(program, tmp_path):
    writer, options = WHOLE[program]
    writer(tmp_path, **options)
    assert labels(load_split(tmp_path, "train")) == exports.truth()
    assert labels(load_split(tmp_path, "default")) == exports.truth()
    with pytest.raises(DataError, match=r"val_split null") as caught:
        load_split(tmp_path, "val")
    assert caught.value.code == "split_missing"


def test_val_is_found_as_valid(tmp_path, caplog):
    exports.roboflow(tmp_path)
    assert labels(load_split(tmp_path, "val")) == exports.truth("val")
    assert "valid/_annotations.coco.json" in caplog.text


def test_a_category_that_only_groups_others_is_no_class(tmp_path, caplog):
    exports.roboflow(tmp_path)
    assert sorted(load_split(tmp_path, "train").vocabulary.names) == sorted(exports.CLASSES)
    assert "'animals'" in caplog.text
    file = tmp_path / "train" / "_annotations.coco.json"
    document = json.loads(file.read_text())
    document["annotations"][0]["category_id"] = 0  # annotated, so it is one
    file.write_text(json.dumps(document))
    assert "animals" in load_split(tmp_path, "train").vocabulary.names


def test_categories_that_nobody_annotated_are_said(tmp_path):
    exports.label_studio(tmp_path)
    (line,) = Splits(DataConfig(root=str(tmp_path)), seed=0).remarks()
    assert "2 classes (blurred, sharp)" in line


def test_absolute_names_of_another_machine_are_found_by_name(tmp_path, caplog):
    exports.sahi(tmp_path, home="C:\\Users\\someone\\pictures")
    assert labels(load_split(tmp_path, "train")) == exports.truth("train")
    assert "found" in caplog.text


def test_an_absolute_name_that_two_files_have_is_refused(tmp_path):
    exports.sahi(tmp_path, home="/home/someone/pictures")
    shutil.copytree(tmp_path / "train", tmp_path / "copy" / "deeper")
    shutil.move(tmp_path / "train", tmp_path / "other")
    with pytest.raises(DataError) as caught:
        load_split(tmp_path, "train")
    assert caught.value.code == "file_outside_folder"


@pytest.mark.parametrize("ending", ["xmp", "png", "part"])
def test_a_file_beside_a_missing_image_is_not_taken_for_it(tmp_path, ending):
    exports.supervision(tmp_path)
    missing = tmp_path / "train" / "train0.jpg"
    missing.rename(tmp_path / "train" / f"train0.jpg.{ending}")
    assert not load_split(tmp_path, "train").path(0).exists()


# Names in another form of Unicode


def with_names(root, listed, *stored):
    """A split whose annotation file lists some names, and whose folder has others."""
    exports.supervision(root)
    file = root / "annotations" / "instances_train.json"
    document = json.loads(file.read_text())
    document["images"] = [image | {"file_name": name} for image, name in zip(document["images"], listed, strict=False)]
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] <= len(listed)]
    file.write_text(json.dumps(document))
    picture = (root / "train" / "train0.jpg").read_bytes()
    shutil.rmtree(root / "train")
    for name in stored:
        (root / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "train" / name).write_bytes(picture)
    return root


def missing(root):
    found = {finding.code: finding for finding in check_split(root, "train", progress=False).findings}
    return found.get("missing_images")


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("listed", ["NFC", "NFD"])
def test_a_file_is_found_in_either_form_also_among_many(tmp_path, listed, on_disk):
    plain = [f"{number}.jpg" for number in range(8)]
    name = "Čaj/Café Ås.jpg"
    listed, stored = unicodedata.normalize(listed, name), unicodedata.normalize(on_disk, name)
    root = with_names(tmp_path, [*plain, listed], *plain, stored)
    assert load_split(root, "train").file_names.tolist() == [*plain, stored]
    assert missing(root) is None


def test_two_files_that_look_alike_are_told_apart_in_words(tmp_path):
    neither = "Cafe\u0301 A\u030as.jpg"  # decomposed
    mixed = ["Caf\u00e9 A\u030as.jpg", "Cafe\u0301 \u00c5s.jpg"]
    root = with_names(tmp_path, [neither], *mixed)
    assert load_split(root, "train").file_names.tolist() == [neither]
    advice = missing(root).advice
    assert ascii(neither) in advice
    assert any(ascii(name) in advice for name in mixed)


def test_a_listed_file_is_not_taken_for_another(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
    root = with_names(tmp_path, [composed, decomposed], decomposed)
    assert load_split(root, "train").file_names.tolist() == [composed, decomposed]
    assert missing(root).count == 1


# What the user says


def test_a_test_split_is_never_taken_for_the_train_split(tmp_path):
    exports.supervision(tmp_path)
    (tmp_path / "annotations" / "instances_train.json").unlink()
    with pytest.raises(DataError) as caught:
        load_split(tmp_path, "train")
    assert caught.value.code == "split_missing"


def test_names_of_another_machine_are_found_in_the_folder_that_is_given(tmp_path):
    exports.sahi(tmp_path / "data", home="C:\\data\\set")
    shutil.move(tmp_path / "data" / "train", tmp_path / "pictures")
    table = load_split(tmp_path / "data", "train", Given(images=str(tmp_path / "pictures")))
    assert labels(table) == exports.truth("train")
    assert table.image_dir == tmp_path / "pictures"


def test_copies_are_made_of_images_outside_the_data_set(tmp_path, monkeypatch):
    from cocotag.data.loading.image_cache import cached_paths

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    exports.supervision(tmp_path / "data")
    shutil.move(tmp_path / "data" / "train", tmp_path / "pictures")
    splits = Splits(DataConfig(root=str(tmp_path / "data"), images=str(tmp_path / "pictures")), seed=0)
    assert splits.faults() == []
    paths = [*splits.train.paths(), *splits.tune.paths()]
    assert len(cached_paths(paths, splits.folders, 32)) == len(paths)


def test_what_the_user_says_is_taken(tmp_path):
    exports.supervision(tmp_path / "data")
    shutil.move(tmp_path / "data" / "train", tmp_path / "elsewhere")
    shutil.move(tmp_path / "data" / "annotations" / "instances_train.json", tmp_path / "labels-train.json")
    given = Given(f"{tmp_path}/labels-{{split}}.json", str(tmp_path / "elsewhere"))
    assert labels(load_split(tmp_path / "data", "train", given)) == exports.truth("train")
    with pytest.raises(DataError) as caught:
        load_split(tmp_path / "data", "val", given)
    assert caught.value.code == "split_missing"


def test_two_layouts_at_once_are_told_from_each_other(tmp_path):
    exports.supervision(tmp_path)
    exports.roboflow(tmp_path)
    place = find(tmp_path, "train")
    assert place.annotations == tmp_path / "annotations" / "instances_train.json"
    assert "not train/_annotations.coco.json" in place.note


def test_without_a_known_layout_the_json_files_are_named(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "mine.json").write_text("{}")
    assert find_splits(tmp_path) == {}
    with pytest.raises(DataError, match=r"labels/mine\.json.*--data\.annotations") as caught:
        find(tmp_path, "train")
    assert caught.value.code == "split_missing"


@pytest.mark.parametrize("kind", ["masks", "mixed"])
def test_crowds_that_are_objects_are_explained_and_can_be_taken(tmp_path, kind):
    exports.datumaro(tmp_path, kind=kind)
    config = {"root": str(tmp_path), "tune_split": "val"}
    faults = Splits(DataConfig(**config), seed=0).faults()
    assert any("crowd_is_object" in fault for fault in faults) == (kind == "masks")
    report = check_split(tmp_path, "train", progress=False)
    advice = " ".join(finding.advice for finding in report.findings)
    assert "cat: on 6 images" in advice and "--data.crowd_is_object true" in advice
    given = Given(crowd_is_object=True)
    assert labels(load_split(tmp_path, "train", given)) == exports.truth("train")
    assert check_split(tmp_path, "train", given, progress=False).ok
    assert Splits(DataConfig(**config, crowd_is_object=True), seed=0).faults() == []


def test_a_file_alone_finds_its_images_and_has_the_name_of_its_folder(tmp_path):
    exports.fiftyone(tmp_path)
    assert labels(load_annotations(tmp_path / "val" / "labels.json")) == exports.truth("val")
