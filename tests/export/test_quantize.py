"""8-bit bundles: quantised by ONNX Runtime from real weights, and held against the network on real photographs."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from error_codes import ends_with

from cocotag.bundle import BundleMetadata, read_metadata
from cocotag.cli.main import main
from cocotag.config import DataConfig, LossConfig, ModelConfig, StageConfig, TrainConfig
from cocotag.data.annotations import load_split
from cocotag.errors import BundleError
from cocotag.export.bundles import MAX_MEAN_DIFFERENCE_INT8, export_network
from cocotag.export.onnx_graph import to_onnx
from cocotag.export.quantize import quantize_convolutions
from cocotag.export.ways import stir
from cocotag.inference.tagger import Tagger
from cocotag.labels import COCO80, Category, Vocabulary
from cocotag.models.build import build_network
from cocotag.models.weights import load_weights
from cocotag.photos.decode import load_square
from cocotag.training.fit import fit

SIDE = 96


@pytest.fixture(scope="module")
def network(imagenet_weights):
    torch.manual_seed(0)
    made = build_network(ModelConfig(image_size=SIDE), 80)
    load_weights(made, str(imagenet_weights), architecture="mobilenet_v2", classes=COCO80.names)
    stir(made)
    return made.eval()


@pytest.fixture(scope="module")
def photographs(coco_mini):
    return np.stack([load_square(path, SIDE) for path in load_split(coco_mini, "val").paths()[:48]])


@pytest.fixture(scope="module")
def exported(network):
    return to_onnx(network, SIDE)


def metadata():
    return BundleMetadata(
        vocabulary=COCO80, image_size=SIDE, thresholds=(0.5,) * 80, positives=(1,) * 80, train_images=1, made_by={"torch": "2"}
    )


def test_on_real_photographs_it_stays_with_the_network_at_a_third_of_the_size(network, exported, photographs, tmp_path):
    learned, held_out = photographs[:32], photographs[32:]
    made = export_network(network, metadata(), tmp_path / "int8.onnx", photographs[:5], None, learned)
    assert (tmp_path / "int8.onnx").stat().st_size < 0.4 * exported.ByteSize()
    assert read_metadata(tmp_path / "int8.onnx") == made
    assert made.made_by == {"torch": "2", "int8": "calibrated on 32 images"}
    with torch.inference_mode():
        fp32 = network.probs(network(torch.from_numpy(held_out))).numpy()
    int8 = Tagger.load(tmp_path / "int8.onnx").predict(held_out)
    assert fp32.std(axis=0).mean() > 0.02  # the photographs differ, so the comparison says something
    assert 1e-4 < np.abs(int8 - fp32).mean() < MAX_MEAN_DIFFERENCE_INT8
    assert len(np.unique(int8)) > 1000  # the sigmoid is not in 8 bits


def test_convolutions_but_the_first_are_in_integers_and_they_alone(exported, photographs):
    model = quantize_convolutions(exported, photographs[:4])
    made_by = {output: node for node in model.graph.node for output in node.output}
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 52
    assert convolutions[0].input[1] in weights and weights[convolutions[0].input[1]].data_type == onnx.TensorProto.FLOAT
    (behind,) = (node for node in model.graph.node if convolutions[0].output[0] in node.input)
    assert behind.op_type == "Clip"
    for node in convolutions[1:]:
        source, weight = (made_by[name] for name in node.input[:2])
        assert source.op_type == weight.op_type == "DequantizeLinear"
        tensor = weights[weight.input[0]]
        assert tensor.data_type == onnx.TensorProto.INT8
        assert list(weights[weight.input[1]].dims) == [tensor.dims[0]]  # a scale per channel
    assert not any(
        node.op_type in ("Sigmoid", "Gemm") and "Dequantize" in made_by[node.input[0]].op_type for node in made_by.values()
    )


def test_what_differs_too_much_is_not_written(network, photographs, tmp_path):
    dark = np.zeros_like(photographs[:4])  # shows none of the ranges that photographs need
    with pytest.raises(BundleError) as caught:
        export_network(network, metadata(), tmp_path / "int8.onnx", photographs[:8], None, dark)
    assert caught.value.code == "int8_differs"
    assert "int8.onnx" in str(caught.value) and "--calibration-images" in str(caught.value)
    assert not (tmp_path / "int8.onnx").exists()


def test_many_exclusive_classes_are_no_excuse(imagenet_weights, photographs, tmp_path):
    """Their probabilities are so small that any bundle would be near in absolute terms."""
    vocabulary = Vocabulary(tuple(Category(number, str(number)) for number in range(100)))
    torch.manual_seed(0)
    network = build_network(ModelConfig(image_size=SIDE), 100, exclusive=True)
    load_weights(network, str(imagenet_weights), architecture="mobilenet_v2", classes=vocabulary.names)
    stir(network)
    one = replace(metadata(), vocabulary=vocabulary, thresholds=(0.5,) * 100, positives=(1,) * 100)
    with pytest.raises(BundleError) as caught:
        export_network(network.eval(), one, tmp_path / "int8.onnx", photographs[:8], None, np.zeros_like(photographs[:4]))
    assert caught.value.code == "int8_differs"
    export_network(network, one, tmp_path / "int8.onnx", photographs[:8], None, photographs[8:40])


@pytest.fixture(scope="module")
def run(sample_dir, tmp_path_factory):
    config = TrainConfig(
        data=DataConfig(root=str(sample_dir), workers=0, val_split=None),
        model=ModelConfig(image_size=64, width=0.25),
        loss=LossConfig(),
        stages=[StageConfig(2, "all", 1e-2)],
        precision="float32",
    )
    return fit(config, tmp_path_factory.mktemp("runs") / "run")


def test_the_command_chooses_thresholds_anew(run, sample_dir, tmp_path, capsys):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    (photographs / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    for path in sorted((sample_dir / "train").iterdir())[:10]:
        (photographs / path.name).write_bytes(path.read_bytes())
    out = tmp_path / "int8.onnx"
    words = ["export", str(run.directory / "checkpoints" / "best.ckpt"), "--out", str(out), "--int8"]
    assert main([*words, "--calibration-images", str(photographs)]) == 0
    made = read_metadata(out)
    assert f"{made.parity['mean_difference']:.2g}" in capsys.readouterr().out
    assert made.made_by["int8"] == "calibrated on 10 images"
    assert made.parity["mean_difference"] < MAX_MEAN_DIFFERENCE_INT8
    assert made.thresholds != run.bundle.thresholds != (0.5,) * len(made.vocabulary)
    assert main(["info", str(out)]) == 0
    assert "int8 calibrated on 10 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "fact"),
    [
        (["--int8"], "flag_without_other", "--calibration-images DIR"),
        (["--calibration-images", "."], "flag_without_other", "--int8"),
        (["--int8", "--calibration-images", "{tmp}/empty"], "no_images", "empty"),
        (["--int8", "--calibration-images", "{tmp}/nowhere"], "path_missing", "nowhere"),
        (["--int8", "--calibration-images", "{tmp}/broken"], "no_readable_image", "a.jpg"),
    ],
)
def test_mistakes_are_named(run, words, code, fact, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"no image")
    given = [word.format(tmp=tmp_path) for word in words]
    with ends_with(code):
        status = main(["export", str(run.directory / "checkpoints" / "best.ckpt"), "--out", str(tmp_path / "b.onnx"), *given])
    assert status == 2
    assert fact in capsys.readouterr().err
    assert not (tmp_path / "b.onnx").exists()
