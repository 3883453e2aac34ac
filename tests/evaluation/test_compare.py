import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cocotag.errors import DataError
from cocotag.evaluation.compare import ENOUGH_SUPPORT, VERDICTS, check_same, compare
from cocotag.evaluation.predictions import Predictions
from cocotag.metrics import difference, score

CLASSES = ("cat", "dog", "owl", "newt", "never")


def pair(images=300, seed=0):
    """A baseline, and another that is worse on ``cat``, better on ``dog``, and the same on ``owl``; ``newt`` is rare."""
    rng = np.random.default_rng(seed)
    targets = rng.random((images, 5)) < [0.4, 0.4, 0.3, 0.0, 0.0]
    targets[:3, 3] = True
    known = rng.random((images, 5)) < 0.95
    known[:3, 3] = True
    noise = rng.normal(0, 0.25, (2, images, 5))
    first = np.clip(0.5 + [0.4, 0.1, 0.2, 0.2, 0.2] * (2 * targets - 1) + noise[0], 0, 1)
    second = np.clip(0.5 + [0.1, 0.4, 0.2, 0.2, 0.2] * (2 * targets - 1) + noise[1], 0, 1)
    second[:, 2] = first[:, 2]
    files = np.array([f"{i:03}.jpg" for i in range(images)])
    return [Predictions(files, CLASSES, probs, probs >= 0.5, targets, known) for probs in (first, second)]


@pytest.fixture(scope="module")
def runs():
    return pair()


@pytest.fixture(scope="module")
def found(runs):
    return compare(*runs, names=("old", "new"))


def shuffled(run, seed=1):
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(len(run)), rng.permutation(len(run.class_names))
    grid = np.ix_(rows, columns)
    arrays = {name: getattr(run, name)[grid] for name in ("probs", "predicted", "targets", "known")}
    return Predictions(run.file_names[rows], tuple(run.class_names[c] for c in columns), **arrays)


def test_values_equal_the_evaluations_and_differences_equal_the_metrics(runs, found):
    for side, run in zip(("baseline", "other"), runs, strict=True):
        alone = score(run.probs, run.targets, run.known, np.full(5, 0.5), groups=0)
        np.testing.assert_allclose(found.summary[side], alone.summary["value"])
        by_name = found.per_class.set_index("name").loc[list(CLASSES)]
        np.testing.assert_allclose(by_name[f"f1_{side}"], alone.per_class["f1"])
        np.testing.assert_allclose(by_name[f"ap_{side}"], alone.per_class["ap"])
    np.testing.assert_allclose(found.summary["difference"], found.summary["other"] - found.summary["baseline"])
    first, second = runs
    gaps = difference(
        [(first.probs, first.predicted)], [(second.probs, second.predicted)], first.targets, first.known, seed=0
    ).summary
    np.testing.assert_array_equal(found.summary[["lo", "hi"]], gaps[["lo", "hi"]])
    assert found.images == 300
    assert found.paired


def test_regressions_come_first_and_few_positives_are_not_judged(found):
    verdicts = found.per_class.set_index("name")["verdict"]
    assert verdicts.to_dict() == {
        "cat": "worse",
        "dog": "better",
        "owl": "unclear",
        "newt": "few positives",
        "never": "undefined",
    }
    places = found.per_class["verdict"].map(VERDICTS.index).tolist()
    assert places == sorted(places)
    assert found.per_class["name"].iloc[0] == "cat"
    assert (found.per_class.set_index("name").loc["newt", "support"]) == 3 < ENOUGH_SUPPORT


def test_swapping_the_sides_swaps_better_and_worse(runs, found):
    back = compare(*runs[::-1])
    a, b = (frame.set_index("name").loc[list(CLASSES)] for frame in (found.per_class, back.per_class))
    np.testing.assert_allclose(a["f1_difference"], -b["f1_difference"], atol=1e-12)
    np.testing.assert_allclose(a["f1_lo"], -b["f1_hi"], atol=1e-12)
    assert b.loc["cat", "verdict"] == "better"


