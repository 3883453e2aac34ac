"""fit(config) -> Run: the directory of a run, resume, and at the end the bundle and its report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import yaml
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import Logger

from cocotag.bundle import BundleMetadata
from cocotag.config import TrainConfig, root_of
from cocotag.config_problems import check
from cocotag.data.loading.datamodule import TaggingData
from cocotag.errors import CocotagError, ConfigError, DataError, Interrupted, OutputError
from cocotag.evaluation.result import Evaluation
from cocotag.evaluation.run import evaluate_bundle
from cocotag.export.bundles import export_checkpoint
from cocotag.export.checkpoint import checkpoint_facts
from cocotag.files import write_text
from cocotag.inference.tagger import Tagger
from cocotag.models.network import TaggerNetwork
from cocotag.thresholds import Rule, parse_rule
from cocotag.training.checkpoints import (
    KeepPrevious,
    OneCheckpoint,
    WholeFiles,
    check_same,
    facts_of,
    held,
    last_checkpoint,
    resumable,
)
from cocotag.training.failures import told_plainly
from cocotag.training.logging.epoch_log import EpochLog
from cocotag.training.logging.loggers import closing, make_loggers
from cocotag.training.logging.run_record import write_record
from cocotag.training.loop.early_stopping import StopEarly
from cocotag.training.loop.ema import MovingAverage
from cocotag.training.loop.features import KeepFeatures, kept_epochs
from cocotag.training.loop.interrupt import StopOnInterrupt
from cocotag.training.loop.loss import Loss
from cocotag.training.loop.module import TaggerModule
from cocotag.training.loop.runtime import Together, check_started, first_process, keep_freed_memory, precision, quiet, say
from cocotag.training.loop.schedule import Schedule
from cocotag.training.preflight import check_all, make_data, make_network, open_data, val_table


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

    Returns:
        The run; None in every process but the first, where several train together.

    Raises:
        CocotagError: The config or the data cannot work; nothing is left behind. Or training failed; the directory stays.
        OutputError: The directory is there already, or cannot be made.
        Interrupted: Ctrl-C; ``resume`` goes on.
    """
    check_all(config)
    check_started(config)
    config = _absolute(config)
    if config.model.weights is None and config.stages[0].train != "all":
        say(
            f"warning: model.weights is null, and the first stage trains {config.stages[0].train} only: the other layers stay "
            "as random as they begin. Give --model.weights imagenet or a file, or train all."
        )
    data = make_data(config)
    network = make_network(config, data)  # before the directory: weights may be wrong
    if not first_process():
        return _train(config, data, directory, network)
    data.prepare_data()  # likewise: it reads every image, if copies are wanted
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        raise OutputError(
            f"{directory} is there already. Go on with it by cocotag train --resume {directory}, or choose another --out."
        ) from None
    except OSError as error:
        raise OutputError(f"{directory} cannot be made ({error.strerror}). Choose another --out.") from None
    try:
        with held(directory):
            write_text(directory / "config.yaml", yaml.safe_dump(config.to_json(), sort_keys=False))
            return _train(config, data, directory, network)
    except ConfigError:
        if not last_checkpoint(directory).is_file():
            shutil.rmtree(directory)  # nothing was learned: the same --out may be used again
        raise


def resume(directory: Path) -> Run | None:
    """Go on with a run from its last finished epoch; a run that was finished is only exported and reported on again.

    Raises:
        CocotagError: As `fit`; or the directory is not a run's.
    """
    file = directory / "config.yaml"
    try:
        plain = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{directory} is not the directory of a run: no readable config.yaml ({error}).") from None
    if not isinstance(plain, dict):
        raise ConfigError(f"{file} holds no config. Start a new run.")
    with held(directory):
        last = resumable(directory)
        try:
            config = TrainConfig.from_json({"ema_decay": None, **plain})  # of a version before it had a default
            if last:  # which has the weights; the file that they started from may be gone
                config = replace(config, model=replace(config.model, weights=None))
            check(config)
        except (TypeError, ValueError, KeyError, AttributeError) as error:  # the types are the command line's to check
            raise ConfigError(
                f"{file} has a value of the wrong kind ({error}). Put back what was there, or start a new run."
            ) from None
        check_started(config)
        data = make_data(config)
        if last:
            check_same(checkpoint_facts(last), facts_of(config, data))
        return _train(config, data, directory, make_network(config, data), last)


def export_run(
    checkpoint: Path, out: Path, calibration: Iterable[Path] | None = None, rule: Rule | None = None
) -> tuple[BundleMetadata, str | None]:
    """Export a checkpoint with thresholds chosen on its run's tune images.

    Args:
        checkpoint: Of a training run.
        out: The ``.onnx`` file.
        calibration: As for `cocotag.export.bundles.export_checkpoint`.
        rule: What thresholds are chosen for; None as the run's config says.

    Returns:
        What the bundle says, and a warning if the images are gone, so that thresholds are 0.5.

    Raises:
        CocotagError: As `cocotag.export.bundles.export_checkpoint`.
    """
    facts = checkpoint_facts(checkpoint)
    config = TrainConfig.from_json(facts["config"])
    rule = rule or parse_rule(config.thresholds)
    if rule.name == "fixed":  # which needs no images
        return export_checkpoint(checkpoint, out, None, calibration, rule), None
    try:
        data = open_data(config)  # whatever became of val
        if data.faults():
            raise DataError(" ".join(data.faults()))
        check_same(facts, facts_of(config, data))
        tune = data.tune
    except CocotagError as error:
        warning = f"All thresholds are 0.5, since the tune images are not to be had. {error}"
        return export_checkpoint(checkpoint, out, None, calibration, rule), warning
    return export_checkpoint(checkpoint, out, tune, calibration, rule), None


