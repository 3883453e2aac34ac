"""The script that plants label errors: what it plants, how it counts, and what its page says."""

import argparse
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts" / "measure"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module("measure_label_issues")
    for name in (
        "measure_label_issues",
        "measured_run",
        "measure_exports",
        "export_source",
        "export_tools",
        "measure_statistics",
    ):
        sys.modules.pop(name, None)


def test_as_many_labels_are_added_as_are_removed_in_each_class(script):
    rng = np.random.default_rng(0)
    labels, known = rng.random((4000, 5)) < [0.02, 0.1, 0.3, 0.3, 0.9], rng.random((4000, 5)) < 0.9
    wrong = script.plant(labels, known, 0.2, rng)
    assert not (wrong & ~known).any()
    positives = (labels & known).sum(axis=0)
    np.testing.assert_allclose((wrong & labels).sum(axis=0) / positives, 0.2, atol=0.09)
    np.testing.assert_allclose((wrong & ~labels).sum(axis=0)[:4] / positives[:4], 0.2, atol=0.09)


def test_unknown_cells_are_ranked_last(script):
    wrong, known = np.array([[True, False, False]]), np.array([[True, True, False]])
    sample = script.Sample(np.zeros((1, 3)), wrong, wrong, known)
    assert script.found(np.array([[0.5, 0.1, 0.9]]), sample) == 1
    assert script.found(np.array([[0.5, 0.6, 0.9]]), sample) == 0


def test_the_page_compares_with_the_best_option_and_counts_what_falls_short(script):
    theirs = [{"a": 0.2, "b": 0.4, "fails at times": 0.9}, {"a": 0.3, "b": 0.4}]
    row = script.Row("normal, 5%", [0.5, 0.5], theirs, [0.42, 0.42], [(10, 2.0, 3), (0, 0.0, 0)])
    other = script.Row("photographs, 1%", [0.4, 0.4], theirs, [], [(0, 0.0, 0), (0, 0.0, 0)])
    assert row.ratio() == pytest.approx((1.25, 0))
    text = script.report([row, other], "python it")
    assert "| normal, 5% | 2 | 50.0 | 40.0 | 1.25 ± 0.00 | 42.0 | 1.05 | b | 20 | 30 |" in text
    assert "5% planted in 1 of 1 rows" in text
    assert "1% planted in 0 of 1 rows" in text
    assert "In 1 rows even the exact ranking is not." in text
    assert "mean nothing" not in text
    assert "Written by `python it --quick`.\n\n**Made with --quick: these figures mean nothing.**\n\nIn each" in script.report(
        [row, other], "python it --quick"
    )


def test_the_command_on_the_page_is_the_one_that_made_it_without_paths_of_the_machine(script):
    given = {"run": Path("/a/run"), "cleanlab": Path("/a/python"), "samples": 7, "quick": False}
    text = script.command(argparse.Namespace(**given), 40)
    assert text == "python scripts/measure/measure_label_issues.py --run DIR --cleanlab PYTHON --samples 7"
    given = {"run": None, "cleanlab": None, "samples": 40, "quick": True}
    assert script.command(argparse.Namespace(**given), 40) == "python scripts/measure/measure_label_issues.py --quick"
