import numpy as np
import pytest
from hypothesis import given
from metric_cases import cases, quick, quiet, random_case, seeds, with_holes
from sklearn import metrics as sk

from cocotag import metrics


def mean(values):
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else np.nan


def slow_summary(probs, targets, known, thresholds):
    """A second road to every row: cell by cell in plain Python, as the definitions read. None where undefined."""
    images, classes = range(probs.shape[0]), range(probs.shape[1])
    judged = [
        c for c in classes if all(known[:, c]) or not any(known[:, c] & targets[:, c]) or any(known[:, c] & ~targets[:, c])
    ]
    cells = [(i, c) for i in images for c in judged if known[i, c]]
    said = {(i, c): probs[i, c] >= thresholds[c] for i, c in cells}
    of_class = []
    for c in judged:
        own = [i for i in images if known[i, c]]
        tp = sum(said[i, c] and targets[i, c] for i in own)
        predicted, support = sum(said[i, c] for i in own), sum(targets[i, c] for i in own)
        if own:
            ap = sk.average_precision_score(targets[own, c], probs[own, c]) if support else None
            of_class.append({"tp": tp, "predicted": predicted, "support": support, "ap": ap})
    has = [one for one in of_class if one["support"]]
    total = {name: sum(one[name] for one in of_class) for name in ("tp", "predicted", "support")}

    def part(a, b):
        return a / b if b else None

    def harmonic(a, b):
        return np.nan if np.isnan(a) or np.isnan(b) else 2 * a * b / (a + b) if a + b else 0.0

    precision = [part(one["tp"], one["predicted"]) or 0.0 for one in has]
    recall = [one["tp"] / one["support"] for one in has]
    f1 = [2 * one["tp"] / (one["predicted"] + one["support"]) for one in has]
    rest = [0.0] * (len(of_class) - len(has))
    right = part(sum(said[cell] == targets[cell] for cell in cells), len(cells))
    found = {
        "map": mean([one["ap"] for one in has]),
        "macro_f1": mean(f1),
        "micro_f1": 2 * total["tp"] / (total["predicted"] + total["support"]) if total["support"] else None,
        "weighted_f1": part(sum(a * one["support"] for a, one in zip(f1, has, strict=True)), total["support"]),
        "cf1": harmonic(mean(precision), mean(recall)),
        "hamming_loss": None if right is None else 1 - right,
        "cell_accuracy": right,
        "macro_precision": mean(precision),
        "macro_recall": mean(recall),
        "micro_precision": part(total["tp"], total["predicted"]),
        "micro_recall": part(total["tp"], total["support"]),
        "map_zero0": mean([one["ap"] for one in has] + rest),
        "macro_f1_zero0": mean(f1 + rest),
        "macro_precision_zero0": mean(precision + rest),
        "macro_recall_zero0": mean(recall + rest),
        "cf1_zero0": harmonic(mean(precision + rest), mean(recall + rest)),
    }
    rows = {name: [] for name in ("samples_f1", "samples_f1_zero0", "subset_accuracy")}
    for i in images:
        own = [c for c in judged if known[i, c]]
        if own:
            hits = sum(said[i, c] and targets[i, c] for c in own)
            both = sum(int(said[i, c]) + int(targets[i, c]) for c in own)
            rows["samples_f1"].append(2 * hits / both if both else 1.0)
            rows["samples_f1_zero0"].append(2 * hits / both if both else 0.0)
            rows["subset_accuracy"].append(all(said[i, c] == targets[i, c] for c in own))
    return found | {name: mean(values) for name, values in rows.items()}


@quick
@given(cases, seeds)
def test_the_summary_equals_a_slower_road_where_not_all_is_known(case, seed):
    probs, targets, known, thresholds = with_holes(case, seed)
    found = metrics.summary(probs, targets, known, thresholds, groups=0)["value"]
    for name, expected in slow_summary(probs, targets, known, thresholds).items():
        expected = np.nan if expected is None else expected
        assert found[name] == pytest.approx(expected, abs=1e-12, nan_ok=True), name


