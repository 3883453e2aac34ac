"""A training run: its directory, resuming it, and at the end the bundle and its report."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import yaml
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import Logger

from cocotag.bundle import BundleMetadata
from cocotag.config import TrainConfig
from cocotag.data.loading.datamodule import TaggingData
from cocotag.errors import ConfigError, Interrupted, OutputError
from cocotag.evaluation.result import Evaluation
from cocotag.evaluation.run import evaluate_bundle
from cocotag.evaluation.write import write_evaluation
from cocotag.export.bundles import export_checkpoint
from cocotag.export.checkpoint import checkpoint_facts
from cocotag.files import write_text
from cocotag.inference.tagger import Tagger
from cocotag.process.restarts import restart_as
from cocotag.thresholds import parse_rule
from cocotag.training.checkpoints import (
    KeepPrevious,
    OneCheckpoint,
    WholeFiles,
    held,
    last_checkpoint,
    resumable,
)
from cocotag.training.failures import plain_errors
from cocotag.training.logging.epoch_log import EpochLog
from cocotag.training.logging.loggers import closing, make_loggers
from cocotag.training.logging.run_record import write_record
from cocotag.training.loop.early_stopping import StopEarly
from cocotag.training.loop.ema import MovingAverage
from cocotag.training.loop.features import KeepFeatures, kept_epochs
from cocotag.training.loop.interrupt import StopOnInterrupt
from cocotag.training.loop.loss import Loss
from cocotag.training.loop.module import TaggerModule
from cocotag.training.loop.runtime import Together, first_process, keep_freed_memory, quiet, say
from cocotag.training.loop.schedule import Schedule
from cocotag.training.preflight import Prepared, preflight, val_table

_BEST_BY: dict[str, tuple[str | None, str]] = {"map": ("tune/map", "max"), "loss": ("tune/loss", "min"), "last": (None, "min")}
"""``best_by`` -> the figure that checkpoints are compared by, and which end of it is better."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        directory: Where everything is.
        bundle: What ``tagger.onnx`` says.
        evaluation: On the split that nothing was chosen on; None without one.
        failures: A line for each image of that split that could not be read.
    """

    directory: Path
    bundle: BundleMetadata
    evaluation: Evaluation | None
    failures: list[str]


def fit(config: TrainConfig, directory: Path) -> Run | None:
    """Train as the config says, in a new directory.

    The story of a run:

    1. `preflight` checks config, machine, data and weights; a run that cannot work leaves nothing behind.
    2. The directory is made and held by a lock; ``config.yaml`` and ``run.json`` say how to repeat the run.
    3. Lightning's trainer runs the epochs of all stages. `TaggerModule` joins network, loss and schedule; at the start of an
       epoch it freezes and thaws the layer groups of the stage.
    4. After each epoch the tune images are scored, and the callbacks act in this order. `StopOnInterrupt` notes Ctrl-C and
       stops after the step. `EpochLog` writes a row of ``metrics.csv``, ``curves.svg`` and a line for people. `KeepPrevious`
       saves the last checkpoint from being lost while the next is written. `KeepFeatures` computes the features of a frozen
       backbone once. `MovingAverage` puts the averaged weights in the place of the trained ones. `OneCheckpoint` writes
       ``best.ckpt``, then ``last.ckpt``. `StopEarly` ends the last stage when it stops improving.
    5. The best checkpoint becomes the bundle ``tagger.onnx``, checked against its network, with thresholds tuned on the tune
       images.
    6. The bundle, not the network, is evaluated on the val split; ``report/`` has the result.

    Args:
        config: Of the run.
        directory: A new folder.

    Returns:
        The run; None in every process but the first, if several train together.

    Raises:
        CocotagError: The config or the data cannot work; nothing is left behind. Or training failed; the directory stays.
        OutputError: The directory already exists, or cannot be made.
        Interrupted: Ctrl-C; ``resume`` continues.
    """
    ready = preflight(config)
    if not first_process():
        return _train(ready, directory)
    ready.data.prepare_data()  # before the directory: it reads every image, if copies are wanted
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        raise OutputError(
            f"{directory} already exists. Resume its run with: cocotag train --resume {directory}, or choose another --out.",
            code="output_exists",
        ) from None
    except OSError as error:
        raise OutputError(
            f"{directory} cannot be made ({error.strerror}). Choose another --out.", code="folder_not_writable"
        ) from None
    try:
        with held(directory):
            restart_as(["train", "--resume", str(directory)])
            write_text(directory / "config.yaml", yaml.safe_dump(ready.config.to_json(), sort_keys=False))
            return _train(ready, directory)
    except ConfigError:
        if not last_checkpoint(directory).is_file():
            shutil.rmtree(directory)  # nothing was learned: the same --out may be used again
        raise


def resume(directory: Path) -> Run | None:
    """Resume a run from its last finished epoch; a finished run is only exported and reported on again.

    Raises:
        CocotagError: As `fit`; or the directory has no run.
    """
    file = directory / "config.yaml"
    try:
        plain = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())[:120]
        raise ConfigError(
            f"{directory} is not the directory of a run: config.yaml cannot be read ({reason}).", code="not_a_run"
        ) from None
    if not isinstance(plain, dict):
        raise ConfigError(f"{file} holds no config. Start a new run.", code="not_a_run")
    with held(directory):
        last = resumable(directory)
        try:
            config = TrainConfig.from_json({"ema_decay": None, **plain})  # of a version before it had a default
            if last:  # it has the weights; the file that they started from may be gone
                config = replace(config, model=replace(config.model, weights=None))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ConfigError(
                f"{file} has a value of the wrong type ({error}). Put back the original value, or start a new run.",
                code="config_type",
            ) from None
        return _train(preflight(config, before=checkpoint_facts(last) if last else None), directory, last)


def _train(ready: Prepared, directory: Path, start: Path | None = None) -> Run | None:
    config, data, network = ready.config, ready.data, ready.network
    batches = len(data.train_sampler()) // config.batch_size
    schedule = Schedule(config.stages, len(network.layer_groups()), batches, config.accumulate)
    processes = config.devices * config.nodes
    data.without_images = kept_epochs(config, schedule, network, len(data.train), processes)
    seed_everything(config.seed, verbose=False)
    loss = Loss(config.loss, data.train.positives, data.train.known.sum(axis=0))
    module = TaggerModule(config, network, schedule, loss, ready.facts)
    if config.compile:
        network.compile()
    quiet()
    loggers: list[Logger] = []
    if first_process():
        write_record(directory, config, data, ready.precision)
        loggers = make_loggers(config.loggers, directory, config)
    interrupt = StopOnInterrupt()
    trainer = Trainer(
        max_epochs=schedule.epochs,
        devices=config.devices,
        num_nodes=config.nodes,
        # Frozen layers get no gradient; which layers those are changes with the stage.
        strategy="auto" if processes == 1 else Together(find_unused_parameters=True),
        use_distributed_sampler=False,
        accumulate_grad_batches=config.accumulate,
        precision=cast(Any, ready.precision),
        gradient_clip_val=config.gradient_clip,
        callbacks=_callbacks(config, data, directory, interrupt, start),
        plugins=[WholeFiles()],
        logger=loggers,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
    )
    device = trainer.strategy.root_device
    if device.type == "cpu":
        keep_freed_memory()
    joined = data.splits.joined
    if joined is not None and first_process():
        write_text(directory / "sources.json", json.dumps([record.to_json() for record in joined.records], indent=2) + "\n")
    for remark in data.splits.remarks():
        say(remark)
    together = f" x {processes}" if processes > 1 else ""
    say(
        f"{len(data.train)} train images, {len(data.tune)} tune images, {len(data.vocabulary)} classes; "
        f"{schedule.steps_per_epoch} steps per epoch, {schedule.epochs} epochs; {device}{together}, {ready.precision}. "
        f"Run: {directory}"
    )
    with closing(loggers):
        _run(trainer, module, data, directory, interrupt, start)
    if not trainer.is_global_zero:
        return None
    try:
        return _finish(config, data, directory)
    except KeyboardInterrupt:
        raise _interrupted_after_training(directory) from None


def _callbacks(
    config: TrainConfig, data: TaggingData, directory: Path, interrupt: StopOnInterrupt, start: Path | None
) -> list[Callback]:
    """Lightning's callbacks in their order; `fit` describes each."""
    checkpoints = directory / "checkpoints"
    monitor, mode = _BEST_BY[config.best_by]
    callbacks: list[Callback] = [
        interrupt,
        EpochLog(directory / "metrics.csv", config.best_by),
        KeepPrevious(checkpoints, damaged=start is not None and start != last_checkpoint(directory)),
        KeepFeatures(data.without_images, config, interrupt),
        *([] if config.ema_decay is None else [MovingAverage(config.ema_decay)]),
        OneCheckpoint(checkpoints / "best.ckpt", monitor, mode),
        OneCheckpoint(last_checkpoint(directory)),
    ]
    if config.patience is not None:
        callbacks.append(StopEarly(str(monitor), mode=mode, patience=config.patience, check_on_train_epoch_end=False))
    return callbacks


