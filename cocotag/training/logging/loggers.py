"""Loggers besides ``metrics.csv``: TensorBoard, Weights & Biases and MLflow, with Lightning's own classes."""

from __future__ import annotations

import errno
import importlib.util
import json
import logging
import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from cocotag.config import TrainConfig
from cocotag.errors import ConfigError
from cocotag.files import write_text
from cocotag.training.loop.runtime import say

NEEDS = {"tensorboard": ("tensorboard",), "wandb": ("wandb",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}
"""Modules of each logger. MLflow's local store is SQLite, for which its small package needs the last two."""
PROJECT = "cocotag"
"""W&B's project and MLflow's experiment, unless ``WANDB_PROJECT`` or ``MLFLOW_EXPERIMENT_NAME`` is set."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, an exceeded quota and an exceeded file size."""
_WANDB_SECONDS = "30"  # to reach the server; the default of 90 is long for a user who waits for the first epoch
_MLFLOW_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}  # the defaults take minutes


def make_loggers(names: Sequence[str], directory: Path, config: TrainConfig) -> list[Logger]:
    """Start loggers, with the run's config as hyperparameters. A resumed run continues in the same loggers.

    They write to the run's directory: ``tensorboard/``, ``wandb/`` (and from there to the server, unless
    ``WANDB_MODE=offline``) and ``mlflow.db``, unless ``MLFLOW_TRACKING_URI`` names a server. Call it in the first process only,
    before training, and afterwards `close_loggers` or `closing`, however training ended.

    Args:
        names: Some of ``tensorboard``, ``wandb`` and ``mlflow``.
        directory: Directory of the run; it must exist.
        config: Config of the run.

    Raises:
        ConfigError: There is no such logger, its package is missing, or its server cannot be used.
    """
    for name in names:
        if name not in NEEDS:
            raise ConfigError(f"loggers names {name!r}; it must be one of {', '.join(NEEDS)}.", code="logger_unknown")
        missing = [module for module in NEEDS[name] if importlib.util.find_spec(module) is None]
        if missing:
            raise _not_installed(name, f"{', '.join(missing)} is not installed")
    make = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
    made: list[Logger] = []
    for name in dict.fromkeys(names):
        try:
            made.append(make[name](directory, config))
        except (ConfigError, ImportError) as error:
            close_loggers(made, "failed")
            if isinstance(error, ConfigError):
                raise
            raise _not_installed(name, _plainly(str(error))) from None  # too old, or half installed
    return made


def _not_installed(name: str, reason: str) -> ConfigError:
    extra = "train" if name == "tensorboard" else "tracking"
    return ConfigError(
        f"loggers names {name}, but {reason}. Get it with: pip install 'cocotag[{extra}]', or leave {name} out.",
        code="logger_missing",
    )


def close_loggers(loggers: Sequence[Logger], status: str = "success") -> None:
    """End the loggers, so that another run in this process gets its own.

    Args:
        loggers: The loggers; ending them twice does nothing.
        status: ``success`` or ``failed``.
    """
    for logger in loggers:
        logger.finalize(status)
        if isinstance(logger, WandbLogger):  # Lightning leaves it open, and would log the next run into it
            logger.experiment.finish(exit_code=0 if status == "success" else 1)


@contextmanager
def closing(loggers: Sequence[Logger]) -> Iterator[None]:
    """Close loggers after training, however it ended, and report a full disk only once.

    TensorBoard's writer thread would also show a stack trace; the next call to the logger raises its error again.
    """
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not (isinstance(args.exc_value, OSError) and args.exc_value.errno in NO_SPACE):
            before(args)

    threading.excepthook = hook
    status = "failed"
    try:
        yield
        status = "success"
    finally:
        try:
            close_loggers(loggers, status)
        except OSError as error:  # must not hide how training ended
            say(f"warning: the loggers could not write everything ({error.strerror or error}).")
        threading.excepthook = before


def _tensorboard(directory: Path, config: TrainConfig) -> Logger:
    new = not (directory / "tensorboard").exists()
    logger = TensorBoardLogger(directory, name="", version="tensorboard", default_hp_metric=False)
    logger.log_hyperparams(config.to_json())
    if new:
        text = yaml.safe_dump(config.to_json(), sort_keys=False)
        logger.experiment.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()))
    return logger


def _wandb(directory: Path, config: TrainConfig) -> Logger:
    from wandb.errors import Error

    known = _known_runs(directory)
    run = known.get("wandb") or uuid.uuid4().hex[:8]
    logger = WandbLogger(
        name=directory.resolve().name,
        project=os.environ.get("WANDB_PROJECT") or PROJECT,
        save_dir=directory.resolve(),
        version=run,
    )
    try:
        with _defaults({"WANDB_INIT_TIMEOUT": _WANDB_SECONDS}):
            experiment = logger.experiment
    except Error as error:
        raise ConfigError(
            f"loggers names wandb, but its server cannot be used ({_plainly(str(error))}). Log in with: wandb login, or set "
            "WANDB_MODE=offline and send the run later with: wandb sync, or leave wandb out.",
            code="logger_server",
        ) from None
    if "wandb" not in known:
        experiment.config.update(config.to_json())
        _remember(directory, {**known, "wandb": run})
    return logger


def _mlflow(directory: Path, config: TrainConfig) -> Logger:
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # else it reports every table that it creates
    logging.getLogger("lightning.pytorch.loggers.mlflow").setLevel(logging.ERROR)
    server = os.environ.get("MLFLOW_TRACKING_URI")
    place = directory.resolve()
    uri = server or f"sqlite:///{(place / 'mlflow.db').as_posix()}"
    known = _known_runs(directory)
    run = known.get("mlflow") if known.get("mlflow_server") == _public(server) else None
    try:
        with _defaults(_MLFLOW_PATIENCE), _restored("MLFLOW_TRACKING_URI"):  # the logger sets it for the whole process
            logger = MLFlowLogger(
                experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT,
                run_name=place.name,
                tracking_uri=uri,
                artifact_location=None if server else (place / "mlflow").as_uri(),
                run_id=run,
            )
            if run is None:
                logger.log_hyperparams(config.to_json())
            else:
                logger.experiment.update_run(run, status="RUNNING")
    except MlflowException as error:
        what = f"its server at {_public(server)}" if server else f"its store {place / 'mlflow.db'}"
        reason = _plainly(str(error).replace(server or uri, _public(server) or uri))
        raise ConfigError(
            f"loggers names mlflow, but {what} cannot be used ({reason}). Start the server, or unset "
            "MLFLOW_TRACKING_URI to keep the metrics in the run's directory, or leave mlflow out.",
            code="logger_server",
        ) from None
    _remember(directory, {**known, "mlflow": logger.run_id, "mlflow_server": _public(server)})
    return logger


def _known_runs(directory: Path) -> dict[str, Any]:
    """The run's ids in its loggers; empty before the first start."""
    try:
        known = json.loads((directory / "loggers.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(directory: Path, known: dict[str, Any]) -> None:
    write_text(directory / "loggers.json", json.dumps(known, indent=2) + "\n")


def _public(uri: str | None) -> str | None:
    """An address without user name and password."""
    if uri is None:
        return None
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _plainly(text: str) -> str:
    """The first line of another library's error, shortened."""
    text = (text.strip().splitlines() or ["no reason given"])[0].rstrip(".")
    return text if len(text) <= 300 else f"{text[:299]}…"


@contextmanager
def _defaults(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a while, unless the user has set them."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _restored(name: str) -> Iterator[None]:
    """Restore an environment variable afterwards."""
    before = os.environ.get(name)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
