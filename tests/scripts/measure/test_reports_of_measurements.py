"""The pages that the measuring scripts write, from figures made up: each published figure stands beside ours."""

import importlib
import json
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts" / "measure"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load(name):
        return importlib.import_module(name)

    yield load
    for name in ("measure_family", "measured_run"):
        sys.modules.pop(name, None)


def run(value):
    names = ("map", "micro_f1", "macro_f1", "hamming_loss", "top1_accuracy")
    epochs = [{"epoch": 1.0, "train_loss": 0.5, "tune_loss": 0.6, "train_top1": 0.7, "tune_top1": 0.65}]
    figures = {f"{name}{part}": value for name in names for part in ("", "_lo", "_hi")}
    return {**figures, "training": 60.0, "machine": "2 CPU cores", "epochs": epochs}


def test_the_family_has_a_row_and_a_point_for_every_run(script):
    family = script("measure_family")
    trained = {one.label: run(0.3) for one in family.RUNS}
    times = {one.label: float(number) for number, one in enumerate(family.RUNS, 1)}
    text = family.page(["| a row |"], "1.02 times", 1e-6, 7.0, ["| a way |"], trained, times, drawing="f.svg", quick=False)
    assert all(part in text for part in ("| a row |", "| a way |", "1.02 times", "7.0 ms", "(f.svg)"))
    assert text.count("| 30.0 |") == 2 * len(family.RUNS)
    assert family.plot(trained, times).count("<circle") == len(family.RUNS)


def test_a_folder_with_the_run_of_another_wish_is_refused(script, tmp_path, monkeypatch):
    measured = script("measured_run")

    def train(*words):
        folder = Path(words[words.index("--out") + 1])
        (folder / "report").mkdir(parents=True)
        (folder / "metrics.csv").write_text("epoch,seconds\n1,2.5\n2,3.5\n")
        (folder / "report" / "report.json").write_text(json.dumps({"summary": {"map": {"value": 0.5, "lo": 0.4, "hi": 0.6}}}))
        return ""

    monkeypatch.setattr(measured, "cocotag", train)
    made = measured.measure(tmp_path / "out" / "run", "--seed", "1")
    assert (made["map"], made["map_lo"], made["training"], len(made["epochs"])) == (0.5, 0.4, 6.0, 2)
    monkeypatch.setattr(measured, "cocotag", None)
    assert measured.measure(tmp_path / "out" / "run", "--seed", "1") == made
    with pytest.raises(SystemExit, match="other settings"):
        measured.measure(tmp_path / "out" / "run", "--seed", "2")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "coco_mini.yaml").write_text("batch_size: 7")
    monkeypatch.setattr(measured, "PROJECT", tmp_path)  # the config was changed meanwhile
    with pytest.raises(SystemExit, match="other settings"):
        measured.measure(tmp_path / "out" / "run", "--seed", "1")
