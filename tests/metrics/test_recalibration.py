"""Recalibration: the parameters that made the labels are found, and classes with few positives stay close to the others."""

import numpy as np
import pytest

from cocotag.metrics.recalibration import CENTRES, fit, histogram, logit, sigmoid


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
