import numpy as np
import pytest

from cocotag.data.annotations import load_annotations
from cocotag.data.split import stratified_holdout, stratified_sample


def labels(n=2000, c=30, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, c)) < np.geomspace(0.4, 0.004, c)


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.5])
def test_every_class_keeps_its_share(fraction):
    targets = labels()
    held = stratified_holdout(targets, fraction, 0)
    assert held.sum() == pytest.approx(fraction * len(targets), rel=0.06)
    wanted = fraction * targets.sum(axis=0)
    assert (np.abs(targets[held].sum(axis=0) - wanted) <= 1 + 0.15 * wanted).all()


def test_is_closer_than_chance():
    targets = labels()
    wanted = 0.1 * targets.sum(axis=0)
    rng = np.random.default_rng(1)
    chance = np.mean([np.abs(targets[rng.permutation(2000)[:200]].sum(axis=0) - wanted).mean() for _ in range(20)])
    assert np.abs(targets[stratified_holdout(targets, 0.1, 0)].sum(axis=0) - wanted).mean() < chance / 3


def test_same_seed_same_images_other_seed_others():
    targets = labels(300, 8)
    assert (stratified_holdout(targets, 0.2, 1) == stratified_holdout(targets, 0.2, 1)).all()
    assert (stratified_holdout(targets, 0.2, 1) != stratified_holdout(targets, 0.2, 2)).any()


def test_what_is_too_rare_to_share_is_learned_from():
    targets = np.zeros((100, 2), bool)
    targets[:60, 0] = True
    targets[7, 1] = True
    assert not any(stratified_holdout(targets, 0.1, seed)[7] for seed in range(20))


def test_images_without_labels_are_shared_too():
    targets = np.zeros((1000, 3), bool)
    targets[:500, 0] = True
    held = stratified_holdout(targets, 0.2, 0)
    assert held[500:].sum() == pytest.approx(100, abs=3)


def test_on_the_labels_of_val2017(data_dir):
    table = load_annotations(data_dir / "labels_val2017.json")
    held = stratified_holdout(table.targets, 0.1, 0)
    assert held.sum() == pytest.approx(495, abs=8)
    assert table.targets[held].any(axis=0).all()


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5])
def test_a_sample_loses_no_class(fraction):
    targets = labels(1000, 60)
    targets[0] = False
    targets[0, 59] = True  # one that is nowhere else
    targets[1:, 59] = False
    kept = stratified_sample(targets, fraction, 0)
    assert (targets[kept].any(axis=0) == targets.any(axis=0)).all()
    assert kept.sum() <= fraction * 1000 + 60


def test_a_sample_keeps_every_share():
    targets = labels()
    kept = stratified_sample(targets, 0.25, 0)
    wanted = 0.25 * targets.sum(axis=0)
    assert kept.sum() == pytest.approx(500, rel=0.03)
    assert (np.abs(targets[kept].sum(axis=0) - wanted) <= 1 + 0.1 * wanted).all()


def test_a_sample_of_all_is_all():
    assert stratified_sample(labels(50, 5), 1.0, 0).all()


def test_a_rare_class_that_has_a_share_is_held_out_even_if_its_images_go_with_a_rarer_one():
    """All images of class 1 have class 0 too, which is dealt first and wants none of them held."""
    targets = np.zeros((1000, 3), bool)
    targets[:4, 0] = True
    targets[:8, 1] = True
    targets[:, 2] = True
    for seed in range(10):
        held = stratified_holdout(targets, 0.1, seed)
        assert targets[held, 1].any()
        assert targets[~held].any(axis=0).all()


def test_what_is_held_for_a_rare_class_costs_no_other_class_its_only_image():
    targets = np.zeros((100, 3), bool)
    targets[:6, 0] = True
    targets[np.arange(5), 1] = True
    targets[5, 2] = True  # the one image of class 2
    for seed in range(10):
        held = stratified_holdout(targets, 0.1, seed)
        assert not held[5]
        assert targets[held, 0].any()
