"""fit(config) -> Run: the directory of a run, resume, and at the end the bundle and its report."""

from __future__ import annotations

import ctypes
import json
import logging
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import yaml
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerStatus
from tqdm import tqdm

from cocotag.bundle import BundleMetadata
from cocotag.config import TrainConfig, check, root_of
from cocotag.data.annotations import AnnotationTable
from cocotag.data.datamodule import TaggingData
from cocotag.data.image_files import check_files
from cocotag.errors import CocotagError, ConfigError, DataError, Interrupted, OutputError
from cocotag.evaluate import evaluate_bundle
from cocotag.export import checkpoint_facts, export_checkpoint
from cocotag.files import write_text
from cocotag.models.build import build_network, load
from cocotag.models.network import TaggerNetwork
from cocotag.reports.evaluation import Evaluation
from cocotag.tagging.tagger import Tagger
from cocotag.training.checkpoints import KeepPrevious, check_same, facts_of, last_checkpoint, resumable
from cocotag.training.interrupt import StopOnInterrupt
from cocotag.training.log import EpochLog
from cocotag.training.module import TaggerModule
from cocotag.training.schedule import Schedule


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


def fit(config: TrainConfig, directory: Path) -> Run:
    """Train as the config says, in a new directory.

    Raises:
        CocotagError: The config or the data cannot work; nothing is left behind. Or training failed; the directory stays.
        OutputError: The directory is there already, or cannot be made.
        Interrupted: Ctrl-C; ``resume`` goes on.
    """
    check(config)
    config = _absolute(config)
    precision(config)
    if config.model.weights is None and config.stages[0].train != "all":
        tqdm.write(
            f"warning: model.weights is null, and the first stage trains {config.stages[0].train} only: the other layers stay "
            "as random as they begin. Give --model.weights imagenet or a file, or train all.",
            file=sys.stderr,
        )
    data = _data(config)
    _check_exclusive(config, data, _val_table(config, data))
    network = _network(config, data)  # before the directory: weights may be wrong
    data.prepare_data()  # likewise: it reads every image, if copies are wanted
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        raise OutputError(
            f"{directory} is there already. Go on with it by cocotag train --resume {directory}, or choose another --out."
        ) from None
    except OSError as error:
        raise OutputError(f"{directory} cannot be made ({error.strerror}). Choose another --out.") from None
    write_text(directory / "config.yaml", yaml.safe_dump(config.to_json(), sort_keys=False))
    return _train(config, data, directory, network)


def resume(directory: Path) -> Run:
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
    last = resumable(directory)
    try:
        config = TrainConfig.from_json(plain)
        if last:  # which has the weights; the file that they started from may be gone
            config = replace(config, model=replace(config.model, weights=None))
        check(config)
    except (TypeError, ValueError, KeyError, AttributeError) as error:  # the types are the command line's to check
        raise ConfigError(
            f"{file} has a value of the wrong kind ({error}). Put back what was there, or start a new run."
        ) from None
    data = _data(config)
    if last:
        check_same(checkpoint_facts(last), facts_of(config, data))
    _val_table(config, data)
    network = _network(config, data)
    return _train(config, data, directory, network, last)


def export_run(checkpoint: Path, out: Path, calibration: Iterable[Path] | None = None) -> tuple[BundleMetadata, str | None]:
    """Export a checkpoint with thresholds chosen on its run's tune images.

    Args:
        checkpoint: Of a training run.
        out: The ``.onnx`` file.
        calibration: As for `cocotag.export.export_checkpoint`.

    Returns:
        What the bundle says, and a warning if the images are gone, so that thresholds are 0.5.

    Raises:
        CocotagError: As `cocotag.export.export_checkpoint`.
    """
    facts = checkpoint_facts(checkpoint)
    config = TrainConfig.from_json(facts["config"])
    try:
        data = _data(config)
        check_same(facts, facts_of(config, data))
        tune = data.tune
    except CocotagError as error:
        warning = f"All thresholds are 0.5, since the tune images are not to be had. {error}"
        return export_checkpoint(checkpoint, out, None, calibration), warning
    return export_checkpoint(checkpoint, out, tune, calibration), None


