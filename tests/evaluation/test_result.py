import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cocotag.bundle import BundleMetadata
from cocotag.data.annotations import AnnotationTable, load_split
from cocotag.errors import BundleError, DataError, OutputError
from cocotag.evaluation.markdown import summary_table
from cocotag.evaluation.predictions import Predictions
from cocotag.evaluation.result import SCHEMA_VERSION, evaluate
from cocotag.evaluation.write import FILES, write_evaluation
from cocotag.labels import Category, Vocabulary
from cocotag.metrics import SUMMARY

NAMES = ["cat", "dog", "<b>& \"owl\", 'barn'", "newt"]
COLUMNS = "class_id,index,name,supercategory,support,predicted,tp,fp,fn,tn,threshold,precision,recall,f1,ap,status"


def _vocabulary(names):
    return Vocabulary(tuple(Category(10 + 3 * NAMES.index(name) if name in NAMES else 99, name, "animal") for name in names))


def _table(targets, names=NAMES) -> AnnotationTable:
    targets = np.asarray(targets, bool)
    images = len(targets)
    return AnnotationTable(
        vocabulary=_vocabulary(names),
        image_dir=Path("val"),
        file_names=np.array([f"{i}.jpg" for i in range(images)], dtype=np.str_),
        image_ids=np.arange(images),
        targets=targets,
        known=np.ones(targets.shape, bool),
        instances=targets.astype(np.uint16),
        sizes=np.full((images, 2), 64, np.int32),
        largest=np.zeros(images, np.float32),
    )


def _metadata(names=NAMES, threshold=0.5, **more) -> BundleMetadata:
    classes = len(names)
    return BundleMetadata(_vocabulary(names), 64, (threshold,) * classes, tuple(range(classes)), 100, **more)


def _evaluate(table, probs, metadata=None, **more):
    return evaluate(table, probs, metadata or _metadata(), run={"bundle": "tagger.onnx"}, data={"split": "val"}, **more)


@pytest.fixture
def found():
    """``newt`` has no positives here and is never predicted."""
    rng = np.random.default_rng(0)
    targets = rng.random((100, 4)) < [0.5, 0.4, 0.2, 0.0]
    probs = np.clip(rng.random((100, 4)) * 0.6 + 0.3 * targets, 0, 1).astype(np.float32) * np.float32([1, 1, 1, 0.5])
    metadata = _metadata(tuned_on={"split": "tune", "images": 32, "sha256": "0" * 64})
    return _evaluate(_table(targets), probs, metadata, warnings=["<script>alert(1)</script>"])


def test_the_files_hold_the_contract(found, tmp_path):
    write_evaluation(found, tmp_path / "new" / "report")
    out = tmp_path / "new" / "report"
    assert {path.name for path in out.iterdir()} == {*FILES} - {"baseline.csv"}
    document = json.loads((out / "report.json").read_text("utf-8"), parse_constant=lambda name: pytest.fail(name))
    first = ["schema_version", "run", "data", "config", "summary", "per_class", "warnings"]
    assert list(document) == [*first, "slices", "co_errors"]
    assert list(document["summary"]) == list(SUMMARY)
    assert all(set(entry) == {"value", "lo", "hi", "n_classes"} for entry in document["summary"].values())
    assert document["schema_version"] == SCHEMA_VERSION == 2
    assert (out / "per_class.csv").read_text("utf-8").startswith(COLUMNS + ",")


def test_csv_and_json_have_the_same_numbers(found, tmp_path):
    write_evaluation(found, tmp_path)
    document = json.loads((tmp_path / "report.json").read_text("utf-8"))
    from_json = pd.DataFrame(document["per_class"])
    from_csv = pd.read_csv(tmp_path / "per_class.csv")
    pd.testing.assert_frame_equal(from_csv, from_json, check_dtype=False)
    assert from_csv["name"].tolist() == NAMES
    summary = pd.read_csv(tmp_path / "summary.csv").set_index("metric")
    for name, entry in document["summary"].items():
        stored = [np.nan if value is None else value for value in entry.values()]
        assert summary.loc[name, ["value", "lo", "hi", "n_classes"]].tolist() == pytest.approx(stored, nan_ok=True)
    for name in ("slices", "co_errors"):
        expected = pd.DataFrame(document[name]).replace({None: np.nan})
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / f"{name}.csv"), expected, check_dtype=False)
        assert document[name]


