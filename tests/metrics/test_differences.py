import numpy as np
import pytest
from hypothesis import given
from metric_cases import cases, quick, random_case, seeds, with_holes

from cocotag import metrics


@pytest.mark.parametrize("seed", range(3))
def test_a_difference_is_that_of_the_scores_and_runs_are_averaged(seed):
    probs, targets, known, thresholds = random_case(seed)
    rng = np.random.default_rng(seed)
    other, third = (np.clip(probs + rng.normal(0, 0.2, probs.shape), 0, 1) for _ in range(2))
    first, second = [(probs, probs >= thresholds)], [(one, one >= thresholds) for one in (other, third)]
    found = metrics.difference(first, second, targets, known, resamples=200).summary
    scores = [metrics.summary(one, targets, known, thresholds, groups=0)["value"] for one in (probs, other, third)]
    expected = (scores[1] + scores[2]) / 2 - scores[0]
    for name in ("map", "macro_f1", "micro_f1", "cf1"):
        assert found.loc[name, "value"] == pytest.approx(expected[name])
        assert found.loc[name, "lo"] <= found.loc[name, "hi"]
    same = metrics.difference(first, first, targets, known, resamples=50).summary
    assert (same.loc[["map", "micro_f1"]] == 0).all(axis=None)


def test_a_difference_is_told_where_each_for_itself_is_not():
    """A small gain on every image: the intervals of both overlap, that of their difference is above 0."""
    rng = np.random.default_rng(0)
    targets = rng.random((150, 5)) < 0.3
    known = np.ones_like(targets)
    probs = np.clip(0.5 + 0.2 * (targets - 0.5) + rng.normal(0, 0.25, targets.shape), 0, 1)
    better = np.clip(probs + 0.04 * (targets - 0.5), 0, 1)
    half = np.full(5, 0.5)
    before, after = (metrics.score(one, targets, known, half).per_class for one in (probs, better))
    assert (after["ap_lo"] < before["ap_hi"]).all()
    gap = metrics.difference([(probs, probs >= 0.5)], [(better, better >= 0.5)], targets, known).summary
    assert gap.loc["map", "lo"] > 0


@quick
@given(cases, seeds)
def test_classes_too_are_second_minus_first(case, seed):
    probs, targets, known, thresholds = with_holes(case, seed)
    other = np.random.default_rng(seed).permutation(probs)
    runs = [[(one, one >= thresholds)] for one in (probs, other)]
    frame = metrics.difference(*runs, targets, known, resamples=5).per_class
    scores = [metrics.per_class(one, targets, known, thresholds) for one in (probs, other)]
    assert frame.index.tolist() == list(range(probs.shape[1]))
    for name in ("f1", "ap"):
        for which, one in zip(("first", "second"), scores, strict=True):
            np.testing.assert_allclose(frame[f"{name}_{which}"], one[name])
        np.testing.assert_allclose(frame[name], scores[1][name] - scores[0][name], atol=1e-12)
        assert frame.loc[frame[name].isna(), [f"{name}_lo", f"{name}_hi"]].isna().all(axis=None)


@quick
@given(cases, seeds)
def test_an_interval_is_never_without_its_value(case, seed):
    probs, targets, known, thresholds = with_holes(case, seed)
    other = np.random.default_rng(seed).permutation(probs)
    found = metrics.difference(*([(one, one >= thresholds)] for one in (probs, other)), targets, known, resamples=2)
    for frame, names in (
        (found.summary, ("value", "lo", "hi")),
        *((found.per_class, (n, f"{n}_lo", f"{n}_hi")) for n in ("f1", "ap")),
    ):
        value, lo, hi = frame[list(names)].dropna().to_numpy().T  # two draws may both miss every positive
        assert ((lo <= value) & (value <= hi)).all()


def test_the_other_way_round_it_is_the_same_with_the_other_sign():
    probs, targets, known, thresholds = random_case(1)
    other = np.random.default_rng(1).permutation(probs)
    a, b = [(probs, probs >= thresholds)], [(other, other >= thresholds)]
    there, back = metrics.difference(a, b, targets, known, resamples=60), metrics.difference(b, a, targets, known, resamples=60)
    for one, another in ((there.summary, back.summary), (there.per_class, back.per_class)):
        for name in ("value",) if "value" in one else ("f1", "ap"):
            lo, hi = ("lo", "hi") if name == "value" else (f"{name}_lo", f"{name}_hi")
            np.testing.assert_allclose(one[name], -another[name], atol=1e-12)
            np.testing.assert_allclose(one[lo], -another[hi], atol=1e-12)


def test_a_class_that_got_worse_is_told_and_one_that_stayed_is_not():
    rng = np.random.default_rng(0)
    targets = rng.random((400, 2)) < 0.3
    probs = np.clip(0.5 * targets + rng.normal(0.25, 0.15, targets.shape), 0, 1)
    worse = probs.copy()
    worse[:, 0] = np.clip(worse[:, 0] + rng.normal(0, 0.3, 400), 0, 1)
    frame = metrics.difference([(probs, probs >= 0.5)], [(worse, worse >= 0.5)], targets, np.ones_like(targets)).per_class
    assert (frame.loc[0, ["f1_hi", "ap_hi"]] < 0).all()
    assert (frame.loc[1, ["f1", "f1_lo", "f1_hi", "ap", "ap_lo", "ap_hi"]] == 0).all()


def test_the_interval_of_a_difference_of_a_class_holds_the_truth():
    rng = np.random.default_rng(0)

    def sample(images):
        targets = rng.random((images, 1)) < 0.2
        signal = rng.normal(size=targets.shape) + targets
        return signal, signal + rng.normal(0, 0.8, targets.shape), targets

    def gap(one, other, targets, **how):
        frame = metrics.difference(
            [(one, one >= 0.5)], [(other, other >= 0.5)], targets, np.ones_like(targets), **how
        ).per_class
        return frame.iloc[0]

    truth = gap(*sample(100_000), resamples=0)
    rows = [gap(*sample(300), resamples=100) for _ in range(40)]
    for name in ("f1", "ap"):
        assert sum(row[f"{name}_lo"] <= truth[name] <= row[f"{name}_hi"] for row in rows) >= 33


def test_two_fractions_do_not_differ_by_more_than_one():
    """Two of three positives found by the first alone: mirrored draws would reach beyond -1."""
    targets = np.zeros((20, 1), bool)
    targets[:3] = True
    found, nothing = targets.astype(float), np.zeros(targets.shape)
    found[2] = 0
    known, runs = np.ones_like(targets), ([(found, found >= 0.5)], [(nothing, nothing >= 0.5)])
    gaps = metrics.difference(*runs, targets, known, resamples=200)
    for frame, names in ((gaps.per_class, ("f1", "ap")), (gaps.summary.drop("coverage").T, ("map", "macro_f1"))):
        assert frame.notna().to_numpy().any()
        for name in names:
            ends = frame[[f"{name}_lo", f"{name}_hi"]] if f"{name}_lo" in frame else frame.loc[["lo", "hi"], name]
            assert (ends.abs() <= 1).all(axis=None)
