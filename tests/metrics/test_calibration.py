import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metric_cases import cases, quick, random_case, seeds, with_holes
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import binary_calibration_error

from cocotag import metrics
from cocotag.metrics.calibration import BINS, Calibration, CalibrationBins, wilson


def slow_ece(scores, labels):
    """A second road: bin by bin, as it is defined."""
    total = 0.0
    for low, high in zip(np.linspace(0, 1, BINS + 1)[:-1], np.linspace(0, 1, BINS + 1)[1:], strict=True):
        there = (scores <= high) & ((scores > low) | (low == 0))
        if there.any():
            total += there.mean() * abs(scores[there].mean() - labels[there].mean())
    return total


@quick
@given(cases, seeds)
def test_every_class_and_all_cells_together_equal_a_slower_road(case, seed):
    probs, targets, known, thresholds = with_holes(case, seed)
    scores = metrics.score(probs, targets, known, thresholds, groups=0)
    frame, found = scores.per_class, scores.summary["value"]
    judged = (frame["status"] != "no_negatives").to_numpy()
    for c, row in frame.iterrows():
        p, y = probs[known[:, c], c], targets[known[:, c], c]
        if not judged[c] or not len(p):
            assert np.isnan([row.brier, row.ece]).all()
            continue
        assert row.brier == pytest.approx(sk.brier_score_loss(y, p, labels=[False, True], pos_label=True))
        assert row.ece == pytest.approx(slow_ece(p, y))
    p, y = (part[:, judged][known[:, judged]] for part in (probs, targets))
    if not len(p):
        assert found[["brier", "ece"]].isna().all()
        return
    assert found["brier"] == pytest.approx(np.mean((p - y) ** 2))
    assert found["ece"] == pytest.approx(slow_ece(p, y))
    supported = (frame["support"] > 0) & judged
    assert found["macro_ece"] == pytest.approx(frame.loc[supported, "ece"].mean(), nan_ok=True)


@quick
@given(seeds, st.integers(1, 300), st.floats(0, 1))
def test_torchmetrics_has_the_same_error_away_from_the_edges_of_bins(seed, images, rate):
    """On an edge it takes the bin above, and gives 1.0 one of its own; we take the one below, as scikit-learn does."""
    rng = np.random.default_rng(seed)
    probs, targets = rng.random((images, 1)), rng.random((images, 1)) < rate
    found = metrics.score(probs, targets, np.ones_like(targets), [0.5], groups=0)
    theirs = binary_calibration_error(torch.from_numpy(probs[:, 0]), torch.from_numpy(targets[:, 0].astype(int)), n_bins=BINS)
    assert found.per_class.loc[0, "ece"] == pytest.approx(theirs.item(), abs=1e-6)
    assert found.summary.loc["ece", "value"] == pytest.approx(theirs.item(), abs=1e-6)


@quick
@given(seeds, st.integers(1, 200), st.sampled_from([3, 10, 20, 1000]))
def test_the_bins_are_those_of_scikit_learn(seed, images, levels):
    """On edges too: with 10 or 20 levels many scores lie on one."""
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, levels + 1, images) / levels, rng.random(images) < 0.4
    bins = CalibrationBins.of(scores, labels)
    observed, predicted = calibration_curve(labels, scores, n_bins=BINS)
    np.testing.assert_allclose(bins.observed, observed)
    np.testing.assert_allclose(bins.predicted, predicted)
    assert bins.counts.sum() == images
    weighed = (bins.counts * np.abs(bins.predicted - bins.observed)).sum() / images
    frame = metrics.per_class(scores[:, None], labels[:, None], np.ones((images, 1)), [0.5])
    assert frame.loc[0, "ece"] == pytest.approx(weighed)
    assert ((bins.lo <= bins.observed) & (bins.observed <= bins.hi)).all()


def test_probabilities_that_mean_what_they_say_have_no_error_and_certain_wrong_ones_all():
    targets = np.repeat([[True], [False]], [3, 7], axis=0)
    honest = metrics.score(np.full((10, 1), 0.3), targets, np.ones((10, 1)), [0.5], groups=0).per_class.iloc[0]
    wrong = metrics.score(1.0 - targets, targets, np.ones((10, 1)), [0.5], groups=0).per_class.iloc[0]
    assert honest.ece == pytest.approx(0, abs=1e-12)
    assert honest.brier == pytest.approx(0.3 * 0.7)
    assert (wrong.ece, wrong.brier) == (1, 1)


def test_errors_of_classes_do_not_cancel_in_their_mean_as_they_do_over_all_cells():
    """One class is said too often and one too rarely, by as much."""
    targets = np.column_stack([np.arange(10) < 2, np.arange(10) < 8])
    found = metrics.summary(np.full((10, 2), 0.5), targets, np.ones((10, 2)), [0.5, 0.5], groups=0)["value"]
    assert found["ece"] == pytest.approx(0, abs=1e-12)
    assert found["macro_ece"] == pytest.approx(0.3)


def test_a_class_without_positives_has_a_brier_score_and_one_with_only_positives_has_none():
    frame = metrics.per_class(np.full((3, 2), 0.2), [[0, 1], [0, 1], [0, 0]], [[1, 1], [1, 1], [1, 0]], [0.5, 0.5])
    assert frame["status"].tolist() == ["no_positives_or_predictions", "no_negatives"]
    assert frame.loc[0, "brier"] == pytest.approx(0.04)
    assert frame.loc[1, ["brier", "ece"]].isna().all()


def test_scores_that_are_no_probabilities_have_neither():
    probs, targets, known, thresholds = random_case(3)
    probs[0, 0], probs[1, 1], known[1, 1] = 1.5, -3.0, False
    scores = metrics.score(probs, targets, known, thresholds, groups=10)
    assert scores.per_class.loc[0, ["brier", "ece"]].isna().all()
    assert scores.per_class.loc[1:, ["brier", "ece"]].notna().all(axis=None)  # the other is where nobody looked
    assert scores.summary.loc[["brier", "ece"], ["value", "lo", "hi"]].isna().all(axis=None)
    assert scores.summary.loc["micro_f1", ["value", "lo", "hi"]].notna().all()


def test_classes_are_counted_in_groups_without_a_seam():
    probs, targets, known, _ = random_case(1, 30, 19, levels=50)
    calibration = Calibration.of(probs, targets, known)
    found = calibration.class_ece(np.ones((30, 1), np.float32))[0]
    np.testing.assert_allclose(found, [slow_ece(probs[:, c], targets[:, c]) for c in range(19)], atol=1e-12)


@given(st.integers(1, 500), st.data())
def test_wilsons_interval_is_where_the_score_test_turns(count, data):
    """The share at either end is just as far from the observed one as chance allows in 95 of 100 cases."""
    hits = data.draw(st.integers(0, count))
    lo, hi = wilson(np.array([hits]), np.array([count]))
    for end in (lo[0], hi[0]):
        if 1e-9 < end < 1 - 1e-9:
            distance = abs(hits / count - end) / np.sqrt(end * (1 - end) / count)
            assert distance == pytest.approx(1.959963984540054, rel=1e-6)
    assert 0 <= lo[0] <= hits / count <= hi[0] <= 1
