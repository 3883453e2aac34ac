import json
import shutil

import pytest
from error_codes import ends_with

from cocotag.cli.main import main
from cocotag.data.annotations import load_split


@pytest.fixture
def run(capsys):
    def command(*words):
        status = main(["imbalance", *map(str, words)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


@pytest.fixture
def mistake(run):
    """One line on stderr that names a value, nothing else, and exit status 2."""

    def refused(*words, code, naming):
        with ends_with(code):
            status, out, err = run(*words)
        assert (status, out) == (2, "")
        assert err.count("\n") == 1
        assert str(naming) in err

    return refused


def annotations(root, split):
    return root / "annotations" / f"instances_{split}.json"


def test_images_beside_the_annotations_are_looked_at(run, sample_dir, tmp_path):
    status, out, _ = run(annotations(sample_dir, "train"), annotations(sample_dir, "val"), "--out", tmp_path / "out")
    assert status == 0
    assert "120" in out
    document = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert document["brightness"]["measured"] == document["images"] == 120  # the first split is the main one
    assert document["integrity"]["images_read"]
    assert document["integrity"]["compared_with"] == ["val"]
    assert [entry["split"] for entry in document["splits"]] == ["train", "val"]
    assert {"mean", "std", "dark", "bright", "negative_share"} <= document["brightness"].keys()


def test_without_images_the_report_is_made_all_the_same(run, sample_dir, tmp_path):
    labels = shutil.copy(annotations(sample_dir, "val"), tmp_path / "labels.json")
    status, _, _ = run(labels, "--out", tmp_path / "out")
    assert status == 0
    document = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert "brightness" not in document
    assert not document["integrity"]["images_read"]
    status, _, _ = run(labels, "--images", sample_dir / "val", "--out", tmp_path / "with")
    assert status == 0
    assert json.loads((tmp_path / "with" / "dataset.json").read_text())["brightness"]["measured"] == 40


def test_an_image_that_cannot_be_read_is_named(run, sample_dir, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(sample_dir, root)
    victim = load_split(root, "val").path(3)
    victim.write_bytes(b"")
    status, out, err = run(annotations(root, "val"), "--out", tmp_path / "out")
    assert status == 1
    assert "1 of 40" in out and victim.name in out
    assert "Traceback" not in err
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["brightness"]["unreadable"] == 1


def test_the_commonest_mistakes_are_one_line(mistake, sample_dir, tmp_path):
    out = tmp_path / "out"
    mistake(tmp_path, "--out", out, code="split_missing", naming=tmp_path)
    (tmp_path / "words.json").write_text("hello")
    mistake(tmp_path / "words.json", "--out", out, code="not_json", naming="words.json")
    (tmp_path / "list.json").write_text("[1, 2]")
    mistake(tmp_path / "list.json", "--out", out, code="not_coco_json", naming="list.json")
    labels = annotations(sample_dir, "val")
    mistake(labels, "--images", tmp_path / "none", "--out", out, code="not_a_folder", naming=tmp_path / "none")
    mistake(labels, "--out", tmp_path / "words.json", code="not_writable", naming="words.json")
    assert not out.exists()


def test_an_output_that_cannot_be_written_is_found_before_the_work(mistake, sample_dir, tmp_path, monkeypatch):
    def reads(*_args, **_kwargs):
        raise AssertionError("it began to work")

    monkeypatch.setattr("cocotag.data.annotations.load_annotations", reads)
    (tmp_path / "file").write_text("")
    mistake(annotations(sample_dir, "val"), "--out", tmp_path / "file" / "out", code="not_writable", naming=tmp_path / "file")


def test_a_report_that_is_there_is_kept(run, mistake, sample_dir, tmp_path):
    words = [annotations(sample_dir, "val"), "--out", tmp_path]
    assert run(*words)[0] == 0
    mistake(*words, code="output_exists", naming="--overwrite")
    assert run(*words, "--overwrite")[0] == 0


def test_ctrl_c_leaves_nothing(run, sample_dir, tmp_path, monkeypatch):
    def stopped(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("cocotag.imbalance.brightness.measure_brightness", stopped)
    status, _, err = run(annotations(sample_dir, "val"), "--out", tmp_path / "out")
    assert status == 130
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
