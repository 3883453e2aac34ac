import json
import math
import re
import statistics
from fractions import Fraction
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from imbalance_reference import assert_same, make_table, reference

from cocotag.data.annotations import load_split
from cocotag.errors import DataError, OutputError
from cocotag.imbalance import write as write_module
from cocotag.imbalance.result import drift, imbalance
from cocotag.imbalance.write import write
from cocotag.pages.values import UNDEFINED, number

TOY = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


def test_toy_by_hand():
    found = imbalance(make_table(TOY), split="toy", input_features=3)
    mixed = 1 - math.sqrt(2) / 1.5  # an image whose labels have IRLbl 1 and 2; with 1 and 4 it is 1 - 2 / 2.5 = 0.2
    scumbles = [mixed, 0, 0.2, mixed, 0]
    expected = {
        "split": "toy",
        "images": 5,
        "classes": 4,
        "classes_present": 3,
        "positives": 7,
        "instances": 14,
        "unknown_cells": 0,
        "unlabelled_images": 1,
        "cardinality": 7 / 5,
        "density": 7 / 20,
        "max_labels_per_image": 2,
        "labelsets": 4,
        "single_labelsets": 3,
        "max_labelset_images": 2,
        "diversity": 4 / 5,
        "diversity_of_possible": 4 / 5,
        "mean_ir": 7 / 3,
        "mean_ir_without_most_common": 3 / 2,
        "max_ir": 4,
        "cvir": math.sqrt(3 / 7),
        "scumble": sum(scumbles) / 5,
        "scumble_cv": statistics.stdev(scumbles) / statistics.mean(scumbles),
        "tcs": math.log(3 * 4 * 4),
        "input_features": 3,
        "gini": 13 / 28,
        "head_classes": 0,
        "medium_classes": 2,
        "tail_classes": 1,
        "absent_classes": 1,
        "pairs": 2,
        "supported_pairs": 0,
        "unseen_pairs": 0,
        "min_pair_images": 5,
    }
    assert list(found.to_json()) == list(expected)
    assert_same(found.to_json(), expected)

    classes = found.classes
    assert classes["class_id"].tolist() == [1, 8, 15, 22]
    assert classes["images"].tolist() == [4, 2, 1, 0]
    assert classes["instances"].tolist() == [8, 4, 2, 0]
    assert classes["group"].tolist() == ["medium", "medium", "tail", "absent"]
    np.testing.assert_allclose(classes["irlbl"], [1, 2, 4, math.nan])
    np.testing.assert_allclose(classes["scumble"], [(2 * mixed + 0.2) / 4, mixed, 0.2, math.nan])
    np.testing.assert_allclose(classes["negatives_per_positive"], [1 / 4, 3 / 2, 4, math.nan])
    np.testing.assert_allclose(classes["frequency"], [4 / 5, 2 / 5, 1 / 5, 0])
    np.testing.assert_allclose(classes["effective_number"], [1 + 0.9999 + 0.9999**2 + 0.9999**3, 1.9999, 1, 0])
    assert classes["weight"].mean() == pytest.approx(1)
    assert classes["weight"][2] == pytest.approx(1.9999 * classes["weight"][1])
    assert math.isnan(classes["weight"][3])
    negative, positive = 1 + 0.999 + 0.999**2 + 0.999**3, 1  # of the class that is on one image of five
    np.testing.assert_allclose(classes["pos_weight"], [1, (1 + 0.999 + 0.999**2) / 1.999, negative / positive, math.nan])
    few = [mixed, mixed, 0.2, 0]
    np.testing.assert_allclose(classes["scumble_cv"], [statistics.stdev(few) / statistics.mean(few), 0, math.nan, math.nan])
    np.testing.assert_allclose(classes["instances_per_image"], [2, 2, 2, math.nan])

    rows = [tuple(row) for row in found.pairs[["a", "b", "count", "lift", "jaccard", "expected"]].itertuples(index=False)]
    assert rows[0] == pytest.approx(("class 0", "class 1", 2, 1.25, 0.5, 1.6))
    assert rows[1] == pytest.approx(("class 0", "class 2", 1, 1.25, 0.25, 0.8))
    assert len(rows) == 2  # the other pairs do not occur and are not expected
    assert found.pairs.loc[0, ["p_b_given_a", "p_a_given_b"]].tolist() == [0.5, 1.0]
    assert found.labelsets["labels"].tolist()[0] == ("class 0", "class 1")
    assert () in found.labelsets["labels"].tolist()
    assert found.labels_per_image == [1, 1, 3]


