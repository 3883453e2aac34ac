"""The checks of a training run, in their order, before hours are spent. Nothing else runs them.

`fit`, `resume` and `find_lr` call `preflight` and get what a run starts from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning import seed_everything

from cocotag.config import TrainConfig, root_of
from cocotag.config_problems import problems
from cocotag.data.annotations import AnnotationTable
from cocotag.data.coco_fields import only_crowds
from cocotag.data.frequency import shares
from cocotag.data.image_files import Source, check_files
from cocotag.data.layout import find
from cocotag.data.loading.datamodule import TaggingData
from cocotag.data.matching import find_classes, load_aliases
from cocotag.data.splits import Splits
from cocotag.errors import CocotagError, ConfigError, DataError
from cocotag.export.checkpoint import check_same, facts_of
from cocotag.labels import Category, Vocabulary
from cocotag.models.build import build_network, load
from cocotag.models.network import TaggerNetwork
from cocotag.models.weights import imagenet_classes
from cocotag.training.loop.runtime import check_started, precision, say


@dataclass(frozen=True)
class Prepared:
    """What a run starts from, checked.

    Attributes:
        config: With absolute paths, so that the run can be resumed from another folder.
        precision: Lightning's name of the run's precision on this machine.
        data: Loaders of the train and tune images.
        network: With its first weights.
        facts: Plain values that a bundle needs to know of training.
    """

    config: TrainConfig
    precision: str
    data: TaggingData
    network: TaggerNetwork
    facts: dict[str, Any]


def preflight(config: TrainConfig, *, before: Mapping[str, Any] | None = None) -> Prepared:
    """Check everything that can be known to be wrong with a run, and make what it starts from.

    In this order:

    1. the values of the config and this machine's precision; if one is wrong, faults of the data are reported with it;
    2. the processes: the number that was started is the number in the config;
    3. the train and tune images: labels, files, enough of them;
    4. the val split: readable, with classes in common;
    5. one tag per image, if the loss needs that;
    6. for a resumed run: the data are those of the run;
    7. the weights: they exist and fit the network.

    Args:
        config: Of the run.
        before: For a resumed run, the facts in its checkpoint.

    Raises:
        ConfigError: The config cannot work; the message has all faults.
        DataError: The data cannot be learned from; the message has all faults.
    """
    lightning_precision = _check_config(config)
    check_started(config)
    config = _absolute(config)
    _warn_of_random_layers(config, resumed=before is not None)
    data = make_data(config)
    facts = facts_of(config, data.splits)
    if before is not None:
        check_same(dict(before), facts)
    return Prepared(config, lightning_precision, data, make_network(config, data), facts)


def _check_config(config: TrainConfig) -> str:
    """Lightning's name of the precision.

    Raises:
        ConfigError: Faults of the config, with those of its data.
    """
    try:
        found = problems(config)
    except (
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
    ) as error:  # the command line checks types, an edited file has not been
        raise ConfigError(
            f"The config has a value of the wrong type ({error}). Put back the original value, or start a new run.",
            code="config_type",
        ) from None
    lightning_precision = ""
    try:
        lightning_precision = precision(config)
    except ConfigError as error:
        found.append(str(error).rstrip("."))
    except KeyError:  # among the problems already
        pass
    if found:
        try:
            if not any(problem.startswith("data.") for problem in found):
                make_data(config)
        except CocotagError as error:
            found.append(str(error).rstrip("."))
        raise ConfigError("The config cannot work: " + "; ".join(found) + ".", code="config_invalid")
    return lightning_precision


def _absolute(config: TrainConfig) -> TrainConfig:
    """The config with absolute paths."""
    weights, data = config.model.weights, config.data
    if weights not in (None, "imagenet"):
        config = replace(config, model=replace(config.model, weights=str(Path(str(weights)).resolve())))
    sources = []
    for source in data.sources:
        own = source.aliases is None or not Path(source.aliases).is_file()  # a name of cocotag's own files stays one
        aliases = source.aliases if own else str(Path(str(source.aliases)).resolve())
        sources.append(replace(source, root=str(Path(source.root).resolve()), aliases=aliases))
    return replace(config, data=replace(data, root=str(Path(root_of(data)).resolve()), sources=sources))


def _warn_of_random_layers(config: TrainConfig, *, resumed: bool) -> None:
    if config.model.weights is None and config.stages[0].train != "all" and not resumed:
        say(
            f"warning: model.weights is null, and the first stage trains only {config.stages[0].train}: the other layers keep "
            "their random weights. Give --model.weights imagenet or a file, or train all."
        )


def make_data(config: TrainConfig) -> TaggingData:
    """The images of a run.

    Raises:
        DataError: They cannot be learned from; the message has all faults.
    """
    splits = Splits(config.data, seed=config.seed)
    faults = [*splits.faults(config.batch_size), *_val_faults(config, splits)]
    processes = config.devices * config.nodes
    if len(splits.tune) < processes:
        faults.append(f"There are {len(splits.tune)} tune images for {processes} devices. Raise data.tune_fraction.")
    if faults:
        raise DataError("\n".join(faults), code="data_faults")
    return TaggingData(splits, image_size=config.model.image_size, batch_size=config.batch_size, seed=config.seed)


def val_table(config: TrainConfig, splits: Splits) -> AnnotationTable | None:
    """The split that is only reported on; None if the config has none.

    Raises:
        DataError: It cannot be read.
    """
    if config.data.val_split is None:
        return None
    return splits.of_root(config.data.val_split)


def _val_faults(config: TrainConfig, splits: Splits) -> Iterator[str]:
    """Yield the faults of the val split, and of the number of tags per image if the loss needs exactly one."""
    try:
        val = val_table(config, splits)
    except DataError as error:
        yield str(error)
        val = None
    if val is not None and _is_train_split(config, splits):
        yield f"data.val_split {config.data.val_split!r} is the train split. Figures measured on training images mean nothing."
    if val is not None:
        if not set(val.vocabulary.names) & set(splits.vocabulary.names):
            yield f"data.val_split {config.data.val_split!r} has none of the train split's classes. Give another split."
        elif not val.positives.any():
            crowds = only_crowds(val.vocabulary.names, (~val.known).sum(axis=0).tolist())
            yield (
                f"data.val_split {config.data.val_split!r} has no positive of any class to report on. "
                f"{crowds or 'Give another split.'}"
            )
        try:
            check_files(val, [Source(Path(splits.root), str(config.data.val_split), val.image_dir)])
        except DataError as error:
            yield str(error)
    for table in (splits.train, splits.tune, val) if config.loss.exclusive else ():
        tags = np.where(table.known, table.targets, False).sum(axis=1) if table is not None else np.array([], int)
        wrong = np.flatnonzero(tags != 1)
        if table is not None and len(wrong):
            yield (
                f"loss.name is {config.loss.name}, which needs exactly one tag per image. {table.path(wrong[0])} has "
                f"{tags[wrong[0]]}; {len(wrong)} of {len(table)} images do not have one. Use bce, or correct the annotations."
            )


def _is_train_split(config: TrainConfig, splits: Splits) -> bool:
    """Whether two names lead to the same annotation file, as those of the only split do."""
    root, data = Path(splits.root), config.data
    same = find(root, str(data.val_split), splits.given).annotations
    return not data.sources and same == find(root, data.train_split, splits.given).annotations


def make_network(config: TrainConfig, data: TaggingData) -> TaggerNetwork:
    """The network of a run with its first weights.

    Raises:
        ConfigError: The weights are not available, or belong to another network.
    """
    seed_everything(config.seed, verbose=False)
    share = shares(data.train.positives, data.train.known.sum(axis=0)).tolist()
    network = build_network(config.model, len(data.vocabulary), exclusive=config.loss.exclusive, shares=share)
    names = imagenet_classes()
    imagenet = Vocabulary(tuple(Category(index, name) for index, name in enumerate(names)))
    known_as = find_classes(data.vocabulary, imagenet, load_aliases("imagenet"))
    loaded = load(network, config.model, data.vocabulary.names, known_as)
    if loaded is not None:
        say(loaded.to_text())
    return network