def test_undefined_is_null_in_json_blank_in_csv_and_a_dash_on_the_page(found, tmp_path):
    write_evaluation(found, tmp_path)
    row = found.to_json()["per_class"][3]
    assert row["status"] == "no_positives_or_predictions"
    assert all(row[name] is None for name in ("precision", "recall", "f1", "ap", "f1_lo", "ap_hi", "optimistic_best_f1"))
    line = (tmp_path / "per_class.csv").read_text("utf-8").splitlines()[4]
    assert ",0.5,,,,,no_positives_or_predictions,,,,," in line
    assert found.to_json()["summary"]["map"]["n_classes"] == 3
    assert "no positives, never predicted" in (tmp_path / "report.html").read_text("utf-8")


def test_the_order_of_the_bundles_classes_does_not_matter():
    rng = np.random.default_rng(1)
    targets, probs = rng.random((30, 4)) < 0.3, rng.random((30, 4))
    order = [2, 0, 3, 1]
    plain = _evaluate(_table(targets), probs)
    moved = _evaluate(_table(targets), probs[:, order], _metadata([NAMES[i] for i in order]))
    columns = ["class_id", "name", "tp", "fp", "fn", "tn", "f1", "ap"]
    pd.testing.assert_frame_equal(
        plain.per_class[columns], moved.per_class.sort_values("class_id").reset_index(drop=True)[columns], check_exact=False
    )
    np.testing.assert_allclose(plain.summary, moved.summary)
    assert not moved.warnings


def test_a_class_the_data_set_does_not_list_is_unknown_and_named():
    targets, probs = np.eye(3, dtype=bool), np.full((3, 4), 0.9)
    found = _evaluate(_table(targets, NAMES[:3]), probs)
    row = found.per_class.iloc[3]
    assert (row.support, row.predicted, row.tn, row.status) == (0, 0, 0, "no_positives_or_predictions")
    assert found.summary.loc["micro_f1", "n_classes"] == 3
    assert any("newt" in warning for warning in found.warnings)


def test_a_class_that_the_bundle_lacks_is_excluded_and_named():
    targets = np.ones((3, 4), bool)
    found = _evaluate(_table(targets), np.full((3, 3), 0.9), _metadata(NAMES[:3]))
    assert found.per_class["name"].tolist() == NAMES[:3]
    assert found.summary.loc["micro_f1", "value"] == 1
    assert any("newt" in warning and "excluded" in warning for warning in found.warnings)


def test_the_same_name_under_another_id_is_matched_with_a_warning():
    table = _table(np.eye(4, dtype=bool))
    table = replace(table, vocabulary=Vocabulary(tuple(Category(i, name) for i, name in enumerate(NAMES))))
    found = _evaluate(table, np.eye(4))
    assert found.summary.loc["macro_f1", "value"] == 1
    assert any("category ids" in warning and "cat" in warning for warning in found.warnings)


def test_no_common_class_is_refused():
    with pytest.raises(DataError, match=r"axolotl.*--aliases") as caught:
        _evaluate(_table(np.ones((2, 1)), ["axolotl"]), np.ones((2, 4)))
    assert caught.value.code == "no_common_class"


def test_no_images_are_refused():
    with pytest.raises(DataError) as caught:
        _evaluate(_table(np.ones((0, 4))), np.ones((0, 4)))
    assert caught.value.code == "no_images"


def test_tags_are_decided_after_rounding_to_float16():
    found = _evaluate(_table(np.ones((2, 4))), np.full((2, 4), 0.49999))
    assert (found.per_class["tp"] == 2).all()


def test_optimistic_results_are_marked_everywhere(tmp_path):
    found = _evaluate(_table(np.eye(4, dtype=bool)), np.eye(4), optimistic=True)
    write_evaluation(found, tmp_path)
    document = found.to_json()
    assert document["data"]["optimistic"] is True
    assert any(warning.startswith("Optimistic") for warning in document["warnings"])
    assert pd.read_csv(tmp_path / "summary.csv")["optimistic"].all()
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "mAP, optimistic" in text
    assert "not on this set of images" not in text


