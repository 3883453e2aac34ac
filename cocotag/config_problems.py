"""Checks of a training config that report all problems at once, before the run starts. Does not import torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from cocotag.backbones import backbone_row
from cocotag.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    SourceConfig,
    TrainConfig,
    find_config,
    parse_groups,
    root_of,
)
from cocotag.errors import ConfigError
from cocotag.thresholds import parse_rule


def problems(config: TrainConfig) -> list[str]:
    """All problems of a config, each with its key; empty if there are none. Files are only checked for existence."""
    choices = _choice_problems(config)
    if choices:
        return choices  # the other checks rely on valid choices
    return [*_data_problems(config.data), *model_problems(config.model), *_loss_problems(config.loss), *_run_problems(config)]


def _choice_problems(config: TrainConfig) -> list[str]:
    """Fields whose value is not one of their choices. The command line checks this too; an edited file may still have them."""
    parts: dict[str, Any] = {"": config, "data.": config.data, "model.": config.model, "loss.": config.loss}
    parts |= {f"stages[{number}].": stage for number, stage in enumerate(config.stages)}
    found = []
    for prefix, part in parts.items():
        for name, kind in get_type_hints(type(part)).items():
            choices = get_args(kind)
            if get_origin(kind) is Literal and getattr(part, name) not in choices:
                found.append(f"{prefix}{name} is {getattr(part, name)!r}, but must be one of {', '.join(map(str, choices))}")
    return found


def check(config: TrainConfig) -> None:
    """Check that a config has no problems.

    Raises:
        ConfigError: It has problems; the message names all of them.
    """
    found = problems(config)
    if found:
        raise ConfigError("The config is invalid: " + "; ".join(found) + ".", code="config_invalid")


def _range(key: str, value: float, low: float, high: float, note: str = "") -> Iterator[str]:
    if not (math.isfinite(value) and low <= value <= high):
        limits = f"{low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
        yield f"{key} is {value:g}, but must be {limits}{note}"


def _data_problems(data: DataConfig) -> Iterator[str]:
    if not root_of(data):
        yield "data.root is missing: give the folder of the data set with --data.root DIR"
    elif data.root and not Path(data.root).is_dir():
        yield f"data.root is {data.root}, which is not a folder"
    for key in ("train_split", "val_split", "tune_split"):
        yield from _split_problems(f"data.{key}", getattr(data, key))
    train = {"data.train_split": _resolved(root_of(data), data.train_split)}
    if data.sources:
        train = {f"data.sources[{number}]": _resolved(one.root, one.split) for number, one in enumerate(data.sources)}
        yield from _source_problems(data.sources)
    for key, split in (("val_split", data.val_split), ("tune_split", data.tune_split)):
        same = [name for name, one in train.items() if split is not None and one == _resolved(root_of(data), split)]
        if same:
            yield f"data.{key} is {split!r}, the same as {same[0]}: figures measured on training images mean nothing"
    if data.val_split is not None and data.val_split == data.tune_split:
        yield f"data.tune_split is {data.tune_split!r}, the same as data.val_split: tuning and reporting need different images"
    if data.tune_split is None:
        yield from _range("data.tune_fraction", data.tune_fraction, 0.01, 0.5)
    if not isinstance(data.classes, str):
        if not data.classes:
            yield "data.classes is an empty list, so there is nothing to train"
        for name in dict.fromkeys(name for name in data.classes if data.classes.count(name) > 1):
            yield f"data.classes names {name!r} more than once"
    yield from _range("data.fraction", data.fraction, 1e-6, 1)
    yield from _range("data.min_crop", data.min_crop, 0.01, 1)
    if data.augment_views is not None:
        yield from _range("data.augment_views", data.augment_views, 1, 10_000)
    if data.repeat_below is not None:
        yield from _range("data.repeat_below", data.repeat_below, 1e-6, 1)
    if data.workers is not None:
        yield from _range("data.workers", data.workers, 0, 256)


def _source_problems(sources: list[SourceConfig]) -> Iterator[str]:
    splits = [_resolved(source.root, source.split) for source in sources]
    for number, source in enumerate(sources):
        key = f"data.sources[{number}]"
        if not source.root or not Path(source.root).is_dir():
            yield f"{key}.root is {source.root!r}, which is not a folder"
        yield from _split_problems(f"{key}.split", source.split)
        if splits.index(splits[number]) < number:
            yield f"{key} is data.sources[{splits.index(splits[number])}] again: every image would count twice"
        if source.aliases is not None:
            try:
                find_config(f"{key}.aliases", source.aliases, "aliases")
            except ConfigError as error:
                yield str(error).rstrip(".")


def _split_problems(key: str, split: str | None) -> Iterator[str]:
    if split is not None and (not split or split in (".", "..") or set(split) & set("/\\\0")):
        yield f"{key} is {split!r}, which is not a folder name"


def _resolved(root: str, split: str) -> tuple[Path, str]:
    """A split in a form that can be compared, however its folder is written."""
    return Path(root).resolve(), split


def model_problems(model: ModelConfig) -> Iterator[str]:
    """All problems of the network's part of a config."""
    if model.num_classes is not None:
        yield from _range("model.num_classes", model.num_classes, 1, 100_000)
    yield from _range("model.width", model.width, 0.1, 4)
    if model.output_stride not in (4, 8, 16, 32):
        yield f"model.output_stride is {model.output_stride}, but must be 4, 8, 16 or 32"
    if len(model.strides) != 5 or not set(model.strides) <= {1, 2}:
        yield f"model.strides is {model.strides}, but must be five numbers, each 1 or 2"
    yield from _range("model.channel_divisor", model.channel_divisor, 1, 64)
    yield from _range("model.csra_heads", model.csra_heads, 1, 16)
    yield from _range("model.csra_weight", model.csra_weight, 0, 10)
    yield from _range("model.decoder_width", model.decoder_width, 8, 4096)
    if model.decoder_width % 8:
        yield f"model.decoder_width is {model.decoder_width}, but must be a multiple of 8"
    if model.initialisation == "original" and model.head != "linear":
        yield f"model.initialisation is original, which needs a linear head, but model.head is {model.head}"
    yield from _range("model.image_size", model.image_size, 32, 2048)
    yield from _range("model.dropout", model.dropout, 0, 0.95)
    if not isinstance(model.prior, str):
        yield from _range("model.prior", model.prior, 1e-4, 0.5)
    if model.weights not in (None, "imagenet") and not Path(str(model.weights)).is_file():
        yield f"model.weights is {model.weights}, which is neither a file nor imagenet"
    if model.weights == "imagenet" and (model.width != 1.0 or model.channel_divisor != 8):
        yield f"model.width is {model.width:g}, but torchvision's weights need width 1 and model.channel_divisor 8"


