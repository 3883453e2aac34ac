import json
import shutil

import numpy as np
import onnx
import pytest
from error_codes import ends_with

from cocotag.bundle import METADATA_KEY, read_metadata
from cocotag.cli.main import main
from cocotag.data.annotations import load_split
from cocotag.inference.tagger import Tagger
from cocotag.labels import COCO80
from cocotag.photos.decode import load_square
from cocotag.thresholds import choose_thresholds, parse_rule


def tune_thresholds(bundle, root, out, *words):
    return main(["tune-thresholds", str(bundle), "--root", str(root), "--split", "train", "--out", str(out), *words])


def test_thresholds_are_those_of_the_images_and_the_rest_stays(toy_bundle, sample_dir, tmp_path, capsys):
    before = toy_bundle.read_bytes()
    out = tmp_path / "calibrated.onnx"
    assert tune_thresholds(toy_bundle, sample_dir, out) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert toy_bundle.read_bytes() == before
    tagger, made = Tagger.load(toy_bundle), read_metadata(out)
    table = load_split(sample_dir, "train")
    column = [COCO80.names.index(name) for name in table.vocabulary.names]
    images = np.stack([load_square(path, tagger.metadata.image_size) for path in table.paths()])
    targets, known = np.zeros((2, len(table), 80), bool)
    targets[:, column], known[:, column] = table.targets, table.known
    expected = choose_thresholds(tagger.predict(images), targets, known).values
    support = targets.any(axis=0)
    np.testing.assert_allclose(np.array(made.thresholds)[support], expected[support], atol=1e-6)
    assert set(np.array(made.thresholds)[~support]) == {0.5}
    assert 10 < support.sum() < 80
    assert made.tuned_on["images"] == len(table)
    assert made.positives == tagger.metadata.positives
    graphs = [onnx.load_model(str(path)).graph for path in (toy_bundle, out)]
    assert graphs[0] == graphs[1]


def expected_thresholds(bundle, root, text):
    """By the rule on the bundle's outputs, and which classes can be told."""
    tagger, table = Tagger.load(bundle), load_split(root, "train")
    column = [COCO80.names.index(name) for name in table.vocabulary.names]
    images = np.stack([load_square(path, tagger.metadata.image_size) for path in table.paths()])
    targets, known = np.zeros((2, len(table), 80), bool)
    targets[:, column], known[:, column] = table.targets, table.known
    return choose_thresholds(tagger.predict(images), targets, known, parse_rule(text)), targets.any(axis=0)


@pytest.mark.parametrize("text", ["f1", "precision:0.9", "recall:0.8"])
def test_a_rule_is_followed_and_kept_on_record(toy_bundle, sample_dir, tmp_path, capsys, text):
    out = tmp_path / "calibrated.onnx"
    assert tune_thresholds(toy_bundle, sample_dir, out, "--thresholds", text) == 0
    said = capsys.readouterr().out
    expected, told = expected_thresholds(toy_bundle, sample_dir, text)
    made = read_metadata(out)
    np.testing.assert_allclose(np.array(made.thresholds)[told], expected.values[told], atol=1e-6)
    assert set(np.array(made.thresholds)[~told]) == {0.5}
    assert made.chosen_by == {**expected.record(), "classes": int(told.sum())}
    assert all(set(one["untold"]) == set(np.flatnonzero(~told)) for one in made.for_precision.values())
    if text == "precision:0.9":
        assert made.for_precision["0.9"]["unmet"] == expected.unmet.sum()
        np.testing.assert_allclose(made.for_precision["0.9"]["thresholds"], expected.values, atol=1e-6)
    assert f"rule: {text} for {told.sum()} classes" in said
    unmet = expected.unmet.sum()
    assert (unmet > 0) == text.startswith("precision")  # mean colours tell little
    assert (f"threshold for {unmet} classes" in said) == (unmet > 0)
    assert main(["info", str(out)]) == 0
    assert f"\nthresholds   {text} for {told.sum()} classes" in capsys.readouterr().out


def test_one_for_all_is_for_those_too_that_cannot_be_told(toy_bundle, sample_dir, tmp_path):
    out = tmp_path / "calibrated.onnx"
    assert tune_thresholds(toy_bundle, sample_dir, out, "--thresholds", "f1:global") == 0
    expected, _ = expected_thresholds(toy_bundle, sample_dir, "f1:global")
    made = read_metadata(out)
    np.testing.assert_allclose(made.thresholds, expected.overall, rtol=1e-6)
    assert made.chosen_by == {"rule": "f1:global"}


