"""Training processes that are really killed, or whose disk is full: the run ends as the unbroken one would have."""

import csv
import sys
import time
from dataclasses import replace

import pytest
import torch

from cocotag.config import DataConfig, ModelConfig, StageConfig, TrainConfig
from cocotag.training.fit import Run, fit, resume

if not sys.platform.startswith("linux"):
    pytest.skip("reads /proc and writes to /dev/full", allow_module_level=True)

from killable import Server

KILLED = -9
KILLED_BY_ITS_LIMIT = -25  # SIGXFSZ


def config_of(kind, root):
    """Two stages, each of two epochs of five batches; the moving average is on."""
    data = DataConfig(root=str(root), workers=0)
    config = TrainConfig(
        data=data,
        model=ModelConfig(image_size=64, width=0.25),
        stages=[StageConfig(2, "head", 3e-2), StageConfig(2, "last:3", 1e-2, 0.8)],
        batch_size=20,
        precision="float32",
        best_by="loss",
    )
    changes = {
        "plain": {},
        "features": {"data": replace(data, augment_views=1)},
        "accumulated": {"accumulate": 2},
        "repeated": {"data": replace(data, repeat_below=0.3)},
        "workers": {"data": replace(data, workers=2)},
        "patient": {"patience": 2, "stages": [StageConfig(1, "head", 3e-2), StageConfig(9, "head", 1e-9)]},
    }
    return replace(config, **changes[kind])


def leave_the_bundle_out(patch):
    """The export takes longer than all else."""
    patch.setattr("cocotag.training.fit._finish", lambda config, data, directory: Run(directory, None, None, []))


@pytest.fixture(autouse=True)
def _without_bundle(monkeypatch):
    leave_the_bundle_out(monkeypatch)


@pytest.fixture(scope="module")
def unbroken(sample_dir, tmp_path_factory):
    """Makes a kind's run that nothing happened to, once."""
    made = {}

    def of(kind):
        if kind not in made:
            with pytest.MonkeyPatch.context() as patch:
                leave_the_bundle_out(patch)
                made[kind] = fit(config_of(kind, sample_dir), tmp_path_factory.mktemp("unbroken") / kind).directory
        return made[kind]

    return of


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