def _loss_problems(loss: LossConfig) -> Iterator[str]:
    yield from _range("loss.pos_weight_cap", loss.pos_weight_cap, 1, math.inf)
    for key in ("gamma", "gamma_pos", "gamma_neg"):
        yield from _range(f"loss.{key}", getattr(loss, key), 0, 20)
    if loss.alpha is not None:
        yield from _range("loss.alpha", loss.alpha, 0.001, 0.999)
    yield from _range("loss.shift", loss.shift, 0, 0.9)
    yield from _range("loss.pos_weight_beta", loss.pos_weight_beta, 0, 1 - 1e-9)
    yield from _range("loss.logit_adjustment", loss.logit_adjustment, 0, 2)
    if loss.exclusive and loss.logit_adjustment:
        yield f"loss.logit_adjustment is {loss.logit_adjustment:g}, but {loss.name} does not support it"
    yield from _range("loss.smoothing", loss.smoothing, 0, 0.9)


def _run_problems(config: TrainConfig) -> Iterator[str]:
    if not config.stages:
        yield "stages is empty, so nothing would be trained"
    for number, stage in enumerate(config.stages):
        yield from _range(f"stages[{number}].epochs", stage.epochs, 1, 100_000)
        yield from _range(f"stages[{number}].lr", stage.lr, 1e-9, 100)
        yield from _range(f"stages[{number}].lr_decay", stage.lr_decay, 0.01, 1)
        try:
            parse_groups(stage.train, backbone_row(config.model.name).layer_groups)
        except ConfigError as error:
            yield f"stages[{number}].train: {str(error).rstrip('.')}"
    yield from _range("batch_size", config.batch_size, 1, 65_536)
    yield from _range("accumulate", config.accumulate, 1, 10_000)
    yield from _range("devices", config.devices, 1, 1024)
    yield from _range("nodes", config.nodes, 1, 10_000)
    processes = config.devices * config.nodes
    if processes > 0 and config.batch_size % processes:
        yield f"batch_size is {config.batch_size}, which {processes} devices cannot share evenly: use a multiple of {processes}"
    if config.ema_decay is not None:
        yield from _range("ema_decay", config.ema_decay, 0, 1 - 1e-9)
    try:
        parse_rule(config.thresholds)
    except ValueError as error:
        yield f"thresholds: {str(error).rstrip('.')}"
    for name in config.loggers:
        module = {"wandb": "wandb", "mlflow": "mlflow"}.get(name)
        if module is not None and find_spec(module) is None:
            yield f"loggers names {name}, which is not installed: pip install 'cocotag[tracking]'"
    for name in dict.fromkeys(name for name in config.loggers if config.loggers.count(name) > 1):
        yield f"loggers names {name} more than once"
    yield from _range("weight_decay", config.weight_decay, 0, 10)
    yield from _range("seed", config.seed, 0, 2**31 - 1)
    if config.gradient_clip is not None:
        yield from _range("gradient_clip", config.gradient_clip, 1e-6, math.inf)
    if config.patience is not None and config.best_by == "last":
        yield "patience is set, but best_by is last, so there is no improvement to wait for"
    if config.patience is not None:
        yield from _range("patience", config.patience, 1, math.inf)