def test_best_f1_bounds_f1_and_its_threshold_reaches_it(found):
    frame = found.per_class[found.per_class["support"] > 0]
    assert (frame["optimistic_best_f1"] >= frame["f1"]).all()


@pytest.mark.parametrize("classes", ["all", "none"])
def test_extreme_labels_make_a_complete_report(tmp_path, classes):
    targets = np.full((1, 4), classes == "all")
    found = _evaluate(_table(targets), targets.astype(np.float32))
    write_evaluation(found, tmp_path)
    value = found.to_json()["summary"]["macro_f1"]["value"]
    assert value == (1 if classes == "all" else None)
    assert (tmp_path / "report.html").stat().st_size > 0


def test_probabilities_that_are_nan_are_refused_with_the_image():
    probs = np.full((2, 4), 0.5)
    probs[1, 2] = np.nan
    with pytest.raises(BundleError, match=r"1 of 8 \(first: nan on 1\.jpg\)") as caught:
        _evaluate(_table(np.ones((2, 4))), probs)
    assert caught.value.code == "probs_out_of_range"


def test_probabilities_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"probs is \(2, 3\).*2 images and 4 classes"):
        _evaluate(_table(np.ones((2, 4))), np.ones((2, 3)))


def test_a_failure_leaves_no_report_json(found, tmp_path, monkeypatch):
    write_evaluation(found, tmp_path)
    monkeypatch.setattr("cocotag.evaluation.write.write_text", _fail_at_the_page)
    with pytest.raises(OutputError):
        write_evaluation(found, tmp_path)
    assert not (tmp_path / "report.json").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_file_instead_of_the_folder_is_refused(found, tmp_path):
    (tmp_path / "report").write_text("mine")
    with pytest.raises(OutputError, match="report") as caught:
        write_evaluation(found, tmp_path / "report")
    assert caught.value.code == "not_writable"
    assert (tmp_path / "report").read_text() == "mine"


def _fail_at_the_page(path, text):
    if path.suffix == ".html":
        raise OutputError("the disk is full")


def test_real_labels_scored_with_themselves_are_perfect(coco_mini):
    table = load_split(coco_mini, "val")
    metadata = BundleMetadata(table.vocabulary, 64, (0.5,) * 80, (1,) * 80, 1)
    summary = _evaluate(table, table.targets.astype(np.float32), metadata).summary["value"]
    perfect = ["map", "macro_f1", "micro_f1", "weighted_f1", "samples_f1", "cf1", "of1", "subset_accuracy", "cell_accuracy"]
    assert (summary[perfect] == 1).all()
    assert (summary[["hamming_loss", "ranking_loss", "brier", "ece"]] == 0).all()


def test_the_predictions_of_every_image_are_stored(found, tmp_path):
    write_evaluation(found, tmp_path)
    kept = Predictions.load(tmp_path / "predictions.npz")
    assert kept.class_names == tuple(NAMES)
    frame = found.per_class
    np.testing.assert_array_equal((kept.predicted & kept.targets & kept.known).sum(axis=0), frame["tp"])
    np.testing.assert_array_equal((kept.predicted & kept.known).sum(axis=0), frame["predicted"])
    np.testing.assert_array_equal(kept.predicted, kept.probs.astype(np.float16) >= frame["threshold"].to_numpy(np.float32))


def test_pairs_of_errors_are_named_and_counted(tmp_path):
    targets = np.zeros((6, 4), bool)
    targets[:3, 0] = True
    probs = np.zeros((6, 4))
    probs[:2, 3] = 0.9
    found = _evaluate(_table(targets), probs)
    row = found.to_json()["co_errors"][0]
    assert (row["missed"], row["said"], row["missed_index"], row["said_index"]) == ("cat", "newt", 0, 3)
    assert (row["images"], row["of"], row["expected"]) == (2, 3, pytest.approx(3 * 2 / 6))


