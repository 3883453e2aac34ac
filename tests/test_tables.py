"""The tables of losses, heads, backbones, formats and outputs: a row is accepted everywhere, and a missing one is refused."""

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import pytest
import torch

import cocotag.config
from cocotag.backbones import BACKBONES, BackboneRow, backbone_row
from cocotag.cli.main import main
from cocotag.config import HeadName, LossConfig, LossName, ModelConfig, TrainConfig
from cocotag.config_problems import problems
from cocotag.errors import ConfigError
from cocotag.losses import LOSSES, LossRow, bce
from cocotag.models.build import build_network
from cocotag.models.heads import HEADS, HeadRow, LinearHead
from cocotag.photos.decode import decode
from cocotag.photos.formats.pillow import Decoder
from cocotag.photos.formats.table import FORMATS, Format
from cocotag.training.loop.loss import Loss

COUNTS = np.array([3, 4]), np.array([10, 10])


def test_config_and_tables_have_the_same_names():
    assert get_args(LossName) == tuple(LOSSES)
    assert get_args(HeadName) == tuple(HEADS)


@pytest.mark.parametrize(
    "config",
    [
        replace(TrainConfig(), loss=LossConfig(name="made_up")),
        replace(TrainConfig(), model=ModelConfig(head="made_up")),
        replace(TrainConfig(), model=ModelConfig(name="made_up")),
    ],
    ids=["loss", "head", "backbone"],
)
def test_what_is_in_no_table_is_refused_by_the_config_and_where_it_is_used(config):
    assert any("made_up" in problem for problem in problems(config))
    with pytest.raises(ConfigError):
        Loss(config.loss, *COUNTS)
        build_network(config.model, 2)


def test_a_new_loss_is_accepted_everywhere(monkeypatch, sample_dir, tmp_path, capsys):
    monkeypatch.setattr(cocotag.config, "LossName", Literal[(*get_args(LossName), "made_up")])
    monkeypatch.setitem(LOSSES, "made_up", LossRow(lambda *cells, gamma: (1 + gamma) * bce(*cells), ("gamma",)))
    config = LossConfig(name="made_up", gamma=1.0)
    assert not any("loss" in problem for problem in problems(replace(TrainConfig(), loss=config)))
    cells = torch.randn(4, 2), torch.ones(4, 2), torch.ones(4, 2, dtype=torch.bool)
    torch.testing.assert_close(Loss(config, *COUNTS)(*cells), 2 * bce(*cells))
    stages = '[{"epochs": 1, "train": "head"}]'
    words = ["train", "--data.root", str(sample_dir), "--data.workers", "0", "--model.image_size", "64", "--stages", stages]
    assert main([*words, "--loss.name", "made_up", "--out", str(tmp_path / "run")]) == 0
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--loss.name", "another", "--out", str(tmp_path / "other")])
    assert "made_up" in capsys.readouterr().err  # among the names that it may have


def test_a_new_head_and_a_new_backbone_are_accepted_everywhere(monkeypatch, capsys):
    monkeypatch.setattr(cocotag.config, "HeadName", Literal[(*get_args(HeadName), "made_up")])
    monkeypatch.setitem(HEADS, "made_up", HeadRow(LinearHead, {"hidden": "csra_heads"}))
    monkeypatch.setattr(cocotag.config, "BackboneName", Literal[(*BACKBONES, "made_up_v2")])
    monkeypatch.setitem(BACKBONES, "made_up_v2", BackboneRow("mobilenet_v2", 20))
    model = ModelConfig(name="made_up_v2", head="made_up", csra_heads=7)
    assert not any("model" in problem for problem in problems(replace(TrainConfig(), model=model)))
    network = build_network(model, 2)
    assert network.head.hidden.out_features == 7
    assert len(network.layer_groups()) == backbone_row("made_up_v2").layer_groups
    assert main(["summary", "--model.name", "made_up_v2", "--model.head", "made_up", "--model.csra_heads", "7"]) == 0


def test_a_format_that_is_in_no_table_is_no_image_and_with_a_row_it_is_one(monkeypatch, toy_bundle, tmp_path, capsys):
    decoder: Decoder = lambda name, data, wanted: np.full((9, 9, 3), data[4], np.uint8)  # noqa: E731 (three words of a test)
    (tmp_path / "a.made").write_bytes(b"MADE\x07")
    words = ["tag", str(tmp_path), "--model", str(toy_bundle), "--out", "-"]
    assert main(words) == 2  # no image in the folder
    monkeypatch.setitem(FORMATS, "MADE", Format((".made",), lambda data: data.startswith(b"MADE"), decoder))
    assert (decode(tmp_path / "a.made") == 7).all()
    capsys.readouterr()
    assert main(["tag", str(tmp_path / "a.made"), "--model", str(toy_bundle), "--out", "-"]) == 0
    assert '"status": "ok"' in capsys.readouterr().out
