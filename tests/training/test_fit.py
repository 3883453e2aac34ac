"""Real runs of the trainer on the drawn sample: small, but nothing in them is replaced."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from error_codes import ends_with

from cocotag.bundle import read_metadata
from cocotag.config import DataConfig, LossConfig, ModelConfig, StageConfig, TrainConfig
from cocotag.data.annotations import load_split
from cocotag.errors import BundleError, CocotagError, ConfigError, DataError, OutputError
from cocotag.export.bundles import MAX_DIFFERENCE, export_checkpoint
from cocotag.export.checkpoint import load_checkpoint
from cocotag.export.onnx_graph import differences
from cocotag.export.run import export_run
from cocotag.inference.stream import predict_files
from cocotag.inference.tagger import Tagger
from cocotag.losses import LOSSES, LossRow
from cocotag.photos.decode import load_square
from cocotag.training.fit import Run, fit, resume
from cocotag.training.loop.runtime import precision

TWO_STAGES = [StageConfig(1, "head", 3e-2), StageConfig(2, "last:3", 1e-2, 0.8)]


def small(root, **changes):
    config = TrainConfig(
        data=DataConfig(root=str(root), workers=0),
        model=ModelConfig(image_size=64, width=0.25),
        stages=TWO_STAGES,
        batch_size=20,
        precision="float32",
    )
    return replace(config, **changes)


@pytest.fixture(scope="module")
def run(sample_dir, tmp_path_factory):
    return fit(small(sample_dir), tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture
def without_bundle(monkeypatch):
    """Leaves the export out, which takes most of a small run's time, where a test is about the training alone."""
    monkeypatch.setattr("cocotag.training.fit._finish", lambda config, data, directory: Run(directory, None, None, []))


