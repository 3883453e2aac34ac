import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from cocotag.evaluation.slices import COLUMNS, MIN_CLASSES, MIN_IMAGES, Slicing, slices


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    targets = rng.random((400, 8)) < 0.3
    predicted = targets ^ (rng.random(targets.shape) < 0.2)
    return predicted, targets, np.ones(targets.shape, bool), rng.uniform(0, 255, 400)


def test_every_measure_equals_scikit_learns_on_the_slice(data):
    predicted, targets, known, values = data
    frame = slices(predicted, targets, known, {"brightness": Slicing(values)})
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 4
    assert frame["images"].sum() == 400
    for row in frame.itertuples():
        there = (values >= row.lo) & (values <= row.hi)
        assert there.sum() == row.images
        y, p = targets[there], predicted[there]
        assert row.micro_f1 == pytest.approx(f1_score(y, p, average="micro"))
        assert row.macro_f1 == pytest.approx(f1_score(y, p, average="macro"))
        assert row.precision == pytest.approx(precision_score(y, p, average="micro"))
        assert row.recall == pytest.approx(recall_score(y, p, average="micro"))
        assert row.labels_per_image == pytest.approx(y.sum(axis=1).mean())
        assert row.false_tags_per_image == pytest.approx((p & ~y).sum(axis=1).mean())
        assert row.missed_tags_per_image == pytest.approx((y & ~p).sum(axis=1).mean())
        assert 0 <= row.micro_f1_lo <= row.micro_f1 <= row.micro_f1_hi <= 1
        assert 0 <= row.macro_f1_lo <= row.macro_f1 <= row.macro_f1_hi <= 1


def test_intervals_include_the_true_value_as_often_as_stated():
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(60):
        targets = rng.random((80, 6)) < 0.4
        predicted = np.where(targets, rng.random(targets.shape) < 0.7, rng.random(targets.shape) < 0.2)
        half = np.repeat([0, 1], 40)
        row = slices(
            predicted, targets, np.ones(targets.shape, bool), {"labels": Slicing(half, natural=True)}, leave_out=200, seed=seed
        )
        truth = 2 * 0.4 * 0.7 / (2 * 0.4 * 0.7 + 0.6 * 0.2 + 0.4 * 0.3)
        held += int(((row["micro_f1_lo"] <= truth) & (truth <= row["micro_f1_hi"])).sum())
    assert 0.87 <= held / 120 <= 1


def test_slices_of_a_kind_compare_the_same_classes(data):
    predicted, targets, known, values = data
    targets[values < np.quantile(values, 0.2), 0] = False
    targets[values < np.quantile(values, 0.3), 1] = False  # the darkest quarter lacks this class whole
    frame = slices(predicted, targets, known, {"brightness": Slicing(values)})
    assert set(frame["n_classes"]) == {7}
    last = frame.iloc[3]
    there = values >= last.lo
    assert last.macro_f1 == pytest.approx(
        f1_score(targets[there], predicted[there], average=None)[[0, 2, 3, 4, 5, 6, 7]].mean()
    )


def test_with_too_few_common_classes_macro_f1_is_undefined(data):
    predicted, targets, known, values = data
    few = MIN_CLASSES - 1
    frame = slices(predicted[:, :few], targets[:, :few], known[:, :few], {"brightness": Slicing(values)})
    assert frame["macro_f1"].isna().all()
    assert (frame["n_classes"] == 0).all()
    assert frame["micro_f1"].notna().all()


def test_images_without_labels_have_no_f1_but_count_their_wrong_tags(data):
    predicted, targets, known, _ = data
    targets[:100] = False
    labels = targets.sum(axis=1)
    first = slices(predicted, targets, known, {"labels": Slicing(labels, natural=True)}).iloc[0]
    assert first["slice"] == "0"
    assert np.isnan([first.micro_f1, first.micro_f1_lo, first.macro_f1, first.recall]).all()
    assert first.precision == 0
    assert first.false_tags_per_image > 0


def test_whole_numbers_are_slices_and_rare_ones_are_combined():
    labels = np.repeat([0, 1, 2, 3, 4, 9], [50, 40, 30, 5, 10, 7])
    predicted = targets = np.ones((len(labels), 2), bool)
    frame = slices(predicted, targets, targets, {"labels": Slicing(labels, natural=True)}, leave_out=0)
    assert frame["slice"].tolist() == ["0", "1", "2", "3 or more"]
    assert frame["images"].tolist() == [50, 40, 30, 22]
    assert (frame["images"] >= MIN_IMAGES).all()


@pytest.mark.parametrize("values", [np.zeros(100), np.arange(100) // 50, np.full(100, np.nan), np.arange(100.0)[::-1]])
def test_slices_of_any_values_are_disjoint(values):
    targets = np.ones((100, 2), bool)
    frame = slices(targets, targets, targets, {"brightness": Slicing(values)}, leave_out=0)
    assert len(frame) in (0, 2, 4)
    assert frame["images"].sum() == (100 if len(frame) else 0)
    assert (frame["lo"].to_numpy()[1:] > frame["hi"].to_numpy()[:-1]).all()
    assert frame["slice"].is_unique


def test_an_image_without_a_value_is_in_no_slice(data):
    predicted, targets, known, values = data
    values[:30] = np.nan
    frame = slices(predicted, targets, known, {"brightness": Slicing(values)}, leave_out=0)
    assert frame["images"].sum() == 370


def test_too_few_images_are_not_sliced():
    targets = np.ones((2 * MIN_IMAGES - 1, 2), bool)
    by = {"brightness": Slicing(np.arange(len(targets))), "labels": Slicing(np.arange(len(targets)) % 3, natural=True)}
    assert slices(targets, targets, targets, by).empty


def test_unknown_cells_do_not_count(data):
    predicted, targets, known, values = data
    known[::3, ::2] = False
    other = predicted.copy()
    other[~known] = ~other[~known]
    by = {"brightness": Slicing(values)}
    first, second = (slices(p, targets, known, by, leave_out=50) for p in (predicted, other))
    assert first.equals(second)


def test_shares_are_named_in_percent(data):
    predicted, targets, known, values = data
    frame = slices(predicted, targets, known, {"largest object": Slicing(values / 255, unit=100)}, leave_out=0)
    assert frame["slice"].str.fullmatch(r"\d+ to \d+%").all()
    assert frame["hi"].max() <= 1
