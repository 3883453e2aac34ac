"""Chances of wrong labels: planted errors are found, chances mean what they say, and what tells nothing has none."""

import numpy as np
import pytest

from cocotag.metrics.label_issues import label_error_chances


def planted(images=1500, classes=12, share=0.05, scale=1.0, seed=0):
    """Calibrated scores if ``scale`` is 1, and labels of which a share of each kind is wrong."""
    rng = np.random.default_rng(seed)
    frequency, m = rng.uniform(0.02, 0.15, classes), rng.uniform(2.5, 3.5, classes)
    truth = rng.random((images, classes)) < frequency
    x = rng.normal(size=truth.shape) + m * truth
    logits = m * x - m**2 / 2 + np.log(frequency / (1 - frequency))
    shift = 0 if scale == 1 else rng.normal(1, 1.5, classes)
    labels = truth ^ (truth & (rng.random(truth.shape) < share))
    labels |= ~truth & (rng.random(truth.shape) < share * frequency / (1 - frequency))
    return 1 / (1 + np.exp(-(scale * logits + shift))), labels, truth != labels


def found(rank, wrong):
    return wrong.ravel()[np.argsort(-rank.ravel(), kind="stable")[: wrong.sum()]].mean()


@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_planted_errors_are_found_more_often_than_by_self_confidence(scale):
    probs, labels, wrong = planted(scale=scale)
    chances = label_error_chances(probs, labels, np.ones_like(labels))
    assert found(chances, wrong) > 1.05 * found(np.where(labels, 1 - probs, probs), wrong)


def test_chances_are_frequencies():
    probs, labels, wrong = planted(images=5000)
    chances = label_error_chances(probs, labels, np.ones_like(labels))
    assert chances.sum() == pytest.approx(wrong.sum(), rel=0.2)
    for low, high in ((0.1, 0.4), (0.4, 0.7), (0.7, 1.01)):
        cells = (chances >= low) & (chances < high)
        assert wrong[cells].mean() == pytest.approx(chances[cells].mean(), abs=0.1)


def test_scores_of_another_scale_and_offset_give_the_same_order():
    probs, labels, wrong = planted()
    moved = 1 / (1 + ((1 - probs) / probs) ** 0.6 * np.exp(1.3))
    known = np.ones_like(labels)
    assert found(label_error_chances(moved, labels, known), wrong) == pytest.approx(
        found(label_error_chances(probs, labels, known), wrong), abs=0.02
    )


def test_an_unknown_cell_has_no_chance_and_no_influence():
    probs, labels, _ = planted(images=200)
    known = np.random.default_rng(1).random(labels.shape) < 0.8
    other = np.where(known, labels, ~labels), np.where(known, probs, 0.5)
    chances = label_error_chances(probs, labels, known)
    assert not chances[~known].any()
    np.testing.assert_array_equal(chances, label_error_chances(other[1], other[0], known))


def test_a_class_of_known_positives_alone_tells_nothing():
    probs, labels, _ = planted(images=200)
    known = np.ones_like(labels)
    known[:, 0] = labels[:, 0]
    chances = label_error_chances(probs, labels, known)
    assert not chances[:, 0].any()
    np.testing.assert_allclose(chances[:, 1:], label_error_chances(probs[:, 1:], labels[:, 1:], known[:, 1:]), rtol=1e-6)


@pytest.mark.parametrize("probs", [np.full((3, 2), 0.5), np.zeros((3, 2)), np.ones((3, 2)), np.zeros((0, 2)), np.zeros((2, 0))])
@pytest.mark.parametrize("fill", ["all", "none", "first"])
def test_degenerate_inputs_have_chances(probs, fill):
    labels = np.zeros(probs.shape, bool)
    labels[: {"all": None, "none": 0, "first": 1}[fill]] = True
    chances = label_error_chances(probs, labels, np.ones_like(labels))
    assert chances.shape == probs.shape
    assert ((chances >= 0) & (chances <= 1)).all()


@pytest.mark.parametrize(
    ("probs", "shape"), [(np.full((2, 2), 1.5), (2, 2)), (np.full((2, 2), np.nan), (2, 2)), (np.ones((2, 2)), (2, 3))]
)
def test_invalid_inputs_are_refused(probs, shape):
    with pytest.raises(ValueError, match="probs"):
        label_error_chances(probs, np.zeros(shape, bool), np.ones(shape, bool))
