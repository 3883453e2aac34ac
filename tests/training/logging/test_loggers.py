"""Real loggers, without a network: what was logged is read back from their own stores."""

import importlib.util
import json
import os
import struct
from pathlib import Path

import pytest
import wandb
import yaml

from cocotag.config import StageConfig, TrainConfig
from cocotag.errors import ConfigError
from cocotag.training.logging.loggers import close_loggers, make_loggers

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # MLflow's own affair
CONFIG = TrainConfig(stages=[StageConfig(2, "head", 0.0125), StageConfig(3, "last:3", 0.001)], seed=7)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Nothing of the tester's accounts, no network, and a working folder that must stay empty."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}.items():
        monkeypatch.setenv(name, value)
    for name in ("cwd", "home", "run"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "cwd")
    yield
    wandb.teardown()  # which would keep its settings for the next test
    assert not list((tmp_path / "cwd").iterdir())
    assert "MLFLOW_TRACKING_URI" not in os.environ or os.environ["MLFLOW_TRACKING_URI"].startswith("http")


def log(names, directory, step, **metrics):
    loggers = make_loggers(names, directory, CONFIG)
    for logger in loggers:
        logger.log_metrics({name.replace("_", "/", 1): value for name, value in metrics.items()}, step=step)
        logger.save()
    close_loggers(loggers)
    return loggers


def wandb_records(file):
    """What is in W&B's own file: a header of 7 bytes, then pieces of records in blocks of 32 KiB, as LevelDB's log has them."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, piece = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        piece += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield Record.FromString(piece)
            piece = b""


def mlflow_runs(directory):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{directory / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'cocotag'")
    return client.search_runs([experiment.experiment_id])


def test_no_names_no_loggers(tmp_path):
    assert make_loggers([], tmp_path / "run", CONFIG) == []
    assert not list((tmp_path / "run").iterdir())


def test_tensorboard_has_the_metric_and_the_config(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log(["tensorboard"], tmp_path / "run", 3, tune_map=0.5)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("tune/map")] == [(3, 0.5)]
    assert events.Tags()["scalars"] == ["tune/map"]  # no figure that nobody measured
    assert yaml.safe_load((tmp_path / "run" / "tensorboard" / "hparams.yaml").read_text()) == CONFIG.to_json()


def test_mlflow_has_the_metric_and_the_config_in_the_run_directory_and_each_run_its_own(tmp_path):
    log(["mlflow"], tmp_path / "run", 3, tune_map=0.25)
    (run,) = mlflow_runs(tmp_path / "run")
    assert run.data.metrics == {"tune/map": 0.25}
    assert run.data.params["stages/0/lr"] == "0.0125"
    assert run.data.params["stages/1/train"] == "last:3"
    assert run.data.params["seed"] == "7"
    assert run.info.run_name == "run"
    assert run.info.status == "FINISHED"
    assert Path(run.info.artifact_uri.removeprefix("file://")).is_relative_to(tmp_path / "run")
    (tmp_path / "other").mkdir()
    close_loggers(make_loggers(["mlflow"], tmp_path / "other", CONFIG), "failed")
    (other,) = mlflow_runs(tmp_path / "other")
    assert other.info.status == "FAILED"
    assert other.data.metrics == {}
    log(["mlflow"], tmp_path / "run", 4, tune_macro_f1=0.75)  # gone on with
    (again,) = mlflow_runs(tmp_path / "run")
    assert again.info.run_id == run.info.run_id
    assert again.data.metrics == {"tune/map": 0.25, "tune/macro_f1": 0.75}


def test_wandb_has_the_metric_and_the_config_in_the_run_directory_and_each_run_its_own(tmp_path):
    (tmp_path / "other").mkdir()
    ids = []
    for directory, value in ((tmp_path / "run", 0.5), (tmp_path / "other", 0.25), (tmp_path / "run", 0.75)):
        log(["wandb"], directory, 3, tune_map=value)
        wandb.teardown()  # as at the end of a process: until then its file may not be written
        newest = max((directory / "wandb").glob("offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime_ns)
        records = list(wandb_records(newest))
        items = [item for record in records for item in record.history.item]
        values = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
        assert values["tune/map"] == value
        assert values["trainer/global_step"] == 3
        updates = [*(u for r in records for u in r.run.config.update), *(u for r in records for u in r.config.update)]
        told = {update.key or "/".join(update.nested_key): json.loads(update.value_json) for update in updates}
        if value != 0.75:  # a run that is gone on with has told it
            assert told["stages"] == CONFIG.to_json()["stages"]
            assert told["seed"] == 7
        ids.append(next(record.run.run_id for record in records if record.run.run_id))
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize(("name", "module"), [("wandb", "wandb"), ("mlflow", "alembic")])
def test_a_missing_package_is_one_line_that_says_what_to_install(tmp_path, monkeypatch, name, module):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda wanted, *rest: None if wanted == module else find(wanted, *rest))
    with pytest.raises(ConfigError) as caught:
        make_loggers(["tensorboard", name], tmp_path / "run", CONFIG)
    assert caught.value.code == "logger_missing"
    assert all(fact in str(caught.value) for fact in (name, module, "pip install 'cocotag[tracking]'"))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "run").iterdir())


def test_a_package_that_lightning_finds_too_old_is_the_same_line(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.loggers.mlflow._MLFLOW_AVAILABLE", False)
    with pytest.raises(ConfigError) as caught:
        make_loggers(["mlflow"], tmp_path / "run", CONFIG)
    assert caught.value.code == "logger_missing"
    assert "mlflow" in str(caught.value) and "pip install 'cocotag[tracking]'" in str(caught.value)


def test_a_server_that_does_not_answer_is_one_line_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somebody:secret@127.0.0.1:9/there")
    with pytest.raises(ConfigError) as caught:
        make_loggers(["mlflow"], tmp_path / "run", CONFIG)
    assert caught.value.code == "logger_server"
    assert "mlflow" in str(caught.value) and "http://127.0.0.1:9/there" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://somebody:secret@127.0.0.1:9/there"
    assert not list((tmp_path / "run").iterdir())


def test_wandb_without_an_account_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(ConfigError) as caught:
        make_loggers(["wandb"], tmp_path / "run", CONFIG)
    assert caught.value.code == "logger_server"
    assert "wandb" in str(caught.value) and "WANDB_MODE=offline" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError) as caught:
        make_loggers(["comet"], tmp_path / "run", CONFIG)
    assert caught.value.code == "logger_unknown"
    assert "'comet'" in str(caught.value) and "tensorboard, wandb, mlflow" in str(caught.value)
