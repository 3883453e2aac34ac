"""The comparison of thresholds on held-out images, on scores made up, and its page."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from cocotag.thresholds import PRIOR_STRENGTH, STRENGTHS, choose_thresholds, parse_rule

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module("measure_thresholds")
    for name in ("measure_thresholds", "measured_run"):
        sys.modules.pop(name, None)


@pytest.fixture
def head(script):
    rng = np.random.default_rng(0)
    targets = rng.random((120, 5)) < 0.2
    probs = 1 / (1 + np.exp(-rng.normal(2.5 * targets - 2, 1)))
    return script.Scored("BCE", probs.astype(np.float32), targets, np.ones_like(targets))


def test_f1_is_taken_on_images_that_chose_nothing(script, head):
    for tune, test in script._draws(120, 40, 5):
        assert len(tune) == 40
        assert sorted([*tune, *test]) == list(range(120))
    compared = script.compare(head, 40, 3)
    for number, (tune, test) in enumerate(script._draws(120, 40, 3)):
        for place, strength in enumerate(STRENGTHS):
            values = choose_thresholds(*head.take(tune), prior_strength=strength).values
            assert compared.fixed[number, place].tolist() == script.f1(*head.take(test), values)
        assert compared.chosen[number].tolist() == script.f1(*head.take(test), choose_thresholds(*head.take(tune)).values)


def test_a_wish_is_held_against_the_rest(script, head):
    table = script.wish(head, parse_rule("recall:0.8"), 60, 4)
    assert table.shape == (len(STRENGTHS), 3)
    assert 0.6 < table[-1, 1] < 0.95
    assert (table[:, 2] < 0.3).all()


def test_classes_are_moved_each_by_its_own_amount_and_keep_their_order(script, head):
    moved = script.moved(head.probs)
    np.testing.assert_array_equal(moved.argsort(axis=0), head.probs.argsort(axis=0))
    by = np.log(moved / (1 - moved)) - np.log(head.probs / (1 - head.probs))
    np.testing.assert_allclose(by, np.broadcast_to(by[:1], by.shape), atol=1e-2)
    assert by[0].std() > 0.5


def test_the_page_has_every_figure(script):
    def compared(name, chosen):
        fixed = np.arange(len(STRENGTHS))[None, :, None] / 100 + np.array([0.5, 0.3]) + np.zeros((4, 1, 1))
        return script.Compared(name, 32, fixed, fixed[:, STRENGTHS.index(PRIOR_STRENGTH)] + chosen, 0.75)

    wished = {"precision:0.9": np.arange(len(STRENGTHS) * 3).reshape(-1, 3) / 100}
    text = script.page([compared("BCE", -0.01), compared(f"BCE, {script.MOVED}", 0.02)], wished, 0.125, ["--splits", "4"])
    assert "| BCE | 32 | 40.00 | 41.00 | 42.00 | 43.00 | 44.00 | 45.00 | 46.00 | 43.00 | -1.00 ± 0.00 | 25% |" in text
    assert "the best fixed strength is infinite, and cross-validation gains nothing: -1.00 (-1.00 to -1.00) points" in text
    assert "Where classes are moved it is +2.00" in text
    assert "| 20 | 54.00 | 34.00 |" in text
    assert "| precision:0.9 | 20 | 12.0 | 13.0 | 14.0 |" in text
    assert "80 classes: 0.12 s" in text
    assert "scripts/measure_thresholds.py --splits 4`" in text
    lines = text.splitlines()
    for number, line in enumerate(lines):  # every row of a table is as wide as its head
        if line.startswith("| --- "):
            rows = lines[number - 1 : lines.index("", number)]
            assert len({row.count("|") for row in rows}) == 1
