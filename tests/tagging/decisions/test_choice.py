"""Tags from stored scores and a wish: the same as deciding at once, with remarks about unmeasured precisions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cocotag.bundle import BundleMetadata
from cocotag.errors import ConfigError
from cocotag.inference.tags import decide
from cocotag.labels import Category, Vocabulary
from cocotag.tagging.decisions.choice import Wish, choose
from cocotag.tagging.decisions.rename import load_rename
from cocotag.tagging.state.models import Model
from cocotag.tagging.state.store import Result
from cocotag.thresholds import PRECISIONS, Rule, choose_thresholds, thresholds_for_precision

CLASSES = ("cat", "dog", "a=b")
VOCABULARY = Vocabulary(tuple(Category(index, name, "animal") for index, name in enumerate(CLASSES)))
RNG = np.random.default_rng(0)
TARGETS = RNG.random((300, 3)) < 0.3
PROBS = np.clip(TARGETS * 0.3 + RNG.random((300, 3)) * 0.7, 0, 1)
KNOWN = np.ones((300, 3), bool)


def model(name="", **changes):
    metadata = BundleMetadata(VOCABULARY, 64, (0.3, 0.4, 0.5), (1, 1, 1), 3)
    return Model(name, "b.onnx", "00", "ff", replace(metadata, **changes))


def thresholds(wish, *models):
    return [values.tolist() for values in choose(wish, models or [model()]).thresholds.values()]


def test_without_a_wish_they_are_the_bundles_own():
    assert thresholds(Wish()) == [np.float32([0.3, 0.4, 0.5]).tolist()]


def test_thresholds_of_single_classes_take_precedence():
    wanted = float(np.float32(np.float16(0.7)))
    assert thresholds(Wish(threshold=0.7)) == [[wanted] * 3]
    assert thresholds(Wish(threshold=0, threshold_for={"dog": 0.7})) == [[0, wanted, 0]]
    own = np.float32([0.3, 0.4, 0.5]).tolist()
    assert thresholds(Wish(threshold_for={"a=b": 0.7})) == [[*own[:2], wanted]]


def test_of_several_bundles_each_has_its_own_and_a_class_may_be_in_one():
    other = model("other", vocabulary=Vocabulary((Category(1, "dog"), Category(2, "sea"), Category(3, "sky"))))
    found = choose(Wish(threshold_for={"sky": 1, "dog": 0}), [model("one"), other]).thresholds
    assert found["one"].tolist() == np.float32([0.3, 0, 0.5]).tolist()
    assert found["other"].tolist() == np.float32([0, 0.4, 1]).tolist()


@pytest.mark.parametrize(
    ("wish", "code", "value"),
    [
        (Wish(threshold=0.5, precision=0.5), "flags_contradict", "--precision"),
        (Wish(threshold=2), "threshold_out_of_range", "threshold: 2"),
        (Wish(precision=2), "precision_out_of_range", "2"),
        (Wish(threshold_for={"dog": -1}), "threshold_out_of_range", "dog: -1"),
        (Wish(threshold_for={"dgo": 0.5}), "unknown_class", "'dog'"),
        (Wish(threshold_for={"zebra crossing": 0.5}), "unknown_class", "cocotag info"),
        (Wish(top_k=0), "top_k_out_of_range", "0"),
    ],
)
def test_impossible_wishes_are_errors(wish, code, value):
    with pytest.raises(ConfigError) as caught:
        choose(wish, [model()])
    assert caught.value.code == code
    assert value in str(caught.value)


def test_thresholds_for_a_precision_are_those_tuned_on_the_labels():
    held = thresholds_for_precision(PROBS, TARGETS, KNOWN)
    for wish in PRECISIONS:
        found = choose(Wish(precision=wish), [model(for_precision=held)])
        expected = choose_thresholds(PROBS, TARGETS, KNOWN, Rule("precision", wish))
        np.testing.assert_array_equal(found.thresholds[""], expected.values)
        unmet = int(expected.unmet.sum())
        assert bool(unmet) == any(f"{unmet} of 3 classes" in remark for remark in found.remarks)


def test_a_precision_in_between_becomes_the_next_higher_one_with_a_remark():
    held = thresholds_for_precision(PROBS, TARGETS, KNOWN)
    found = choose(Wish(precision=0.85, threshold_for={"cat": 0.5}), [model(for_precision=held)])
    expected = choose(Wish(precision=0.9, threshold_for={"cat": 0.5}), [model(for_precision=held)])
    np.testing.assert_array_equal(found.thresholds[""], expected.thresholds[""])
    assert "precision of 0.9," in found.remarks[0]
    with pytest.raises(ConfigError, match=r"0\.99, not 1\b") as caught:
        choose(Wish(precision=1.0), [model(for_precision=held)])
    assert caught.value.code == "precision_unavailable"


def test_without_thresholds_for_a_precision_the_error_has_the_command():
    with pytest.raises(ConfigError, match=r"cocotag tune-thresholds b\.onnx") as caught:
        choose(Wish(precision=0.9), [model()])
    assert caught.value.code == "no_precision_thresholds"


def result(probs):
    return Result(Path("a.jpg"), "ok", "", [np.float16(probs)])


def test_rows_are_decided_on_the_stored_scores():
    wish = choose(Wish(top_k=2), [model()])
    for probs in PROBS[:50]:
        (row,) = wish.rows([result(probs)])
        expected = decide(probs, wish.thresholds[""], 2)
        assert [tag.name for tag in row.tags] == [CLASSES[index] for index in expected]
        assert [tag.score for tag in row.tags] == [float(np.float16(probs[index])) for index in expected]
        np.testing.assert_array_equal(row.probs, np.float16(probs))


def test_a_failure_has_one_row_per_model():
    choice = choose(Wish(), [model("one"), model("two")])
    rows = list(choice.rows([Result(Path("a.jpg"), "empty", "0 bytes", [])]))
    assert [(row.model, row.status, row.error, row.tags, row.probs) for row in rows] == [
        ("one", "empty", "0 bytes", (), None),
        ("two", "empty", "0 bytes", (), None),
    ]


def test_classes_are_renamed_before_top_k(tmp_path):
    (tmp_path / "names.yaml").write_text("cat: Tier\ndog: Tier\n")
    rename = load_rename(tmp_path / "names.yaml", [VOCABULARY])
    choice = choose(Wish(threshold=0, top_k=2), [model()], rename)
    (row,) = choice.rows([result([0.9, 0.8, 0.1])])
    assert [tag.name for tag in row.tags] == ["Tier", "a=b"]
