"""The range test: what is read off curves that are known, and real tests on the drawn sample."""

import contextlib
import csv
import io
import os
import signal
import xml.etree.ElementTree as ET
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from error_codes import ends_with

from cocotag import losses
from cocotag.cli.main import main
from cocotag.config import DataConfig, ModelConfig, StageConfig, TrainConfig
from cocotag.errors import CocotagError, Interrupted, OutputError
from cocotag.training import find_lr as module
from cocotag.training.find_lr import HIGHEST, LOWEST, STEPS, bounds, find_lr, rate_at, smooth

RATES = np.array([rate_at(step) for step in range(STEPS)])


def config(root, **stage):
    return TrainConfig(
        data=DataConfig(root=str(root), workers=0, val_split=None),
        model=ModelConfig(image_size=32, width=0.25),
        stages=[StageConfig(**{"epochs": 1, "train": "all", **stage}), StageConfig(epochs=3, train="head", lr=77.0)],
        batch_size=10,
        precision="float32",
    )


def curve(rate):
    """Flat at 1, down to 0.2 between 1e-4 and 1e-2, flat, and up by 0.8 a decade from 1e-1 on."""
    place = np.log10(rate)
    return 1 - 0.8 * np.clip((place + 4) / 2, 0, 1) + 0.8 * np.clip(place + 1, 0, None)


def test_rates_rise_by_the_same_factor_from_end_to_end():
    assert RATES[0] == pytest.approx(LOWEST)
    assert RATES[-1] == pytest.approx(HIGHEST)
    assert np.ptp(RATES[1:] / RATES[:-1]) < 1e-12


def test_both_rates_are_read_off_a_curve_that_has_them():
    loss = curve(RATES)
    slowing, rising = bounds(RATES, loss, smooth(loss))
    assert np.log10(slowing) == pytest.approx(-4 + 0.8 * 2, abs=0.15)  # four fifths of the way down
    assert np.log10(rising) == pytest.approx(-1 + 0.1, abs=0.15)  # a tenth of the way up again


def test_noise_moves_them_little_and_alone_suggests_nothing():
    generator = np.random.default_rng(0)
    for _ in range(20):
        noise = generator.normal(0, 0.05, STEPS)
        noisy = curve(RATES) + noise
        slowing, rising = bounds(RATES, noisy, smooth(noisy))
        assert abs(np.log10(slowing) + 2.4) < 0.5
        assert abs(np.log10(rising) + 0.9) < 0.5
        assert bounds(RATES, 1 + noise, smooth(1 + noise)) is None
    assert bounds(RATES, RATES, smooth(RATES)) is None  # only ever up
    assert bounds(RATES[:15], curve(RATES[:15]), smooth(curve(RATES[:15]))) is None


def test_a_loss_that_never_rises_has_no_upper_rate():
    loss = np.minimum.accumulate(curve(RATES))
    assert bounds(RATES, loss, smooth(loss))[1] is None


def test_smoothing_does_not_lag_and_skips_what_is_no_number():
    loss = np.random.default_rng(0).random(50)
    np.testing.assert_allclose(smooth(loss[::-1]), smooth(loss)[::-1])
    np.testing.assert_allclose(smooth(np.full(30, 0.7)), 0.7)
    broken = np.array([1.0] * 10 + [np.nan] + [1.0] * 9 + [np.inf])
    np.testing.assert_allclose(smooth(broken), 1.0)


def test_layer_groups_keep_their_decay_and_frozen_ones_have_no_rate():
    schedule = module._Rising([StageConfig(2, "last:3", 1.0, 0.5)], groups=5, batches_per_epoch=3)
    for step in (0, 40, 99):
        assert [schedule.rate(group, step) for group in range(5)] == pytest.approx(
            [0, 0, rate_at(step) / 4, rate_at(step) / 2, rate_at(step)]
        )
    assert schedule.stage_at(1000) == 0


@pytest.fixture(scope="module")
def found(sample_dir, tmp_path_factory):
    """By the command, in a folder of its own: exit status, what is on stdout, the folder."""
    folder = tmp_path_factory.mktemp("cwd")
    words = [
        "--data.root",
        str(sample_dir),
        "--data.workers=0",
        "--model.image_size=32",
        "--model.width=0.25",
        "--batch_size=10",
    ]
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        status = main(["train", *words, "--find-lr", "--out", "made"])
    return status, out.getvalue().splitlines(), folder


