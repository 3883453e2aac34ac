import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from metric_cases import cases, quick, random_case, seeds
from sklearn import metrics as sk
from torchmetrics.functional.classification import multilabel_average_precision, multilabel_f1_score

from cocotag import metrics
from cocotag.metrics.measures import Prepared, measure


@quick
@given(cases, seeds)
def test_per_class_equals_scikit_learn_on_the_known_rows(case, seed):
    probs, targets, known, thresholds = case
    known = np.random.default_rng(seed).random(known.shape) < 0.8
    frame = metrics.per_class(probs, targets, known, thresholds)
    for c, row in frame.iterrows():
        scores, labels = probs[known[:, c], c], targets[known[:, c], c]
        decisions = scores >= thresholds[c]
        assert row.support == labels.sum()
        assert row.predicted == decisions.sum()
        assert row.tp + row.fp + row.fn + row.tn == known[:, c].sum()
        if not labels.any():
            assert np.isnan([row.f1, row.recall, row.ap]).all()
            assert row.status == ("no_positives" if decisions.any() else "no_positives_or_predictions")
            continue
        if labels.all() and not known[:, c].all():  # then scikit-learn is all praise
            assert np.isnan([row.precision, row.f1, row.ap]).all()
            assert (row.status, row.recall) == ("no_negatives", decisions.mean())
            continue
        assert row.status == ("ok" if decisions.any() else "no_predictions")
        assert np.isnan(row.precision) == (not decisions.any())
        precision, recall, f1, _ = sk.precision_recall_fscore_support(labels, decisions, average="binary", zero_division=0.0)
        assert [np.nan_to_num(row.precision), row.recall, row.f1] == pytest.approx([precision, recall, f1])
        assert row.ap == pytest.approx(sk.average_precision_score(labels, scores))


@quick
@given(cases)
def test_the_summary_equals_scikit_learn(case):
    probs, targets, known, thresholds = case
    found = metrics.summary(probs, targets, known, thresholds, groups=0)["value"]
    decisions, has = probs >= thresholds, targets.any(axis=0)
    assert found["hamming_loss"] == pytest.approx(sk.hamming_loss(targets, decisions))
    assert found["subset_accuracy"] == pytest.approx((targets == decisions).all(axis=1).mean())
    if targets.shape[1] > 1:  # scikit-learn reads one column as two classes
        assert found["subset_accuracy"] == pytest.approx(sk.accuracy_score(targets, decisions))
        assert found["samples_f1"] == pytest.approx(sk.f1_score(targets, decisions, average="samples", zero_division=1.0))
    if not has.any():
        assert found[["map", "macro_f1", "micro_f1", "weighted_f1", "cf1", "of1"]].isna().all()
        return
    rates = {"zero_division": 0.0, "average": None}
    precision, recall, f1, support = (
        np.atleast_1d(part)[-len(has) :] for part in sk.precision_recall_fscore_support(targets, decisions, **rates)
    )
    precision, recall = precision[has].mean(), recall[has].mean()
    assert found["macro_f1"] == pytest.approx(f1[has].mean())
    assert found["weighted_f1"] == pytest.approx(np.average(f1, weights=support))
    assert found["micro_f1"] == pytest.approx(sk.f1_score(targets.ravel(), decisions.ravel(), zero_division=0.0))
    assert found["of1"] == pytest.approx(found["micro_f1"])
    assert found["cf1"] == pytest.approx(2 * precision * recall / max(precision + recall, 1e-12))
    assert found["map"] == pytest.approx(sk.average_precision_score(targets[:, has], probs[:, has], average="macro"))


def test_torchmetrics_agrees_where_every_class_has_support():
    rng = np.random.default_rng(0)
    probs, targets = rng.random((200, 12)).astype(np.float32), rng.random((200, 12)) < 0.2
    found = metrics.summary(probs, targets, np.ones_like(targets), np.full(12, 0.4, np.float32), groups=0)["value"]
    scores, labels = torch.from_numpy(probs), torch.from_numpy(targets.astype(int))
    assert found["map"] == pytest.approx(multilabel_average_precision(scores, labels, 12).item(), abs=1e-6)
    for average in ("macro", "micro", "weighted"):
        theirs = multilabel_f1_score(scores, labels, 12, threshold=0.4, average=average).item()
        assert found[f"{average}_f1"] == pytest.approx(theirs, abs=1e-6)


