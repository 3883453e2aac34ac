import json
import math
import statistics
from collections import Counter
from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pytest
from imbalance_reference import assert_same, make_table, reference

from cocotag.config import LossConfig
from cocotag.data.annotations import load_annotations
from cocotag.imbalance import measures as measure
from cocotag.imbalance.result import drift, imbalance
from cocotag.training.loop.loss import Loss


@pytest.fixture(scope="module")
def val2017(data_dir):
    """All labels of val2017 as plain Python: the path, names, a set of indices per image, objects by class."""
    path = data_dir / "labels_val2017.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    document = json.loads(path.read_text())
    index = {category["id"]: place for place, category in enumerate(document["categories"])}
    labels = {image["id"]: set() for image in document["images"]}
    objects = [0] * len(index)
    for annotation in document["annotations"]:
        labels[annotation["image_id"]].add(index[annotation["category_id"]])
        objects[index[annotation["category_id"]]] += 1
    return path, [category["name"] for category in document["categories"]], list(labels.values()), objects


@pytest.fixture(scope="module")
def val2017_found(val2017):
    return imbalance(load_annotations(val2017[0]), split="val2017")


def test_val2017_in_a_second_way(val2017, val2017_found):
    _, names, labels, objects = val2017
    expected = reference(labels, len(names))
    assert_same(val2017_found.measures, expected)
    sizes = [len(entry) for entry in labels]
    assert val2017_found.labels_per_image == [sizes.count(size) for size in range(max(sizes) + 1)]
    counts = [sum(index in entry for entry in labels) for index in range(len(names))]
    pairs = [sum({a, b} <= entry for entry in labels) for a, b in combinations(range(len(names)), 2)]
    by_chance = [Fraction(counts[a] * counts[b], len(labels)) for a, b in combinations(range(len(names)), 2)]
    rest = {
        "classes": 80,
        "classes_present": sum(count > 0 for count in counts),
        "instances": sum(objects),
        "unknown_cells": 0,
        "max_labels_per_image": max(sizes),
        "absent_classes": counts.count(0),
        "pairs": sum(count > 0 for count in pairs),
        "supported_pairs": sum(count >= 5 for count in pairs),
        "unseen_pairs": sum(not count and chance >= 1 for count, chance in zip(pairs, by_chance, strict=True)),
        "input_features": 1,
        "min_pair_images": 5,
    }
    groups = val2017_found.classes["group"].tolist()
    rest |= {f"{group}_classes": groups.count(group) for group in ("head", "medium", "tail")}
    assert_same(val2017_found.measures, rest)
    assert set(val2017_found.measures) == {*expected, *rest}  # every measure is checked


def test_the_classes_of_val2017_in_a_second_way(val2017, val2017_found):
    _, names, labels, objects = val2017
    found, images = val2017_found.classes, len(labels)
    counts = [sum(index in entry for entry in labels) for index in range(len(names))]
    most, mean = max(counts), Fraction(sum(counts), sum(count > 0 for count in counts))

    def scumble(entry):
        ratios = [Fraction(most, counts[index]) for index in entry]
        return 1 - math.prod(map(float, ratios)) ** (1 / len(ratios)) / float(sum(ratios) / len(ratios)) if ratios else 0.0

    def geometric(beta, count):  # 1 + beta + ... + beta^(count - 1)
        return float((1 - Fraction(beta) ** count) / (1 - Fraction(beta)))

    mixed = [scumble(entry) for entry in labels]
    own = [[value for value, entry in zip(mixed, labels, strict=True) if index in entry] for index in range(len(names))]
    effective = [geometric("0.9999", count) for count in counts]
    scale = statistics.fmean(1 / number for number in effective)
    expected = {
        "name": names,
        "images": counts,
        "instances": objects,
        "irlbl": [most / count for count in counts],
        "scumble": [statistics.fmean(values) for values in own],
        "scumble_cv": [statistics.stdev(values) / statistics.fmean(values) for values in own],
        "group": ["head" if count >= 2 * mean else "tail" if 2 * count <= mean else "medium" for count in counts],
        "known": [images] * len(names),
        "frequency": [count / images for count in counts],
        "negatives_per_positive": [(images - count) / count for count in counts],
        "effective_number": effective,
        "weight": [1 / number / scale for number in effective],
        "pos_weight": [min(10, max(1, geometric("0.999", images - n) / geometric("0.999", n))) for n in counts],
        "instances_per_image": [number / count for number, count in zip(objects, counts, strict=True)],
    }
    for column, values in expected.items():
        exactly = isinstance(values[0], str)
        assert found[column].tolist() == (values if exactly else pytest.approx(values, rel=1e-9, abs=1e-12)), column
    assert set(found.columns) == {*expected, "class_id", "index", "supercategory"}


