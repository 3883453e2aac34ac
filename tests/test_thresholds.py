import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from cocotag.thresholds import (
    ENOUGH_IMAGES,
    FOLDS,
    PRIOR_STRENGTH,
    STRENGTHS,
    Rule,
    best_thresholds,
    choose_thresholds,
    describe,
    fixed_thresholds,
    parse_rule,
)

quick = settings(max_examples=20, deadline=None)
RULES = ("f1", "f1:global", "precision:0.6", "precision:1.0", "recall:0.5", "recall:1.0", "fixed:0.25")


def _random(seed: int, images: int = 40, classes: int = 4, levels: int = 15):
    rng = np.random.default_rng(seed)
    probs = rng.integers(0, levels + 1, (images, classes)) / levels
    return probs.astype(np.float32), rng.random((images, classes)) < 0.3, rng.random((images, classes)) < 0.9


def _f1(scores, labels, threshold):
    return f1_score(labels, scores >= threshold, zero_division=0.0) if len(labels) else 0.0


def _between(scores):
    distinct = np.unique(scores)
    return (distinct[1:] + distinct[:-1]) / 2


@quick
@given(st.integers(0, 10_000), st.integers(1, 20))
def test_the_overall_threshold_has_the_highest_micro_f1(seed, levels):
    probs, targets, known = _random(seed, levels=levels)
    overall = choose_thresholds(probs, targets, known).overall
    scores, labels = probs.astype(np.float16).astype(np.float64)[known], targets[known]
    assert _f1(scores, labels, overall) == pytest.approx(max(_f1(scores, labels, t) for t in _between(scores)))


@quick
@given(st.integers(0, 10_000), st.integers(1, 20))
def test_without_a_prior_each_class_has_its_highest_f1(seed, levels):
    probs, targets, known = _random(seed, levels=levels)
    values = choose_thresholds(probs, targets, known, prior_strength=0).values
    for c in range(probs.shape[1]):
        scores, labels = probs[known[:, c], c].astype(np.float16).astype(np.float64), targets[known[:, c], c]
        if labels.any() and len(np.unique(scores)) > 1:
            assert _f1(scores, labels, values[c]) == pytest.approx(max(_f1(scores, labels, t) for t in _between(scores)))
            assert scores.min() < values[c] < scores.max()


@quick
@given(st.integers(0, 10_000))
def test_best_thresholds_reach_what_they_say_and_nothing_is_better(seed):
    probs, targets, known = _random(seed)
    thresholds, best = best_thresholds(probs, targets, known)
    for c in range(probs.shape[1]):
        scores, labels = probs[known[:, c], c].astype(np.float16).astype(np.float64), targets[known[:, c], c]
        assert _f1(scores, labels, thresholds[c]) == pytest.approx(best[c])
        assert best[c] == pytest.approx(max(_f1(scores, labels, t) for t in np.unique(scores)))


def test_best_thresholds_of_a_class_without_support_are_undefined():
    thresholds, best = best_thresholds([[0.2, 0.3], [0.8, 0.9]], [[False, False], [False, True]], np.ones((2, 2), bool))
    assert np.isnan(thresholds[0])
    assert np.isnan(best[0])
    assert best[1] == 1


def test_perfectly_separated_scores_are_cut_midway():
    found = choose_thresholds([[0.125], [0.25], [0.75], [0.875]], [[0], [0], [1], [1]], np.ones((4, 1)))
    assert found.overall == 0.5
    np.testing.assert_allclose(found.values, 0.5)
    assert found.values.dtype == np.float32


def test_among_equals_the_threshold_nearest_the_overall_one_is_taken():
    """The last class has F1 2/3 both at 0.3 (all positives, two negatives) and at 0.7 (one positive alone)."""
    last, last_targets = [0.8, 0.6, 0.6, 0.4, 0.2], [True, False, False, True, False]
    for low, high, expected in ((0.1, 0.2, 0.3), (0.8, 0.9, 0.7)):
        probs = np.array([[high if row < 2 else low] * 9 + [last[row]] for row in range(5)])
        targets = np.array([[row < 2] * 9 + [last_targets[row]] for row in range(5)])
        found = choose_thresholds(probs, targets, np.ones_like(targets), prior_strength=0)
        assert low < found.overall < high
        assert found.values[-1] == pytest.approx(expected, abs=1e-3)


def test_negative_zero_is_zero():
    a = choose_thresholds([[0.0], [0.5], [0.75]], [[0], [1], [1]], np.ones((3, 1)))
    b = choose_thresholds([[-0.0], [0.5], [0.75]], [[0], [1], [1]], np.ones((3, 1)))
    assert a.overall == b.overall == 0.25


