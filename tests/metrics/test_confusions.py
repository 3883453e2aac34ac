import numpy as np
import pytest
from hypothesis import given
from metric_cases import cases, quick, seeds, with_holes

from cocotag.metrics import co_errors


@quick
@given(cases, seeds)
def test_pairs_are_those_that_counting_image_by_image_finds(case, seed):
    probs, targets, known, thresholds = with_holes(case, seed)
    predicted = probs >= thresholds
    found = co_errors(predicted, targets, known)
    images, classes = probs.shape
    expected = {}
    for a in range(classes):
        missed = [i for i in range(images) if known[i, a] and targets[i, a] and not predicted[i, a]]
        for b in range(classes):
            absent = [i for i in range(images) if known[i, b] and not targets[i, b]]
            wrong = [i for i in absent if predicted[i, b]]
            both = len(set(missed) & set(wrong))
            if both:
                chance = len(set(missed) & set(absent)) * len(wrong) / len(absent)
                expected[a, b] = (both, len(missed), both / len(missed), chance, both / chance)
    ours = {row[:2]: row[2:] for row in found.itertuples(index=False, name=None)}
    assert ours.keys() == expected.keys()
    for pair, row in ours.items():
        assert row == pytest.approx(expected[pair])
    assert (np.diff(found["images"]) <= 0).all()


def test_a_tag_that_is_always_said_instead_has_lift_and_one_that_is_said_everywhere_has_none():
    """Class 0 is missed on two images of six; 1 is said there only, 2 on all."""
    targets = np.zeros((6, 3), bool)
    targets[:2, 0] = True
    predicted = np.zeros((6, 3), bool)
    predicted[:2, 1] = True
    predicted[:, 2] = True
    frame = co_errors(predicted, targets, np.ones((6, 3))).set_index(["missed", "said"])
    assert frame.loc[(0, 1), ["images", "of", "share"]].tolist() == [2, 2, 1]
    assert frame.loc[(0, 1), "lift"] == pytest.approx(3)
    assert frame.loc[(0, 2), "lift"] == pytest.approx(1)


def test_without_errors_there_is_an_empty_frame_with_its_columns():
    targets = np.eye(3, dtype=bool)
    for known in (np.ones((3, 3), bool), np.zeros((3, 3), bool)):
        found = co_errors(targets if known.any() else ~targets, targets, known)
        assert not len(found)
        assert list(found) == ["missed", "said", "images", "of", "share", "expected", "lift"]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"targets \(2, 1\)"):
        co_errors([[1]], [[1], [0]], [[1]])
