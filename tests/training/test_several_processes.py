"""Training by several processes: two on this machine, and two that take each other for two machines. Real gloo, no GPU."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

BIN = Path(sys.executable).parent
SMALL = ["--config", "sample", "--model.image_size", "64", "--model.width", "0.25", "--batch_size", "20", "--data.workers", "0"]
STAGES = '[{"epochs": 1, "train": "head", "lr": 0.01}, {"epochs": 2, "train": "last:4", "lr": 0.01}]'


def environment():
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "WORLD_", "RANK", "LOCAL_"))}
    return {**kept, "OMP_NUM_THREADS": "1"}


def start(*words, with_=(sys.executable, "-m", "cocotag")):
    command = [*with_, "train", *map(str, words)]
    return subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(process, seconds=240):
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, out, err


def rows(run):
    with (run / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_two_processes_train_to_the_metrics_of_one(coco_mini, imagenet_weights, tmp_path):
    """Real photographs and weights, a stage with frozen layers and one in which they learn, the same global batch."""
    stages = '[{"epochs": 2, "train": "head", "lr": 0.003}, {"epochs": 1, "train": "last:2", "lr": 0.0003}]'
    words = ["--config", "coco_mini", "--data.root", coco_mini, "--model.weights", imagenet_weights, "--stages", stages]
    words += ["--model.image_size", "96", "--data.augment", "none", "--precision", "float32", "--best_by", "last"]
    words += ["--data.workers", "1", "--batch_size", "32", "--model.dropout", "0"]  # each process drops features of its own
    found = {}
    for devices in (1, 2):
        code, out, err = finish(start(*words, "--devices", devices, "--out", tmp_path / str(devices)), 280)
        assert code == 0, err
        assert out.splitlines()[-1] == str(tmp_path / str(devices))  # told once, not by each
        found[devices] = json.loads((tmp_path / str(devices) / "report" / "report.json").read_text())["summary"]
    assert found[2]["map"]["value"] == pytest.approx(found[1]["map"]["value"], abs=0.005)
    assert found[2]["micro_f1"]["value"] == pytest.approx(found[1]["micro_f1"]["value"], abs=0.01)
    one, two = rows(tmp_path / "1"), rows(tmp_path / "2")
    assert len(two) == 3
    for alone, together in zip(one, two, strict=True):
        # A tune image that were scored twice, or by nobody, would show: the loss is a mean over them. In the second stage batch
        # norms learn, and each process has those of its half of a batch.
        assert together["tune_loss"] == pytest.approx(alone["tune_loss"], rel=1e-4 if together["stage"] == 1 else 2e-2)
        assert together["tune_map"] == pytest.approx(alone["tune_map"], abs=1e-3 if together["stage"] == 1 else 1e-2)


def test_two_machines_started_by_torchrun(sample_dir, tmp_path):
    port, run = free_port(), tmp_path / "run"
    shared = ["--nnodes", "2", "--nproc_per_node", "1", "--master_addr", "127.0.0.1", "--master_port", str(port)]
    words = [*SMALL, "--data.root", sample_dir, "--stages", STAGES, "--nodes", "2", "--out", run]
    machines = [
        start(*words, with_=(f"{BIN}/torchrun", *shared, "--node_rank", str(number), "-m", "cocotag")) for number in (0, 1)
    ]
    ended = [finish(machine) for machine in machines]
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert "x 2" in ended[0][2]
    assert [out.splitlines()[-1:] for _, out, _ in ended] == [[str(run)], []]
    assert len(rows(run)) == 3
    assert (run / "report" / "report.html").is_file()
    weights = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_a_start_of_other_processes_than_the_config_says_is_refused(sample_dir, tmp_path):
    torchrun = (f"{BIN}/torchrun", "--nproc_per_node", "2", "--master_port", str(free_port()), "-m", "cocotag")
    code, _, err = finish(start(*SMALL, "--data.root", sample_dir, "--out", tmp_path / "run", with_=torchrun))
    assert code != 0
    assert "2 processes" in err and "devices 1" in err and "nodes 1" in err
    assert not (tmp_path / "run").exists()


def test_ctrl_c_stops_all_processes_and_the_run_goes_on_later(sample_dir, tmp_path):
    run = tmp_path / "run"
    stages = '[{"epochs": 1, "train": "head", "lr": 0.01}, {"epochs": 40, "train": "all", "lr": 0.01}]'
    process = start(*SMALL, "--data.root", sample_dir, "--stages", stages, "--devices", "2", "--out", run)
    deadline = time.monotonic() + 200
    while not (run / "metrics.csv").is_file() or len(rows(run)) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)  # the first process alone: the other learns of it
    code, _, err = finish(process, 60)
    assert code != 0
    assert f"cocotag train --resume {run}" in err
    assert "Traceback" not in err
    done = len(rows(run))
    short = (run / "config.yaml").read_text().replace("epochs: 40", f"epochs: {done}")  # one more, not forty
    (run / "config.yaml").write_text(short)
    code, out, err = finish(start("--resume", run))
    assert code == 0, err
    assert out.splitlines()[-1] == str(run)
    assert [row["epoch"] for row in rows(run)] == list(range(1, done + 2))


def test_processes_with_unlike_numbers_of_tune_batches_score_as_one_does(sample_dir, tmp_path):
    """13 images in batches of 6: two of one process, one of the other."""
    stages = '[{"epochs": 1, "train": "head", "lr": 0.01}, {"epochs": 1, "train": "all", "lr": 0.001}]'
    words = [*SMALL, "--batch_size", "12", "--data.root", sample_dir, "--stages", stages, "--data.val_split", "null"]
    for devices in (1, 2):
        code, _, err = finish(start(*words, "--devices", devices, "--out", tmp_path / str(devices)))
        assert code == 0, err
        assert "13 tune images" in err
    for alone, together in zip(rows(tmp_path / "1")[:1], rows(tmp_path / "2")[:1], strict=True):
        assert together["tune_loss"] == pytest.approx(alone["tune_loss"], rel=1e-4)
    assert len(rows(tmp_path / "2")) == 2


def test_a_loss_that_is_no_number_in_one_process_stops_all_in_one_line(sample_dir, tmp_path):
    script = tmp_path / "broken.py"
    script.write_text(
        """
import os, sys
from cocotag.cli.main import main
from cocotag.training.loop.module import TaggerModule
whole = TaggerModule.forward_loss
def broken(self, logits, targets, known):
    loss = whole(self, logits, targets, known)
    return loss * float("nan") if os.environ.get("LOCAL_RANK") == "1" and self.global_step == 2 else loss
TaggerModule.forward_loss = broken
sys.exit(main(sys.argv[1:]))
"""
    )
    words = [*SMALL, "--data.root", sample_dir, "--stages", STAGES, "--devices", "2", "--out", tmp_path / "run"]
    code, _, err = finish(start(*words, with_=(sys.executable, script)))
    assert code not in (0, None)
    assert "nan" in err and "epoch 1" in err and "batch 3" in err
    assert "The batch: " in err
    assert "Traceback" not in err
