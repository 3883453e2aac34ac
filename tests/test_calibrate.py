import json
import shutil

import numpy as np
import onnx
import pytest

from cocotag.bundle import read_metadata
from cocotag.cli import main
from cocotag.data.annotations import load_split
from cocotag.images import load_square
from cocotag.labels import COCO80
from cocotag.tagging.tagger import Tagger
from cocotag.thresholds import choose_thresholds


def calibrate(bundle, root, out, *words):
    return main(["calibrate", str(bundle), "--root", str(root), "--split", "train", "--out", str(out), *words])


def test_thresholds_are_those_of_the_images_and_the_rest_stays(toy_bundle, sample_dir, tmp_path, capsys):
    before = toy_bundle.read_bytes()
    out = tmp_path / "calibrated.onnx"
    assert calibrate(toy_bundle, sample_dir, out) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert toy_bundle.read_bytes() == before
    tagger, made = Tagger.load(toy_bundle), read_metadata(out)
    table = load_split(sample_dir, "train")
    column = [COCO80.names.index(name) for name in table.vocabulary.names]
    images = np.stack([load_square(path, tagger.metadata.image_size) for path in table.paths()])
    targets, known = np.zeros((2, len(table), 80), bool)
    targets[:, column], known[:, column] = table.targets, table.known
    expected = choose_thresholds(tagger.predict(images), targets, known).values
    support = targets.any(axis=0)
    np.testing.assert_allclose(np.array(made.thresholds)[support], expected[support], atol=1e-6)
    assert set(np.array(made.thresholds)[~support]) == {0.5}
    assert 10 < support.sum() < 80
    assert made.tuned_on["images"] == len(table)
    assert made.positives == tagger.metadata.positives
    graphs = [onnx.load_model(str(path)).graph for path in (toy_bundle, out)]
    assert graphs[0] == graphs[1]


def test_figures_from_these_images_are_optimistic_from_then_on(toy_bundle, sample_dir, tmp_path):
    first, second = tmp_path / "1.onnx", tmp_path / "2.onnx"
    assert calibrate(toy_bundle, sample_dir, first) == 0
    other = tmp_path / "data"
    shutil.copytree(sample_dir, other)
    document = json.loads((other / "annotations" / "instances_train.json").read_text())
    document["images"] = document["images"][:60]
    kept = {image["id"] for image in document["images"]}
    document["annotations"] = [note for note in document["annotations"] if note["image_id"] in kept]
    (other / "annotations" / "instances_train.json").write_text(json.dumps(document))
    assert calibrate(first, other, second) == 0
    for bundle, split, optimistic in ((first, "train", True), (first, "val", False), (second, "train", True)):
        report = tmp_path / f"{bundle.stem}-{split}"
        words = [str(bundle), "--root", str(sample_dir), "--split", split, "--out", str(report)]
        assert main(["evaluate", *words]) == 0
        warnings = json.loads((report / "report.json").read_text())["warnings"]
        assert any("Optimistic" in warning for warning in warnings) == optimistic


def test_images_that_cannot_be_read_are_named(toy_bundle, sample_dir, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(sample_dir, data)
    bad = load_split(data, "train").path(3)
    bad.write_bytes(b"no image")
    assert calibrate(toy_bundle, data, tmp_path / "out.onnx") == 1
    out = capsys.readouterr().out
    assert "1 images could not be read" in out
    assert bad.name in out
    assert read_metadata(tmp_path / "out.onnx").tuned_on["images"] == 119


def test_nothing_is_replaced_unasked(toy_bundle, sample_dir, tmp_path, capsys):
    out = tmp_path / "out.onnx"
    out.write_bytes(b"mine")
    assert calibrate(toy_bundle, sample_dir, out) == 2
    assert "is there already" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert calibrate(toy_bundle, sample_dir, out, "--overwrite") == 0
    assert read_metadata(out).tuned_on["split"] == "train"


@pytest.mark.parametrize(
    ("bundle", "root", "says"),
    [("no.onnx", None, "no.onnx is not a file"), (None, "nowhere", "train.json is missing")],
)
def test_bad_input_is_one_line(toy_bundle, sample_dir, tmp_path, capsys, bundle, root, says):
    assert calibrate(tmp_path / bundle if bundle else toy_bundle, tmp_path / root if root else sample_dir, tmp_path / "o") == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_without_another_place_the_bundle_itself_gets_the_thresholds(toy_bundle, sample_dir, tmp_path):
    out, own = tmp_path / "out.onnx", tmp_path / "own.onnx"
    assert calibrate(toy_bundle, sample_dir, out) == 0
    shutil.copy(toy_bundle, own)
    assert main(["calibrate", str(own), "--root", str(sample_dir), "--split", "train"]) == 0
    assert read_metadata(own) == read_metadata(out)


def test_where_only_positives_are_known_nothing_is_chosen(toy_bundle, sample_dir, tmp_path, capsys):
    (tmp_path / "none.yaml").write_text("known: []\nnames: {}\n")
    assert calibrate(toy_bundle, sample_dir, tmp_path / "c.onnx", "--aliases", str(tmp_path / "none.yaml")) == 2
    assert "can choose no threshold" in capsys.readouterr().err
    assert not (tmp_path / "c.onnx").exists()
    (tmp_path / "one.yaml").write_text("known: [clock]\nnames: {}\n")
    assert calibrate(toy_bundle, sample_dir, tmp_path / "c.onnx", "--aliases", str(tmp_path / "one.yaml")) == 0
    changed = np.array(read_metadata(tmp_path / "c.onnx").thresholds) != 0.5
    assert [COCO80.names[index] for index in np.flatnonzero(changed)] == ["clock"]