def test_a_class_without_support_has_the_overall_threshold():
    probs, targets, known = _random(0)
    targets[:, 2] = False
    known[:, 3] = False
    found = choose_thresholds(probs, targets, known)
    np.testing.assert_allclose(found.values[[2, 3]], found.overall, rtol=1e-6)


def test_the_more_positives_the_closer_to_its_own_threshold():
    probs, targets, known = _random(3)
    own = choose_thresholds(probs, targets, known, prior_strength=0).values
    last = np.zeros(4)
    for strength in (0.0, 1.0, 10.0, 100.0, 1e9):
        found = choose_thresholds(probs, targets, known, prior_strength=strength)
        distance = np.abs(found.values - own)
        assert (distance >= last - 1e-6).all()
        last = distance
    np.testing.assert_allclose(found.values, found.overall, rtol=1e-5)


def test_shrinking_is_the_weighted_mean_in_logits():
    probs, targets, known = _random(3)
    own = choose_thresholds(probs, targets, known, prior_strength=0).values.astype(np.float64)
    found = choose_thresholds(probs, targets, known, prior_strength=7)
    support = (targets & known).sum(axis=0)
    odds = (own / (1 - own)) ** (support / (support + 7)) * (found.overall / (1 - found.overall)) ** (7 / (support + 7))
    np.testing.assert_allclose(found.values, odds / (1 + odds), rtol=1e-5)


def test_scores_that_float16_cannot_tell_apart_fall_on_the_same_side():
    probs = np.array([[0.1], [0.5], [0.50001], [0.9]], np.float32)
    value = choose_thresholds(probs, [[0], [0], [1], [1]], np.ones((4, 1)), prior_strength=0).values[0]
    assert not 0.5 < value < 0.50001
    np.testing.assert_array_equal(probs >= value, probs.astype(np.float16) >= value)


@pytest.mark.parametrize("score", [0.0, 0.25, 1.0])
def test_one_score_for_everything_gives_no_reason_to_move(score):
    found = choose_thresholds(np.full((32, 3), score), np.eye(32, 3, dtype=bool), np.ones((32, 3), bool))
    np.testing.assert_array_equal(found.values, 0.5)


def test_saturated_scores_still_give_thresholds_inside_the_open_interval():
    probs = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 6e-8], [1.0, 0.99999, 1.0]])
    found = choose_thresholds(probs, [[0, 1, 1], [1, 0, 1], [1, 1, 0]], np.ones((3, 3)), prior_strength=0)
    assert ((found.values > 0) & (found.values < 1)).all()


def test_unknown_cells_change_nothing():
    probs, targets, known = _random(5)
    changed = np.where(known, probs, 1 - probs), np.where(known, targets, ~targets)
    a, b = choose_thresholds(probs, targets, known), choose_thresholds(*changed, known)
    assert a.overall == b.overall
    np.testing.assert_array_equal(a.values, b.values)


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1])
def test_what_is_not_a_probability_is_refused(bad):
    with pytest.raises(ValueError, match="outside 0"):
        choose_thresholds([[bad]], [[1]], [[1]])


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 1\)"):
        choose_thresholds([[0.5]], [[1], [0]], [[1]])
    with pytest.raises(ValueError, match="prior_strength is -1"):
        choose_thresholds([[0.5]], [[1]], [[1]], prior_strength=-1)


def test_where_only_positives_are_known_the_common_threshold_holds():
    rng = np.random.default_rng(0)
    targets = rng.random((200, 3)) < 0.3
    probs = 1 / (1 + np.exp(-rng.normal(3 * targets - 1.5, 1)))
    known = np.ones_like(targets)
    known[:, 2] = targets[:, 2]
    found = choose_thresholds(probs, targets, known)
    without = choose_thresholds(probs[:, :2], targets[:, :2], known[:, :2])
    assert found.overall == without.overall
    assert found.values == pytest.approx([*without.values, without.overall])


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
def test_what_is_no_rule_is_refused_with_the_forms_there_are(text):
    with pytest.raises(ValueError, match="is no rule") as error:
        parse_rule(text)
    assert repr(text) in str(error.value)
    assert all(form in str(error.value) for form in ("f1,", "f1:global", "precision:0.9", "recall:0.8", "fixed:0.5"))


@pytest.mark.parametrize("parts", [("f1", 0.5), ("precision", None), ("recall", 0.0), ("fixed", 2.0), ("best", 0.5)])
def test_a_rule_that_makes_no_sense_cannot_be_made(parts):
    with pytest.raises(ValueError, match="is no rule"):
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
    assert "which no threshold reaches for 1 class" in describe(found.record())


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
    with pytest.raises(ValueError, match="f1 names no threshold"):
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


