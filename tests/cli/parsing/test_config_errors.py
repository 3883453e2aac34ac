"""A mistake in a config is one line that says where it is and what to write instead."""

import pytest

from cocotag.cli.main import main


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "data: {train_split: 2017}",
            "c.yaml: data.train_split is 2017, it must be text (YAML reads 2024 and 2:30 as numbers: put quotes",
        ),
        (
            "data: {val_split: no}",
            "data.val_split is False, it must be text or null (YAML reads false, no or off so: put quotes",
        ),
        ("data: {root: 2:30}", "data.root is 150, it must be text or null"),
        ("model: {widht: 2}", "c.yaml: there is no model.widht; did you mean model.width"),
        ("batchsize: 3", "there is no batchsize; did you mean batch_size"),
        ("model: {width: wide}", "model.width is wide, it must be a number"),
        ("loss: {name: bcee}", "loss.name is bcee, it must be bce, focal, soft_f1, asymmetric or cross_entropy"),
        ("stages: [{epochs: x}]", "epochs is x, it must be a whole number"),
        ("", "c.yaml: the file is empty"),
        ("a: [", "c.yaml: "),
    ],
)
def test_of_a_file(text, said, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--config", str(tmp_path / "c.yaml"), "--out", "o", "--seed", "1"])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said in error
    assert error.count("\n") == 1
    assert not any(word in error for word in ("Parser key", "Union", "<class", "Literal"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["train", "--config", "sample", "--model.widht", "2"],
            "cocotag train: there is no --model.widht; did you mean --model.width",
        ),
        (["train", "--config", "sample", "--model.width", "x"], "cocotag train: model.width is x, it must be a number"),
        (["train", "--data.tune-split", "x"], "there is no --data.tune-split; did you mean --data.tune_split"),
        (["summary", "--batchs", "2"], "there is no --batchs; did you mean --batch."),
        (["summary", "--model.widht", "2"], "cocotag summary: there is no --model.widht; did you mean --model.width"),
        (["summary", "--model.name", "resnet"], "it must be mobilenet_v2, mobilenet_v3_small or mobilenet_v3_large"),
    ],
)
def test_of_a_flag(words, said, capsys):
    with pytest.raises(SystemExit):
        main(words)
    error = capsys.readouterr().err
    assert said in error
    assert "sample.yaml" not in error
