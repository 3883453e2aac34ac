"""fit(config) -> Run: the directory of a run, resume, and at the end the bundle and its report."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
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
from cocotag.config import TrainConfig, check
from cocotag.data.annotations import load_split
from cocotag.data.datamodule import TaggingData
from cocotag.errors import CocotagError, ConfigError, Interrupted, OutputError
from cocotag.evaluate import evaluate_bundle
from cocotag.export import export_checkpoint, load_checkpoint
from cocotag.files import write_text
from cocotag.models.build import build_network
from cocotag.reports.evaluation import Evaluation
from cocotag.tagging.tagger import Tagger
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
    """

    directory: Path
    bundle: BundleMetadata
    evaluation: Evaluation | None


def fit(config: TrainConfig, directory: Path) -> Run:
    """Train as the config says, in a new directory.

    Raises:
        CocotagError: The config or the data cannot work; nothing is left behind. Or training failed; the directory stays.
        OutputError: The directory is there already, or cannot be made.
        Interrupted: Ctrl-C; ``resume`` goes on.
    """
    check(config)
    if config.data.root is not None:  # the run must be found again from another folder
        config = replace(config, data=replace(config.data, root=str(Path(config.data.root).resolve())))
    data = _data(config)
    network = build_network(config.model, len(data.vocabulary))  # before the directory: weights may be wrong
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
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{directory} is not the directory of a run: no readable config.yaml ({error}).") from None
    if not isinstance(plain, dict):
        raise ConfigError(f"{file} holds no config. Start a new run.")
    config = TrainConfig.from_json(plain)
    check(config)
    data = _data(config)
    network = build_network(config.model, len(data.vocabulary), pretrained=not _last(directory).is_file())
    return _train(config, data, directory, network)


def export_run(checkpoint: Path, out: Path) -> tuple[BundleMetadata, str | None]:
    """Export a checkpoint with thresholds chosen on its run's tune images.

    Returns:
        What the bundle says, and a warning if the images are gone, so that thresholds are 0.5.

    Raises:
        CocotagError: As `cocotag.export.export_checkpoint`.
    """
    config = TrainConfig.from_json(load_checkpoint(checkpoint)[1].config)
    try:
        tune = _data(config).tune
    except CocotagError as error:
        return export_checkpoint(checkpoint, out), f"All thresholds are 0.5: the tune images are not there. {error}"
    return export_checkpoint(checkpoint, out, tune), None


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

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ANN401 (Lightning's hook)
        """Count the epoch if it belongs to the last stage."""
        module = cast(TaggerModule, pl_module)
        if module.stage == len(module.schedule.stages) - 1:
            super().on_validation_end(trainer, pl_module)


def _data(config: TrainConfig) -> TaggingData:
    return TaggingData(config.data, image_size=config.model.image_size, batch_size=config.batch_size, seed=config.seed)


def _last(directory: Path) -> Path:
    return directory / "checkpoints" / "last.ckpt"


def _train(config: TrainConfig, data: TaggingData, directory: Path, network: Any) -> Run:  # noqa: ANN401
    lightning_precision = precision(config)
    steps = len(data.train) // config.batch_size
    schedule = Schedule(config.stages, len(network.layer_groups()), steps)
    known = data.train.known.sum(axis=0)
    share = data.train.positives / np.maximum(known, 1)
    facts = {
        "config": config.to_json(),
        "vocabulary": data.vocabulary.to_json(),
        "positives": data.train.positives.tolist(),
        "train_images": len(data.train),
        "tuned_on": data.tuned_on(),
    }
    seed_everything(config.seed, verbose=False)
    module = TaggerModule(config, network, schedule, share, facts)
    checkpoints = directory / "checkpoints"
    options: dict[str, Any] = {"dirpath": checkpoints, "enable_version_counter": False, "save_top_k": 1}
    callbacks: list[Callback] = [
        EpochLog(directory / "metrics.csv"),
        ModelCheckpoint(filename="best", monitor="tune/map", mode="max", **options),
        ModelCheckpoint(filename="last", monitor=None, save_on_train_epoch_end=True, **options),
    ]
    if config.patience is not None:
        stop = StopEarly("tune/map", mode="max", patience=config.patience, check_on_train_epoch_end=False)
        callbacks.append(stop)
    _quiet()
    trainer = Trainer(
        max_epochs=schedule.epochs,
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
    tqdm.write(
        f"{len(data.train)} images to learn from, {len(data.tune)} to choose on, {len(data.vocabulary)} classes; "
        f"{steps} steps an epoch, {schedule.epochs} epochs; {device}, {lightning_precision}. Run: {directory}",
        file=sys.stderr,
    )
    last = _last(directory)
    _run(trainer, module, data, last if last.is_file() else None, directory)
    bundle = directory / "tagger.onnx"
    metadata = export_checkpoint(checkpoints / "best.ckpt", bundle, data.tune)
    return Run(directory, metadata, _evaluate(config, directory, bundle))


def _run(trainer: Trainer, module: TaggerModule, data: TaggingData, checkpoint: Path | None, directory: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        if trainer.state.status != TrainerStatus.INTERRUPTED:
            raise
        raise Interrupted(f"Stopped. The finished epochs are kept; go on with: cocotag train --resume {directory}") from None
    finally:
        signal.signal(signal.SIGINT, handler)


def _evaluate(config: TrainConfig, directory: Path, bundle: Path) -> Evaluation | None:
    if config.data.val_split is None:
        return None
    table = load_split(cast(str, config.data.root), config.data.val_split)
    evaluation, _ = evaluate_bundle(Tagger.load(bundle), table, split=config.data.val_split)
    evaluation.write(directory / "report")
    return evaluation


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