def precision(config: TrainConfig) -> str:
    """Lightning's name for the precision of a run, ``auto`` resolved for this machine.

    Raises:
        ConfigError: fp16 without CUDA.
    """
    cuda = torch.cuda.is_available()
    wanted = config.precision
    if wanted == "auto" and cuda:
        wanted = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    elif wanted == "auto":
        # Without instructions of its own bf16 is emulated, and slower than float32.
        can: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        wanted = "bf16" if can.get("avx512_bf16") or can.get("amx_bf16") else "float32"
    if wanted == "fp16" and not cuda:
        raise ConfigError("precision is fp16, which needs a CUDA device, and there is none. Use bf16, float32 or auto.")
    return {"bf16": "bf16-mixed", "fp16": "16-mixed", "float32": "32-true"}[wanted]


class StopEarly(EarlyStopping):
    """Lightning's, in the last stage only: an earlier one is not the end."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ANN401 (Lightning's hook)
        """A run that had stopped stays stopped when it is resumed."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ANN401 (Lightning's hook)
        """Count the epoch if it belongs to the last stage."""
        module = cast(TaggerModule, pl_module)
        if module.stage == len(module.schedule.stages) - 1:
            super().on_validation_end(trainer, pl_module)


def _data(config: TrainConfig) -> TaggingData:
    return TaggingData(config.data, image_size=config.model.image_size, batch_size=config.batch_size, seed=config.seed)


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


def _val_table(config: TrainConfig, data: TaggingData) -> AnnotationTable | None:
    """What is reported on in the end; read before hours are spent, in case it is not there."""
    if config.data.val_split is None:
        return None
    table = data.of_root(config.data.val_split)
    if not set(table.vocabulary.names) & set(data.vocabulary.names):
        raise DataError(f"Split {config.data.val_split!r} has no class in common with split {config.data.train_split!r}.")
    check_files(table, [(data.root, config.data.val_split)])
    return table


def _check_exclusive(config: TrainConfig, data: TaggingData, val: AnnotationTable | None) -> None:
    """Refuse data of several or no tags an image where the loss takes it that classes exclude each other."""
    for table in (data.train, data.tune, val) if config.loss.exclusive else ():
        tags = np.where(table.known, table.targets, False).sum(axis=1) if table is not None else np.array([], int)
        wrong = np.flatnonzero(tags != 1)
        if table is not None and len(wrong):
            raise DataError(
                f"loss.name is {config.loss.name}, for which every image needs exactly one tag, but {table.path(wrong[0])} has "
                f"{tags[wrong[0]]}, and so on for {len(wrong)} of {len(table)} images. Use bce, or correct the annotations."
            )


def _network(config: TrainConfig, data: TaggingData) -> TaggerNetwork:
    seed_everything(config.seed, verbose=False)
    network = build_network(config.model, len(data.vocabulary), exclusive=config.loss.exclusive)
    loaded = load(network, config.model, data.vocabulary.names)
    if loaded is not None:
        tqdm.write(loaded.to_text(), file=sys.stderr)
    return network