def test_the_command_suggests_a_rate_and_leaves_two_files(found):
    status, lines, folder = found
    assert status == 0
    assert lines[-1] == "made"
    assert len(lines) == 2
    assert "made/lr.svg" in lines[0]
    suggestion = float(lines[0].partition("stages[0].lr: ")[2].split(". ")[0])
    assert 1e-5 < suggestion < 0.1
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == ["made", "made/lr.csv", "made/lr.svg"]
    root = ET.fromstring((folder / "made" / "lr.svg").read_text())
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert f"Suggested: {suggestion:.2g}" in texts
    assert "suggested" in texts


def test_the_table_has_a_row_for_each_step_and_the_loss_fell(found):
    with (found[2] / "made" / "lr.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    np.testing.assert_allclose([row["lr"] for row in rows], RATES[: len(rows)], rtol=1e-5)
    smoothed = [row["smoothed"] for row in rows]
    assert min(smoothed) < 0.9 * smoothed[0]


def test_only_the_first_stage_learns_and_the_same_seed_finds_the_same(sample_dir, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(module, "STEPS", 12)
    prepare = module.preflight

    def keep(*words):
        ready = prepare(*words)
        kept.append((ready.network, {name: value.clone() for name, value in ready.network.state_dict().items()}))
        return ready

    monkeypatch.setattr(module, "preflight", keep)
    for name in ("a", "b"):
        with pytest.raises(CocotagError):  # too few steps to tell
            find_lr(config(sample_dir, train="head"), tmp_path / name)
    network, before = kept[0]
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)
    assert (tmp_path / "a" / "lr.csv").read_text() == (tmp_path / "b" / "lr.csv").read_text()


@pytest.mark.parametrize("factor", [50.0, float("nan")])
def test_it_ends_where_the_loss_blows_up(sample_dir, tmp_path, monkeypatch, factor):
    bce, calls = losses.bce, []

    def blowing_up(*words, **options):
        calls.append(1)
        return bce(*words, **options) * (factor if len(calls) > 8 else 1)

    monkeypatch.setitem(losses.LOSSES, "bce", losses.LossRow(blowing_up, weighs_positives=True))
    with pytest.raises(CocotagError) as caught:
        find_lr(config(sample_dir), tmp_path / "out")
    assert caught.value.code == "no_rate_found"
    assert str(tmp_path / "out" / "lr.svg") in str(caught.value)
    assert len(calls) < 12
    rows = (tmp_path / "out" / "lr.csv").read_text().splitlines()
    assert 8 <= len(rows) - 1 < 12
    ET.fromstring((tmp_path / "out" / "lr.svg").read_text())


def test_batches_that_add_up_are_one_step(sample_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STEPS", 6)
    with pytest.raises(CocotagError):
        find_lr(replace(config(sample_dir), accumulate=2), tmp_path / "out")
    assert len((tmp_path / "out" / "lr.csv").read_text().splitlines()) == 1 + 6


def test_ctrl_c_writes_nothing(sample_dir, tmp_path, monkeypatch):
    def press(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(module._Record, "on_train_batch_end", press)
    with pytest.raises(Interrupted) as caught:
        find_lr(config(sample_dir), tmp_path / "out")
    assert caught.value.code == "interrupted"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_left_alone(sample_dir, tmp_path):
    with pytest.raises(OutputError) as caught:
        find_lr(config(sample_dir), tmp_path)
    assert caught.value.code == "output_exists"
    assert str(tmp_path) in str(caught.value) and "--out" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_it_is_not_for_a_run_that_is_gone_on_with(tmp_path, capsys):
    with ends_with("flags_contradict"):
        assert main(["train", "--resume", str(tmp_path), "--find-lr"]) == 2
    assert "--resume" in capsys.readouterr().err


def test_a_yaml_may_ask_for_it_as_well(tmp_path, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(
        module, "find_lr", lambda config, out: asked.append(out) or SimpleNamespace(suggestion=0.01, plot="lr.svg")
    )
    (tmp_path / "rates.yaml").write_text("find_lr: true\n")
    assert main(["train", "--config", str(tmp_path / "rates.yaml")]) == 0
    assert asked[0].name.startswith("rates-lr-")
    assert capsys.readouterr().out.startswith("Suggested stages[0].lr: 0.01.")