def test_closed_form():
    probs = [[0.9, 0.9], [0.8, 0.1], [0.7, 0.2], [0.1, 0.3]]
    targets = [[1, 0], [0, 0], [1, 0], [1, 0]]
    scores = metrics.score(probs, targets, np.ones((4, 2)), [0.75, 0.95], groups=0)
    first, second = (row for _, row in scores.per_class.iterrows())
    assert (first.tp, first.fp, first.fn, first.tn) == (1, 1, 2, 0)
    assert first.ap == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert first.f1 == pytest.approx(2 / 5)
    assert second.status == "no_positives_or_predictions"
    assert np.isnan([second.precision, second.recall, second.f1, second.ap]).all()
    assert scores.summary.loc["macro_f1", "n_classes"] == 1
    assert scores.summary.loc["micro_f1", "n_classes"] == 2


def test_a_class_with_support_that_is_never_predicted_counts_zero():
    scores = metrics.score([[0.2, 0.9], [0.1, 0.1]], [[1, 1], [0, 0]], np.ones((2, 2)), [0.5, 0.5], groups=0)
    row = scores.per_class.iloc[0]
    assert np.isnan(row.precision)
    assert (row.f1, row.status) == (0, "no_predictions")
    assert scores.summary.loc["macro_f1", "value"] == 0.5
    assert scores.summary.loc["cf1", "value"] == 0.5


def test_a_class_of_which_only_positives_are_known_is_in_no_figure():
    probs, targets, known, thresholds = random_case(3, images=30, classes=4)
    targets[:, 0], known[:, 0] = True, np.arange(30) < 12
    with_it = metrics.score(probs, targets, known, thresholds, groups=20)
    without = metrics.score(probs[:, 1:], targets[:, 1:], known[:, 1:], thresholds[1:], groups=20)
    assert with_it.per_class.loc[0, "status"] == "no_negatives"
    assert with_it.per_class.loc[0, ["precision", "f1", "ap", "f1_lo", "ap_hi"]].isna().all()
    assert with_it.per_class.loc[0, "support"] == 12
    np.testing.assert_array_equal(with_it.summary, without.summary)


def test_a_class_that_is_on_every_image_is_measured():
    scores = metrics.score([[0.9], [0.2]], [[1], [1]], [[1], [1]], [0.5], groups=0)
    assert scores.per_class.loc[0, "status"] == "ok"
    assert scores.summary["value"]["map"] == 1


def test_a_score_on_the_threshold_is_a_prediction():
    assert metrics.per_class([[0.5]], [[1]], [[1]], [0.5]).loc[0, "tp"] == 1


def test_decisions_made_elsewhere_are_counted_and_the_ranking_is_kept():
    probs, targets, known, thresholds = random_case(1)
    plain = metrics.per_class(probs, targets, known, thresholds)
    scores = metrics.score(probs, targets, known, thresholds, predicted=np.ones_like(known), groups=0)
    assert (scores.per_class["predicted"] == len(probs)).all()
    np.testing.assert_array_equal(scores.per_class["ap"], plain["ap"])


@quick
@given(cases, seeds)
def test_what_is_in_unknown_cells_changes_nothing(case, seed):
    probs, targets, known, thresholds = case
    known = np.random.default_rng(seed).random(known.shape) < 0.6
    a = metrics.score(probs, targets, known, thresholds, groups=5)
    b = metrics.score(np.where(known, probs, 1 - probs), targets ^ ~known, known, thresholds, groups=5)
    np.testing.assert_array_equal(a.summary, b.summary)
    assert a.per_class.equals(b.per_class)


def test_images_and_classes_that_nobody_looked_at_are_left_out():
    probs, targets, known, thresholds = random_case(4, images=30)
    fewer = metrics.summary(probs[:20], targets[:20], known[:20], thresholds, groups=0)
    known[20:] = False
    np.testing.assert_allclose(metrics.summary(probs, targets, known, thresholds, groups=0), fewer)
    known[:] = False
    assert metrics.summary(probs, targets, known, thresholds)["value"].isna().all()


