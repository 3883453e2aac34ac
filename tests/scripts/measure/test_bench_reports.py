"""The timing of both reports, on a few images, and its page."""

import importlib
import sys
from pathlib import Path

import pytest

from cocotag.data.annotations import load_annotations

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts" / "measure"


@pytest.fixture
def script(monkeypatch, coco_mini):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setenv("COCOTAG_DATA", str(coco_mini.parent))
    yield importlib.import_module("bench_reports")
    sys.modules.pop("bench_reports", None)


def test_every_step_is_timed_and_all_pages_are_written(script, data_dir, tmp_path):
    table = load_annotations(data_dir / "labels_val2017.json").take(range(80))
    clock = script.Clock()
    with script.with_stand_ins(table) as stood_in:
        assert all(path.is_file() for path in stood_in.paths())
        pages = script.measure(stood_in, clock, tmp_path)
    assert set(pages) == {"evaluation/report.html", "compared/report.html", "imbalance/imbalance.html"}
    assert min(pages.values()) > 50_000
    assert "data:image/jpeg;base64," in (tmp_path / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert list(clock.taken) == list(script.STEPS)


def test_a_row_has_the_median_the_spread_and_the_limit(script):
    clock = script.Clock()
    clock.taken["a step"] = [(3.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    assert clock.row("a step", 20.0) == "| a step | 2.00 s (1.00 to 3.00) | 2.00 s | 20 s |"