def matrices(rows=12, columns=6):
    shape = st.tuples(st.integers(1, rows), st.integers(1, columns))
    return shape.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))


@given(matrices())
@settings(deadline=None)
def test_every_measure_in_a_second_way(drawn):
    targets, known = drawn
    label_sets = [set(np.flatnonzero(row)) for row in targets & known]
    found = imbalance(make_table(targets, known))
    assert_same(found.measures, reference(label_sets, targets.shape[1]))
    json.dumps(found.to_json(), allow_nan=False)

    pairs = {(row.a, row.b): row for row in found.pairs.itertuples()}
    for a, b in combinations(range(targets.shape[1]), 2):
        rows = [row for row in range(len(targets)) if known[row, a] and known[row, b]]
        with_a = {row for row in rows if targets[row, a]}
        with_b = {row for row in rows if targets[row, b]}
        both = len(with_a & with_b)
        if both:
            row = pairs[f"class {a}", f"class {b}"]
            assert row.count == both
            assert row.lift == pytest.approx(Fraction(both * len(rows), len(with_a) * len(with_b)))
            assert row.jaccard == pytest.approx(Fraction(both, len(with_a | with_b)))
            assert (row.p_b_given_a, row.p_a_given_b) == pytest.approx((both / len(with_a), both / len(with_b)))
        else:
            assert ((f"class {a}", f"class {b}") in pairs) == bool(rows and len(with_a) * len(with_b) >= len(rows))