@quick
@given(cases, seeds)
@example(random_case(1, 2, 2, levels=1, rate=0.25), 0)
def test_weighing_images_is_repeating_them(case, seed):
    probs, targets, known, thresholds = case
    rng = np.random.default_rng(seed)
    known = rng.random(known.shape) < 0.8
    rows = rng.integers(len(probs), size=(len(probs), 3))
    weights = np.stack([np.bincount(column, minlength=len(probs)) for column in rows.T], axis=1).astype(np.float32)
    prepared = Prepared.of(probs, targets, known, probs >= thresholds)
    found = measure(prepared, weights)
    whole = metrics.per_class(probs, targets, known, thresholds)
    for draw, column in enumerate(rows.T):
        repeated = metrics.score(probs[column], targets[column], known[column], thresholds, groups=0)
        if "no_negatives" in {*repeated.per_class["status"], *whole["status"]}:  # which is decided once, on all images
            continue
        both = min(len(found.summary[draw]), len(repeated.summary))  # the last, top1_accuracy, needs one label on every image
        values = repeated.summary["value"][:both]
        values["map_expected"] = np.nan  # not for images that are drawn twice
        np.testing.assert_allclose(found.summary[draw][:both], values, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.ap[draw], repeated.per_class["ap"], rtol=1e-9)
        for name in ("precision", "recall", "f1"):
            np.testing.assert_allclose(getattr(found, name)[draw], repeated.per_class[name], rtol=1e-9)
        np.testing.assert_allclose(found.ece[draw], repeated.per_class["ece"], rtol=1e-9, atol=1e-12)


def test_intervals_hold_the_value_and_shrink_with_images():
    rng = np.random.default_rng(0)
    targets = rng.random((800, 5)) < 0.3
    probs = 1 / (1 + np.exp(-(rng.normal(size=(800, 5)) + 2 * targets - 1)))
    widths = []
    for images in (100, 800):
        scores = metrics.score(probs[:images], targets[:images], np.ones((images, 5)), np.full(5, 0.5), groups=300)
        summary, frame = scores.summary, scores.per_class
        assert summary.index[summary["lo"].isna()].tolist() == ["macro_ece"]
        summary = summary.drop(index="macro_ece")
        assert (summary["lo"] <= summary["value"]).all()
        assert (summary["value"] <= summary["hi"]).all()
        for name in ("precision", "recall", "f1", "ap"):
            assert ((frame[f"{name}_lo"] < frame[name]) & (frame[name] < frame[f"{name}_hi"])).all()
        widths.append(summary["hi"] - summary["lo"])
    assert (widths[1] < 0.6 * widths[0]).all()


def test_the_interval_of_map_holds_the_truth_where_classes_are_rare():
    """Images drawn twice would raise AP, and a positive that counts itself does so on few images."""
    rng = np.random.default_rng(0)

    def sample(images):
        targets = rng.random((images, 40)) < 0.015
        return rng.normal(size=targets.shape) + 1.5 * targets, targets

    truth = metrics.summary(*sample(60_000), np.ones((60_000, 40)), np.ones(40), groups=0).loc["map", "value"]
    rows = [metrics.summary(*sample(1500), np.ones((1500, 40)), np.ones(40)) for _ in range(20)]
    for name in ("map", "map_expected"):
        assert sum(row.loc[name, "lo"] <= truth <= row.loc[name, "hi"] for row in rows) >= 17
    bias = [np.mean([row.loc[name, "value"] for row in rows]) - truth for name in ("map", "map_expected")]
    assert abs(bias[1]) < 0.01 < 0.02 < bias[0]


