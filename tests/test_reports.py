"""`cocotag.reports` as users' scripts use it."""

import subprocess
import sys
import textwrap

import pandas as pd
import pytest

import cocotag.reports
from cocotag.cli.main import main


@pytest.fixture
def runs(tmp_path, toy_bundle, sample_dir, monkeypatch):
    """``runs/old`` and ``runs/new`` as training leaves them, and annotations, in the working folder."""
    words = ["evaluate", str(toy_bundle), "--root", str(sample_dir), "--split", "val"]
    for name, threshold in (("old", "fixed:0.5"), ("new", "fixed:0.3")):
        assert main([*words, "--thresholds", threshold, "--out", str(tmp_path / "runs" / name / "report")]) == 0
    annotations = sample_dir / "annotations" / "instances_train.json"
    (tmp_path / "instances_train.json").write_bytes(annotations.read_bytes())
    monkeypatch.chdir(tmp_path)


def test_the_example_of_the_docstring_runs(runs):
    """Every expression in it returns a non-empty frame."""
    code = textwrap.dedent(cocotag.reports.__doc__.split("::\n", 1)[1].rsplit("\n\nThe names", 1)[0])
    space, frames = {}, []
    for line in code.strip().splitlines():
        statement = line.split("   #")[0].strip()
        try:
            frames.append(eval(statement, space))
        except SyntaxError:
            exec(statement, space)
    frames = [frame for frame in frames if frame is not None]
    assert len(frames) == 4
    assert all(isinstance(frame, (pd.DataFrame, pd.Series)) and len(frame) for frame in frames)
    assert frames[2].columns[:4].tolist() == ["index", "name", "support", "verdict"]


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_nothing_is_loaded_before_it_is_used():
    loaded = run("import sys, cocotag.reports; print(*{name.split('.')[0] for name in sys.modules})")
    assert not {"pandas", "numpy", "jinja2", "torch"} & set(loaded)


def test_a_function_is_not_hidden_by_the_module_of_its_name():
    """In any order of imports."""
    code = (
        "import cocotag.imbalance.result, cocotag.evaluation.compare\nfrom cocotag.evaluation.compare import Comparison\n"
        "from cocotag.reports import compare, imbalance\nimport cocotag.reports as r\n"
        "print(callable(compare), callable(imbalance), callable(r.compare), r.Comparison is Comparison)"
    )
    assert run(code) == ["True"] * 4


def test_every_public_name_is_there_and_documented():
    for name in cocotag.reports.__all__:
        assert len(getattr(cocotag.reports, name).__doc__) > 30, name
    with pytest.raises(AttributeError, match="no attribute 'comparee'"):
        cocotag.reports.comparee  # noqa: B018