def _train(config: TrainConfig, data: TaggingData, directory: Path, network: TaggerNetwork, start: Path | None = None) -> Run:
    lightning_precision = precision(config)
    steps = len(data.train) // config.batch_size
    schedule = Schedule(config.stages, len(network.layer_groups()), steps)
    known = data.train.known.sum(axis=0)
    share = data.train.positives / np.maximum(known, 1)
    facts = facts_of(config, data)
    seed_everything(config.seed, verbose=False)
    module = TaggerModule(config, network, schedule, share, facts)
    checkpoints = directory / "checkpoints"
    options: dict[str, Any] = {"dirpath": checkpoints, "enable_version_counter": False, "save_top_k": 1}
    interrupt = StopOnInterrupt()
    callbacks: list[Callback] = [
        interrupt,
        EpochLog(directory / "metrics.csv"),
        KeepPrevious(checkpoints),
        ModelCheckpoint(filename="best", monitor="tune/map", mode="max", **options),
        ModelCheckpoint(filename="last", monitor=None, save_on_train_epoch_end=True, **options),
    ]
    if config.patience is not None:
        stop = StopEarly("tune/map", mode="max", patience=config.patience, check_on_train_epoch_end=False)
        callbacks.append(stop)
    _quiet()
    trainer = Trainer(
        max_epochs=schedule.epochs,
        devices=1,  # several would be DDP, for which nothing here is made yet
        precision=cast(Any, lightning_precision),
        gradient_clip_val=config.gradient_clip,
        callbacks=callbacks,
        logger=TensorBoardLogger(directory, name="", version="tensorboard"),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
    )
    device = trainer.strategy.root_device
    if device.type == "cpu":
        keep_freed_memory()
    if data.joined is not None:
        records = [record.to_json() for record in data.joined.records]
        write_text(directory / "sources.json", json.dumps(records, indent=2) + "\n")
        tqdm.write("\n".join(data.joined.to_lines()), file=sys.stderr)
    tqdm.write(
        f"{len(data.train)} images to learn from, {len(data.tune)} to choose on, {len(data.vocabulary)} classes; "
        f"{steps} steps an epoch, {schedule.epochs} epochs; {device}, {lightning_precision}. Run: {directory}",
        file=sys.stderr,
    )
    _run(trainer, module, data, directory, interrupt, start)
    try:
        return _finish(config, data, directory)
    except KeyboardInterrupt:
        raise Interrupted(f"Stopped. Training is done; go on with: cocotag train --resume {directory}") from None


def _finish(config: TrainConfig, data: TaggingData, directory: Path) -> Run:
    """Bundle and report of a trained run."""
    bundle = directory / "tagger.onnx"
    metadata = export_checkpoint(directory / "checkpoints" / "best.ckpt", bundle, data.tune)
    table = _val_table(config, data)
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
    try:
        with interrupt:
            trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
        if interrupt.pressed:  # after the last step
            raise Interrupted(f"Stopped. Training is done; go on with: cocotag train --resume {directory}")
    except DataError as error:  # from a loader's worker it comes wrapped in that process's stack trace
        text = str(error).strip().splitlines()[-1]
        raise DataError(text.removeprefix("cocotag.errors.DataError: ")) from None
    except torch.OutOfMemoryError:
        size = module.config.batch_size
        raise ConfigError(f"batch_size {size} does not fit in the device's memory. Lower it or model.image_size.") from None
    except SystemExit:  # Lightning's answer to Ctrl-C and to SIGTERM
        if trainer.state.status != TrainerStatus.INTERRUPTED:
            raise
        raise Interrupted(f"Stopped. {_kept(directory)}") from None
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        if interrupt.pressed or trainer.received_sigterm:  # which a batch system sends to the workers too
            raise Interrupted(f"Stopped. {_kept(directory)}") from None
        raise CocotagError(
            f"A process that loads images was ended from outside: {str(error).rstrip('. ')}. If memory ran out, free some. "
            f"{_kept(directory)}"
        ) from None


def _kept(directory: Path) -> str:
    if not last_checkpoint(directory).is_file():
        return "No epoch was finished; start again with another --out."
    return f"The finished epochs are kept; go on with: cocotag train --resume {directory}"


def keep_freed_memory() -> bool:
    """Let glibc keep the memory that a step frees for the next one, instead of giving it back to the system page by page.

    A step on the CPU allocates and frees hundreds of MB in large blocks. By default each is mapped anew, and the system
    zeroes its pages: about half of the time of a step (scripts/bench_train_step.py). Does nothing without glibc.

    Returns:
        Whether it took effect.
    """
    m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False
    return bool(mallopt(m_mmap_max, 0)) and bool(mallopt(m_trim_threshold, 2**31 - 1))


def _quiet() -> None:
    """Keep what does not concern the user off the screen."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    about_us = (
        "does not have many workers",  # small data sets need none
        "No positive samples found in target",  # left out of the means, see TaggerModule
        "Checkpoint directory",  # ours, on a resume
        "The number of training batches",
        r"`isinstance\(treespec",  # Lightning's own affair
    )
    for about in about_us:
        warnings.filterwarnings("ignore", f".*{about}")
