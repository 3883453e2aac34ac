import numpy as np
import pytest
from made_evaluations import made, table_of
from scipy.stats import poisson

from cocotag.bundle import BundleMetadata
from cocotag.evaluation.findings import at_least_by_chance, findings
from cocotag.evaluation.result import evaluate
from cocotag.pages.values import number

NAMES = ["cat", "dog", "owl", "newt"]


def of(targets, probs, names=NAMES, threshold=0.5):
    table = table_of(targets, names)
    metadata = BundleMetadata(table.vocabulary, 64, (threshold,) * len(names), (1,) * len(names), 1)
    return findings(evaluate(table, np.asarray(probs, np.float32), metadata, run={}, data={}))


def one(sentences, start):
    found = [sentence for sentence in sentences if sentence.startswith(start)]
    assert len(found) == 1, sentences
    return found[0]


@pytest.fixture
def right():
    """Correct scores: 200 images, all classes common."""
    targets = np.random.default_rng(0).random((200, 4)) < 0.3
    return targets, np.where(targets, 0.95, 0.02)


def test_the_weakest_classes_have_enough_positives(right):
    targets, probs = right
    targets[:, 3] = False
    targets[:9, 3] = True  # too few to be called weak, though all are missed
    probs[:, 3] = 0.01
    probs[targets[:, 1].nonzero()[0][::2], 1] = 0.1
    text = one(of(targets, probs), "The weakest classes")
    assert text.startswith("The weakest classes with at least 10 positives are dog (F1 ")
    assert "newt" not in text


def test_without_enough_positives_nothing_is_called_weak():
    assert one(of(np.eye(4), np.eye(4)), "No class has 10 positives")


def test_classes_that_are_never_predicted_are_named(right):
    targets, probs = right
    assert one(of(targets, probs), "Every class with positives")
    probs[:, 2] = 0.1
    assert one(of(targets, probs), "1 class with positives here is never predicted and has F1 0: owl.")


def test_the_largest_gain_from_a_threshold_is_called_optimistic(right):
    targets, probs = right
    probs[:, 1] = np.where(targets[:, 1], 0.45, 0.02)
    text = one(of(targets, probs), "A better threshold would help dog most: F1 is 0.0 at 0.500, but 100.0 at ")
    assert "optimistic" in text


def test_a_confusion_is_named_where_it_stands_out(right):
    targets, probs = right
    lost = (targets[:, 0] & ~targets[:, 3]).nonzero()[0][:20]
    probs[lost, 0], probs[lost, 3] = 0.1, 0.9
    text = one(
        of(targets, probs), "The most common confusion: when cat is missed, newt is wrongly predicted on 20 of 20 images, "
    )
    assert "times as often as by chance" in text


def test_pairs_that_chance_makes_are_not_named():
    named = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        targets = rng.random((300, 12)) < 0.3
        probs = np.where(targets ^ (rng.random(targets.shape) < 0.25), 0.9, 0.1)
        named += any("most common confusion" in sentence for sentence in of(targets, probs, [f"c{i}" for i in range(12)]))
    assert named <= 2


@pytest.mark.parametrize(
    ("high", "low", "verdict"), [(0.99, 0.3, "too high"), (0.55, 0.02, "too low"), (0.98, 0.01, "about right")]
)
def test_calibration_compares_the_sum_of_probabilities_with_the_labels(right, high, low, verdict):
    targets, _ = right
    text = one(of(targets, np.where(targets, high, low)), f"The probabilities are {verdict}")
    expected = np.where(targets, high, low).sum() / 200
    assert f"predicts {number(expected)} labels per image, and there are {number(targets.sum() / 200)}." in text


def test_the_first_finding_compares_with_the_baseline(right):
    targets, _ = right
    table = table_of(targets, NAMES)
    old = made(table, noise=0.5).predictions
    first = findings(made(table, noise=2.5, baseline=old))[0]
    assert first.startswith("Macro-F1 is ")
    assert "lower than the baseline's" in first
    assert "Clearly worse classes: 4 class" in first or "Clearly worse classes: cat" in first
    same = findings(made(table, noise=0.5, baseline=old))[0]
    assert "which includes 0" in same
    assert same.endswith("Clearly worse classes: none. Clearly better classes: none.")


def test_there_are_few_findings():
    targets = np.random.default_rng(0).random((300, 4)) < 0.3
    assert 3 <= len(findings(made(table_of(targets, NAMES)))) <= 6


@pytest.mark.parametrize("expected", [0.01, 0.5, 1.0, 6.0, 40.0, 900.0])
def test_the_poisson_tail_is_scipys(expected):
    for count in (int(expected) + 1, int(2 * expected) + 1, int(3 * expected) + 5):
        assert at_least_by_chance(count, expected) == pytest.approx(poisson.sf(count - 1, expected), rel=1e-6)
    assert at_least_by_chance(0, expected) == 1


def test_a_tail_far_out_is_small_and_not_lost():
    assert 0 < at_least_by_chance(100, 2.0) < 1e-100
    assert at_least_by_chance(3, 0.0) == 0