def _finish(config: TrainConfig, data: TaggingData, directory: Path) -> Run:
    """Bundle and report of a trained run."""
    bundle = directory / "tagger.onnx"
    rule = parse_rule(config.thresholds)
    metadata = export_checkpoint(directory / "checkpoints" / "best.ckpt", bundle, data.tune, rule=rule)
    table = val_table(config, data.splits)
    if table is None:
        return Run(directory, metadata, None, [])
    evaluation, failures = evaluate_bundle(Tagger.load(bundle), table, split=str(config.data.val_split))
    write_evaluation(evaluation, directory / "report")
    return Run(directory, metadata, evaluation, failures)


def _run(
    trainer: Trainer,
    module: TaggerModule,
    data: TaggingData,
    directory: Path,
    interrupt: StopOnInterrupt,
    start: Path | None,
) -> None:
    with plain_errors(trainer, module.config, data, interrupt, lambda: _kept(directory)):
        with interrupt:
            trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
        if interrupt.pressed:  # after the last step
            raise _interrupted_after_training(directory)


def _kept(directory: Path) -> str:
    if not last_checkpoint(directory).is_file():
        return f"No epoch was finished; start again with: cocotag train --resume {directory}"
    return f"The finished epochs are kept; resume with: cocotag train --resume {directory}"


def _interrupted_after_training(directory: Path) -> Interrupted:
    return Interrupted(f"Stopped. Training is done; resume with: cocotag train --resume {directory}", code="interrupted")
