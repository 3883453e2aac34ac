import numpy as np
import pytest

from cocotag.data.annotations import load_annotations
from cocotag.data.split import stratified_holdout


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
