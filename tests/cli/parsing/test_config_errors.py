"""A mistake in a config is one line that says where it is and what to write instead."""

import pytest

from cocotag.cli.main import main


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("data: {train_split: 2017}", ["c.yaml: data.train_split is 2017", "text", "quotes"]),
        ("data: {val_split: no}", ["data.val_split is False", "text or null", "no", "quotes"]),
        ("data: {root: 2:30}", ["data.root is 150", "text or null", "2:30", "quotes"]),
        ("model: {widht: 2}", ["c.yaml: ", "model.widht", "model.width."]),
        ("batchsize: 3", ["batchsize", "batch_size"]),
        ("model: {width: wide}", ["model.width is wide", "a number"]),
        ("loss: {name: bcee}", ["loss.name is bcee", "bce, focal, soft_f1, asymmetric or cross_entropy"]),
        ("stages: [{epochs: x}]", ["keep_norms: ", "epochs is x", "a whole number"]),
        ("", ["c.yaml: ", "empty"]),
        ("a: [", ["c.yaml: "]),
    ],
)
def test_of_a_file(text, facts, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--config", str(tmp_path / "c.yaml"), "--out", "o", "--seed", "1"])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert all(fact in error for fact in facts), error
    assert error.count("\n") == 1
    assert not any(word in error for word in ("Parser key", "Union", "<class", "Literal"))


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["train", "--config", "sample", "--model.widht", "2"], ["cocotag train: ", "--model.widht", "--model.width."]),
        (["train", "--config", "sample", "--model.width", "x"], ["cocotag train: model.width is x", "a number"]),
        (["train", "--data.tune-split", "x"], ["--data.tune-split", "--data.tune_split"]),
        (["summary", "--batchs", "2"], ["--batchs", "--batch."]),
        (["summary", "--model.widht", "2"], ["cocotag summary: ", "--model.widht", "--model.width."]),
        (["summary", "--model.name", "resnet"], ["resnet", "mobilenet_v2, mobilenet_v3_small or mobilenet_v3_large"]),
    ],
)
def test_of_a_flag(words, facts, capsys):
    with pytest.raises(SystemExit):
        main(words)
    error = capsys.readouterr().err
    assert all(fact in error for fact in facts), error
    assert "sample.yaml" not in error
