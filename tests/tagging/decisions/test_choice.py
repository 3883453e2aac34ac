"""Stored scores and a wish -> tags: the same as deciding at once, class by class, and honest about what is not known."""

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


def test_one_for_all_and_single_ones_before_it():
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


def test_what_cannot_be_is_named():
    for wish, match in [
        (Wish(threshold=0.5, precision=0.5), "both"),
        (Wish(threshold=2), "threshold: 2"),
        (Wish(threshold_for={"dog": -1}), "dog: -1"),
        (Wish(threshold_for={"dgo": 0.5}), "Did you mean 'dog'"),
        (Wish(threshold_for={"zebra crossing": 0.5}), "cocotag info"),
        (Wish(top_k=0), "top_k"),
    ]:
        with pytest.raises(ConfigError, match=match):
            choose(wish, [model()])


def test_a_precision_is_what_the_labelled_images_gave():
    held = thresholds_for_precision(PROBS, TARGETS, KNOWN)
    for wish in PRECISIONS:
        found = choose(Wish(precision=wish), [model(for_precision=held)])
        expected = choose_thresholds(PROBS, TARGETS, KNOWN, Rule("precision", wish))
        np.testing.assert_array_equal(found.thresholds[""], expected.values)
        assert bool(expected.unmet.any()) == any("no threshold reaches" in remark for remark in found.remarks)


def test_a_precision_in_between_is_the_next_and_it_is_said():
    held = thresholds_for_precision(PROBS, TARGETS, KNOWN)
    found = choose(Wish(precision=0.85, threshold_for={"cat": 0.5}), [model(for_precision=held)])
    expected = choose(Wish(precision=0.9, threshold_for={"cat": 0.5}), [model(for_precision=held)])
    np.testing.assert_array_equal(found.thresholds[""], expected.thresholds[""])
    assert "precision of 0.9, the next" in found.remarks[0]
    with pytest.raises(ConfigError, match=r"up to 0\.99, not 1"):
        choose(Wish(precision=1.0), [model(for_precision=held)])


def test_a_bundle_that_knows_of_no_precision_says_how_it_would():
    with pytest.raises(ConfigError, match=r"b\.onnx holds no thresholds.*cocotag tune-thresholds b\.onnx"):
        choose(Wish(precision=0.9), [model()])


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


def test_a_failure_is_a_row_of_each_model():
    choice = choose(Wish(), [model("one"), model("two")])
    rows = list(choice.rows([Result(Path("a.jpg"), "empty", "0 bytes", [])]))
    assert [(row.model, row.status, row.error, row.tags, row.probs) for row in rows] == [
        ("one", "empty", "0 bytes", (), None),
        ("two", "empty", "0 bytes", (), None),
    ]


def test_names_are_changed_before_the_highest_are_taken(tmp_path):
    (tmp_path / "names.yaml").write_text("cat: Tier\ndog: Tier\n")
    rename = load_rename(tmp_path / "names.yaml", [VOCABULARY])
    choice = choose(Wish(threshold=0, top_k=2), [model()], rename)
    (row,) = choice.rows([result([0.9, 0.8, 0.1])])
    assert [tag.name for tag in row.tags] == ["Tier", "a=b"]
