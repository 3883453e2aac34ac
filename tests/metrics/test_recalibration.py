"""Recalibration: the parameters that made the labels are found, and classes with few positives stay close to the others."""

import numpy as np
import pytest

from cocotag.metrics.recalibration import CENTRES, fit, fit_labels, held_out_loss, histogram, log_loss, logit, sigmoid


def drawn(shift, images, slope=1.4, common=-0.5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-6, 3, (images, len(shift)))
    labels = rng.random(x.shape) < sigmoid(slope * x + common + shift)
    return x, labels


def fitted(x, labels):
    return fit(histogram(x, labels), histogram(x, np.ones_like(labels)))


def test_the_parameters_of_the_labels_are_found():
    shift = np.random.default_rng(1).normal(0, 1, 40)
    model = fitted(*drawn(shift, 4000))
    assert model.slope == pytest.approx(1.4, abs=0.03)
    assert model.spread == pytest.approx(shift.std(), abs=0.2)
    np.testing.assert_allclose(model.common + model.shift, -0.5 + shift, atol=0.3)


@pytest.mark.parametrize("common", [-2.5, 2.5])
def test_an_offset_of_all_classes_is_not_taken_for_their_spread(common):
    shift = np.random.default_rng(1).normal(0, 1, 40)
    model = fitted(*drawn(shift - shift.mean(), 4000, common=common))
    assert model.common == pytest.approx(common, abs=0.15)
    assert model.spread == pytest.approx(shift.std(), abs=0.1)
    assert model.shift.mean() == pytest.approx(0, abs=1e-9)


def test_equal_classes_have_no_spread():
    assert fitted(*drawn(np.zeros(20), 3000)).spread < 0.15


def test_a_class_with_few_cells_keeps_close_to_the_others():
    x, labels = drawn(np.array([*np.random.default_rng(1).normal(0, 0.5, 30), 2.0]), 2000)
    cells = np.ones_like(labels)
    cells[20:, -1] = False
    few = fit(histogram(x, labels & cells), histogram(x, cells))
    assert abs(few.shift[-1]) < 0.7 * abs(fitted(x, labels).shift[-1])


def test_a_class_without_cells_has_the_common_offset():
    x, labels = drawn(np.ones(5), 300)
    cells = np.ones_like(labels)
    cells[:, 2] = False
    assert fit(histogram(x, labels & cells), histogram(x, cells)).shift[2] == 0


def test_cells_are_counted_in_the_bin_of_their_logit():
    probs = np.array([[0.0, 0.5], [1.0, 0.5]])
    counts = histogram(logit(probs), np.array([[True, True], [True, False]]))
    assert counts.sum(axis=1).tolist() == [2, 1]
    assert CENTRES[counts[0] > 0].tolist() == [CENTRES[0], CENTRES[-1]]
    assert CENTRES[counts[1] > 0] == pytest.approx(0, abs=1e-9)


def test_log_loss_is_that_of_the_probability_of_the_label():
    probs = np.array([[0.8, 0.3]])
    np.testing.assert_allclose(log_loss(logit(probs), np.array([[True, False]])), -np.log([[0.8, 0.7]]))


def test_shifted_classes_lose_less_on_images_that_the_model_has_not_seen():
    x, labels = drawn(np.random.default_rng(1).normal(0, 1, 10), 1000)
    known = np.random.default_rng(2).random(x.shape) < 0.8
    loss = held_out_loss(x, labels, known)
    assert loss.before == pytest.approx(log_loss(x, labels)[known].mean())
    others = drawn(np.random.default_rng(1).normal(0, 1, 10), 20_000, seed=3)
    expected = log_loss(fit_labels(x, labels, known).logits(others[0]), others[1]).mean()
    assert loss.after == pytest.approx(expected, rel=0.05)
    assert loss.before - loss.after > 10 * loss.error


def test_the_standard_error_is_the_spread_over_samples():
    shift = np.random.default_rng(1).normal(0, 0.5, 5)
    losses = [held_out_loss(x, labels, np.ones_like(labels)) for x, labels in (drawn(shift, 200, seed=s) for s in range(60))]
    falls = np.array([loss.before - loss.after for loss in losses])
    assert np.mean([loss.error for loss in losses]) == pytest.approx(falls.std(ddof=1), rel=0.25)


def test_scores_that_separate_the_labels_closely_are_drawn_apart():
    labels = np.random.default_rng(0).random((200, 2)) < 0.3
    model = fitted(logit(np.where(labels, 0.6, 0.5)), labels)
    assert model.logits(logit([0.6])).min() > 3
    assert model.logits(logit([0.5])).max() < -3


def test_calibrated_scores_gain_nothing():
    for seed in range(20):
        x, labels = drawn(np.zeros(10), 100, slope=1, common=0, seed=seed)
        loss = held_out_loss(x, labels, np.ones_like(labels))
        assert loss.before - loss.after < 2 * loss.error
