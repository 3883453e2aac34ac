"""Rules for choosing thresholds; `tests/test_thresholds.py` has what they choose by default."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cocotag.thresholds import (
    PRECISIONS,
    PRIOR_STRENGTH,
    Rule,
    choose_thresholds,
    describe,
    fixed_thresholds,
    parse_rule,
    thresholds_for_precision,
)

quick = settings(max_examples=20, deadline=None)
RULES = ("f1", "f1:global", "precision:0.6", "precision:1.0", "recall:0.5", "recall:1.0", "fixed:0.25")


def _random(seed: int, images: int = 40, classes: int = 4, levels: int = 15):
    rng = np.random.default_rng(seed)
    probs = rng.integers(0, levels + 1, (images, classes)) / levels
    return probs.astype(np.float32), rng.random((images, classes)) < 0.3, rng.random((images, classes)) < 0.9


def _between(scores):
    distinct = np.unique(scores)
    return (distinct[1:] + distinct[:-1]) / 2


@pytest.mark.parametrize("text", RULES)
def test_a_rule_is_written_as_it_is_read(text):
    rule = parse_rule(text)
    assert str(rule) == text
    assert parse_rule(str(rule)) == rule
    assert choose_thresholds(*_random(0), rule).record()["rule"] == text


def test_what_a_rule_may_be_written_as():
    assert parse_rule("precision:.9") == Rule("precision", 0.9)
    assert parse_rule("fixed:1") == Rule("fixed", 1.0)


NO_RULES = """
f2 F1 f1: f1:0.5 f1:local precision precision: precision:0 precision:1.01 recall:-0.1 recall:nan recall:inf fixed fixed:half
fixed:0.5:0.5 0.5 precision:0.9,recall:0.8
"""


@pytest.mark.parametrize("text", ["", *NO_RULES.split()])
def test_an_invalid_rule_is_refused_with_the_valid_forms(text):
    with pytest.raises(ValueError, match="threshold rule") as error:
        parse_rule(text)
    assert repr(text) in str(error.value)
    assert all(form in str(error.value) for form in ("f1,", "f1:global", "precision:0.9", "recall:0.8", "fixed:0.5"))


@pytest.mark.parametrize("parts", [("f1", 0.5), ("precision", None), ("recall", 0.0), ("fixed", 2.0), ("best", 0.5)])
def test_a_rule_that_makes_no_sense_cannot_be_made(parts):
    with pytest.raises(ValueError, match="threshold rule"):
        Rule(*parts)


def _cells(probs, targets, known):
    """Scores and labels of all known cells, then of those of each class."""
    scores = probs.astype(np.float16).astype(np.float64)
    yield scores[known], targets[known]
    for c in range(probs.shape[1]):
        yield scores[known[:, c], c], targets[known[:, c], c]


def _brute(kind, wish, scores, labels):
    """The threshold for a wanted precision or recall and whether it is reached, tried one by one; None if none can be told."""
    if labels.all() or not labels.any() or len(np.unique(scores)) < 2:
        return None
    reached = {}
    for threshold in _between(scores):
        tagged = scores >= threshold
        reached[threshold] = labels[tagged].mean() if kind == "precision" else tagged[labels].mean()
    enough = [threshold for threshold, value in reached.items() if value >= wish]
    nearest = [threshold for threshold, value in reached.items() if value == max(reached.values())]
    return (min if kind == "precision" else max)(enough or nearest), bool(enough)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 20),
    st.sampled_from(["precision", "recall"]),
    st.sampled_from([0.05, 0.2, 0.25, 0.5, 0.7, 0.9, 1.0]),
)
def test_a_wanted_precision_or_recall_is_what_trying_all_thresholds_finds(seed, levels, kind, wish):
    probs, targets, known = _random(seed, images=15, levels=levels)
    found = choose_thresholds(probs, targets, known, Rule(kind, wish), prior_strength=0)
    together, *each = (_brute(kind, wish, *cells) for cells in _cells(probs, targets, known))
    assert found.overall == (together[0] if together else 0.5)
    for c, expected in enumerate(each):
        assert found.values[c] == pytest.approx(expected[0] if expected else found.overall, rel=1e-5)
        assert found.unmet[c] == (expected is not None and not expected[1])
    assert found.record()["unmet"] == found.unmet.sum()


def test_of_the_thresholds_with_the_precision_the_lowest_is_taken_though_higher_ones_lack_it():
    """Precision falls and rises again as the threshold goes down: 1, 1/2, 2/3, 3/4, 3/5."""
    probs, targets = np.array([[0.9], [0.8], [0.7], [0.6], [0.5], [0.1]]), [[1], [0], [1], [1], [0], [0]]
    known = np.ones((6, 1))
    for wish, between in ((0.9, (0.8, 0.9)), (0.75, (0.5, 0.6)), (0.7, (0.5, 0.6)), (0.6, (0.1, 0.5))):
        found = choose_thresholds(probs, targets, known, Rule("precision", wish), prior_strength=0)
        assert found.values[0] == pytest.approx(np.mean(between), abs=1e-3)
        assert not found.unmet.any()


def test_a_precision_out_of_reach_is_approached_and_counted():
    probs, targets = np.array([[0.9], [0.8], [0.7], [0.2]]), [[0], [1], [1], [0]]
    found = choose_thresholds(probs, targets, np.ones((4, 1)), parse_rule("precision:0.9"), prior_strength=0)
    assert found.values[0] == pytest.approx(0.45, abs=1e-3)  # 2/3; all others have less
    assert found.unmet.tolist() == [True]
    assert "threshold for 1 classes" in describe(found.record())


def test_a_recall_that_only_tagging_everything_has_is_approached_and_counted():
    probs, targets = np.array([[0.9], [0.8], [0.4], [0.2]]), [[1], [0], [0], [1]]
    found = choose_thresholds(probs, targets, np.ones((4, 1)), parse_rule("recall:0.8"), prior_strength=0)
    assert found.values[0] == pytest.approx(0.85, abs=1e-3)  # half of them, like all others, at the highest threshold
    assert found.unmet.tolist() == [True]


@pytest.mark.parametrize("text", RULES)
@pytest.mark.parametrize(
    "case", ["no positives", "no negatives", "all unknown", "one score", "no images", "one image", "extreme"]
)
def test_where_nothing_can_be_told_there_is_still_a_threshold(text, case):
    probs, targets, known = _random(1)
    if case == "no positives":
        targets[:] = False
    elif case == "no negatives":
        targets[:] = True
    elif case == "all unknown":
        known[:] = False
    elif case == "one score":
        probs[:] = 0.75
    elif case == "extreme":
        probs = np.where(targets, 1.0, 0.0)
    images = {"no images": 0, "one image": 1}.get(case, len(probs))
    found = choose_thresholds(probs[:images], targets[:images], known[:images], parse_rule(text))
    assert found.values.shape == (4,)
    expected = 0.25 if text.startswith("fixed") else 0.5
    if case == "one image":  # its four classes have four scores
        assert ((found.values > 0) & (found.values < 1)).all()
    else:
        np.testing.assert_array_equal(found.values, expected)
    assert not found.unmet.any() or case == "one image"
    json.dumps(found.record(), allow_nan=False)


@quick
@given(st.integers(0, 10_000), st.sampled_from(RULES))
def test_every_rule_gives_thresholds_within_the_scores(seed, text):
    probs, targets, known = _random(seed, levels=6)
    found = choose_thresholds(probs, targets, known, parse_rule(text))
    assert ((found.values > 0) & (found.values < 1)).all()
    assert not found.unmet[~(targets & known).any(axis=0)].any()


@pytest.mark.parametrize("text", RULES)
def test_unknown_cells_change_nothing_whatever_the_rule(text):
    probs, targets, known = _random(5)
    changed = np.where(known, probs, 1 - probs), np.where(known, targets, ~targets)
    a, b = (choose_thresholds(*cells, known, parse_rule(text)) for cells in ((probs, targets), changed))
    assert (a.overall, a.prior_strength, a.unmet.tolist()) == (b.overall, b.prior_strength, b.unmet.tolist())
    np.testing.assert_array_equal(a.values, b.values)


def test_one_threshold_for_all_is_the_common_one_of_f1():
    cells = _random(7)
    found = choose_thresholds(*cells, parse_rule("f1:global"))
    np.testing.assert_array_equal(found.values, np.float32(choose_thresholds(*cells).overall))
    assert found.record() == {"rule": "f1:global"}


def test_a_fixed_threshold_is_met_by_the_score_that_is_written_so():
    found = choose_thresholds(*_random(7), parse_rule("fixed:0.2671"))
    assert np.array_equal(np.float16(0.2671) >= found.values, [True] * 4)
    assert found.record() == {"rule": "fixed:0.2671"}
    np.testing.assert_array_equal(fixed_thresholds(parse_rule("fixed:0.2671"), 4).values, found.values)
    with pytest.raises(ValueError, match=r"f1 .*fixed:0\.5"):
        fixed_thresholds(parse_rule("f1"), 4)


@pytest.mark.parametrize("text", ["precision:0.5", "recall:0.7"])
def test_a_wanted_precision_or_recall_is_drawn_together_like_f1(text):
    cells, rule = _random(3), parse_rule(text)
    own = choose_thresholds(*cells, rule, prior_strength=0)
    found, common = choose_thresholds(*cells, rule), choose_thresholds(*cells, rule, prior_strength=np.inf)
    np.testing.assert_allclose(common.values, own.overall, rtol=1e-5)
    assert common.record()["prior_strength"] == "infinite"
    support = (cells[1] & cells[2]).sum(axis=0)
    odds = [part.values.astype(np.float64) / (1 - part.values) for part in (own, common)]
    weight = support / (support + PRIOR_STRENGTH)
    expected = odds[0] ** weight * odds[1] ** (1 - weight)
    np.testing.assert_allclose(found.values, expected / (1 + expected), rtol=1e-4)
    assert found.prior_strength == PRIOR_STRENGTH


def test_thresholds_for_some_precisions_are_those_that_the_rule_chooses():
    cells = _random(3)
    held = thresholds_for_precision(*cells)
    assert list(held) == [str(wish) for wish in PRECISIONS]
    assert json.loads(json.dumps(held, allow_nan=False)) == held
    for wish in PRECISIONS:
        expected = choose_thresholds(*cells, Rule("precision", wish))
        assert held[str(wish)] == {"thresholds": expected.values.tolist(), "unmet": int(expected.unmet.sum()), "untold": []}


def test_of_a_class_without_positives_or_negatives_no_precision_is_told():
    probs, targets, known = _random(3)
    targets[:, 1], known[:, 2] = False, targets[:, 2]
    assert all(one["untold"] == [1, 2] for one in thresholds_for_precision(probs, targets, known).values())
