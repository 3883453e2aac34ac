import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from cocotag.thresholds import best_thresholds, choose_thresholds

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