def test_expected_map_leaves_a_positive_out_of_its_own_precision():
    probs, targets = [[0.9], [0.8], [0.7], [0.6], [0.5]], [[1], [0], [1], [0], [1]]
    row = metrics.summary(probs, targets, np.ones((5, 1)), [0.5], groups=0).loc["map_expected"]
    assert row["value"] == pytest.approx((1 + 1 / 2 + 2 / 4) / 3)  # of the others at least as high: none, 1 of 2, 2 of 4
    tied = metrics.summary([[0.5], [0.5], [0.5]], [[1], [1], [0]], np.ones((3, 1)), [0.5], groups=0)["value"]
    assert tied["map_expected"] == pytest.approx(1 / 2)
    assert tied["map"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("positives", [1, 2, 5, 150])
def test_no_interval_of_a_class_is_without_width(positives):
    rng = np.random.default_rng(positives)
    targets = (np.arange(200) < positives)[:, None]
    for probs in (targets * 1.0, 1.0 - targets, rng.random(targets.shape)):
        frame = metrics.score(probs, targets, np.ones_like(targets), [0.5]).per_class
        for name in ("precision", "recall", "f1", "ap"):
            wide = frame[f"{name}_hi"] - frame[f"{name}_lo"]
            assert ((wide > 0.005) | frame[name].isna()).all(), (name, positives)


def test_per_class_intervals_hold_the_truth_at_every_support():
    """Of a class whose truth is known, over many samples: for one positive as for hundreds."""
    rng = np.random.default_rng(0)

    def sample(images):
        targets = rng.random((images, 1)) < 0.02
        return rng.normal(size=targets.shape) + 2 * targets, targets, np.ones((images, 1)), [2.2]

    truth = metrics.per_class(*sample(400_000)).iloc[0]
    for images in (100, 500, 5000):
        held = {name: [] for name in ("precision", "recall", "f1", "ap")}
        for _ in range(150):
            row = metrics.score(*sample(images)).per_class.iloc[0]
            for name, found in held.items():
                if not np.isnan(row[name]):
                    found.append(row[f"{name}_lo"] <= truth[name] <= row[f"{name}_hi"])
        assert all(np.mean(found) >= 0.88 for found in held.values()), (images, {k: np.mean(v) for k, v in held.items()})


@quick
@given(cases, st.sampled_from([1, 20]))
def test_every_interval_holds_its_value_within_its_limits_and_is_missing_with_it(case, resamples):
    probs, targets, known, thresholds = case
    scores = metrics.score(probs, targets, known, thresholds, groups=resamples)
    value, lo, hi = (scores.summary[name].to_numpy() for name in ("value", "lo", "hi"))
    limit = np.where(scores.summary.index == "coverage", probs.shape[1], 1)
    np.testing.assert_array_equal(np.isnan(lo), np.isnan(hi))
    defined = ~np.isnan(lo)  # a single draw may miss every positive
    assert not np.isnan(value[defined]).any()
    assert (lo[defined] >= 0).all()
    assert (lo[defined] <= value[defined]).all()
    assert (value[defined] <= hi[defined]).all()
    assert (hi[defined] <= limit[defined]).all()
    frame = scores.per_class
    for name in ("precision", "recall", "f1", "ap"):
        assert frame.loc[frame[name].isna(), [f"{name}_lo", f"{name}_hi"]].isna().all(axis=None)
        ends = frame[[f"{name}_lo", f"{name}_hi"]].dropna()
        assert ((ends >= 0) & (ends <= 1)).all(axis=None)
        assert (ends[f"{name}_lo"] <= ends[f"{name}_hi"]).all()


def test_the_seed_decides_the_intervals():
    probs, targets, known, thresholds = random_case(2)
    first, other, again = (metrics.score(probs, targets, known, thresholds, groups=10, seed=seed) for seed in (1, 2, 1))
    assert first.summary.equals(again.summary)
    assert first.summary["value"].equals(other.summary["value"])
    assert not first.summary["lo"].equals(other.summary["lo"])


def test_without_draws_there_are_no_intervals():
    found = metrics.summary(*random_case(2), groups=0)
    assert found[["lo", "hi"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("probs", "targets", "known", "thresholds", "says"),
    [
        ([[0.1]], [[1], [0]], [[1]], [0.5], r"targets \(2, 1\)"),
        ([[0.1]], [[1]], [[1]], [0.5, 0.5], r"thresholds \(2,\)"),
        ([[np.nan]], [[1]], [[1]], [0.5], "1 of 1 probabilities are not finite"),
        (np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2)), [0.5, 0.5], "nothing to measure"),
    ],
)
def test_input_that_does_not_fit_is_refused(probs, targets, known, thresholds, says):
    with pytest.raises(ValueError, match=says):
        metrics.score(probs, targets, known, thresholds)
