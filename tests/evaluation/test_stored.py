import json
import shutil

import numpy as np
import pandas as pd
import pytest
from made_evaluations import made, table_of

from cocotag.errors import DataError
from cocotag.evaluation.stored import SCHEMA_VERSION, read_evaluation
from cocotag.evaluation.write import write_evaluation

NAMES = ["cat", "dog", "owl", "newt"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """An evaluation and its folder; ``newt`` has no positives and no predictions."""
    targets = np.random.default_rng(0).random((60, 4)) < [0.5, 0.4, 0.3, 0.0]
    found = made(table_of(targets, NAMES), noise=0.1)
    folder = tmp_path_factory.mktemp("written") / "report"
    write_evaluation(found, folder)
    return found, folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written[1], tmp_path / "report")


def edit(folder, **changes):
    """Replace keys of the report and remove the predictions."""
    report = folder / "report.json"
    report.write_text(json.dumps({**json.loads(report.read_text("utf-8")), **changes}), encoding="utf-8")
    (folder / "predictions.npz").unlink()


def test_written_then_read_is_the_same(written):
    found, folder = written
    stored = read_evaluation(folder)
    pd.testing.assert_frame_equal(stored.per_class, found.per_class, check_dtype=False)
    pd.testing.assert_frame_equal(stored.summary, found.summary, check_dtype=False)
    assert stored.warnings == found.warnings and stored.data == found.data
    np.testing.assert_array_equal(stored.predictions.probs, found.predictions.probs)
    assert stored.per_class["status"].tolist() == ["ok", "ok", "ok", "no_positives_or_predictions"]
    assert json.loads((folder / "report.json").read_text("utf-8"))["schema_version"] == SCHEMA_VERSION == 2


def test_the_status_of_version_1_is_read_with_its_new_name(folder):
    rows = json.loads((folder / "report.json").read_text("utf-8"))["per_class"]
    for row in rows:
        if row["status"] == "no_positives_or_predictions":
            row["status"] = "neither"
    edit(folder, schema_version=1, per_class=rows)
    stored = read_evaluation(folder / "report.json")
    assert stored.per_class["status"].tolist() == ["ok", "ok", "ok", "no_positives_or_predictions"]


def test_version_1_without_a_status_is_read(folder):
    rows = json.loads((folder / "report.json").read_text("utf-8"))["per_class"]
    edit(folder, schema_version=1, per_class=[{key: row[key] for key in row if key != "status"} for row in rows])
    assert "status" not in read_evaluation(folder).per_class


def test_the_status_of_version_2_is_read_unchanged(folder):
    rows = json.loads((folder / "report.json").read_text("utf-8"))["per_class"]
    edit(folder, per_class=[{**row, "status": "neither"} for row in rows])
    assert set(read_evaluation(folder).per_class["status"]) == {"neither"}


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_a_report_that_is_not_json_is_refused(folder, text):
    (folder / "report.json").write_text(text)
    with pytest.raises(DataError, match=r"report\.json") as caught:
        read_evaluation(folder)
    assert caught.value.code == "not_json"


@pytest.mark.parametrize(
    ("changes", "code", "value"),
    [
        ({"schema_version": 99}, "schema_unsupported", "99"),
        ({"schema_version": 0}, "schema_unsupported", "0"),
        ({"per_class": None}, "not_a_report", "per_class"),
        ({"per_class": [{"name": "cat"}]}, "not_a_report", "support"),
        ({"per_class": [1], "summary": {"map": 1}}, "not_a_report", "report.json"),
    ],
)
def test_other_reports_are_refused(folder, changes, code, value):
    edit(folder, **changes)
    with pytest.raises(DataError) as caught:
        read_evaluation(folder)
    assert caught.value.code == code
    assert value in str(caught.value) and "\n" not in str(caught.value)


def test_predictions_of_another_evaluation_are_refused(folder):
    targets = np.random.default_rng(1).random((60, 4)) < 0.4
    made(table_of(targets, NAMES), seed=1).predictions.save(folder / "predictions.npz")
    with pytest.raises(DataError, match=r"predictions\.npz") as caught:
        read_evaluation(folder)
    assert caught.value.code == "report_mismatch"


def test_the_report_is_found_in_a_folder_or_a_run(folder, tmp_path):
    for path in (folder / "report.json", folder, tmp_path):
        assert read_evaluation(path).path == folder / "report.json"
    (tmp_path / "tagger.onnx").touch()
    (folder / "report.json").unlink()
    with pytest.raises(DataError, match=f"cocotag evaluate {tmp_path / 'tagger.onnx'}") as caught:
        read_evaluation(tmp_path)
    assert caught.value.code == "report_missing"
    with pytest.raises(DataError, match="nowhere") as caught:
        read_evaluation(tmp_path / "nowhere")
    assert caught.value.code == "path_missing"


def test_one_of_several_reports_must_be_named(written, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(written[1], tmp_path / name)
    with pytest.raises(DataError, match="a, b") as caught:
        read_evaluation(tmp_path)
    assert caught.value.code == "report_ambiguous"
