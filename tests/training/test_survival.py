"""What a run survives: a last checkpoint that is cut short, or was never finished."""

import csv
import shutil

import pytest
import torch

from cocotag.config import DataConfig, ModelConfig, StageConfig, TrainConfig
from cocotag.errors import BundleError
from cocotag.training.fit import Run, fit, resume


@pytest.fixture(scope="module")
def run(sample_dir, tmp_path_factory):
    config = TrainConfig(
        data=DataConfig(root=str(sample_dir), workers=0),
        model=ModelConfig(image_size=64, width=0.25),
        stages=[StageConfig(3, "all", 1e-2)],
        batch_size=20,
        precision="float32",
    )
    with pytest.MonkeyPatch.context() as patch:
        without_export(patch)
        return fit(config, tmp_path_factory.mktemp("runs") / "run").directory


def without_export(patch):
    patch.setattr("cocotag.training.fit._finish", lambda config, data, directory: Run(directory, None, None, []))


@pytest.fixture
def broken(run, tmp_path, monkeypatch):
    """A copy of the run whose last checkpoint was cut short, as on a full disk."""
    without_export(monkeypatch)
    shutil.copytree(run, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    return tmp_path / "run"


def rows(directory):
    with (directory / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def epoch_of(directory, name):
    return torch.load(directory / "checkpoints" / f"{name}.ckpt", weights_only=True)["epoch"]


def test_the_checkpoint_before_the_last_is_kept(run):
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    assert (epoch_of(run, "previous"), epoch_of(run, "last")) == (1, 2)


@pytest.mark.parametrize("gone", [False, True])
def test_a_last_checkpoint_that_is_damaged_or_gone_costs_one_epoch(run, broken, capsys, gone):
    if gone:
        (broken / "checkpoints" / "last.ckpt").unlink()
    resume(broken)
    said = capsys.readouterr().err
    assert ("previous.ckpt" in said) == (not gone)
    assert "epoch   3/3" in said
    assert "epoch   2/3" not in said
    assert epoch_of(broken, "last") == 2
    for mine, unbroken in zip(rows(broken), rows(run), strict=True):
        for name in ("lr", "train_loss", "tune_loss", "tune_map"):
            assert float(mine[name]) == pytest.approx(float(unbroken[name]), abs=1e-3)


def test_where_both_are_damaged_nothing_is_begun_anew(broken):
    previous = broken / "checkpoints" / "previous.ckpt"
    previous.write_bytes(b"no checkpoint")
    before = rows(broken)
    with pytest.raises(BundleError) as caught:
        resume(broken)
    assert caught.value.code == "not_a_checkpoint"
    assert rows(broken) == before
