"""From a config to the data and the network of a run, found able to be learned from before hours are spent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from lightning import seed_everything

from cocotag.config import TrainConfig
from cocotag.config_problems import problems
from cocotag.data.annotations import AnnotationTable
from cocotag.data.image_files import check_files
from cocotag.data.loading.datamodule import TaggingData
from cocotag.data.matching import find_classes, load_aliases
from cocotag.errors import CocotagError, ConfigError, DataError
from cocotag.labels import Category, Vocabulary
from cocotag.models.build import build_network, load
from cocotag.models.network import TaggerNetwork
from cocotag.models.weights import imagenet_classes
from cocotag.training.loop.loss import shares
from cocotag.training.loop.runtime import precision, say


def make_data(config: TrainConfig) -> TaggingData:
    """The images of a run, found able to be learned from.

    Raises:
        DataError: Naming everything that is wrong with them.
    """
    data = open_data(config)
    faults = [*data.faults(), *_val_faults(config, data)]
    processes = config.devices * config.nodes
    if len(data.tune) < processes:
        faults.append(
            f"There are {len(data.tune)} images to choose on, fewer than {processes} devices. Raise data.tune_fraction."
        )
    if faults:
        raise DataError(" ".join(faults))
    return data


def open_data(config: TrainConfig) -> TaggingData:
    """The images of a run, whatever is wrong with them.

    Raises:
        DataError: A split is missing or unreadable.
    """
    return TaggingData(config.data, image_size=config.model.image_size, batch_size=config.batch_size, seed=config.seed)


def check_all(config: TrainConfig) -> None:
    """Refuse a config that cannot work, with everything that is wrong with it, its data and this machine at once.

    Raises:
        ConfigError: Faults of the config, with others.
        DataError: Faults of the data alone.
    """
    found = problems(config)
    try:
        precision(config)
    except (ConfigError, KeyError) as error:
        found += [str(error).rstrip(".")] if isinstance(error, ConfigError) else []
    if found:
        try:
            if not any(problem.startswith("data.") for problem in found):
                make_data(config)
        except CocotagError as error:
            found.append(str(error).rstrip("."))
        raise ConfigError("The config cannot work: " + "; ".join(found) + ".")


def val_table(config: TrainConfig, data: TaggingData) -> AnnotationTable | None:
    """What is reported on in the end; read before hours are spent, in case it is not there."""
    if config.data.val_split is None:
        return None
    return data.of_root(config.data.val_split)


def _val_faults(config: TrainConfig, data: TaggingData) -> Iterator[str]:
    """What is wrong with the split that is reported on, and with tags where the loss takes it that there is one an image."""
    try:
        val = val_table(config, data)
    except DataError as error:
        yield str(error)
        val = None
    if val is not None:
        if not set(val.vocabulary.names) & set(data.vocabulary.names):
            yield f"data.val_split {config.data.val_split!r} has none of the classes that are learned. Give another."
        elif not val.positives.any():
            yield f"data.val_split {config.data.val_split!r} has no positive of any class to report on. Give another."
        try:
            check_files(val, [(data.root, str(config.data.val_split))])
        except DataError as error:
            yield str(error)
    for table in (data.train, data.tune, val) if config.loss.exclusive else ():
        tags = np.where(table.known, table.targets, False).sum(axis=1) if table is not None else np.array([], int)
        wrong = np.flatnonzero(tags != 1)
        if table is not None and len(wrong):
            yield (
                f"loss.name is {config.loss.name}, for which every image needs exactly one tag, but {table.path(wrong[0])} has "
                f"{tags[wrong[0]]}, and so on for {len(wrong)} of {len(table)} images. Use bce, or correct the annotations."
            )


def make_network(config: TrainConfig, data: TaggingData) -> TaggerNetwork:
    """The network of a run as it begins.

    Raises:
        ConfigError: Weights are not to be had, or not this network's.
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
