"""A checkpoint of a training run -> its network and the metadata of its bundle."""

from __future__ import annotations

import platform
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import cocotag
from cocotag.bundle import BundleMetadata
from cocotag.config import TrainConfig
from cocotag.data.splits import Splits
from cocotag.errors import BundleError, DataError
from cocotag.labels import Vocabulary
from cocotag.models.build import build_network
from cocotag.models.network import TaggerNetwork
from cocotag.models.state_files import NotTensorsError, read_tensors


def _read_checkpoint(path: Path | str) -> dict[str, Any]:
    try:
        state = read_tensors(Path(path))
    except NotTensorsError as error:
        raise BundleError(
            f"{path} is not a checkpoint ({error}). Give RUN_DIR/checkpoints/best.ckpt.", code="not_a_checkpoint"
        ) from None
    if not isinstance(state.get("cocotag"), dict):
        raise BundleError(
            f"{path} is not a checkpoint of cocotag. Give RUN_DIR/checkpoints/best.ckpt.", code="not_a_checkpoint"
        )
    return state


def load_checkpoint(path: Path | str) -> tuple[TaggerNetwork, BundleMetadata]:
    """The network of a checkpoint, in evaluation mode, and the metadata of its bundle; thresholds are 0.5.

    Raises:
        BundleError: Missing, unreadable, or not a cocotag checkpoint.
    """
    state = _read_checkpoint(path)
    try:
        return _from_facts(state, state["cocotag"])
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise BundleError(
            f"{path} is a damaged checkpoint, or one of another version ({str(error)[:120]!r}). Give another file.",
            code="checkpoint_damaged",
        ) from None


def versions() -> dict[str, str]:
    """The versions of the software that writes a bundle, and the time."""
    return {
        "cocotag": cocotag.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _from_facts(state: dict[str, Any], facts: dict[str, Any]) -> tuple[TaggerNetwork, BundleMetadata]:
    config = TrainConfig.from_json(facts["config"])
    vocabulary = Vocabulary.from_json(facts["vocabulary"])
    network = build_network(config.model, len(vocabulary), exclusive=config.loss.exclusive)
    prefix = "network."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in state["state_dict"].items() if k.startswith(prefix)})
    metadata = BundleMetadata(
        vocabulary=vocabulary,
        image_size=config.model.image_size,
        thresholds=(0.5,) * len(vocabulary),
        positives=tuple(facts["positives"]),
        train_images=facts["train_images"],
        tuned_on=facts["tuned_on"],
        config=_without_folders(config).to_json(),
        made_by={**versions(), "epoch": state["epoch"]},
    )
    return network.eval(), metadata


def _without_folders(config: TrainConfig) -> TrainConfig:
    """The config with file names instead of paths: a bundle may be published, and the user's folders are private."""
    root, weights = config.data.root, config.model.weights
    sources = [
        replace(source, root=Path(source.root).name, aliases=source.aliases and Path(source.aliases).name)
        for source in config.data.sources
    ]
    return replace(
        config,
        data=replace(config.data, root=root and Path(root).name, sources=sources),
        model=replace(config.model, weights=weights and Path(weights).name),
    )


def checkpoint_facts(path: Path | str) -> dict[str, Any]:
    """What a checkpoint records about its training, as plain values; its config has the original paths.

    Raises:
        BundleError: As `load_checkpoint`.
    """
    facts: dict[str, Any] = _read_checkpoint(path)["cocotag"]
    return facts


def facts_of(config: TrainConfig, splits: Splits) -> dict[str, Any]:
    """What a bundle records about training, as plain values."""
    return {
        "config": config.to_json(),
        "vocabulary": splits.vocabulary.to_json(),
        "positives": splits.train.positives.tolist(),
        "train_images": len(splits.train),
        "tuned_on": splits.tuned_on(),
    }


def check_same(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse data that differ from those of the run: other images would be held out, some of them seen in training.

    Raises:
        DataError: The data differ; the message names the difference.
    """
    if [category["name"] for category in before["vocabulary"]] != [category["name"] for category in now["vocabulary"]]:
        what = f"the {len(now['vocabulary'])} classes are not the run's {len(before['vocabulary'])} in the same order"
    elif any(before["tuned_on"].get(key) != now["tuned_on"].get(key) for key in ("sha256", "train_split_sha256")):
        images = [part["train_images"] + part["tuned_on"]["images"] for part in (now, before)]
        what = f"the {images[0]} images are not the run's {images[1]}"
    elif before["positives"] != now["positives"]:
        what = "some classes have other labels"
    else:
        return
    raise DataError(
        f"The data have changed since the run started: {what}. Restore the data, or start a new run.", code="data_changed"
    )