def _absolute(config: TrainConfig) -> TrainConfig:
    """The config with absolute paths, so that the run can be gone on with from another folder."""
    weights, data = config.model.weights, config.data
    if weights not in (None, "imagenet"):
        config = replace(config, model=replace(config.model, weights=str(Path(str(weights)).resolve())))
    sources = []
    for source in data.sources:
        own = source.aliases is None or not Path(source.aliases).is_file()  # a name of cocotag's stays one
        aliases = source.aliases if own else str(Path(str(source.aliases)).resolve())
        sources.append(replace(source, root=str(Path(source.root).resolve()), aliases=aliases))
    return replace(config, data=replace(data, root=str(Path(root_of(data)).resolve()), sources=sources))


def _train(
    config: TrainConfig, data: TaggingData, directory: Path, network: TaggerNetwork, start: Path | None = None
) -> Run | None:
    lightning_precision = precision(config)
    batches = len(data.train_sampler()) // config.batch_size
    schedule = Schedule(config.stages, len(network.layer_groups()), batches, config.accumulate)
    processes = config.devices * config.nodes
    data.without_images = kept_epochs(config, schedule, network, len(data.train), processes)
    seed_everything(config.seed, verbose=False)
    loss = Loss(config.loss, data.train.positives, data.train.known.sum(axis=0))
    module = TaggerModule(config, network, schedule, loss, facts_of(config, data))
    if config.compile:
        network.compile()
    checkpoints = directory / "checkpoints"
    monitor, mode = {"map": ("tune/map", "max"), "loss": ("tune/loss", "min"), "last": (None, "min")}[config.best_by]
    interrupt = StopOnInterrupt()
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
        stop = StopEarly(str(monitor), mode=mode, patience=config.patience, check_on_train_epoch_end=False)
        callbacks.append(stop)
    quiet()
    loggers: list[Logger] = []
    if first_process():
        write_record(directory, config, data, lightning_precision)
        loggers = make_loggers(config.loggers, directory, config)
    trainer = Trainer(
        max_epochs=schedule.epochs,
        devices=config.devices,
        num_nodes=config.nodes,
        # Frozen layers get no gradient; which layers those are changes with the stage.
        strategy="auto" if processes == 1 else Together(find_unused_parameters=True),
        use_distributed_sampler=False,
        accumulate_grad_batches=config.accumulate,
        precision=cast(Any, lightning_precision),
        gradient_clip_val=config.gradient_clip,
        callbacks=callbacks,
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
    if data.joined is not None and first_process():
        records = [record.to_json() for record in data.joined.records]
        write_text(directory / "sources.json", json.dumps(records, indent=2) + "\n")
        say("\n".join(data.joined.to_lines()))
    together = f" x {processes}" if processes > 1 else ""
    say(
        f"{len(data.train)} images to learn from, {len(data.tune)} to choose on, {len(data.vocabulary)} classes; "
        f"{schedule.steps_per_epoch} steps an epoch, {schedule.epochs} epochs; {device}{together}, {lightning_precision}. "
        f"Run: {directory}"
    )
    with closing(loggers):
        _run(trainer, module, data, directory, interrupt, start)
    if not trainer.is_global_zero:
        return None
    try:
        return _finish(config, data, directory)
    except KeyboardInterrupt:
        raise Interrupted(f"Stopped. Training is done; go on with: cocotag train --resume {directory}") from None


def _finish(config: TrainConfig, data: TaggingData, directory: Path) -> Run:
    """Bundle and report of a trained run."""
    bundle = directory / "tagger.onnx"
    rule = parse_rule(config.thresholds)
    metadata = export_checkpoint(directory / "checkpoints" / "best.ckpt", bundle, data.tune, rule=rule)
    table = val_table(config, data)
    if table is None:
        return Run(directory, metadata, None, [])
    evaluation, failures = evaluate_bundle(Tagger.load(bundle), table, split=str(config.data.val_split))
    evaluation.write(directory / "report")
    return Run(directory, metadata, evaluation, failures)


def _run(
    trainer: Trainer,
    module: TaggerModule,
    data: TaggingData,
    directory: Path,
    interrupt: StopOnInterrupt,
    start: Path | None,
) -> None:
    with told_plainly(trainer, module.config, data, interrupt, lambda: _kept(directory)):
        with interrupt:
            trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
        if interrupt.pressed:  # after the last step
            raise Interrupted(f"Stopped. Training is done; go on with: cocotag train --resume {directory}")


def _kept(directory: Path) -> str:
    if not last_checkpoint(directory).is_file():
        return f"No epoch was finished; begin again with: cocotag train --resume {directory}"
    return f"The finished epochs are kept; go on with: cocotag train --resume {directory}"
