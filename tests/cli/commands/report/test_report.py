"""`cocotag report` on evaluations as `cocotag evaluate` writes them."""

import csv
import io
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from error_codes import ends_with

from cocotag.cli.main import main
from cocotag.errors import DataError
from cocotag.evaluation.markdown import table
from cocotag.evaluation.stored import read_evaluation


def run(capsys, *words):
    """Exit status, stdout, stderr."""
    try:
        status = main(["report", *(str(word) for word in words)])
    except SystemExit as stop:
        status = stop.code
    return (status, *capsys.readouterr())


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory, toy_bundle, sample_dir):
    """Two of the same images, ``a`` with the bundle's thresholds, ``b`` with low ones; and ``train`` of other images."""
    folder = tmp_path_factory.mktemp("evaluations")
    words = ["evaluate", str(toy_bundle), "--root", str(sample_dir)]
    assert main([*words, "--split", "val", "--out", str(folder / "a")]) == 0
    assert main([*words, "--split", "val", "--thresholds", "fixed:0.2", "--out", str(folder / "b")]) == 0
    assert main([*words, "--split", "train", "--out", str(folder / "train")]) == 0
    return folder


@pytest.fixture
def copies(evaluations, tmp_path):
    shutil.copytree(evaluations, tmp_path / "copies")
    return tmp_path / "copies"


def test_read_back_is_what_the_files_say(evaluations):
    evaluation = read_evaluation(evaluations / "a")
    frame = pd.read_csv(evaluations / "a" / "per_class.csv", keep_default_na=False, na_values=[""])
    assert list(evaluation.per_class.columns) == list(frame.columns)
    for name in frame.columns:
        if frame[name].dtype.kind in "if":
            np.testing.assert_allclose(evaluation.per_class[name], frame[name])
            assert evaluation.per_class[name].dtype.kind == frame[name].dtype.kind or frame[name].isna().all(), name
        else:
            assert evaluation.per_class[name].fillna("").tolist() == frame[name].fillna("").tolist()
    assert (
        evaluation.summary.loc["map", "value"]
        == json.loads((evaluations / "a" / "report.json").read_text())["summary"]["map"]["value"]
    )
    assert evaluation.predictions.probs.shape == (40, 80)
    assert not evaluation.optimistic


def test_a_run_its_report_and_the_file_are_the_same_evaluation(copies):
    (copies / "run").mkdir()
    shutil.copytree(copies / "a", copies / "run" / "report")
    (copies / "other").mkdir()
    shutil.copytree(copies / "a", copies / "other" / "on_val")
    found = [copies / "run", copies / "run" / "report", copies / "run" / "report" / "report.json", copies / "other"]
    frames = [read_evaluation(path).per_class for path in found]
    assert all(frame.equals(frames[0]) for frame in frames)
    shutil.copytree(copies / "a", copies / "other" / "on_train")
    with pytest.raises(DataError) as caught:
        read_evaluation(copies / "other")
    assert caught.value.code == "report_ambiguous"
    assert "on_train, on_val" in str(caught.value)


def test_compare_gives_differences_with_intervals_on_the_same_images(capsys, evaluations):
    status, out, err = run(capsys, "compare", evaluations / "a", evaluations / "b")
    assert (status, err) == (0, "")
    assert "40 images" in out
    assert re.search(r"macro_f1 +\d+\.\d +\d+\.\d +[+\N{MINUS SIGN}]\d+\.\d +\S+ to \S+", out)
    assert "--format md, csv or json" in out
    assert max(map(len, out.split("\n\n")[-2].splitlines())) < 110


def test_json_and_csv_hold_the_same_full_figures(capsys, evaluations):
    words = ("compare", evaluations / "a", evaluations / "b", "--format")
    document = json.loads(run(capsys, *words, "json")[1])
    rows = list(csv.DictReader(io.StringIO(run(capsys, *words, "csv")[1])))
    assert len(rows) == len(document["per_class"]) == 80
    for row, entry in zip(rows, document["per_class"], strict=True):
        assert row["name"] == entry["name"]
        for name in ("f1_baseline", "f1_difference", "f1_lo", "ap_other"):
            assert (float(row[name]) if row[name] else None) == entry[name]
    stored = read_evaluation(evaluations / "a")
    assert document["summary"]["micro_f1"]["baseline"] == pytest.approx(stored.summary.loc["micro_f1", "value"])


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_tables_have_as_many_cells_in_every_row(capsys, evaluations):
    for words in (("show", evaluations / "a"), ("compare", evaluations / "a", evaluations / "b")):
        status, out, _ = run(capsys, *words, "--format", "md")
        assert status == 0
        tables = [part for part in out.split("\n\n") if part.startswith("|")]
        assert len(tables) == 2
        for part in tables:
            assert len({len(cells(line)) for line in part.splitlines()}) == 1
        assert len(tables[1].splitlines()) == 82


def test_names_cannot_break_a_table():
    names = ["a|b", "c\nd", "<b>", "\x1b[31mred", "`x` & \\"]
    text = table(["class", "n"], [[name, "1"] for name in names], markdown=True)
    lines = text.splitlines()
    assert len(lines) == 2 + len(names)
    assert all(len(cells(line)) == 2 for line in lines)
    assert "<" not in text.replace("\\<", "")
    assert "\x1b" not in text + table(["class"], [[name] for name in names], markdown=False)


