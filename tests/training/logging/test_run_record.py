import json
import socket
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest
import torch

from cocotag.config import DataConfig, ModelConfig, TrainConfig
from cocotag.training.logging import run_record as record
from cocotag.training.preflight import make_data


@pytest.fixture(scope="module")
def config(sample_dir):
    return TrainConfig(
        data=DataConfig(root=str(sample_dir), workers=0), model=ModelConfig(image_size=64), batch_size=20, seed=3
    )


@pytest.fixture(scope="module")
def data(config):
    return make_data(config)


def written(directory, config, data):
    record.write_record(directory, config, data, "32-true")
    return json.loads((directory / "run.json").read_text())


def git(folder, *words):
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.invalid"]
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def checkout(folder):
    """A git checkout with a package in it; the package's folder."""
    package = folder / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return package


def test_it_says_what_the_run_was_started_with(tmp_path, config, data, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/cocotag", "train", "--config", "my own.yaml"])
    started = written(tmp_path, config, data)["started"]
    assert started["time"].endswith("+00:00")
    assert started["command"] == "cocotag train --config 'my own.yaml'"
    assert started["versions"]["torch"] == torch.__version__
    assert started["versions"]["numpy"] == np.__version__
    assert started["versions"]["lightning"] == version("lightning")
    assert None not in [started["versions"][name] for name in ("python", "cocotag", *record.PACKAGES)]
    assert started["machine"]["cores"] >= 1
    assert (started["precision"], started["seed"]) == ("32-true", 3)
    assert started["data"]["tuned_on"] == data.splits.tuned_on()
    assert started["data"]["classes"] == len(data.vocabulary)
    for part, table in (("train", data.train), ("tune", data.tune)):
        assert started["data"][part]["images"] == len(table)
        assert started["data"][part]["names_sha256"] == table.names_sha256()


def test_neither_user_nor_host_nor_environment_is_in_it(tmp_path, config, data, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("API_KEY", "a-secret-of-somebody-else")
    monkeypatch.setattr(sys, "argv", ["cocotag", "train", "--out=/home/somebody/runs/one"])
    monkeypatch.setattr(socket, "gethostname", lambda: "a-host")
    monkeypatch.setattr("platform.node", lambda: "a-host")
    text = json.dumps(written(tmp_path, config, data))
    assert "--out=$HOME/runs/one" in text
    assert not [word for word in ("somebody", "a-secret", "a-host") if word in text]


def test_going_on_adds_what_differs_and_keeps_the_start(tmp_path, config, data, monkeypatch):
    first = written(tmp_path, config, data)
    monkeypatch.setitem(record.__dict__, "versions", lambda: {**first["started"]["versions"], "torch": "99.0"})
    monkeypatch.setitem(record.__dict__, "machine", lambda: {**first["started"]["machine"], "gpus": ["A"]})
    second = written(tmp_path, config, data)
    assert second["started"] == first["started"]
    (entry,) = second["resumed"]
    assert entry["versions"] == {"torch": "99.0"}
    assert entry["machine"] == {"gpus": ["A"]}
    assert set(entry) == {"time", "command", "versions", "machine"}
    monkeypatch.undo()
    third = written(tmp_path, config, data)
    assert third["resumed"][0] == entry
    assert set(third["resumed"][1]) == {"time", "command"}


@pytest.mark.parametrize("text", [None, "{", '{"resumed": 3}', "[]"])
def test_a_run_without_a_sound_record_did_not_start_now(tmp_path, config, data, text):
    (tmp_path / "checkpoints").mkdir()
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    made = written(tmp_path, config, data)
    assert made["started"] is None
    assert made["resumed"][0]["seed"] == 3


def test_labels_are_known_whatever_the_order_and_one_more_is_another(data):
    facts, table = record.table_facts(data.train), data.train
    assert record.table_facts(table.take(np.random.default_rng(0).permutation(len(table)))) == facts
    for name in ("targets", "known"):
        cells = getattr(table, name).copy()
        cells[5, 7] ^= True
        changed = record.table_facts(replace(table, **{name: cells}))
        assert changed["names_sha256"] == facts["names_sha256"]
        assert changed["labels_sha256"] != facts["labels_sha256"]


def test_the_source_is_that_of_the_package_and_not_of_where_it_was_started(tmp_path, monkeypatch):
    package, other = checkout(tmp_path / "a"), checkout(tmp_path / "b")
    (other / "more.py").write_text("y = 2\n")
    monkeypatch.chdir(tmp_path / "b")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "b" / ".git"))
    state = record.source_state(package)
    monkeypatch.delenv("GIT_DIR")
    assert state == {**state, "git_commit": git(tmp_path / "a", "rev-parse", "HEAD"), "git_dirty": False}
    (tmp_path / "a" / "notes.txt").write_text("of no concern to the package")
    assert record.source_state(package) == state
    (package / "new.py").write_text("z = 3\n")
    changed = record.source_state(package)
    assert changed["git_dirty"] is True
    assert changed["sha256"] != state["sha256"]


def test_a_package_that_is_no_part_of_the_checkout_around_it_has_no_commit(tmp_path):
    checkout(tmp_path)
    installed = tmp_path / ".venv" / "site-packages" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("x = 1\n")
    state = record.source_state(installed)
    assert (state["git_commit"], state["git_dirty"]) == (None, None)
    assert len(state["sha256"]) == 64


def test_without_git_or_with_one_that_hangs_there_is_no_commit(tmp_path, monkeypatch):
    package = checkout(tmp_path / "a")
    monkeypatch.setattr(record, "GIT_SECONDS", 0.2)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert record.source_state(package)["git_commit"] is None
    (tmp_path / "bin" / "git").write_text("#!/bin/sh\nexec /bin/sleep 5\n")
    (tmp_path / "bin" / "git").chmod(0o755)
    assert record.source_state(package)["git_commit"] is None