def _drawn(seed, *, images=150, classes=12, spread=0.0):
    """Scores that separate every class as well; ``spread`` says how far classes lie apart, in logits."""
    rng = np.random.default_rng(seed)
    targets = rng.random((images, classes)) < 0.1
    logits = rng.normal(2.5 * targets - 2.5, 1) + spread * rng.normal(size=classes)
    return (1 / (1 + np.exp(-logits))).astype(np.float32), targets, np.ones_like(targets)


def _cross_validated_plainly(probs, targets, known):
    """What `choose_thresholds` says it does, in scikit-learn's figures."""
    fold = np.random.default_rng(0).permutation(len(probs)) % FOLDS
    tagged = np.zeros((len(STRENGTHS), *probs.shape), bool)
    for number in range(FOLDS):
        train = fold != number
        for place, strength in enumerate(STRENGTHS):
            values = choose_thresholds(probs[train], targets[train], known[train], prior_strength=strength).values
            tagged[place, ~train] = probs[~train].astype(np.float16) >= values

    def score(rows, place):
        use, truth, said = known[rows], targets[rows], tagged[place, rows]
        each = [f1_score(truth[u, c], said[u, c], zero_division=0.0) for c, u in enumerate(use.T) if truth[u, c].any()]
        return (f1_score(truth[use], said[use], zero_division=0.0) + np.mean(each)) / 2

    default, best, chosen = STRENGTHS.index(PRIOR_STRENGTH), 0.0, PRIOR_STRENGTH
    for place, strength in enumerate(STRENGTHS):
        gain = score(fold >= 0, place) - score(fold >= 0, default)
        without = [score(fold != number, place) - score(fold != number, default) for number in range(FOLDS)]
        error = np.sqrt((FOLDS - 1) / FOLDS * np.sum((without - np.mean(without)) ** 2))
        if gain - 2 * error > best + 1e-12:
            best, chosen = gain - 2 * error, strength
    return chosen


@pytest.mark.parametrize("seed", range(6))
def test_cross_validation_is_what_it_says(seed):
    probs, targets, known = _drawn(seed, images=80, classes=6, spread=seed / 2)
    known = np.random.default_rng(seed).random(known.shape) < 0.9
    assert choose_thresholds(probs, targets, known).prior_strength == _cross_validated_plainly(probs, targets, known)


def test_unknown_cells_have_no_part_in_cross_validation():
    chosen = []
    for seed in range(6):
        probs, targets, known = _drawn(seed, spread=seed / 3)
        known = np.random.default_rng(seed).random(known.shape) < 0.6
        found = [
            choose_thresholds(np.where(known, probs, other), targets, known).prior_strength for other in (probs, 1 - probs)
        ]
        assert found[0] == found[1]
        chosen.append(found[0])
    assert len(set(chosen)) > 1


def test_classes_that_lie_apart_are_drawn_less_than_such_as_are_alike():
    apart = [choose_thresholds(*_drawn(seed, spread=2.0)).prior_strength for seed in range(8)]
    alike = [choose_thresholds(*_drawn(seed)).prior_strength for seed in range(8)]
    assert max(apart) < PRIOR_STRENGTH <= min(alike)


def test_that_holds_on_other_images():
    """Mean F1 of what is chosen on half of the images, on the other half, is no worse than with one strength for all cases."""

    def held_out(strength, spread):
        scores = []
        for seed in range(8):
            probs, targets, known = _drawn(seed, images=300, spread=spread)
            values = choose_thresholds(probs[:150], targets[:150], known[:150], prior_strength=strength).values
            tagged = probs[150:].astype(np.float16) >= values
            scores.append(np.mean([f1_score(targets[150:], tagged, average=how) for how in ("micro", "macro")]))
        return np.mean(scores)

    chosen = [held_out(None, spread) for spread in (0.0, 2.0)]
    for strength in STRENGTHS:
        assert np.mean(chosen) >= np.mean([held_out(strength, spread) for spread in (0.0, 2.0)]) - 1e-3
    assert chosen[0] >= held_out(PRIOR_STRENGTH, 0.0) - 0.005


def test_too_few_images_are_not_cross_validated():
    probs, targets, known = _drawn(1, images=ENOUGH_IMAGES, classes=40, spread=4.0)
    assert choose_thresholds(probs, targets, known).prior_strength < PRIOR_STRENGTH
    assert choose_thresholds(probs[1:], targets[1:], known[1:]).prior_strength == PRIOR_STRENGTH


def test_five_thousand_images_of_eighty_classes_take_no_time_to_speak_of():
    cells = _drawn(0, images=5000, classes=80)
    start = time.process_time()
    choose_thresholds(*cells)
    assert time.process_time() - start < 2
