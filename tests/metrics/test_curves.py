import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metric_cases import cases, quick, random_case, seeds, with_holes
from sklearn import metrics as sk

from cocotag.metrics import class_curves, per_class
from cocotag.metrics.curves import POINTS

many = st.builds(random_case, seeds, st.integers(1, 600), st.integers(1, 3), levels=st.sampled_from([1, 7, 90, 100_000]))


@quick
@given(many, seeds)
def test_every_point_is_true_and_undefined_curves_are_empty(case, seed):
    probs, targets, known, thresholds = with_holes(case, seed)
    frame = per_class(probs, targets, known, thresholds)
    for c, curve in enumerate(class_curves(probs, targets, known)):
        scores, labels = probs[known[:, c], c], targets[known[:, c], c]
        assert curve.positives.sum() == labels.sum()
        assert curve.negatives.sum() == (~labels).sum()
        assert len(curve.bins.counts) == len(curve.bins.lo)
        if frame.loc[c, "status"] in ("no_positives", "no_positives_or_predictions", "no_negatives"):
            assert not len(curve.recall) + len(curve.precision) + len(curve.threshold) + len(curve.f1)
            assert curve.bins.counts.sum() == (0 if frame.loc[c, "status"] == "no_negatives" else len(labels))
            continue
        assert max(len(curve.recall), len(curve.threshold)) <= POINTS
        precision, recall, _ = sk.precision_recall_curve(labels, scores)
        there = set(zip(np.round(recall, 9), np.round(precision, 9), strict=True))
        ours = list(zip(np.round(curve.recall, 9), np.round(curve.precision, 9), strict=True))
        assert set(ours[1:]) <= there
        assert (curve.recall[0], curve.recall[-1]) == (0, 1)
        assert curve.precision[0] == curve.precision[1]
        assert (np.diff(curve.recall) > 0).all()
        assert (np.diff(curve.threshold) > 0).all()
        assert (curve.threshold[0], curve.threshold[-1]) == (0, 1)
        for threshold, f1 in zip(curve.threshold, curve.f1, strict=True):
            assert f1 == pytest.approx(sk.f1_score(labels, scores >= threshold, zero_division=0.0))


@quick
@given(many)
def test_the_best_f1_of_all_thresholds_is_on_the_curve(case):
    probs, targets, known, _ = case
    for c, curve in enumerate(class_curves(probs, targets, known)):
        if targets[:, c].any():
            best = max(sk.f1_score(targets[:, c], probs[:, c] >= level) for level in np.unique(probs[:, c]))
            assert curve.f1.max() == pytest.approx(best)


@quick
@given(cases)
def test_the_area_under_the_steps_is_average_precision(case):
    """Where no point was left out: with these few images there are none too many."""
    probs, targets, known, thresholds = case
    ap = per_class(probs, targets, known, thresholds)["ap"]
    for c, curve in enumerate(class_curves(probs, targets, known)):
        if targets[:, c].any():
            assert np.sum(np.diff(curve.recall) * curve.precision[1:]) == pytest.approx(ap[c])


def test_with_many_images_the_drawn_area_is_near_average_precision():
    rng = np.random.default_rng(0)
    targets = rng.random((20_000, 1)) < 0.2
    probs = 1 / (1 + np.exp(-rng.normal(size=targets.shape) - 1.5 * targets + 1))
    curve = class_curves(probs, targets, np.ones_like(targets))[0]
    ap = sk.average_precision_score(targets[:, 0], probs[:, 0])
    assert len(curve.recall) == POINTS
    assert np.sum(np.diff(curve.recall) * curve.precision[1:]) == pytest.approx(ap, abs=0.01)


def test_closed_form():
    probs, targets = np.array([[0.92], [0.72], [0.72], [0.22]]), np.array([[1], [1], [0], [0]])
    curve = class_curves(probs, targets, np.ones((4, 1)))[0]
    np.testing.assert_allclose(curve.recall, [0, 0.5, 1])
    np.testing.assert_allclose(curve.precision, [1, 1, 2 / 3])
    np.testing.assert_allclose(curve.threshold, [0, 0.22, 0.72, 0.92, 1])
    np.testing.assert_allclose(curve.f1, [2 / 3, 2 / 3, 4 / 5, 2 / 3, 0])
    assert curve.positives[[14, 18]].tolist() == [1, 1]
    assert curve.negatives[[4, 14]].tolist() == [1, 1]
    np.testing.assert_allclose(curve.bins.observed, [0, 0.5, 1])
    assert curve.bins.counts.tolist() == [1, 2, 1]


def test_what_is_in_unknown_cells_changes_nothing():
    probs, targets, known, _ = with_holes(random_case(2), 2)
    one = class_curves(probs, targets, known)
    other = class_curves(np.where(known, probs, 1 - probs), targets ^ ~known, known)
    for a, b in zip(one, other, strict=True):
        for name in ("recall", "precision", "threshold", "f1", "positives", "negatives"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        np.testing.assert_array_equal(a.bins.lo, b.bins.lo)


@pytest.mark.parametrize(("value", "says"), [(1.5, r"0\.5 to 1\.5"), (np.nan, "not finite")])
def test_scores_that_are_not_probabilities_are_refused(value, says):
    with pytest.raises(ValueError, match=says):
        class_curves([[0.5], [value]], [[1], [0]], [[1], [1]])
