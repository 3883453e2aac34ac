import json

import pytest
import torchinfo
import torchvision.models

from cocotag.backbones import BACKBONES
from cocotag.cli.main import main
from cocotag.config import ModelConfig
from cocotag.models.build import build_network
from cocotag.models.summary import summarise


def run(capsys, *words):
    status = main(["summary", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("name", BACKBONES)
def test_counts_are_torchinfos_of_torchvisions_network(name):
    ours = summarise(build_network(ModelConfig(name=name), 1000), 96, batch=2)
    theirs = torchinfo.summary(getattr(torchvision.models, name)(), input_size=(2, 3, 96, 96), verbose=0)
    assert ours.parameters == theirs.total_params
    assert ours.multiply_adds == theirs.total_mult_adds
    assert ours.parameter_bytes == theirs.total_param_bytes
    assert ours.activation_bytes == theirs.total_output_bytes
    assert ours.input_bytes == 2 * 96 * 96 * 3


def test_mobilenet_v2_has_its_published_figures(capsys):
    status, out, _ = run(capsys, "--model.num_classes", "1000", "--batch", "2", "--json")
    assert status == 0
    made = json.loads(out)
    assert made["parameters"] == made["trainable_parameters"] == 3_504_872
    assert round(made["multiply_adds"] / 1e6, 2) == 601.62
    assert round(made["parameter_bytes"] / 1e6, 2) == 14.02
    assert sum(layer["parameters"] for layer in made["layers"]) == made["parameters"]
    assert sum(layer["multiply_adds"] for layer in made["layers"]) == made["multiply_adds"]
    first = next(layer for layer in made["layers"] if layer["kind"] == "Conv2d")
    assert first["name"] == "backbone.features.0.0"
    assert first["output"] == [2, 32, 112, 112]


def test_a_config_names_the_network_and_flags_change_it(capsys):
    words = ["--config", "coco_original", "--model.image_size", "32", "--json"]
    made = json.loads(run(capsys, *words)[1])
    assert made["parameters"] == 2_326_352  # 80 classes unless told
    assert made["layers"][-2]["output"] == [1, 1280] and made["image_size"] == 32
    assert json.loads(run(capsys, "--model.width=0.5", *words)[1])["parameters"] < 2_326_352


def test_the_table_is_for_people(capsys):
    out = run(capsys, "--model.name", "mobilenet_v3_small", "--model.width", "0.25", "--model.image_size", "32")[1]
    assert "MobileNetV3 (backbone)" in out
    assert "Total mult-adds (M)" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--model.width", "9", "--model.output_stride", "5"],
            "model.width is 9, but must be 0.1 to 4; model.output_stride is 5",
        ),
        (["--config", "nope"], "--config is nope"),
        (["--batch", "0"], "batch"),
        (["--model.nope", "3"], "--model.nope"),
        (["--model.name", "resnet50"], "mobilenet_v3_large"),
    ],
)
def test_a_mistake_is_one_line(capsys, words, says):
    try:
        status = main(["summary", *words])
    except SystemExit as stopped:
        status = stopped.code
    error = capsys.readouterr().err
    assert status == 2
    assert says in error
    assert error.count("\n") == 1


def test_a_config_file_without_a_network_is_refused(capsys, tmp_path):
    (tmp_path / "a.yaml").write_text("data: {}")
    assert "has no section model" in run(capsys, "--config", str(tmp_path / "a.yaml"))[2]
    (tmp_path / "a.yaml").write_text("a: [")
    assert "cannot be read as YAML" in run(capsys, "--config", str(tmp_path / "a.yaml"))[2]


@pytest.mark.parametrize("head", ["csra", "ml_decoder"])
def test_a_heads_matrix_products_are_counted_for_every_place_and_query(head):
    side, width, classes = 96, 32, 7
    network = build_network(ModelConfig(name="mobilenet_v3_small", head=head, decoder_width=width), classes)
    linear = summarise(build_network(ModelConfig(name="mobilenet_v3_small"), classes), side, batch=2)
    made = summarise(network, side, batch=2)
    channels, places = 576, (side // 32) ** 2
    backbone = sum(layer.multiply_adds for layer in linear.layers if layer.name.startswith("backbone"))
    by_hand = channels * places * classes
    if head == "ml_decoder":
        hidden = network.head.feed_forward[0].out_features
        keys = places * (channels * width + 2 * width * width)
        queries = classes * (2 * width * width + 2 * width * hidden + width)
        by_hand = keys + queries + 2 * classes * places * width
    assert made.multiply_adds - backbone == pytest.approx(2 * by_hand, rel=1e-3)
    assert sum(layer.multiply_adds for layer in made.layers) == made.multiply_adds
    assert sum(layer.parameters for layer in made.layers) == made.parameters
    assert f"Total mult-adds (M): {made.multiply_adds / 1e6:.2f}" in made.table
