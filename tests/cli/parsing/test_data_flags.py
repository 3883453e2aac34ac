"""The flags that say where a data set's files are, in the commands that read one."""

import json
import shutil

import exports
import pytest

from cocotag.cli.main import main


def run(capsys, *words):
    try:
        status = main(list(map(str, words)))
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


def test_the_only_split_need_not_be_named(tmp_path, toy_bundle, capsys):
    exports.fiftyone(tmp_path / "data", together=True)
    status, out, err = run(capsys, "check", tmp_path / "data", "--json")
    assert status == 0, err
    assert json.loads(out)["split"] == "default"
    status, _, err = run(capsys, "evaluate", toy_bundle, "--root", tmp_path / "data", "--out", tmp_path / "report")
    assert status == 0, err


def test_of_several_splits_one_is_asked_for(tmp_path, capsys):
    exports.roboflow(tmp_path)
    status, _, err = run(capsys, "check", tmp_path)
    assert status == 2
    assert "train, valid" in err and "--split" in err


def test_without_a_data_set_its_files_are_asked_for(toy_bundle, tmp_path, capsys):
    status, _, err = run(capsys, "evaluate", toy_bundle, "--out", tmp_path / "report")
    assert status == 2
    assert "--data.annotations" in err


@pytest.mark.parametrize("pattern", [True, False])
def test_every_command_reads_the_files_that_are_given(tmp_path, toy_bundle, capsys, pattern):
    exports.supervision(tmp_path / "data")
    (tmp_path / "labels").mkdir()
    shutil.move(tmp_path / "data" / "val", tmp_path / "pictures" / "val")
    shutil.move(tmp_path / "data" / "annotations" / "instances_val.json", tmp_path / "labels" / "my val.json")
    name = "{split}" if pattern else "val"
    files = ["--data.annotations", tmp_path / "labels" / f"my {name}.json", "--data.images", tmp_path / "pictures" / name]
    where = ["--split", "val"] if pattern else []
    root = ["--root", tmp_path] if pattern else []
    for number, words in enumerate(
        [
            ["check", *([tmp_path] if pattern else []), *where],
            ["evaluate", toy_bundle, *root, *where, "--out", tmp_path / "report"],
            ["tune-thresholds", toy_bundle, *root, *where, "--out", tmp_path / "tuned.onnx"],
        ]
    ):
        status, out, err = run(capsys, *words, *files)
        assert status == 0, (number, out, err)


def test_crowds_are_objects_where_the_user_says_so(tmp_path, toy_bundle, capsys):
    exports.datumaro(tmp_path / "data", kind="masks")
    flag = ["--data.crowd_is_object", "true"]
    assert run(capsys, "check", tmp_path / "data", "--split", "val")[0] == 1
    assert run(capsys, "check", tmp_path / "data", "--split", "val", *flag)[0] == 0
    assert run(capsys, "imbalance", tmp_path / "data", "--out", tmp_path / "none")[0] == 1
    status, out, _ = run(capsys, "imbalance", tmp_path / "data", "--out", tmp_path / "all", *flag)
    assert status == 0
    assert "train: 12 images, 3 classes" in out
    words = ["evaluate", toy_bundle, "--root", tmp_path / "data", "--split", "val", "--out", tmp_path / "report"]
    assert run(capsys, *words, *flag)[0] == 0
    assert run(capsys, "check", tmp_path / "data", "--split", "val", "--data.crowd_is_object", "maybe")[0] == 2


def test_splits_that_number_their_classes_otherwise_are_compared_by_name(tmp_path, capsys):
    exports.globox(tmp_path / "data")
    status, _, err = run(capsys, "imbalance", tmp_path / "data", "--out", tmp_path / "report")
    assert status == 0
    assert "split 'val' does not list 1 class (bird)" in err
    rows = (tmp_path / "report" / "drift.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["bird", "cat", "dog"]


def test_exports_of_one_file_name_are_told_apart(tmp_path, capsys):
    exports.label_studio(tmp_path)
    files = [tmp_path / split / "result.json" for split in ("train", "val")]
    status, out, _ = run(capsys, "imbalance", *files, "--out", tmp_path / "report")
    assert status == 0
    assert [line.split(":")[0] for line in out.splitlines()[:2]] == ["train", "val"]
