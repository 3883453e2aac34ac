import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metric_cases import cases, quick, random_case, seeds, with_holes
from sklearn import metrics as sk
from torchmetrics.functional.classification import multilabel_coverage_error, multilabel_ranking_loss
from torchmetrics.functional.retrieval import retrieval_precision, retrieval_recall

from cocotag import metrics
from cocotag.metrics.ranking import Ranking, coverage_depth, hits_in_top, misordered_pairs


@quick
@given(cases)
def test_coverage_and_ranking_loss_equal_scikit_learn_on_images_with_labels(case):
    probs, targets, known, thresholds = case
    found = metrics.summary(probs, targets, known, thresholds, groups=0)["value"]
    some = targets.any(axis=1)
    if not some.any():
        assert found[["coverage", "ranking_loss", "recall_at_3"]].isna().all()
        return
    if targets.shape[1] == 1:  # scikit-learn reads one column as two classes
        assert found["coverage"] == 1
        assert np.isnan(found["ranking_loss"])
        return
    assert found["coverage"] == pytest.approx(sk.coverage_error(targets[some], probs[some]))
    mixed = some & ~targets.all(axis=1)
    if mixed.any():
        assert found["ranking_loss"] == pytest.approx(sk.label_ranking_loss(targets[mixed], probs[mixed]))
    else:
        assert np.isnan(found["ranking_loss"])


@quick
@given(cases, seeds)
def test_an_image_with_unknown_cells_is_an_image_of_fewer_classes(case, seed):
    probs, targets, known, _ = with_holes(case, seed)
    depth, loss = coverage_depth(probs, targets, known), misordered_pairs(probs, targets, known)
    for row, there in enumerate(known):
        labels, scores = targets[row, there], probs[row, there]
        assert np.isnan(depth[row]) == (not labels.any())
        assert np.isnan(loss[row]) == (labels.all() or not labels.any())
        if labels.any() and len(labels) > 1:
            assert depth[row] == sk.coverage_error([labels], [scores])
        if not np.isnan(loss[row]):
            assert loss[row] == pytest.approx(sk.label_ranking_loss([labels], [scores]))


def test_torchmetrics_has_the_same_where_nothing_ties():
    rng = np.random.default_rng(0)
    probs, targets = rng.random((80, 9)), rng.random((80, 9)) < 0.3
    targets[:, 0] |= ~targets.any(axis=1)
    found = metrics.summary(probs, targets, np.ones_like(targets), np.full(9, 0.5), groups=0)["value"]
    scores, labels = torch.from_numpy(probs), torch.from_numpy(targets.astype(int))
    assert found["coverage"] == pytest.approx(multilabel_coverage_error(scores, labels, 9).item())
    assert found["ranking_loss"] == pytest.approx(multilabel_ranking_loss(scores, labels, 9).item())
    for name, theirs in (("precision_at_3", retrieval_precision), ("recall_at_3", retrieval_recall)):
        of_images = [theirs(one, truth, top_k=3).item() for one, truth in zip(scores, labels, strict=True)]
        assert found[name] == pytest.approx(np.mean(of_images))


@quick
@given(seeds, st.integers(1, 5), st.integers(1, 4))
def test_tied_places_are_what_breaking_ties_by_lot_gives(seed, classes, k):
    """Every order of the classes, ties broken by it, is one of the lots."""
    probs, targets, known, _ = with_holes(random_case(seed, 6, classes, levels=2), seed)
    hits, places = hits_in_top(probs, targets, known, k=k)
    for row in range(len(probs)):
        drawn = []
        for order in itertools.permutations(range(classes)):
            lot = [c for c in sorted(order, key=lambda c: -probs[row, c]) if known[row, c]][:k]
            drawn.append(sum(targets[row, c] for c in lot))
            assert places[row] == len(lot)
        assert hits[row] == pytest.approx(np.mean(drawn))


def test_closed_form_at_depth():
    probs = [[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6]]
    targets = [[0, 1, 0, 1], [0, 0, 0, 0]]
    found = metrics.summary(probs, targets, np.ones((2, 4)), np.full(4, 0.5), groups=0)["value"]
    assert found["precision_at_3"] == pytest.approx((1 / 3 + 0) / 2)
    assert found["recall_at_3"] == pytest.approx(1 / 2)  # the second image has nothing to find
    assert found["coverage"] == 4
    assert found["ranking_loss"] == pytest.approx(3 / 4)


def test_all_scores_tied():
    targets = np.array([[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]], bool)
    found = metrics.summary(np.full((2, 6), 0.5), targets, np.ones((2, 6)), np.full(6, 0.5), groups=0)["value"]
    assert found["precision_at_3"] == pytest.approx(targets.mean())
    assert found["recall_at_3"] == 0.5
    assert found["coverage"] == 6
    assert found["ranking_loss"] == 1


def test_the_order_of_the_classes_does_not_matter():
    probs, targets, known, thresholds = with_holes(random_case(5, levels=3), 5)
    turned = np.random.default_rng(0).permutation(probs.shape[1])
    columns = [part[:, turned] for part in (probs, targets, known)]
    np.testing.assert_allclose(
        metrics.summary(probs, targets, known, thresholds, groups=20),
        metrics.summary(*columns, thresholds[turned], groups=20),
        atol=1e-12,
    )


@quick
@given(cases, seeds)
def test_average_precision_under_weights_equals_scikit_learn_with_them(case, seed):
    probs, targets, known, _ = with_holes(case, seed)
    weights = np.random.default_rng(seed).integers(0, 4, (len(probs), 3)).astype(np.float32)
    for c in range(probs.shape[1]):
        found = Ranking.of(probs[:, c], targets[:, c], known[:, c]).average_precision(weights)
        for ap, weight in zip(found, weights.T * known[:, c], strict=True):
            used = weight > 0
            if not targets[used, c].any():
                assert np.isnan(ap)
                continue
            expected = sk.average_precision_score(targets[used, c], probs[used, c], sample_weight=weight[used])
            assert ap == pytest.approx(expected)