def test_a_fixed_threshold_needs_no_images_and_forgets_none(toy_bundle, sample_dir, tmp_path, capsys):
    chosen, fixed = tmp_path / "chosen.onnx", tmp_path / "fixed.onnx"
    assert tune_thresholds(toy_bundle, sample_dir, chosen) == 0
    assert main(["tune-thresholds", str(chosen), "--thresholds", "fixed:0.25", "--out", str(fixed)]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "thresholds of 80 classes set",
        "rule: fixed:0.25",
        str(fixed),
    ]
    made = read_metadata(fixed)
    assert made.thresholds == (0.25,) * 80
    assert made.chosen_by == {"rule": "fixed:0.25"}
    assert made.tuned_on == read_metadata(chosen).tuned_on != {}
    assert (
        main(
            ["tune-thresholds", str(chosen), "--thresholds", "fixed:0.25", "--root", str(tmp_path / "nowhere"), "--split", "x"]
        )
        == 0
    )
    assert read_metadata(chosen) == made


def test_without_a_fixed_threshold_images_are_asked_for(toy_bundle, tmp_path, capsys):
    for words in ([], ["--thresholds", "recall:0.8", "--split", "val"]):
        with pytest.raises(SystemExit) as stop:
            main(["tune-thresholds", str(toy_bundle), "--out", str(tmp_path / "o"), *words])
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert "--root" in error and "--split" in error


@pytest.mark.parametrize("command", ["tune-thresholds", "evaluate", "export"])
def test_what_is_no_rule_is_refused_with_the_forms_there_are(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "a", "--root", "b", "--split", "c", "--out", "d", "--thresholds", "precision:2"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "'precision:2'" in error
    assert "recall:0.8" in error


def test_evaluation_takes_a_fixed_threshold_in_place_of_the_bundles(toy_bundle, sample_dir, tmp_path):
    chosen, report = tmp_path / "chosen.onnx", tmp_path / "report"
    assert tune_thresholds(toy_bundle, sample_dir, chosen) == 0
    words = ["evaluate", str(chosen), "--root", str(sample_dir), "--split", "val"]
    assert main([*words, "--thresholds", "fixed:0.25", "--out", str(report)]) == 0
    made = json.loads((report / "report.json").read_text())
    assert {row["threshold"] for row in made["per_class"]} == {0.25}
    assert made["run"]["thresholds"] == "fixed:0.25"
    assert main([*words, "--out", str(tmp_path / "own")]) == 0
    own = json.loads((tmp_path / "own" / "report.json").read_text())
    assert len({row["threshold"] for row in own["per_class"]}) > 10
    assert own["run"]["thresholds"].startswith("f1 for ")
    assert own["summary"]["map"] == made["summary"]["map"]
    assert own["summary"]["micro_f1"] != made["summary"]["micro_f1"]


@pytest.mark.parametrize("text", ["f1", "f1:global", "precision:0.9", "recall:0.8"])
def test_evaluation_chooses_nothing_and_says_what_does(toy_bundle, sample_dir, tmp_path, capsys, text):
    words = ["evaluate", str(toy_bundle), "--root", str(sample_dir), "--split", "val", "--out", str(tmp_path / "report")]
    with ends_with("rule_not_fixed"):
        assert main([*words, "--thresholds", text]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"cocotag tune-thresholds {toy_bundle} --root DIR --split SPLIT --thresholds {text}" in error
    assert not (tmp_path / "report").exists()


def test_a_bundle_from_before_rules_were_recorded_still_serves(toy_bundle, sample_dir, tmp_path, capsys):
    model = onnx.load_model(str(toy_bundle))
    document = json.loads({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])
    del document["chosen_by"]
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(document)})
    old = tmp_path / "old.onnx"
    onnx.save_model(model, str(old))
    assert read_metadata(old) == read_metadata(toy_bundle)
    assert main(["info", str(old)]) == 0
    assert "\nthresholds " not in capsys.readouterr().out
    assert main(["evaluate", str(old), "--root", str(sample_dir), "--split", "val", "--out", str(tmp_path / "report")]) == 0
    run = json.loads((tmp_path / "report" / "report.json").read_text())["run"]
    assert run["thresholds"] == "by a rule that the bundle does not name"
    assert tune_thresholds(old, sample_dir, tmp_path / "new.onnx") == 0
    assert read_metadata(tmp_path / "new.onnx").chosen_by["rule"] == "f1"