@quick
@given(cases)
def test_averages_that_count_the_undefined_as_0_are_scikit_learns(case):
    probs, targets, known, thresholds = case
    if targets.shape[1] == 1:  # it reads one column as two classes
        return
    found = metrics.summary(probs, targets, known, thresholds, groups=0)["value"]
    decisions = probs >= thresholds
    for average, ours in (("macro", "macro_{}_zero0"), ("samples", "samples_{}_zero0")):
        parts = sk.precision_recall_fscore_support(targets, decisions, average=average, zero_division=0.0)[:3]
        for name, theirs in zip(("precision", "recall", "f1"), parts, strict=True):
            if (row := ours.format(name)) in found:
                assert found[row] == pytest.approx(theirs, abs=1e-12), row
    assert found["map_zero0"] == pytest.approx(quiet(sk.average_precision_score, targets, probs), abs=1e-12)
    precision, recall, _, _ = sk.precision_recall_fscore_support(targets, decisions, average="micro", zero_division=np.nan)
    assert found["micro_precision"] == pytest.approx(precision, nan_ok=True)
    assert found["micro_recall"] == pytest.approx(recall, nan_ok=True)
    assert found["cell_accuracy"] == pytest.approx(sk.accuracy_score(targets.ravel(), decisions.ravel()))


def test_a_mean_says_over_how_many_classes_it_is():
    probs, known = np.full((4, 3), 0.9), np.ones((4, 3), bool)
    targets = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]], bool)
    known[:, 2] = False
    rows = metrics.summary(probs, targets, known, np.full(3, 0.5), groups=0)
    assert rows.loc[["map", "macro_precision", "macro_ece"], "n_classes"].tolist() == [1, 1, 1]
    assert rows.loc[["map_zero0", "macro_precision_zero0", "ece", "coverage"], "n_classes"].tolist() == [2, 2, 2, 2]
    assert rows.loc["macro_precision", "value"] == 2 * rows.loc["macro_precision_zero0", "value"] == 0.5


def test_without_positives_every_row_of_them_is_undefined_and_without_predictions_only_their_precision():
    known = np.ones((3, 2), bool)
    none = metrics.summary(np.full((3, 2), 0.9), np.zeros((3, 2)), known, [0.5, 0.5])
    undefined = none.index[none["value"].isna()]
    assert {"map", "macro_precision", "macro_recall", "micro_recall", "recall_at_3", "coverage", "ranking_loss"} <= {*undefined}
    assert none.loc[undefined, ["lo", "hi"]].isna().all(axis=None)
    assert none.loc[["micro_precision", "precision_at_3", "map_zero0", "cell_accuracy"], "value"].tolist() == [0, 0, 0, 0]
    silent = metrics.summary(np.full((3, 2), 0.1), np.ones((3, 2)), known, [0.5, 0.5], groups=0)["value"]
    assert silent.index[silent.isna()].tolist() == ["micro_precision", "ranking_loss"]
    assert silent[["macro_precision", "macro_recall", "micro_recall", "cf1", "of1"]].tolist() == [0, 0, 0, 0, 0]


def test_one_image_is_enough():
    rows = metrics.summary([[0.9, 0.2, 0.6]], [[1, 0, 1]], np.ones((1, 3)), np.full(3, 0.5))
    assert rows["value"].notna().all()
    assert rows[["lo", "hi"]].isna().all(axis=None)  # one image says nothing of others
    assert rows.loc[["coverage", "ranking_loss", "recall_at_3"], "value"].tolist() == [2, 0, 1]


def test_the_names_of_the_rows_are_all_told_and_sorted_into_better_and_worse():
    assert list(metrics.DEFINITIONS) == list(metrics.SUMMARY)
    assert set(metrics.SUMMARY) >= metrics.LOWER_IS_BETTER | metrics.OVER_SUPPORTED
    probs, targets, known, thresholds = random_case(7, 60, rate=0.4)
    perfect = metrics.summary(targets.astype(float), targets, known, np.full(6, 0.5), groups=0)["value"]
    other = metrics.summary(probs, targets, known, thresholds, groups=0)["value"]
    for name in metrics.SUMMARY:
        better = perfect[name] - other[name]
        assert (-better if name in metrics.LOWER_IS_BETTER else better) > 0, name