@pytest.mark.parametrize("form", ["text", "md", "json", "csv"])
def test_different_images_are_shown_side_by_side_and_never_silently(capsys, evaluations, form):
    status, out, err = run(capsys, "compare", evaluations / "a", evaluations / "train", "--format", form)
    assert status == 1
    assert err.count("\n") == 1
    assert "40" in err and "120" in err
    assert "000010000001.jpg" in err
    if form in ("text", "md"):
        assert "40" in out and "120" in out
        assert "B - A" not in out
    elif form == "json":
        document = json.loads(out)
        assert document["paired"] is False
        assert "40" in document["note"] and "120" in document["note"]
        assert set(document["summary"]["map"]) == {
            f"{side}{end}" for side in ("baseline", "other") for end in ("", "_lo", "_hi")
        }
    else:
        assert "difference" not in out


def test_without_predictions_there_is_no_difference_either(capsys, copies):
    (copies / "b" / "predictions.npz").unlink()
    status, out, err = run(capsys, "compare", copies / "a", copies / "b")
    assert status == 1
    assert "predictions.npz" in err and str(copies / "b") in err
    assert "predictions.npz" in out and "B - A" not in out


def test_classes_that_only_one_side_has_are_listed(capsys, copies):
    report = json.loads((copies / "b" / "report.json").read_text())
    report["per_class"][0]["name"] = "zebu"
    (copies / "b" / "report.json").write_text(json.dumps(report))
    (copies / "b" / "predictions.npz").unlink()
    document = json.loads(run(capsys, "compare", copies / "a", copies / "b", "--format", "json")[1])
    by_name = {row["name"]: row for row in document["per_class"]}
    assert len(by_name) == 81
    assert by_name["zebu"]["f1_baseline"] is None
    assert by_name["person"]["support_other"] is None


def test_an_optimistic_side_is_called_so(capsys, copies):
    report = json.loads((copies / "b" / "report.json").read_text())
    report["data"]["optimistic"] = True
    (copies / "b" / "report.json").write_text(json.dumps(report))
    assert f"{copies / 'b'} is optimistic" in run(capsys, "compare", copies / "a", copies / "b")[1]


def test_out_writes_by_its_ending_and_replaces_nothing_unasked(capsys, evaluations, tmp_path):
    words = ("compare", evaluations / "a", evaluations / "b", "--out")
    for ending, start in (("md", "A: "), ("json", "{"), ("csv", "index,name"), ("txt", "A: ")):
        path = tmp_path / f"made.{ending}"
        status, out, _ = run(capsys, *words, path)
        assert (status, out) == (0, f"{path}\n")
        assert path.read_text(encoding="utf-8").startswith(start)
    status, _, err = run(capsys, *words, tmp_path / "made.md")
    assert status == 2
    assert "made.md" in err and "--overwrite" in err
    assert run(capsys, *words, tmp_path / "made.md", "--overwrite", "--format", "csv")[0] == 0
    assert (tmp_path / "made.md").read_text().startswith("index,name")


def break_it(fault, folder):
    report, kept = folder / "report.json", folder / "predictions.npz"
    document = json.loads(report.read_text())
    match fault:
        case "nothing":
            shutil.rmtree(folder)
        case "no_report":
            report.unlink()
        case "not_json":
            report.write_text("{")
        case "a_list":
            report.write_text("[]")
        case "other_json":
            report.write_text('{"schema_version": 1}')
        case "newer":
            report.write_text(json.dumps({**document, "schema_version": 99}))
        case "no_columns":
            report.write_text(json.dumps({**document, "per_class": [{"name": "cat"}]}))
        case "rows_of_numbers":
            report.write_text(json.dumps({**document, "per_class": [1, 2], "summary": {"map": 1}}))
        case "not_utf8":
            report.write_bytes(b"\xff\xfe\x00")
        case "damaged":
            kept.write_bytes(kept.read_bytes()[:500])
        case "of_another":
            shutil.copy(folder.parent / "b" / "predictions.npz", kept)


FAULTS = {
    "nothing": ("path_missing", "report.json"),
    "no_report": ("report_missing", "cocotag evaluate"),
    "not_json": ("not_json", "report.json"),
    "a_list": ("not_a_report", "schema_version"),
    "other_json": ("not_a_report", "run, data"),
    "newer": ("schema_unsupported", "99"),
    "no_columns": ("not_a_report", "support"),
    "rows_of_numbers": ("not_a_report", "report.json"),
    "not_utf8": ("not_json", "report.json"),
    "damaged": ("predictions_damaged", "predictions.npz"),
    "of_another": ("report_mismatch", "predictions.npz"),
}
"""Fault -> the error's code, and a fact of its message."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mistake_is_one_line(capsys, copies, fault):
    break_it(fault, copies / "a")
    for words in (("show", copies / "a"), ("compare", copies / "b", copies / "a")):
        code, fact = FAULTS[fault]
        with ends_with(code):
            status, out, err = run(capsys, *words)
        assert (status, out) == (2, "")
        assert err.count("\n") == 1
        assert fact in err
        assert str(copies / "a") in err


@pytest.mark.parametrize("words", [[], ["compare"], ["compare", "x"], ["draw", "x"], ["show", "x", "--format", "pdf"]])
def test_words_that_are_wrong_are_one_line(capsys, words):
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "--help" in err