def test_the_verdict_respects_measures_for_which_lower_is_better(runs):
    rng = np.random.default_rng(3)
    run = runs[0]
    random = replace(run, probs=rng.random(run.probs.shape), predicted=rng.random(run.probs.shape) < 0.5)
    verdicts = compare(run, random).summary["verdict"]
    for metric in ("map", "macro_f1", "hamming_loss", "coverage", "ranking_loss", "brier", "cell_accuracy"):
        assert verdicts[metric] == "worse", metric
    assert compare(random, run).summary.loc["hamming_loss", "verdict"] == "better"


def test_nothing_differs_from_itself(runs):
    same = compare(runs[0], runs[0], resamples=50)
    assert (same.summary[["difference", "lo", "hi"]].dropna() == 0).all(axis=None)
    assert set(same.per_class["verdict"]) <= {"unclear", "few positives", "undefined"}


def test_the_order_of_images_and_classes_does_not_matter(runs, found):
    other = compare(runs[0], shuffled(runs[1]))
    pd.testing.assert_frame_equal(other.summary, found.summary)
    assert other.per_class.drop(columns=["verdict", "name"]).equals(found.per_class.drop(columns=["verdict", "name"]))


def test_json_has_null_for_what_is_undefined(found):
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    last = document["per_class"][-1]
    assert last["name"] == "never"
    assert last["f1_difference"] is None
    assert document["paired"] is True
    assert found.to_csv().splitlines()[-1].startswith("4,never,0,undefined,,")


def cut(run, rows=slice(None), columns=slice(None), **more):
    arrays = {name: getattr(run, name)[rows, columns] for name in ("probs", "predicted", "targets", "known")}
    return Predictions(run.file_names[rows], run.class_names[columns], **{**arrays, **more})


def changed(name, run):
    match name:
        case "fewer images":
            return cut(run, rows=slice(0, 299)), "different_images", r"300 and 299 .*only old has: 299\.jpg"
        case "other images":
            names = run.file_names.copy()
            names[7] = "x.jpg"
            return replace(run, file_names=names), "different_images", r"300 and 300 .*only old has: 007\.jpg"
        case "more images":
            doubled = [np.concatenate([getattr(run, part)] * 2) for part in ("probs", "predicted", "targets", "known")]
            files = np.concatenate([run.file_names, [f"b{i}.jpg" for i in range(300)]])
            return Predictions(files, CLASSES, *doubled), "different_images", r"300 and 600 .*only new has: b0\.jpg"
        case "fewer classes":
            return cut(run, columns=slice(0, 4)), "different_classes", "5 and 4 .*only old has: never"
        case "other labels":
            targets = run.targets.copy()
            row = int(np.flatnonzero(run.known[:, 1])[0])
            targets[row, 1] ^= True
            return replace(run, targets=targets), "different_labels", rf"1 of 1500 .*dog on {row:03}"
        case "other unknowns":
            known = run.known.copy()
            known[5, 0] ^= True
            return replace(run, known=known), "different_labels", r"1 of 1500 .*cat on 005\.jpg: .*unknown"


CHANGES = ("fewer images", "other images", "more images", "fewer classes", "other labels", "other unknowns")


@pytest.mark.parametrize("change", CHANGES)
def test_different_data_are_refused_with_the_first_difference(runs, change):
    other, code, values = changed(change, runs[1])
    with pytest.raises(DataError, match=values) as caught:
        compare(runs[0], other, names=("old", "new"))
    assert caught.value.code == code
    parts = (other.file_names, other.class_names, other.targets, other.known)
    with pytest.raises(DataError, match=values) as caught:
        check_same(runs[0], *parts, names=("old", "new"))
    assert caught.value.code == code


def test_unknown_labels_do_not_count(runs):
    hidden = ~runs[1].known
    assert hidden.any()
    other = replace(runs[1], targets=runs[1].targets ^ hidden)
    check_same(runs[0], other.file_names, other.class_names, other.targets, other.known)


def test_repeated_names_are_paired_only_in_the_same_order(runs):
    def doubled(run):
        names = run.file_names.copy()
        names[1] = names[0]
        return replace(run, file_names=names)

    twice = [doubled(run) for run in runs]
    compare(*twice, resamples=0)
    with pytest.raises(DataError) as caught:
        compare(twice[0], cut(twice[1], rows=slice(None, None, -1)))
    assert caught.value.code == "name_duplicate"