def rows(directory):
    with (directory / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def checkpoint(directory, name):
    return torch.load(directory / "checkpoints" / f"{name}.ckpt", weights_only=True)


def assert_same_run(mine, unbroken):
    """Metrics within 1e-3, each epoch once, the same weights in all checkpoints, and nothing left over."""
    ours, theirs = rows(mine), rows(unbroken)
    assert [row["epoch"] for row in ours] == [str(1 + number) for number in range(len(theirs))]
    for our, their in zip(ours, theirs, strict=True):
        assert our.keys() == their.keys()
        for name in our.keys() - {"seconds"}:
            assert float(our[name]) == pytest.approx(float(their[name]), abs=1e-3), (our["epoch"], name)
    names = {path.name for path in (unbroken / "checkpoints").iterdir()}
    assert {path.name for path in (mine / "checkpoints").iterdir()} == names == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    for name in ("best", "last", "previous"):
        our, their = checkpoint(mine, name), checkpoint(unbroken, name)
        assert (our["epoch"], our["global_step"]) == (their["epoch"], their["global_step"]), name
        for part in ("state_dict", "current_model_state"):
            assert our[part].keys() == their[part].keys()
            for key, value in our[part].items():
                torch.testing.assert_close(value, their[part][key], rtol=1e-4, atol=1e-5, msg=f"{name}: {part}: {key}")


def epochs_kept(directory):
    """Epochs in the last checkpoint, or in the one before where that is all there is."""
    name = "last" if (directory / "checkpoints" / "last.ckpt").is_file() else "previous"
    return checkpoint(directory, name)["epoch"] + 1


@pytest.mark.parametrize(
    ("kind", "moment", "kept"),
    [
        ("plain", ("killed_at_step", 1, 3), 1),
        ("accumulated", ("killed_at_step", 2, 3), 2),  # between two steps of the optimiser
        ("repeated", ("killed_in_validation", 2), 2),
        ("features", ("killed_at_step", 1, 2, True), 1),
        # At a stage's change
        ("plain", ("killed_after_writing", "last.ckpt", 1), 2),
        ("plain", ("killed_at_step", 2, 0), 2),
        ("features", ("killed_after_writing", "last.ckpt", 1), 2),
        ("features", ("killed_at_step", 2, 0), 2),
        # Between two files
        ("plain", ("killed_before_writing", "best.ckpt", 1), 1),
        ("plain", ("killed_before_writing", "last.ckpt", 2), 2),
        ("plain", ("killed_after_training",), 4),
        # Before an epoch is finished, or its checkpoint written
        ("plain", ("killed_at_step", 0, 3), 0),
        ("plain", ("killed_before_writing", "last.ckpt", 0), 0),
    ],
    ids=lambda value: " ".join(str(part) for part in value) if isinstance(value, tuple) else None,
)
def test_a_killed_run_ends_as_the_unbroken_one(sample_dir, tmp_path, unbroken, server, capsys, kind, moment, kept):
    run = tmp_path / "run"
    assert server.train(run, config_of(kind, sample_dir), moment).ended()[0] == KILLED
    assert (run / "checkpoints" / "last.ckpt").is_file() == (kept > 0)
    if kept:
        assert epochs_kept(run) == kept
    capsys.readouterr()
    resume(run)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]
    assert len(said) == 4 - kept  # no finished epoch is trained again
    assert_same_run(run, unbroken(kind))


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt", "previous.ckpt", "metrics.csv"])
def test_a_run_killed_in_the_middle_of_a_file_ends_as_the_unbroken_one(sample_dir, tmp_path, unbroken, server, name):
    """The file that is there stays whole meanwhile, and what was written of the new one is cleared away."""
    run = tmp_path / "run"
    status, _ = server.train(run, config_of("plain", sample_dir), ("killed_while_writing", name, 2)).ended()
    assert status == KILLED_BY_ITS_LIMIT
    folder = run if name == "metrics.csv" else run / "checkpoints"
    (half,) = folder.glob(".*.part")
    assert half.name.startswith(f".{name}.")
    assert half.stat().st_size == (run / "metrics.csv" if folder == run else folder / "last.ckpt").stat().st_size // 2
    assert len(rows(run)) == (2 if name == "metrics.csv" else 3)
    there = {"metrics.csv": (1, 1, 0), "previous.ckpt": (1, 1, 0), "best.ckpt": (1, 1, 1), "last.ckpt": (2, 1, 1)}[name]
    assert tuple(checkpoint(run, one)["epoch"] for one in ("best", "last", "previous")) == there
    resume(run)
    assert not list(run.rglob(".*.part"))
    assert_same_run(run, unbroken("plain"))


def test_a_killed_run_with_loaders_is_gone_on_with_at_once(sample_dir, tmp_path, unbroken, server):
    """Which images are loaded ahead does not depend on when one begins; nor do the loaders hold the directory."""
    (tmp_path / "wait").touch()
    training = server.train(tmp_path / "run", config_of("workers", sample_dir), ("waiting", 2), start_method="fork")
    until((tmp_path / "waits").exists)
    assert len(training.family()) == 5  # itself, and two loaders each for what is learned from and what chooses
    training.kill()
    assert training.ended()[0] == KILLED
    resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", unbroken("plain"))
    until(lambda: not training.family(), seconds=10)


def test_no_loader_of_a_fork_server_outlives_a_killed_run(sample_dir, tmp_path, server):
    """That is how Python starts processes since 3.14: their parent, which torch looks at, lives on."""
    config = config_of("workers", sample_dir)
    config = replace(config, data=replace(config.data, workers=1))
    (tmp_path / "wait").touch()
    training = server.train(tmp_path / "run", config, ("waiting", 0), start_method="forkserver")
    until((tmp_path / "waits").exists)
    assert len(training.family()) >= 3  # itself, the server, a loader
    training.kill()
    assert training.ended()[0] == KILLED
    until(lambda: not training.family(), seconds=10)


def test_patience_is_not_forgotten(sample_dir, tmp_path, unbroken, server):
    """Killed after the first epoch that was no better, it stops after the second."""
    whole = unbroken("patient")
    epochs = len(rows(whole))
    assert 3 < epochs < 10
    run = tmp_path / "run"
    assert server.train(run, config_of("patient", sample_dir), ("killed_at_step", epochs - 1, 1)).ended()[0] == KILLED
    resume(run)
    assert_same_run(run, whole)