def test_images_are_sliced_by_the_available_values():
    rng = np.random.default_rng(0)
    targets = rng.random((100, 4)) < 0.5
    largest = np.where(targets.any(axis=1), rng.random(100), 0).astype(np.float32)
    table = replace(_table(targets), largest=largest)
    without = _evaluate(table, rng.random((100, 4)))
    assert set(without.slices["by"]) == {"labels", "largest object"}
    objects = without.slices[without.slices["by"] == "largest object"]
    assert objects["images"].sum() == targets.any(axis=1).sum()  # without images that have no object
    bright = _evaluate(table, rng.random((100, 4)), brightness=rng.uniform(0, 255, 100))
    assert list(bright.slices["by"].unique()) == ["brightness", "labels", "largest object"]
    table = replace(table, largest=np.full(100, np.nan, np.float32))  # a file without sizes
    assert set(_evaluate(table, rng.random((100, 4))).slices["by"]) == {"labels"}


@pytest.fixture
def pair():
    """A table, its probabilities, and others that miss every dog."""
    rng = np.random.default_rng(3)
    targets = rng.random((60, 4)) < 0.4
    probs = np.clip(rng.random((60, 4)) * 0.6 + 0.35 * targets, 0, 1)
    worse = probs.copy()
    worse[:, 1] = 0.1
    return _table(targets), probs, worse


def test_a_baseline_is_in_the_files_and_regressions_come_first(pair, tmp_path):
    table, probs, worse = pair
    baseline = _evaluate(table, probs).predictions
    found = _evaluate(table, worse, baseline=baseline, names=("old", "new"))
    write_evaluation(found, tmp_path)
    document = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert document["baseline"]["per_class"][0]["name"] == "dog"
    assert document["baseline"]["per_class"][0]["verdict"] == "worse"
    gap = found.summary.loc["macro_f1", "value"] - _evaluate(table, probs).summary.loc["macro_f1", "value"]
    assert document["baseline"]["summary"]["macro_f1"]["difference"] == pytest.approx(gap)
    frame = pd.read_csv(tmp_path / "baseline.csv")
    pd.testing.assert_frame_equal(frame, pd.DataFrame(document["baseline"]["per_class"]), check_dtype=False)


def test_compared_with_itself_nothing_differs(pair):
    table, probs, _ = pair
    one = _evaluate(table, probs)
    same = _evaluate(table, probs, baseline=one.predictions).comparison
    assert (same.summary[["difference", "lo", "hi"]].dropna() == 0).all().all()


def test_a_report_without_a_baseline_removes_an_old_one(pair, tmp_path):
    table, probs, worse = pair
    write_evaluation(_evaluate(table, worse, baseline=_evaluate(table, probs).predictions), tmp_path)
    write_evaluation(_evaluate(table, worse), tmp_path)
    assert not (tmp_path / "baseline.csv").exists()


def test_a_baseline_of_other_images_is_refused_and_the_first_is_named(pair):
    table, probs, worse = pair
    baseline = _evaluate(table.take(range(59)), probs[:59]).predictions
    with pytest.raises(DataError, match=r"59 and 60 .*only new has: 59\.jpg") as caught:
        _evaluate(table, worse, baseline=baseline, names=("old", "new"))
    assert caught.value.code == "different_images"


def test_the_summary_as_markdown_has_a_row_for_each_measure(found):
    lines = summary_table(found.summary).strip().splitlines()
    assert len(lines) == 2 + len(found.summary)
    assert all(line.startswith("|") and line.endswith("|") for line in lines)


def test_the_map_of_few_images_is_said_beside_that_of_many():
    rng = np.random.default_rng(0)
    targets = rng.random((30, 4)) < 0.1
    probs = np.clip(0.5 * targets + rng.random((30, 4)) * 0.6, 0, 1)
    found = _evaluate(_table(targets), probs)
    expected = round(100 * found.summary.loc["map_expected", "value"])
    assert 100 * found.summary.loc["map", "value"] > expected + 1
    assert f"about {expected} is to be expected on many images" in found.to_text()
    many = _evaluate(_table(np.repeat(targets, 40, axis=0)), np.repeat(probs, 40, axis=0))
    assert many.expected == ""
