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
    best_thresholds,
    choose_thresholds,
)

quick = settings(max_examples=20, deadline=None)


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
