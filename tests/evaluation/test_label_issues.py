"""Likely label errors of an evaluation: the table, the file, the page, and the doctor's finding."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cocotag.cli.main import main
from cocotag.data.annotations import load_split
from cocotag.evaluation.label_issues import LEAST_CHANCE, MISSING, WRONG, label_issues
from cocotag.evaluation.page import page
from cocotag.evaluation.predictions import Predictions
from cocotag.evaluation.result import evaluate
from cocotag.evaluation.run import check_labels
from cocotag.evaluation.write import write_evaluation
from cocotag.inference.tagger import Tagger

PLANTED = {(3, 1): MISSING, (7, 2): WRONG}


def scored(images=120, classes=4):
    """Well separated scores of labels of which two are wrong."""
    rng = np.random.default_rng(0)
    truth = rng.random((images, classes)) < 0.3
    truth[3, 1], truth[7, 2] = True, False
    labels = truth.copy()
    for cell in PLANTED:
        labels[cell] = not truth[cell]
    probs = 1 / (1 + np.exp(-(8 * truth - 4 + rng.normal(0, 0.7, truth.shape))))
    return probs.astype(np.float32), labels


@pytest.fixture
def predictions():
    probs, labels = scored()
    names = np.array([f"{row}.jpg" for row in range(len(labels))])
    return Predictions(names, ("a", "b", "c", "d"), probs, probs >= 0.5, labels, np.ones_like(labels))


def test_planted_errors_come_first_with_their_kind(predictions):
    found = label_issues(predictions)
    assert list(found) == ["file_name", "name", "index", "kind", "score", "chance", "row"]
    first = found[:2].set_index(["row", "index"])
    assert first["kind"].to_dict() == PLANTED
    assert first["file_name"].to_dict() == {(3, 1): "3.jpg", (7, 2): "7.jpg"}
    assert first["name"].to_dict() == {(3, 1): "b", (7, 2): "c"}
    assert found["chance"].is_monotonic_decreasing
    assert found["chance"].min() >= LEAST_CHANCE


def test_without_suspicion_the_table_is_empty(predictions):
    truth = predictions.probs >= 0.5
    assert label_issues(replace(predictions, targets=truth, known=np.zeros_like(truth))).empty


@pytest.fixture
def evaluation(toy_bundle, sample_dir):
    """An evaluation of well separated scores of the sample, with one label removed; its first file has an awkward name."""
    table = load_split(sample_dir, "val")
    metadata = Tagger.load(toy_bundle).metadata
    names = list(metadata.vocabulary.names)
    columns = [names.index(name) for name in table.vocabulary.names]
    probs = np.full((len(table), len(names)), 0.02, np.float32)
    probs[:, columns] = np.where(table.targets, 0.97, 0.03)
    row, index = np.argwhere(table.targets)[0]
    targets, file_names = table.targets.copy(), table.file_names.astype(object)
    targets[row, index] = False
    file_names[row] = "=1+1\udce9<b>.jpg"
    changed = replace(table, targets=targets, file_names=np.array(file_names, dtype=np.str_))
    made = evaluate(changed, probs, metadata, run={}, data={"split": "val"})
    return made, names[columns[index]]


def test_the_file_has_the_table_and_no_formula(evaluation, tmp_path):
    made, name = evaluation
    write_evaluation(made, tmp_path)
    stored = pd.read_csv(tmp_path / "label_issues.csv")
    assert stored["name"][0] == name
    assert stored["file_name"][0].startswith("./=1+1")
    np.testing.assert_allclose(stored["chance"], made.label_issues["chance"])


def test_the_page_shows_the_likeliest_and_escapes_them(evaluation):
    made, name = evaluation
    section = page(made).split('id="label-issues"')[1].split("<h2")[0]
    assert f"{MISSING}: {name}" in section
    assert f"chance {100 * made.label_issues['chance'][0]:.0f}%" in section
    assert "&lt;b&gt;" in section
    assert "<b>" not in section


def test_the_doctor_notes_them_and_still_ends_well(toy_bundle, sample_dir, capsys):
    assert main(["check", str(sample_dir), "--split", "val", "--json", "--model", str(toy_bundle)]) == 0
    codes = {finding["code"]: finding["severity"] for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert codes.get("likely_label_errors", "note") == "note"
    assert "labels_not_judged" not in codes


def test_the_doctor_lists_what_the_table_has(toy_bundle, sample_dir, monkeypatch, evaluation):
    made, name = evaluation
    monkeypatch.setattr("cocotag.evaluation.run.label_issues", lambda predictions: made.label_issues)
    (finding,) = check_labels(Tagger.load(toy_bundle), sample_dir, "val", progress=False)
    assert (finding.severity, finding.code, finding.count) == ("note", "likely_label_errors", len(made.label_issues))
    assert f"{name} is not labelled but may be present" in finding.examples[0]
    assert finding.examples[0].isprintable()


def test_a_split_that_cannot_be_loaded_is_named_beside_its_faults(toy_bundle, sample_dir, tmp_path, capsys):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val").symlink_to(sample_dir / "val")
    file = tmp_path / "annotations" / "instances_val.json"
    document = json.loads((sample_dir / "annotations" / "instances_val.json").read_text())
    document["annotations"][0]["category_id"] = 12345
    file.write_text(json.dumps(document))
    assert main(["check", str(tmp_path), "--split", "val", "--json", "--model", str(toy_bundle)]) == 1
    codes = {finding["code"] for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert codes >= {"annotations_of_unknown_categories", "labels_not_judged"}