def metrics(directory):
    with (directory / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_directory_has_everything_that_is_promised(run):
    names = {path.relative_to(run.directory).as_posix() for path in run.directory.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "metrics.csv",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "tagger.onnx",
        "report/report.json",
        "report/per_class.csv",
        "report/summary.csv",
        "report/report.html",
    } <= names
    assert any(name.startswith("tensorboard/events") for name in names)
    assert not [name for name in names if name.endswith((".part", ".partial"))]
    assert [row["epoch"] for row in metrics(run.directory)] == ["1", "2", "3"]
    assert [row["stage"] for row in metrics(run.directory)] == ["1", "2", "2"]


def test_the_bundle_gives_the_networks_probabilities(run, sample_dir):
    network, metadata = load_checkpoint(run.directory / "checkpoints" / "best.ckpt")
    images = np.stack([load_square(path, 64) for path in load_split(sample_dir, "val").paths()])
    assert differences(network, run.directory / "tagger.onnx", images).max() < MAX_DIFFERENCE
    assert 0 <= run.bundle.parity["largest_difference"] < MAX_DIFFERENCE
    assert metadata.vocabulary == run.bundle.vocabulary == read_metadata(run.directory / "tagger.onnx").vocabulary


def test_the_best_checkpoint_is_that_of_the_best_epoch(run):
    scores = [float(row["tune_map"]) for row in metrics(run.directory)]
    state = torch.load(run.directory / "checkpoints" / "best.ckpt", weights_only=True)
    assert state["epoch"] == int(np.argmax(scores))


def test_the_bundle_says_what_it_was_made_of(run, sample_dir):
    metadata = read_metadata(run.directory / "tagger.onnx")
    whole = load_split(sample_dir, "train")
    assert metadata.train_images + metadata.tuned_on["images"] == len(whole)
    assert metadata.tuned_on["train_split_sha256"] == whole.names_sha256()
    assert all(part <= total for part, total in zip(metadata.positives, whole.positives.tolist(), strict=True))
    assert all(0 < threshold < 1 for threshold in metadata.thresholds)
    assert set(metadata.thresholds) != {0.5}  # what a checkpoint has before they are chosen
    written = TrainConfig.from_json(yaml.safe_load((run.directory / "config.yaml").read_text()))
    assert metadata.config == replace(written, data=replace(written.data, root=sample_dir.name)).to_json()
    assert str(sample_dir) not in (run.directory / "tagger.onnx").read_bytes().decode("latin1")


def test_the_report_is_of_the_split_that_nothing_was_chosen_on(run, sample_dir):
    report = json.loads((run.directory / "report" / "report.json").read_text())
    assert report["data"]["split"] == "val"
    assert report["data"]["images"] == 40
    assert report["data"]["optimistic"] is False


def test_a_resume_in_the_middle_ends_where_an_unbroken_run_does(run, sample_dir, tmp_path):
    """Killed for real after its second epoch, in another process, then gone on with here."""
    directory = tmp_path / "killed"
    code = (
        "import sys, yaml; from pathlib import Path\n"
        "from cocotag.config import TrainConfig; from cocotag.training.fit import fit\n"
        "fit(TrainConfig.from_json(yaml.safe_load(Path(sys.argv[1]).read_text())), Path(sys.argv[2]))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(run.directory / "config.yaml"), str(directory)], stderr=subprocess.PIPE, text=True
    )
    for line in child.stderr:
        if line.startswith("epoch   2/3"):
            break
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        if (directory / "checkpoints" / "last.ckpt").is_file() and epochs_in(directory) >= 2:
            break
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    again = resume(directory)
    ours, theirs = metrics(again.directory), metrics(run.directory)
    assert [row["epoch"] for row in ours] == ["1", "2", "3"]
    for mine, unbroken in zip(ours, theirs, strict=True):
        for name in ("lr", "train_loss", "tune_loss", "tune_map", "tune_macro_f1"):
            assert float(mine[name]) == pytest.approx(float(unbroken[name]), abs=1e-3)


def epochs_in(directory):
    try:
        return torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 1
    except (EOFError, RuntimeError, OSError):
        return 0


def test_a_finished_run_is_not_trained_again(run):
    before = metrics(run.directory)
    again = resume(run.directory)
    assert metrics(again.directory) == before
    assert again.evaluation.to_json()["summary"] == run.evaluation.to_json()["summary"]


def test_a_directory_that_is_there_is_never_written_to(run, sample_dir):
    with pytest.raises(OutputError) as caught:
        fit(small(sample_dir), run.directory)
    assert caught.value.code == "output_exists"
    assert str(run.directory) in str(caught.value) and "--resume" in str(caught.value)


def test_frozen_layers_are_those_of_the_start(sample_dir, tmp_path, without_bundle):
    state = torch.load(fit_stages(sample_dir, tmp_path, [StageConfig(1, "last:3", 1e-2)]), weights_only=True)["state_dict"]
    from lightning import seed_everything

    from cocotag.models.build import build_network

    seed_everything(0, verbose=False)
    network = build_network(small(sample_dir).model, 20)
    frozen = [f"backbone.features.{number}." for number in range(17)]
    for name, value in network.state_dict().items():
        same = torch.equal(state[f"network.{name}"], value)
        if name.startswith(tuple(frozen)):
            assert same, name
        elif name.endswith("weight"):
            assert not same, name


def fit_stages(sample_dir, tmp_path, stages, **changes):
    fit(small(sample_dir, stages=stages, **changes), tmp_path / "run")
    return tmp_path / "run" / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize("name", ["bce", "focal", "soft_f1", "asymmetric"])
def test_every_loss_trains_in_bf16(sample_dir, tmp_path, without_bundle, name):
    loss, stages = LossConfig(name=name, pos_weight="inverse"), [StageConfig(1, "head", 1e-2)]
    made = fit(small(sample_dir, loss=loss, stages=stages, precision="bf16"), tmp_path / "run")
    assert np.isfinite(float(metrics(made.directory)[0]["train_loss"]))


def test_without_a_split_to_report_on_there_is_no_report(sample_dir, tmp_path):
    data = DataConfig(root=str(sample_dir), workers=0, val_split=None)
    made = fit(small(sample_dir, data=data, stages=[StageConfig(1, "head", 1e-2)]), tmp_path / "run")
    assert made.evaluation is None
    assert (tmp_path / "run" / "tagger.onnx").is_file()
    assert not (tmp_path / "run" / "report").exists()


def test_patience_ends_the_last_stage_and_only_that(sample_dir, tmp_path, without_bundle):
    stages = [StageConfig(2, "head", 1e-9), StageConfig(30, "head", 1e-9)]
    fit_stages(sample_dir, tmp_path, stages, patience=2)
    rows = metrics(tmp_path / "run")
    assert metrics(resume(tmp_path / "run").directory) == rows
    assert 4 <= len(rows) < 12
    assert rows[1]["stage"] == "1"
    assert rows[-1]["stage"] == "2"


def stopped(sample_dir, out, stop):
    """Train in a process of its own, call ``stop`` with it after two epochs; its exit status, stderr and stdout."""
    words = ["--config=sample", "--data.root", str(sample_dir), "--data.workers", "1", "--batch_size", "20"]
    words += ["--model.image_size", "64", "--model.width", "0.25", "--out", str(out)]
    child = subprocess.Popen(
        [sys.executable, "-m", "cocotag", "train", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lines = []
    for line in child.stderr:
        lines.append(line)
        if line.startswith("epoch   2/"):
            stop(child)
            break
    out, rest = child.communicate(timeout=120)
    return child.returncode, "".join(lines) + rest, out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])  # as a terminal and a batch system send them: to all
def test_a_stop_keeps_the_finished_epochs_and_says_how_to_go_on(sample_dir, tmp_path, number):
    status, said, out = stopped(sample_dir, tmp_path / "run", lambda child: os.killpg(child.pid, number))
    assert status == 130
    assert f"cocotag train --resume {tmp_path / 'run'}" in said
    assert "Traceback" not in said
    assert out == ""
    assert epochs_in(tmp_path / "run") >= 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_loader_that_the_system_kills_is_one_line(sample_dir, tmp_path):
    def children(number):
        return [int(child) for child in Path(f"/proc/{number}/task/{number}/children").read_text().split()]

    def kill_workers(command):
        (trainer,) = children(command.pid)
        for worker in children(trainer):
            os.kill(worker, signal.SIGKILL)

    status, said, out = stopped(sample_dir, tmp_path / "run", kill_workers)
    assert status == 2
    assert [line for line in said.splitlines() if line.startswith("cocotag:")] == [said.splitlines()[-1]]
    assert "Killed" in said.splitlines()[-1]
    assert f"cocotag train --resume {tmp_path / 'run'}" in said
    assert "Traceback" not in said
    assert out == ""


def test_nothing_is_left_behind_by_a_run_that_cannot_start(sample_dir, tmp_path):
    wrong = small(sample_dir, data=DataConfig(root=str(sample_dir), train_split="nope"))
    late = small(sample_dir, data=DataConfig(root=str(sample_dir), val_split="nope"))
    cases = [
        (wrong, DataError, "split_missing"),
        (late, DataError, "data_faults"),
        (small(sample_dir, batch_size=0), ConfigError, "config_invalid"),
    ]
    if not torch.cuda.is_available():
        cases.append((small(sample_dir, precision="fp16"), ConfigError, "config_invalid"))
    for config, error, code in cases:
        with pytest.raises(error) as caught:
            fit(config, tmp_path / "run")
        assert caught.value.code == code
        assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError) as caught:
        resume(tmp_path / "nothing")
    assert caught.value.code == "not_a_run"
    assert str(tmp_path / "nothing") in str(caught.value)


