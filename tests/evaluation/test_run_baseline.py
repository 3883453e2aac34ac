"""``cocotag evaluate --baseline`` and ``--format md``, on real files."""

import json
import shutil

import numpy as np
import pytest
from toy_bundle import make_toy_bundle

from cocotag.cli.main import main


@pytest.fixture(scope="module")
def first(toy_bundle, sample_dir, tmp_path_factory):
    """The report of a bundle on the sample's val."""
    out = tmp_path_factory.mktemp("first")
    words = ["--root", str(sample_dir), "--split", "val", "--out", str(out), "--thresholds", "fixed:0.3", "--overwrite"]
    assert main(["evaluate", str(toy_bundle), *words]) == 0
    return out


@pytest.fixture
def refused(capsys, monkeypatch, toy_bundle, tmp_path):
    """Evaluate with a baseline that must be refused with one line, before any image is read."""

    def run(baseline, root, split="val"):
        monkeypatch.setattr("cocotag.evaluation.run.predict_table", None)
        words = ["--root", str(root), "--split", split, "--out", str(tmp_path / "out"), "--baseline", str(baseline)]
        assert main(["evaluate", str(toy_bundle), *words]) == 2
        assert not (tmp_path / "out" / "report.json").exists()
        lines = [line for line in capsys.readouterr().err.splitlines() if "note" not in line]
        assert len(lines) == 1
        return lines[0]

    return run


def test_a_bundle_does_not_differ_from_itself(first, toy_bundle, sample_dir, tmp_path):
    words = ["--root", str(sample_dir), "--split", "val", "--out", str(tmp_path), "--thresholds", "fixed:0.3"]
    assert main(["evaluate", str(toy_bundle), *words, "--baseline", str(first / "report.json")]) == 0
    document = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert {row["difference"] for row in document["baseline"]["summary"].values()} <= {0, None}
    assert document["baseline"]["baseline"] == str(first / "report.json")
    assert (tmp_path / "baseline.csv").is_file()
    assert 'id="baseline"' in (tmp_path / "report.html").read_text("utf-8")


def test_an_image_that_both_cannot_read_is_not_a_difference(toy_bundle, sample_dir, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(sample_dir, root)
    next((root / "val").iterdir()).write_bytes(b"cut")
    words = ["evaluate", str(toy_bundle), "--root", str(root), "--split", "val", "--out"]
    assert main([*words, str(tmp_path / "a")]) == 1
    assert main([*words, str(tmp_path / "b"), "--baseline", str(tmp_path / "a" / "report.json")]) == 1
    document = json.loads((tmp_path / "b" / "report.json").read_text("utf-8"))
    assert document["baseline"]["images"] == document["data"]["images"] == 39


def test_other_images_are_refused_before_the_work_and_the_first_is_named(first, refused, sample_dir):
    line = refused(first / "report.json", sample_dir, "train")
    assert "images: 40 and 120" in line
    assert ".jpg" in line


def test_other_classes_are_refused(refused, sample_dir, tmp_path):
    from cocotag.labels import Category, Vocabulary

    shapes = json.loads((sample_dir / "annotations" / "instances_val.json").read_text())["categories"]
    few = Vocabulary(tuple(Category(entry["id"], entry["name"]) for entry in shapes[:2]))
    bundle = make_toy_bundle(tmp_path / "few.onnx", vocabulary=few)
    out = tmp_path / "few"
    assert main(["evaluate", str(bundle), "--root", str(sample_dir), "--split", "val", "--out", str(out)]) == 0
    assert "classes: 2 and 80" in refused(out, sample_dir)


def test_other_labels_are_refused(first, refused, sample_dir, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(sample_dir, root)
    file = root / "annotations" / "instances_val.json"
    document = json.loads(file.read_text())
    gone = document["annotations"][0]
    document["annotations"] = [
        box
        for box in document["annotations"]
        if (box["image_id"], box["category_id"]) != (gone["image_id"], gone["category_id"])
    ]
    file.write_text(json.dumps(document))
    line = refused(first, root)
    name = next(image["file_name"] for image in document["images"] if image["id"] == gone["image_id"])
    assert "labels: 1 of " in line
    assert name in line


@pytest.mark.parametrize(
    ("damage", "fact"),
    [
        (lambda out: (out / "report.json").write_text("{"), "report.json"),
        (lambda out: (out / "report.json").write_text("[]"), "schema_version"),
        (lambda out: (out / "report.json").write_text('{"schema_version": 99}'), "99"),
        (lambda out: (out / "report.json").unlink(), "report.json"),
        (lambda out: (out / "predictions.npz").write_bytes(b"PK cut short"), "predictions.npz"),
        (lambda out: (out / "predictions.npz").unlink(), "predictions.npz"),
    ],
)
def test_a_damaged_baseline_is_refused_in_one_line(first, refused, sample_dir, tmp_path, damage, fact):
    out = tmp_path / "damaged"
    shutil.copytree(first, out)
    damage(out)
    assert fact in refused(out / "report.json", sample_dir)


def test_a_baseline_that_was_tuned_on_these_images_is_called_optimistic(first, capsys, toy_bundle, sample_dir, tmp_path):
    tuned = tmp_path / "tuned"
    shutil.copytree(first, tuned)
    report = json.loads((tuned / "report.json").read_text("utf-8"))
    report["data"]["optimistic"] = True
    (tuned / "report.json").write_text(json.dumps(report))
    words = ["--root", str(sample_dir), "--split", "val", "--thresholds", "fixed:0.3", "--baseline", str(tuned)]
    assert main(["evaluate", str(toy_bundle), *words, "--out", str(tmp_path / "out")]) == 0
    assert f"note: {tuned} is optimistic" in capsys.readouterr().out
    document = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert any(str(tuned) in warning for warning in document["warnings"])
    assert document["data"]["optimistic"] is False


def test_markdown_on_stdout_is_a_table_and_nothing_else(capsys, toy_bundle, sample_dir, tmp_path):
    words = ["--root", str(sample_dir), "--split", "val", "--out", str(tmp_path), "--format", "md"]
    assert main(["evaluate", str(toy_bundle), *words]) == 0
    out = capsys.readouterr().out.strip().splitlines()
    assert all(line.startswith("|") and line.endswith("|") for line in out)
    summary = json.loads((tmp_path / "report.json").read_text("utf-8"))["summary"]
    assert len(out) == 2 + len(summary)
    assert f"{100 * summary['macro_f1']['value']:.1f}" in next(line for line in out if line.startswith("| macro\\_f1 "))


def test_brightness_is_that_of_the_squares_that_the_network_was_given(toy_bundle, sample_dir):
    from cocotag.data.annotations import load_split
    from cocotag.evaluation.run import evaluate_bundle
    from cocotag.inference.tagger import Tagger
    from cocotag.photos.brightness import brightness
    from cocotag.photos.decode import load_square

    table = load_split(sample_dir, "val")
    found, _ = evaluate_bundle(Tagger.load(toy_bundle), table, split="val", progress=False)
    seen = np.array([brightness(load_square(path, 64)) for path in table.paths()], np.float32)
    rows = found.slices[found.slices["by"] == "brightness"]
    assert rows["lo"].iloc[0] == seen.min()
    assert rows["hi"].iloc[-1] == seen.max()
    assert rows["images"].sum() == len(table) == 40
    for row in rows.itertuples():  # and each is that of its own image
        there = (seen >= row.lo) & (seen <= row.hi)
        assert (there.sum(), table.targets[there].sum(axis=1).mean()) == (row.images, pytest.approx(row.labels_per_image))