def test_the_pairs_of_val2017_in_a_second_way(val2017, val2017_found):
    _, names, labels, _ = val2017
    on = [{row for row, entry in enumerate(labels) if index in entry} for index in range(len(names))]
    expected = {}
    for a, b in combinations(range(len(names)), 2):
        both, chance = len(on[a] & on[b]), Fraction(len(on[a]) * len(on[b]), len(labels))
        if both or chance >= 1:
            shares = (Fraction(both, len(on[a] | on[b])), Fraction(both, len(on[a])), Fraction(both, len(on[b])))
            expected[names[a], names[b]] = (both, both / chance, shares[0], chance, *shares[1:], both >= 5)
    found = {(row[0], row[1]): row[2:] for row in val2017_found.pairs.itertuples(index=False)}
    assert found.keys() == expected.keys()
    for pair, row in expected.items():
        assert found[pair] == pytest.approx(tuple(map(float, row)), rel=1e-12), pair
    counts = val2017_found.pairs["count"].tolist()
    assert counts == sorted(counts, reverse=True)


def test_the_label_sets_of_val2017_in_a_second_way(val2017, val2017_found):
    _, names, labels, _ = val2017
    counted = Counter(frozenset(entry) for entry in labels)
    found = val2017_found.labelsets
    assert found["images"].tolist() == [count for _, count in counted.most_common(len(found))]
    for combination, images in zip(found["labels"], found["images"], strict=True):
        assert counted[frozenset(map(names.index, combination))] == images


def test_the_lorenz_curve_of_val2017_and_its_gini(val2017, val2017_found):
    _, names, labels, _ = val2017
    counts = sorted(sum(index in entry for entry in labels) for index in range(len(names)))
    classes, held = measure.lorenz(val2017_found.classes["images"].to_numpy())
    expected = [Fraction(sum(counts[:place]), sum(counts)) for place in range(len(counts) + 1)]
    assert held.tolist() == pytest.approx([float(share) for share in expected])
    assert classes.tolist() == pytest.approx([place / len(counts) for place in range(len(counts) + 1)])
    area = sum((low + high) / 2 for low, high in pairwise(expected)) / len(counts)
    assert val2017_found.measures["gini"] == pytest.approx(float(1 - 2 * area))  # twice the area above the curve


def test_the_drift_of_val2017_in_a_second_way(val2017):
    path, names, labels, _ = val2017
    table = load_annotations(path)
    frame = drift([imbalance(table.take(np.arange(4000)), split="a"), imbalance(table.take(np.arange(4000, 4952)), split="b")])
    for index, row in frame.iterrows():
        parts = [sum(index in entry for entry in labels[:4000]), sum(index in entry for entry in labels[4000:])]
        shares = [Fraction(part, size) for part, size in zip(parts, (4000, 952), strict=True)]
        pooled = Fraction(sum(parts), 4952)
        error = math.sqrt(pooled * (1 - pooled) * (Fraction(1, 4000) + Fraction(1, 952)))
        expected = (names[index], *map(float, shares), float(shares[1] - shares[0]), float(shares[1] - shares[0]) / error)
        found = row[["name", "frequency_a", "frequency_b", "difference_b", "z_b"]].tolist()
        assert found[0] == expected[0]
        assert found[1:] == pytest.approx(expected[1:])


def test_pos_weights_are_those_that_training_uses():
    rng = np.random.default_rng(0)
    known = rng.integers(1, 5000, 200)
    positives = rng.binomial(known, rng.random(200) ** 3)
    table = make_table([[1, 1], [1, 0], [0, 0]], [[1, 1], [1, 1], [1, 0]])
    trained = Loss(LossConfig(pos_weight="effective"), np.array([2, 1]), np.array([3, 2])).pos_weight
    assert imbalance(table).classes["pos_weight"].tolist() == pytest.approx(trained.tolist())
    for cap, beta in ((10.0, 0.999), (50.0, 0.9999)):
        config = LossConfig(pos_weight="effective", pos_weight_cap=cap, pos_weight_beta=beta)
        expected = np.where(positives > 0, Loss(config, positives, known).pos_weight, np.nan)
        np.testing.assert_allclose(measure.effective_pos_weights(positives, known, config), expected, rtol=1e-6)