def test_a_run_that_was_moved_still_knows_its_best_epoch(sample_dir, tmp_path, server):
    """Of a run that gets worse; a best checkpoint that was forgotten would be overwritten by a worse one."""
    config = replace(config_of("plain", sample_dir), stages=[StageConfig(1, "head", 3e-2), StageConfig(3, "all", 3.0)])
    whole = fit(config, tmp_path / "whole").directory
    assert checkpoint(whole, "best")["epoch"] < 2
    assert server.train(tmp_path / "run", config, ("killed_at_step", 2, 1)).ended()[0] == KILLED
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").rename(tmp_path / "elsewhere" / "run")
    resume(tmp_path / "elsewhere" / "run")
    assert checkpoint(tmp_path / "elsewhere" / "run", "best")["epoch"] == checkpoint(whole, "best")["epoch"]


def test_best_by_last_keeps_the_last_epoch(sample_dir, tmp_path, unbroken, server):
    config = replace(config_of("plain", sample_dir), best_by="last")
    run = tmp_path / "run"
    assert server.train(run, config, ("killed_at_step", 2, 1)).ended()[0] == KILLED
    resume(run)
    assert [checkpoint(run, name)["epoch"] for name in ("best", "last", "previous")] == [3, 3, 2]
    torch.testing.assert_close(checkpoint(run, "best")["state_dict"], checkpoint(unbroken("plain"), "last")["state_dict"])


@pytest.mark.parametrize(
    "moment",
    [
        ("full_disk", "best.ckpt", 2),
        ("full_disk", "last.ckpt", 2),
        ("full_disk", "previous.ckpt", 2),
        ("full_disk", "metrics.csv", 2),
        ("full_disk", "last.ckpt", 0),
        ("full_for_all", 2),
    ],
    ids=lambda value: " ".join(str(part) for part in value),
)
def test_a_full_disk_is_one_line_and_costs_one_epoch(sample_dir, tmp_path, unbroken, server, moment):
    run = tmp_path / "run"
    new = server.train(run, config_of("plain", sample_dir), ("killed_at_step", 0, 0))
    assert new.ended()[0] == KILLED
    status, said = server.train(run, moment=moment).ended()
    assert status == 2, said
    lines = said.splitlines()
    (message,) = [line for line in lines if line.startswith("cocotag:")]
    assert message == lines[-1]
    assert "Traceback" not in said
    assert "Exception" not in said
    assert f"cocotag train --resume {run}" in message
    if moment[0] == "full_disk":
        assert f"{moment[1]} cannot be written (No space left on device)" in message
        assert "free some space" in message
    assert not list(run.rglob(".*.part"))
    if moment[-1]:
        assert checkpoint(run, "previous")["epoch"] == (1 if moment[1] in ("best.ckpt", "last.ckpt") else 0)
        assert checkpoint(run, "last")["epoch"] == 1
    else:
        assert "No epoch was finished" in message
    resume(run)
    assert_same_run(run, unbroken("plain"))


def test_a_full_disk_does_not_put_a_damaged_checkpoint_in_the_place_of_a_sound_one(sample_dir, tmp_path, unbroken, server):
    run = tmp_path / "run"
    assert server.train(run, config_of("plain", sample_dir), ("killed_at_step", 3, 0)).ended()[0] == KILLED
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    status, said = server.train(run, moment=("full_disk", "last.ckpt", 2)).ended()
    assert status == 2, said
    assert "previous.ckpt" in said
    assert checkpoint(run, "previous")["epoch"] == 1
    resume(run)
    assert_same_run(run, unbroken("plain"))


def test_a_second_process_is_refused_and_the_first_is_unharmed(sample_dir, tmp_path, unbroken, server):
    run = tmp_path / "run"
    assert server.train(run, config_of("plain", sample_dir), ("killed_at_step", 1, 0)).ended()[0] == KILLED
    (tmp_path / "wait").touch()
    first = server.train(run, moment=("waiting", 2))
    until((tmp_path / "waits").exists)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    status, said = server.train(run).ended()
    assert status == 2, said
    (line,) = said.splitlines()
    assert line.startswith("cocotag: Another cocotag train") and str(run) in line
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    (tmp_path / "wait").unlink()
    assert first.ended()[0] == 0
    assert_same_run(run, unbroken("plain"))


def until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