@given(matrices(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_and_copies_of_the_data_do_not_matter(drawn, random):
    targets = drawn[0]
    order = list(range(targets.shape[1]))
    random.shuffle(order)
    one, other = imbalance(make_table(targets)), imbalance(make_table(np.tile(targets, (3, 1))[:, order]))
    same = ("cardinality", "density", "labelsets", "mean_ir", "max_ir", "cvir", "scumble", "tcs", "gini", "tail_classes")
    assert_same(other.measures, {key: one.measures[key] for key in same})
    for column in ("irlbl", "scumble", "frequency"):
        np.testing.assert_allclose(other.classes[column], one.classes[column].to_numpy()[order], atol=1e-12)
    assert other.classes["group"].tolist() == [one.classes["group"][index] for index in order]


def test_balanced_data_have_no_imbalance():
    found = imbalance(make_table(np.tile(np.eye(5), (4, 1))))
    wanted = {"mean_ir": 1, "max_ir": 1, "cvir": 0, "scumble": 0, "gini": 0, "head_classes": 0, "tail_classes": 0}
    assert {key: found.measures[key] for key in wanted} == pytest.approx(wanted)
    assert found.measures["scumble_cv"] is None
    assert found.classes["weight"].tolist() == pytest.approx([1] * 5)


def test_unknown_is_not_negative():
    targets = [[1, 0], [0, 1], [0, 1], [0, 1]]
    known = [[1, 1], [1, 1], [0, 1], [0, 0]]
    found = imbalance(make_table(targets, known))
    assert found.classes["images"].tolist() == [1, 2]
    assert found.classes["known"].tolist() == [2, 3]
    assert found.classes["frequency"].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert found.classes["negatives_per_positive"].tolist() == [1, 1 / 2]
    assert found.measures["unknown_cells"] == 3
    assert found.measures["positives"] == 3
    assert found.measures["unlabelled_images"] == 1


@pytest.mark.parametrize(
    "targets", [np.zeros((3, 2)), np.ones((1, 1)), np.zeros((1, 1))], ids=["no labels", "one", "one empty"]
)
def test_undefined_is_null(targets, tmp_path):
    found = imbalance(make_table(targets))
    write([found], tmp_path)
    document = json.loads((tmp_path / "dataset.json").read_text(), parse_constant=pytest.fail)
    assert document["cvir"] is None
    assert (document["mean_ir"] is None) == (document["gini"] is None) == (not targets.any())
    assert UNDEFINED in (tmp_path / "imbalance.html").read_text(encoding="utf-8")


def test_nothing_to_measure_is_an_error():
    with pytest.raises(DataError) as caught:
        imbalance(make_table(TOY).take(np.arange(0)))
    assert caught.value.code == "no_images"
    with pytest.raises(DataError) as caught:
        imbalance(make_table(np.zeros((2, 0))))
    assert caught.value.code == "no_classes"
    assert "2 images" in str(caught.value)
    with pytest.raises(ValueError, match="input_features"):
        imbalance(make_table(TOY), input_features=0)


def test_files_have_the_results(coco_mini, tmp_path):
    found = imbalance(load_split(coco_mini, "train"), split="train")
    write([found], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.csv", "dataset.json", "imbalance.html", "pairs.csv"]
    document = json.loads((tmp_path / "dataset.json").read_text())
    assert document == found.to_json()
    classes, pairs = pd.read_csv(tmp_path / "classes.csv"), pd.read_csv(tmp_path / "pairs.csv")
    assert classes.columns.tolist()[:8] == ["class_id", "index", "name", "images", "instances", "irlbl", "scumble", "group"]
    assert pairs.columns.tolist()[:5] == ["a", "b", "count", "lift", "jaccard"]
    pd.testing.assert_frame_equal(classes, found.classes, check_dtype=False)
    pd.testing.assert_frame_equal(pairs, found.pairs, check_dtype=False)

    page = (tmp_path / "imbalance.html").read_text(encoding="utf-8")
    for key, value in document.items():
        if key != "split":
            full = "" if value is None else value
            cell = rf'<code>{key}</code>: [^<]+</th><td class="number" data-value="{full}">{re.escape(number(value))}</td>'
            assert re.search(cell, page), key
    for name, images in zip(found.classes["name"], found.classes["images"], strict=True):
        assert f'<th scope="row">{name}</th>' in page
        assert f"{name}: {images:,}</title>" in page
    assert "drift" not in page.lower().partition("<main>")[2].partition("</main>")[0]


def test_drift_between_splits(tmp_path):
    names = ["common", "shifted"]
    first = make_table([[1, 0]] * 90 + [[0, 1]] * 10, names=names)
    second = make_table([[1, 0]] * 45 + [[1, 1]] * 30 + [[0, 0]] * 25, names=names)
    splits = [imbalance(first, split="train"), imbalance(second, split="val"), imbalance(second, split="val")]
    frame = drift(splits[:2])
    assert frame["frequency_train"].tolist() == pytest.approx([0.9, 0.1])
    assert frame["difference_val"].tolist() == pytest.approx([-0.15, 0.2])
    assert frame["z_val"][1] == pytest.approx(0.2 / math.sqrt(0.2 * 0.8 * (2 / 100)))
    write(splits, tmp_path)
    document = json.loads((tmp_path / "dataset.json").read_text())
    assert [entry["split"] for entry in document["splits"]] == ["train", "val", "val"]
    assert {**document["splits"][0], "splits": document["splits"]} == document
    assert "difference_val (3)" in pd.read_csv(tmp_path / "drift.csv").columns
    assert ">Drift between splits<" in (tmp_path / "imbalance.html").read_text(encoding="utf-8")

    write(splits[:1], tmp_path)  # a report of one split does not keep the drift of an earlier one
    assert not (tmp_path / "drift.csv").exists()


def test_the_same_split_twice_does_not_drift():
    found = imbalance(make_table(TOY), split="a")
    frame = drift([found, imbalance(make_table(TOY), split="b")])
    assert frame["difference_b"].tolist() == [0] * 4


def test_splits_of_different_data_sets_are_refused(tmp_path):
    one = imbalance(make_table(TOY), split="a")
    other = imbalance(make_table(TOY, names=list("wxyz")), split="b")
    with pytest.raises(DataError) as caught:
        write([one, other], tmp_path / "out")
    assert caught.value.code == "different_classes"
    assert "'a' and 'b'" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full disk", "Ctrl-C"])
def test_half_a_report_is_not_taken_for_a_whole_one(tmp_path, monkeypatch, error):
    first = imbalance(make_table(TOY))
    write([first], tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fails(stack, path, text):
        if path.suffix == ".html":
            raise error
        put(stack, path, text)

    put = write_module.put
    monkeypatch.setattr(write_module, "put", fails)
    with pytest.raises((OutputError, KeyboardInterrupt)) as caught:
        write([imbalance(make_table(TOY * 2))], tmp_path)
    if isinstance(error, OSError):
        assert caught.value.code == "disk_full"
        assert str(tmp_path) in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before  # the earlier report, whole

    with pytest.raises((OutputError, KeyboardInterrupt)):
        write([first], tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_an_output_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        write([imbalance(make_table(TOY))], tmp_path / "file")
    assert caught.value.code == "not_writable"
    assert str(tmp_path / "file") in str(caught.value)
