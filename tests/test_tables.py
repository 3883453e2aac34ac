"""The tables of losses, heads, backbones, formats and outputs: a row is accepted everywhere, and a missing one is refused."""

import subprocess
import sys
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import pytest
import torch
from PIL import Image

import cocotag.config
from cocotag.backbones import BACKBONES, BackboneRow, backbone_row
from cocotag.cli.main import main
from cocotag.cli.parsing import tag_flags
from cocotag.config import HeadName, LossConfig, LossName, ModelConfig, TrainConfig
from cocotag.config_problems import problems
from cocotag.errors import ConfigError, OutputError
from cocotag.losses import LOSSES, LossRow, bce
from cocotag.models.build import build_network
from cocotag.models.heads import HEADS, HeadRow, LinearHead
from cocotag.tagging.decisions.beside import Written
from cocotag.tagging.outputs import beside
from cocotag.tagging.outputs.formats.text_lines import TextLines
from cocotag.tagging.outputs.write import ENDINGS
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


FORMAT = """
import sys
from pathlib import Path

import numpy as np

from cocotag.photos.formats import table

row = table.Format(
    (".made",), lambda data: data.startswith(b"MADE"), lambda name, data, wanted: np.full((9, 8, 3), data[4], np.uint8)
)
table.FORMATS = {"MADE": row, **table.FORMATS}  # before anything else reads the table, as if it were written in the file
table.IMAGE_ENDINGS |= {".made"}

from cocotag.cli.main import main
from cocotag.cli.parsing import tag_flags
from cocotag.photos.decode import decode
from cocotag.photos.header import read_header

folder, bundle = sys.argv[1:]
header = read_header(f"{folder}/a.made")
assert (header.width, header.height, header.opened) == (8, 9, False)
assert read_header(f"{folder}/b.jpg").opened  # the rows behind it are read as before
assert (decode(f"{folder}/a.made") == 7).all()
sys.exit(main(["tag", folder, "--model", bundle, "--out", "-", "--txt", "--xmp"]))
"""


def test_a_format_without_a_row_is_no_image_and_with_one_it_is(toy_bundle, tmp_path, capsys):
    (tmp_path / "a.made").write_bytes(b"MADE\x07")
    assert main(["tag", str(tmp_path), "--model", str(toy_bundle), "--out", "-"]) == 2  # no image in the folder
    capsys.readouterr()
    Image.new("RGB", (40, 30)).save(tmp_path / "b.jpg")
    words = [sys.executable, "-c", FORMAT, str(tmp_path), str(toy_bundle)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"status": "ok"') == 2
    assert (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.made.xmp").exists()


class Shouted(TextLines):
    """A form of made-up files: the tags of a row in capitals."""

    def __init__(self, path, context):
        super().__init__(path, lambda row: " ".join(tag.name.upper() for tag in row.tags) + "\n", encoding="utf-8")

    @staticmethod
    def check(out, context):
        if context.all_scores:
            raise OutputError(f"{out} cannot hold all scores", code="all_scores_unsupported")


def test_a_new_format_of_out_is_accepted_everywhere(monkeypatch, toy_bundle, sample_dir, tmp_path, capsys):
    words = [
        "tag",
        str(sample_dir / "val"),
        "--model",
        str(toy_bundle),
        "--threshold",
        "0",
        "--out",
        str(tmp_path / "tags.made"),
    ]
    assert main(words) == 2
    assert "ends in .made" in capsys.readouterr().err
    monkeypatch.setitem(ENDINGS, ".made", Shouted)
    assert main([*words, "--all-scores"]) == 2
    assert main(words) == 0
    text = (tmp_path / "tags.made").read_text()
    assert text
    assert text == text.upper()
    assert main(["retag", str(tmp_path / "tags.made"), "--threshold", "0.5", "--out", str(tmp_path / "sure.made")]) == 0


class Counted:
    """An output beside the images: a file with the number of rows."""

    folder = copies = None
    changes_photographs = False

    def __init__(self, file):
        self.file = file

    def check(self, context, *, overwrite):
        """It can always be written."""

    def write(self, material):
        self.file.write_text(str(sum(1 for _ in material.rows())))
        return Written("counted")


def test_a_new_output_beside_the_images_brings_its_flags(monkeypatch, toy_bundle, sample_dir, tmp_path, capsys):
    words = ["tag", str(sample_dir / "val"), "--model", str(toy_bundle), "--out", str(tmp_path / "tags.csv")]
    flags = ["--count-into", str(tmp_path / "count")]
    with pytest.raises(SystemExit, match="2"):
        main([*words, *flags])
    row = beside.Row(
        (beside.Flag("--count-into", "how many files there are", metavar="FILE"),),
        lambda values: Counted(values["count_into"]) if values["count_into"] else None,
    )
    monkeypatch.setattr(tag_flags, "BESIDE", (*beside.BESIDE, row))
    assert main([*words, *flags]) == 0
    assert (tmp_path / "count").read_text() == str(len(list((sample_dir / "val").iterdir())))
    (tmp_path / "count").unlink()
    assert main(["retag", str(tmp_path / "tags.csv"), *flags]) == 0
    assert (tmp_path / "count").exists()
