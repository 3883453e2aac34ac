"""What export writes besides the graph: thresholds by a rule, on the finished bundle's own outputs."""

import copy

import numpy as np
import onnx
import pytest
import torch
from error_codes import ends_with

from cocotag.bundle import read_metadata
from cocotag.cli.main import main
from cocotag.config import DataConfig, ModelConfig, TrainConfig
from cocotag.data.annotations import load_split
from cocotag.export import bundles as export
from cocotag.export.bundles import export_checkpoint
from cocotag.export.checkpoint import load_checkpoint
from cocotag.export.onnx_graph import OPSETS, to_onnx
from cocotag.export.ways import stir
from cocotag.inference.tagger import Tagger
from cocotag.models.build import build_network
from cocotag.photos.decode import load_square
from cocotag.thresholds import choose_thresholds, parse_rule

SIDE = 64


@pytest.fixture(scope="module")
def tune(sample_dir):
    return load_split(sample_dir, "train")


@pytest.fixture(scope="module")
def checkpoint(tune, tmp_path_factory):
    """Of a run that learned nothing, but whose network answers differently to different pictures."""
    config = TrainConfig(data=DataConfig(root="data"), model=ModelConfig(image_size=SIDE, width=0.25))
    torch.manual_seed(0)
    network = build_network(config.model, len(tune.vocabulary))
    stir(network)
    with torch.no_grad():  # batch norms of their own pictures; in evaluation mode they would let next to nothing through
        network.train()(torch.from_numpy(np.stack([load_square(path, SIDE) for path in tune.paths()])))
    facts = {
        "config": config.to_json(),
        "vocabulary": tune.vocabulary.to_json(),
        "positives": [1] * len(tune.vocabulary),
        "train_images": 1,
        "tuned_on": {"split": "train", "images": len(tune), "sha256": tune.names_sha256()},
    }
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    path = tmp_path_factory.mktemp("checkpoint") / "best.ckpt"
    torch.save({"cocotag": facts, "state_dict": state, "epoch": 0}, path)
    return path


@pytest.fixture(scope="module")
def graph(checkpoint):
    return export.to_onnx(load_checkpoint(checkpoint)[0], SIDE)


@pytest.fixture(autouse=True)
def made_once(graph, monkeypatch):
    """Torch's exporter takes ten seconds for the same graph."""

    def made(network, image_size, opset):
        return copy.deepcopy(graph) if opset == OPSETS[0] else to_onnx(network, image_size, opset)

    monkeypatch.setattr(export, "to_onnx", made)


def chosen_on(bundle, tune, text="f1"):
    images = np.stack([load_square(path, SIDE) for path in tune.paths()])
    return choose_thresholds(Tagger.load(bundle).predict(images), tune.targets, tune.known, parse_rule(text))


def test_thresholds_of_a_bundle_in_integers_are_chosen_on_its_own_outputs(checkpoint, tune, tmp_path):
    plain, int8 = tmp_path / "plain.onnx", tmp_path / "int8.onnx"
    export_checkpoint(checkpoint, plain, tune)
    export_checkpoint(checkpoint, int8, tune, tune.paths())
    assert read_metadata(int8).made_by["int8"].startswith("calibrated")
    for bundle, other in ((plain, int8), (int8, plain)):
        thresholds = read_metadata(bundle).thresholds
        np.testing.assert_allclose(thresholds, chosen_on(bundle, tune).values, rtol=1e-6)
        assert np.abs(thresholds - chosen_on(other, tune).values).max() > 1e-4


@pytest.mark.parametrize("text", ["f1:global", "precision:0.5", "recall:0.8", "fixed:0.25"])
def test_a_rule_is_followed_and_kept_on_record(checkpoint, tune, tmp_path, text):
    made = export_checkpoint(checkpoint, tmp_path / "a.onnx", tune, rule=parse_rule(text))
    expected = chosen_on(tmp_path / "a.onnx", tune, text)
    np.testing.assert_allclose(made.thresholds, expected.values, rtol=1e-6)
    assert made.chosen_by == expected.record()
    assert read_metadata(tmp_path / "a.onnx") == made


@pytest.mark.parametrize(("text", "threshold"), [("f1", 0.5), ("recall:0.8", 0.5), ("fixed:0.25", 0.25)])
def test_without_images_nothing_is_chosen_and_that_is_said(checkpoint, tmp_path, text, threshold):
    _, before = load_checkpoint(checkpoint)
    made = export_checkpoint(checkpoint, tmp_path / "a.onnx", rule=parse_rule(text))
    assert made.thresholds == (threshold,) * len(before.vocabulary)
    assert made.chosen_by == {"rule": f"fixed:{threshold}"}


def versions(bundle):
    model = onnx.load(bundle)
    return model.ir_version, [(one.domain, one.version) for one in model.opset_import]


def test_a_bundle_declares_the_oldest_versions_that_it_needs(checkpoint, tune, tmp_path):
    """ONNX Runtime 1.14 knows IR 8 and opset 18: https://onnxruntime.ai/docs/reference/compatibility.html."""
    plain, int8, newer = (tmp_path / f"{name}.onnx" for name in ("plain", "int8", "newer"))
    export_checkpoint(checkpoint, plain, tune)
    export_checkpoint(checkpoint, int8, tune, tune.paths())
    export_checkpoint(checkpoint, newer, tune, opset=20)
    assert versions(plain) == versions(int8) == (8, [("", 18)])
    assert versions(newer) == (9, [("", 20)])
    images = np.stack([load_square(path, SIDE) for path in tune.paths()])
    np.testing.assert_allclose(Tagger.load(newer).predict(images), Tagger.load(plain).predict(images), atol=1e-6)


@pytest.mark.parametrize("opset", [OPSETS[0] - 1, OPSETS[-1] + 1])
def test_an_operator_set_that_cannot_be_exported_is_refused(checkpoint, tmp_path, opset):
    with ends_with("opset_unsupported"):
        assert main(["export", str(checkpoint), "--out", str(tmp_path / "a.onnx"), "--opset", str(opset)]) == 2
    assert not (tmp_path / "a.onnx").exists()
