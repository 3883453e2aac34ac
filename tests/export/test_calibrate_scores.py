"""Calibrated scores: a bundle whose classes were shifted is mended, one that is calibrated is left alone."""

import json
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from error_codes import ends_with
from networks import lively
from onnx import numpy_helper
from PIL import Image
from toy_bundle import make_toy_bundle

from cocotag.bundle import BundleMetadata, read_metadata, write_bundle
from cocotag.cli.main import main
from cocotag.config import ModelConfig
from cocotag.data.annotations import load_split
from cocotag.export.bundles import export_network
from cocotag.export.calibrate_scores import SCALE, SHIFT, ScoreCalibration, calibrate_scores, put_into
from cocotag.inference.tagger import Tagger
from cocotag.labels import Category, Vocabulary
from cocotag.metrics.recalibration import HeldOutLoss, log_loss, logit, sigmoid
from cocotag.models.build import build_network
from cocotag.thresholds import Rule, choose_thresholds, thresholds_for_precision

SIDE, IMAGES = 16, 400
WORDS = Vocabulary(tuple(Category(number, f"class {number}") for number in range(1, 11)))
OFFSETS = np.array([2, -2, 1, -1, 1.5, -1.5, 0.5, -0.5, 2.5, 0], np.float32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle that is calibrated on `data`, since the labels are drawn with its probabilities."""
    return make_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy.onnx", size=SIDE, vocabulary=WORDS)


def colours(seed):
    plain = np.random.default_rng(seed).integers(0, 256, (IMAGES, 1, 1, 3), np.uint8)
    return np.tile(plain, (1, SIDE, SIDE, 1))


def targets(tagger, seed):
    return np.random.default_rng(seed).random((IMAGES, len(WORDS))) < tagger.predict(colours(seed))


@pytest.fixture(scope="module")
def data(bundle, tmp_path_factory):
    """Splits ``tune`` and ``val`` of plain colours."""
    root, tagger = tmp_path_factory.mktemp("data"), Tagger.load(bundle)
    (root / "annotations").mkdir()
    for seed, split in enumerate(("tune", "val")):
        (root / split).mkdir()
        for number, pixels in enumerate(colours(seed)):
            Image.fromarray(pixels).save(root / split / f"{number:03d}.png")
        document = {
            "images": [{"id": n, "file_name": f"{n:03d}.png", "width": SIDE, "height": SIDE} for n in range(IMAGES)],
            "categories": [{"id": one.id, "name": one.name} for one in WORDS],
            "annotations": [
                {
                    "id": number,
                    "image_id": int(row),
                    "category_id": int(column) + 1,
                    "bbox": [0, 0, 9, 9],
                    "area": 81,
                    "iscrowd": 0,
                }
                for number, (row, column) in enumerate(np.argwhere(targets(tagger, seed)), 1)
            ],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))
    return root


@pytest.fixture
def shifted(bundle, tmp_path):
    """The same bundle with logits multiplied by 0.7 and shifted class by class."""
    model, path = onnx.load_model(str(bundle)), tmp_path / "shifted.onnx"
    for constant in model.graph.initializer:
        if constant.name in ("weight", "bias"):
            values = 0.7 * numpy_helper.to_array(constant) + (OFFSETS if constant.name == "bias" else 0)
            constant.CopyFrom(numpy_helper.from_array(values.astype(np.float32), constant.name))
    write_bundle(model, read_metadata(bundle), path)
    return path


def tune(bundle, root, *words):
    return main(
        ["tune-thresholds", str(bundle), "--root", str(root), "--split", "tune", "--calibrate-scores", *map(str, words)]
    )


def loss_on_val(bundle, reference):
    probs = Tagger.load(bundle).predict(colours(1))
    return log_loss(logit(probs), targets(Tagger.load(reference), 1)).mean()


def constants(path):
    return {one.name: numpy_helper.to_array(one) for one in onnx.load_model(str(path)).graph.initializer}


def test_shifted_classes_are_mended(bundle, shifted, data, tmp_path, capsys):
    before, out = shifted.read_bytes(), tmp_path / "out.onnx"
    assert tune(shifted, data, "--out", out) == 0
    assert shifted.read_bytes() == before
    np.testing.assert_allclose(constants(out)[SCALE], 1 / 0.7, rtol=0.15)
    np.testing.assert_allclose(constants(out)[SHIFT], -OFFSETS / 0.7, atol=0.5)
    losses = [loss_on_val(path, bundle) for path in (shifted, out, bundle)]
    assert losses[1] < 0.8 * losses[0]
    assert losses[1] == pytest.approx(losses[2], rel=0.02)
    record = read_metadata(out).calibrated_scores
    assert (record["split"], record["images"]) == ("tune", IMAGES)
    assert record["log_loss_before"] == pytest.approx(losses[0], rel=0.1)
    assert record["log_loss_after"] == pytest.approx(losses[1], rel=0.1)
    assert record["log_loss_before"] - record["log_loss_after"] > 2 * record["standard_error"] > 0
    said = capsys.readouterr().out
    assert main(["info", str(out)]) == 0
    for text in (said, capsys.readouterr().out):
        assert f"{record['log_loss_before']:.4f}" in text
        assert f"{record['log_loss_after']:.4f}" in text


@pytest.mark.parametrize("rule", [Rule("f1"), Rule("f1:global"), Rule("precision", 0.8), Rule("fixed", 0.5)])
def test_thresholds_are_tuned_on_the_new_scores(bundle, shifted, data, tmp_path, rule):
    out = tmp_path / "out.onnx"
    assert tune(shifted, data, "--thresholds", rule, "--out", out) == 0
    labels, made = targets(Tagger.load(bundle), 0), read_metadata(out)
    cells = Tagger.load(out).predict(colours(0)), labels, np.ones_like(labels)
    np.testing.assert_allclose(made.thresholds, choose_thresholds(*cells, rule).values, atol=1e-3)
    for wish, one in thresholds_for_precision(*cells).items():
        np.testing.assert_allclose(made.for_precision[wish]["thresholds"], one["thresholds"], atol=1e-3)
    assert made.chosen_by["rule"] == str(rule)


def test_only_the_logits_before_the_sigmoid_change(shifted, data, tmp_path):
    out = tmp_path / "out.onnx"
    assert tune(shifted, data, "--out", out) == 0
    before, after = (Tagger.load(path).predict(colours(1)) for path in (shifted, out))
    np.testing.assert_allclose(after, sigmoid(constants(out)[SCALE] * logit(before) + constants(out)[SHIFT]), atol=1e-4)
    onnx.checker.check_model(str(out), full_check=True)
    assert [node.op_type for node in onnx.load_model(str(out)).graph.node][-3:] == ["Mul", "Add", "Sigmoid"]


@pytest.mark.parametrize(("head", "int8"), [("linear", False), ("linear", True), ("csra", False), ("ml_decoder", False)])
def test_exported_networks_are_corrected(tmp_path, head, int8):
    torch.manual_seed(0)
    network = lively(build_network(ModelConfig(image_size=SIDE, width=0.25, head=head), len(WORDS)))
    photographs = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3), np.uint8)
    metadata = BundleMetadata(WORDS, SIDE, (0.5,) * len(WORDS), (1,) * len(WORDS), 1)
    path, loss = tmp_path / "tagger.onnx", HeldOutLoss(0.5, 0.4, 0.01)
    export_network(network, metadata, path, photographs, calibration=photographs if int8 else None)
    model, before = onnx.load_model(str(path)), Tagger.load(path).predict(photographs)
    calibration = ScoreCalibration(np.full(len(WORDS), 0.8, np.float32), OFFSETS, loss, 100)
    put_into(model, calibration, path)
    write_bundle(model, metadata, path)
    after = Tagger.load(path).predict(photographs)
    np.testing.assert_allclose(after, sigmoid(0.8 * logit(before) + OFFSETS), atol=1e-4)
    np.testing.assert_allclose(after, calibration.corrected(before), atol=1e-4)


def test_calibrated_scores_are_left_alone(bundle, data, tmp_path, capsys):
    before, out = bundle.read_bytes(), tmp_path / "out.onnx"
    for words in ((), ("--out", out)):
        with ends_with("calibration_gains_too_little"):
            assert tune(bundle, data, *words) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "log loss" in error
    assert bundle.read_bytes() == before
    assert not out.exists()


def test_twice_is_refused_since_nothing_is_left_to_gain(shifted, data):
    assert tune(shifted, data) == 0
    once = shifted.read_bytes()
    with ends_with("calibration_gains_too_little"):
        assert tune(shifted, data) == 2
    assert shifted.read_bytes() == once


def test_a_second_calibration_joins_the_first(shifted, data, tmp_path):
    out = tmp_path / "out.onnx"
    assert tune(shifted, data, "--out", out) == 0
    once, model = constants(out), onnx.load_model(str(out))
    for constant in model.graph.initializer:
        if constant.name == SHIFT:  # as if the scores had changed since
            constant.CopyFrom(numpy_helper.from_array(once[SHIFT] + OFFSETS, SHIFT))
    write_bundle(model, read_metadata(out), out)
    assert tune(out, data) == 0
    assert len(onnx.load_model(str(out)).graph.node) == len(model.graph.node)
    np.testing.assert_allclose(constants(out)[SCALE], once[SCALE], rtol=0.05)
    np.testing.assert_allclose(constants(out)[SHIFT], once[SHIFT], atol=0.2)


def test_a_threshold_that_is_not_tuned_moves_with_the_scores(shifted, data, tmp_path, capsys):
    aliases, out = tmp_path / "known.yaml", tmp_path / "out.onnx"
    aliases.write_text(f"known: [{', '.join(WORDS.names[:-1])}]\nnames: {{}}\n")
    before = read_metadata(shifted).with_thresholds([0.5] * 9 + [0.3], {"rule": "f1"}, {})
    before = before.with_thresholds(before.thresholds, {}, {"0.9": {"thresholds": [0.5] * 9 + [0.8], "unmet": 0, "untold": []}})
    write_bundle(onnx.load_model(str(shifted)), before, shifted)
    assert tune(shifted, data, "--aliases", aliases, "--out", out) == 0
    made, probs = read_metadata(out), [Tagger.load(path).predict(colours(1))[:, -1] for path in (shifted, out)]
    assert made.thresholds[-1] != pytest.approx(0.3, abs=0.01)
    assert "moved with the scores: 1\n" in capsys.readouterr().out
    np.testing.assert_array_equal(probs[0] >= 0.3, probs[1] >= made.thresholds[-1])
    np.testing.assert_array_equal(probs[0] >= 0.8, probs[1] >= made.for_precision["0.9"]["thresholds"][-1])


def test_a_class_that_lacks_negatives_has_the_common_correction_and_no_influence():
    rng = np.random.default_rng(0)
    x = rng.normal(-1, 2, (500, 6))
    labels, known = rng.random(x.shape) < 1 / (1 + np.exp(-x)), np.ones(x.shape, bool)
    x += [2, 2, 2, 2, 2, -9]
    probs = 1 / (1 + np.exp(-x))
    known[:, -1] = labels[:, -1]
    made, without = calibrate_scores(probs, labels, known), calibrate_scores(probs[:, :-1], labels[:, :-1], known[:, :-1])
    assert made.loss.after == pytest.approx(without.loss.after)
    assert made.shift[-1] == pytest.approx(-2, abs=0.3)
    np.testing.assert_allclose(made.shift[:-1], without.shift, atol=0.01)


def test_zero_and_one_stay_what_they_are():
    labels = np.random.default_rng(0).random((200, 2)) < 0.3
    made = calibrate_scores(np.where(labels, 0.6, 0.5), labels, np.ones_like(labels))
    assert made.corrected([[0, 1]]).tolist() == [[0, 1]]


def test_few_images_are_refused_with_their_number(bundle, data, tmp_path, capsys):
    document = json.loads((data / "annotations" / "instances_tune.json").read_text())
    document["images"] = document["images"][:20]
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] < 20]
    (tmp_path / "few.json").write_text(json.dumps(document))
    before = bundle.read_bytes()
    words = ["--data.annotations", str(tmp_path / "few.json"), "--data.images", str(data / "tune"), "--calibrate-scores"]
    with ends_with("too_few_images"):
        assert main(["tune-thresholds", str(bundle), *words]) == 2
    assert " 20 " in capsys.readouterr().err
    assert bundle.read_bytes() == before


def test_images_of_the_training_are_refused(shifted, data, capsys):
    model, before = onnx.load_model(str(shifted)), read_metadata(shifted)
    split = load_split(data, "tune").names_sha256()
    write_bundle(model, replace(before, tuned_on={"sha256": "0", "train_split_sha256": split}), shifted)
    file = shifted.read_bytes()
    with ends_with("trained_on_split"):
        assert tune(shifted, data) == 2
    assert "'tune'" in capsys.readouterr().err
    assert shifted.read_bytes() == file


def test_without_a_final_sigmoid_there_is_nothing_to_calibrate(bundle, data, tmp_path, capsys):
    model, path = onnx.load_model(str(bundle)), tmp_path / "exclusive.onnx"
    model.graph.node[-1].op_type = "Softmax"
    write_bundle(model, read_metadata(bundle), path)
    before = path.read_bytes()
    with ends_with("no_final_sigmoid"):
        assert tune(path, data) == 2
    error = capsys.readouterr().err
    assert str(path) in error and "Softmax" in error and error.count("\n") == 1
    assert path.read_bytes() == before


def test_images_are_needed_even_for_a_fixed_threshold(bundle, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["tune-thresholds", str(bundle), "--thresholds", "fixed:0.5", "--calibrate-scores"])
    assert stop.value.code == 2
    assert "--root" in capsys.readouterr().err


def test_without_onnx_the_extra_is_named(bundle, data, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with ends_with("missing_extra"):
        assert tune(bundle, data) == 2
    assert "cocotag[train]" in capsys.readouterr().err