def test_export_again_gives_the_runs_bundle(run, tmp_path):
    metadata, warning = export_run(run.directory / "checkpoints" / "best.ckpt", tmp_path / "again.onnx")
    assert warning is None
    assert metadata.thresholds == run.bundle.thresholds


def test_export_without_the_data_says_that_thresholds_are_a_half(run, tmp_path):
    state = torch.load(run.directory / "checkpoints" / "best.ckpt", weights_only=True)
    state["cocotag"]["config"]["data"]["root"] = str(tmp_path / "gone")
    torch.save(state, tmp_path / "moved.ckpt")
    metadata, warning = export_run(tmp_path / "moved.ckpt", tmp_path / "again.onnx")
    assert "0.5" in warning
    assert set(metadata.thresholds) == {0.5}


def other_data(sample_dir, root):
    """The sample with one image fewer, which moves the others between what is learned from and what chooses."""
    shutil.copytree(sample_dir, root)
    path = root / "annotations" / "instances_train.json"
    document = json.loads(path.read_text())
    gone = document["images"].pop()["id"]
    document["annotations"] = [note for note in document["annotations"] if note["image_id"] != gone]
    path.write_text(json.dumps(document))


def test_data_that_have_changed_choose_nothing(sample_dir, tmp_path, without_bundle):
    shutil.copytree(sample_dir, tmp_path / "data")
    made = fit(small(tmp_path / "data", stages=[StageConfig(1, "all", 1e-2)]), tmp_path / "run")
    shutil.rmtree(tmp_path / "data")
    other_data(sample_dir, tmp_path / "data")
    with pytest.raises(DataError) as caught:
        resume(made.directory)
    assert caught.value.code == "data_changed"
    assert "119" in str(caught.value) and "120" in str(caught.value)
    metadata, warning = export_run(made.directory / "checkpoints" / "best.ckpt", tmp_path / "again.onnx")
    assert str(caught.value) in warning
    assert set(metadata.thresholds) == {0.5}


@pytest.mark.parametrize(
    "line", ["batch_size: abc", "model: {name: resnet}", "model: {strides: 3}", "stages: [{train: 5}]", "\xff"]
)
def test_a_config_that_somebody_spoiled_is_one_error(run, tmp_path, line):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_bytes(line.encode("latin-1"))
    with pytest.raises(ConfigError):
        resume(tmp_path / "run")