def test_figures_from_these_images_are_optimistic_from_then_on(toy_bundle, sample_dir, tmp_path):
    first, second = tmp_path / "1.onnx", tmp_path / "2.onnx"
    assert tune_thresholds(toy_bundle, sample_dir, first) == 0
    other = tmp_path / "data"
    shutil.copytree(sample_dir, other)
    document = json.loads((other / "annotations" / "instances_train.json").read_text())
    document["images"] = document["images"][:60]
    kept = {image["id"] for image in document["images"]}
    document["annotations"] = [note for note in document["annotations"] if note["image_id"] in kept]
    (other / "annotations" / "instances_train.json").write_text(json.dumps(document))
    assert tune_thresholds(first, other, second) == 0
    for bundle, split, optimistic in ((first, "train", True), (first, "val", False), (second, "train", True)):
        report = tmp_path / f"{bundle.stem}-{split}"
        words = [str(bundle), "--root", str(sample_dir), "--split", split, "--out", str(report)]
        assert main(["evaluate", *words]) == 0
        warnings = json.loads((report / "report.json").read_text())["warnings"]
        assert any("Optimistic" in warning for warning in warnings) == optimistic


def test_images_that_cannot_be_read_are_named(toy_bundle, sample_dir, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(sample_dir, data)
    bad = load_split(data, "train").path(3)
    bad.write_bytes(b"no image")
    assert tune_thresholds(toy_bundle, data, tmp_path / "out.onnx") == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if bad.name in line]
    assert ": 1." in line
    assert read_metadata(tmp_path / "out.onnx").tuned_on["images"] == 119


def test_nothing_is_replaced_unasked(toy_bundle, sample_dir, tmp_path, capsys):
    out = tmp_path / "out.onnx"
    out.write_bytes(b"mine")
    with ends_with("output_exists"):
        assert tune_thresholds(toy_bundle, sample_dir, out) == 2
    error = capsys.readouterr().err
    assert str(out) in error and "--overwrite" in error
    assert out.read_bytes() == b"mine"
    assert tune_thresholds(toy_bundle, sample_dir, out, "--overwrite") == 0
    assert read_metadata(out).tuned_on["split"] == "train"


@pytest.mark.parametrize(
    ("bundle", "root", "code", "name"),
    [("no.onnx", None, "bundle_missing", "no.onnx"), (None, "nowhere", "split_missing", "nowhere is not a folder")],
)
def test_bad_input_is_one_line(toy_bundle, sample_dir, tmp_path, capsys, bundle, root, code, name):
    given = tmp_path / bundle if bundle else toy_bundle, tmp_path / root if root else sample_dir
    with ends_with(code):
        assert tune_thresholds(*given, tmp_path / "o") == 2
    error = capsys.readouterr().err
    assert name in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_without_another_place_the_bundle_itself_gets_the_thresholds(toy_bundle, sample_dir, tmp_path):
    out, own = tmp_path / "out.onnx", tmp_path / "own.onnx"
    assert tune_thresholds(toy_bundle, sample_dir, out) == 0
    shutil.copy(toy_bundle, own)
    assert main(["tune-thresholds", str(own), "--root", str(sample_dir), "--split", "train"]) == 0
    assert read_metadata(own) == read_metadata(out)


def test_where_only_positives_are_known_nothing_is_chosen(toy_bundle, sample_dir, tmp_path, capsys):
    (tmp_path / "none.yaml").write_text("known: []\nnames: {}\n")
    with ends_with("no_tunable_class"):
        assert tune_thresholds(toy_bundle, sample_dir, tmp_path / "c.onnx", "--aliases", str(tmp_path / "none.yaml")) == 2
    assert "'train'" in capsys.readouterr().err
    assert not (tmp_path / "c.onnx").exists()
    (tmp_path / "one.yaml").write_text("known: [clock]\nnames: {}\n")
    assert tune_thresholds(toy_bundle, sample_dir, tmp_path / "c.onnx", "--aliases", str(tmp_path / "one.yaml")) == 0
    changed = np.array(read_metadata(tmp_path / "c.onnx").thresholds) != 0.5
    assert [COCO80.names[index] for index in np.flatnonzero(changed)] == ["clock"]