def test_a_loss_that_is_no_number_ends_the_run(sample_dir, tmp_path, without_bundle, monkeypatch):
    monkeypatch.setitem(LOSSES, "bce", LossRow(lambda logits, *_, **__: logits.sum() * float("nan")))
    with pytest.raises(CocotagError) as caught:
        fit(small(sample_dir, stages=[StageConfig(3, "all", 1e-2)]), tmp_path / "run")
    assert caught.value.code == "loss_not_finite"
    assert all(fact in str(caught.value) for fact in ("nan", "epoch 1", "stages.lr"))


def test_layers_that_would_stay_random_are_warned_of(sample_dir, tmp_path, without_bundle, capsys):
    fit(small(sample_dir, stages=[StageConfig(1, "head", 1e-2)]), tmp_path / "run")
    assert "model.weights" in capsys.readouterr().err


def test_what_is_no_checkpoint_is_refused_and_writes_nothing(run, tmp_path):
    (tmp_path / "text.ckpt").write_text("hello")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    for name in ("text.ckpt", "other.ckpt", "none.ckpt"):
        with pytest.raises(BundleError) as caught:
            export_checkpoint(tmp_path / name, tmp_path / "out.onnx")
        assert caught.value.code == "not_a_checkpoint"
        assert str(tmp_path / name) in str(caught.value)
    assert not (tmp_path / "out.onnx").exists()


def test_a_bundle_that_differs_from_its_network_is_not_written(run, tmp_path, monkeypatch):
    monkeypatch.setattr("cocotag.export.bundles.MAX_DIFFERENCE", 0.0)
    with pytest.raises(BundleError) as caught:
        export_checkpoint(run.directory / "checkpoints" / "best.ckpt", tmp_path / "out.onnx")
    assert caught.value.code == "bundle_differs"
    assert not (tmp_path / "out.onnx").exists()


def test_tagging_and_evaluating_agree(run, sample_dir):
    """The report's counts are those of the tags that the bundle gives the same files."""
    table = load_split(sample_dir, "val")
    tagger = Tagger.load(run.directory / "tagger.onnx")
    names = tagger.metadata.vocabulary.names
    counts = dict.fromkeys(names, 0)
    for path in table.paths():
        for tag in tagger.tag(path):
            counts[tag.name] += 1
    reported = run.evaluation.per_class.set_index("name")["predicted"].to_dict()
    assert counts == reported
    assert all(prediction.error is None for prediction in predict_files(tagger, table.paths()))


def test_precision_is_what_was_asked_for(sample_dir):
    assert precision(small(sample_dir)) == "32-true"
    assert precision(small(sample_dir, precision="bf16")) == "bf16-mixed"
    assert precision(small(sample_dir, precision="auto")) in ("bf16-mixed", "16-mixed", "32-true")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError) as caught:
            precision(small(sample_dir, precision="fp16"))
        assert caught.value.code == "fp16_without_cuda"


@pytest.mark.parametrize("keep", [False, True])
def test_freed_memory_is_kept_for_the_next_step(keep):
    """In a process of its own: filling 64 MiB again and again touches new pages only if they were given back."""
    code = (
        "import resource, sys, numpy as np\n"
        "from cocotag.training.loop.runtime import keep_freed_memory\n"
        "if sys.argv[1] == 'True': assert keep_freed_memory()\n"
        "faults = []\n"
        "for _ in range(3):\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    np.empty(2**26, np.uint8).fill(1)\n"
        "    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
        "print(faults[-1])"
    )
    out = subprocess.run([sys.executable, "-c", code, str(keep)], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert (int(out) == 0) is keep


def test_the_seed_makes_the_start(sample_dir, tmp_path, without_bundle):
    made = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(len(name) + seed)  # whatever was drawn before
        config = small(sample_dir, stages=[StageConfig(1, "head", 1e-9)], seed=seed)
        fit(config, tmp_path / name)
        state = torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        made.append(state["network.backbone.features.3.conv.0.0.weight"])
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_an_unreadable_image_in_a_worker_is_one_line(sample_dir, tmp_path, capsys):
    from cocotag.cli.main import main

    shutil.copytree(sample_dir, tmp_path / "data")
    for path in (tmp_path / "data" / "train").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    words = ["--config=sample", "--data.root", str(tmp_path / "data"), "--data.workers", "1", "--batch_size", "20"]
    with ends_with("image_unreadable"):
        assert main(["train", *words, "--model.image_size", "64", "--out", str(tmp_path / "run")]) == 2
    message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cocotag:")]
    assert len(message) == 1
    assert str(tmp_path / "data" / "train") in message[0]
    assert "Traceback" not in message[0]
