"""Load weights into a network: torchvision's, by name or from a file, or those of a cocotag checkpoint. And export them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cocotag.backbones import backbone_row
from cocotag.errors import ConfigError
from cocotag.labels import fold
from cocotag.models.heads import CSRAHead, LinearHead
from cocotag.models.network import Backbone, TaggerNetwork
from cocotag.models.state_files import NotTensorsError, State, read_tensors, state_of

KEY = "model.weights"  # the field of the config that names the weights


@dataclass(frozen=True)
class Loaded:
    """A record of loading weights into a network.

    Attributes:
        source: File, or ``imagenet``.
        loaded: Number of parameters and buffers of the network that were set, including those of `classes`.
        skipped: Names in the file that the network does not use.
        missing: Names in the network that keep their initial values.
        classes: Names of the classes whose part of the head was copied; None if the file has no classes to copy.
        classifier: Whether these parts come from an ImageNet classifier.
    """

    source: str
    loaded: int
    skipped: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    classes: list[str] | None = None
    classifier: bool = False

    def to_text(self) -> str:
        """One line for the terminal."""
        parts = [f"{self.loaded} tensors loaded"]
        for what, names in (("skipped", self.skipped), ("new", self.missing)):
            if names:
                parts.append(f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
        if self.classes is not None:
            parts.append(
                f"{len(self.classes)} classes {'start from its classifier' if self.classifier else 'keep their weights'}"
            )
        return f"Weights from {self.source}: {'; '.join(parts)}"


CARRIED = 0.75
"""Factor on the weights of an ImageNet classifier from which a head starts. A classifier with one class per image is more
confident than a tagger should be. On folds of training photographs this was about the best factor (reports/study.md)."""


def imagenet_classes() -> list[str]:
    """Names of the 1,000 classes of torchvision's weights, in their order."""
    from torchvision.models import MobileNet_V2_Weights

    return list(MobileNet_V2_Weights.DEFAULT.meta["categories"])


def load_weights(
    network: TaggerNetwork,
    weights: str,
    *,
    architecture: str,
    classes: Sequence[str] | None = None,
    imagenet: NDArray[np.int64] | None = None,
) -> Loaded:
    """Load weights from a file, or from torchvision, into this network.

    - torchvision's state dict, written by torch.save or as safetensors, also inside a checkpoint under ``state_dict``,
      ``model_state_dict`` or ``model``: the backbone, and MobileNetV3's hidden layer. A linear or CSRA head also starts from
      the ImageNet classifier. The first weights of a class are the mean of the rows of all ImageNet classes that belong to it
      (the many breeds of dogs), minus the mean of all rows.
    - a cocotag checkpoint: the backbone, and, if the head is the same, the parameters of the head without a class axis.
      Classes with the same name in both, whatever its case, keep their weights.

    Args:
        network: The network; it is changed only if everything fits.
        weights: ``imagenet``, or the path of a file.
        architecture: Name of the network's backbone, as in the config.
        classes: Names of the network's classes; without them the parts of classes are not copied.
        imagenet: For each ImageNet class the index of the network's class that it belongs to, -1 for none, ``(1000,)``;
            without it the classifier is not used.

    Raises:
        ConfigError: The weights cannot be downloaded or are not a state dict, or a parameter is missing or has another shape;
            the message names the first.
    """
    state = _fetch_imagenet(architecture) if weights == "imagenet" else _read(KEY, Path(weights))
    if isinstance(state.get("cocotag"), dict):
        return _load_checkpoint(network, weights, state, classes)
    tensors = _tensors(KEY, weights, state)
    loaded = _load_torchvision(network, weights, tensors, architecture)
    if classes is None or imagenet is None:
        return loaded
    carried = [classes[index] for index in _carry_classifier(network, tensors, imagenet)]
    return replace(loaded, classes=carried, classifier=True)


def to_torchvision(network: TaggerNetwork) -> State:
    """The state dict of torchvision's network with the same weights.

    Raises:
        ValueError: The head is not linear; torchvision has only linear heads.
    """
    if not isinstance(network.head, LinearHead):
        raise ValueError(f"torchvision's networks have a linear head, this one has {type(network.head).__name__}")
    names = _torchvision_head(network)
    return {_torchvision_name(name, names): value for name, value in network.state_dict().items()}


def _torchvision_head(network: TaggerNetwork) -> Mapping[str, str]:
    return cast(Backbone, network.backbone).torchvision_head


def _torchvision_name(name: str, head: Mapping[str, str]) -> str:
    return head.get(name, name.removeprefix("backbone."))


def _load_torchvision(network: TaggerNetwork, source: str, state: State, architecture: str) -> Loaded:
    wanted = {f"backbone.{name}": name for name in network.backbone.state_dict()}
    if isinstance(network.head, LinearHead) and network.head.hidden is not None:
        wanted |= {name: theirs for name, theirs in _torchvision_head(network).items() if "hidden" in name}
    own = network.state_dict()
    for name, theirs in wanted.items():
        if theirs not in state:
            raise ConfigError(
                f"model.weights: {source} has no {theirs}, so it is not a state dict of torchvision's {architecture}.",
                code="weights_mismatch",
            )
        check_shape(KEY, source, theirs, state[theirs], own[name])
    network.load_state_dict({name: state[theirs] for name, theirs in wanted.items()}, strict=False)
    used = set(wanted.values())
    return Loaded(
        source, len(wanted), [name for name in state if name not in used], [name for name in own if name not in wanted]
    )


def _carry_classifier(network: TaggerNetwork, state: State, imagenet: NDArray[np.int64]) -> list[int]:
    """Start a head from an ImageNet classifier; return the indices of the classes that it covers."""
    head = network.head
    rows = state.get(_torchvision_head(network).get("head.linear.weight", ""))
    weight = head.linear.weight if isinstance(head, LinearHead) else head.weight if isinstance(head, CSRAHead) else None
    if rows is None or weight is None or rows.shape != (len(imagenet), weight.shape[-1]):
        return []  # no classifier, another kind of head, or a head on other features than the classifier's
    rows = rows.float() - rows.float().mean(dim=0)
    found = sorted(set(imagenet[imagenet >= 0].tolist()))
    heads = weight.shape[0] if weight.ndim == 3 else 1  # csra adds the scores of its heads
    with torch.no_grad():
        for index in found:
            weight[..., index, :] = CARRIED / heads * rows[torch.from_numpy(imagenet == index)].mean(dim=0)
    return found


def _load_checkpoint(network: TaggerNetwork, source: str, file: dict[str, Any], classes: Sequence[str] | None) -> Loaded:
    prefix = "network."
    try:
        stored = {key.removeprefix(prefix): value for key, value in file["state_dict"].items() if key.startswith(prefix)}
        names = [str(category["name"]) for category in file["cocotag"]["vocabulary"]]
        valid = all(isinstance(value, Tensor) for value in stored.values())
    except (KeyError, TypeError, AttributeError):
        valid = False
    if not valid:
        raise ConfigError(
            f"model.weights: {source} is a damaged checkpoint, or one of another version. Give another file.",
            code="checkpoint_damaged",
        )
    own = network.state_dict()
    axes: dict[str, int] = {f"head.{name}": axis for name, axis in cast(Any, network.head).class_axes.items()}
    body = {name for name in own if name.startswith("backbone.")}
    for name in own:
        if name in body and name not in stored:
            raise ConfigError(
                f"model.weights: {source} has no {name}, so it is a checkpoint of another network.", code="weights_mismatch"
            )
        if name in body:
            check_shape(KEY, source, name, stored[name], own[name])
    values = {name: stored[name] for name in body}
    # From the head: all parameters without a class axis if they fit, and of the others only the classes that both have.
    same_head = {name for name in stored if name.startswith("head.")} == {name for name in own if name.startswith("head.")}
    fits = same_head and all(_fits(stored[name], own[name], axes.get(name)) for name in own if name.startswith("head."))
    pairs = _same_classes(list(classes or ()), names) if fits and axes else []
    shared = [list(classes or ())[here] for here, _ in pairs]
    if fits and (axes or list(classes or ()) == names):
        values |= {name: stored[name] for name in own if name.startswith("head.") and name not in axes}
        for name, axis in axes.items() if shared else ():
            value = own[name].clone()
            for here, there in pairs:
                value.select(axis, here).copy_(stored[name].select(axis, there))
            values[name] = value
    network.load_state_dict(values, strict=False)
    skipped = [name for name in stored if name not in values]
    return Loaded(source, len(values), skipped, [name for name in own if name not in values], shared)


def _same_classes(here: list[str], there: list[str]) -> list[tuple[int, int]]:
    """Indices here and there of the classes that both have: by exact name, else by folded name if it is unique there."""
    exact = {name: index for index, name in reversed(list(enumerate(there)))}
    times = Counter(map(fold, there))
    loose = {fold(name): index for index, name in enumerate(there) if times[fold(name)] == 1}
    found = [(index, exact.get(name, loose.get(fold(name)))) for index, name in enumerate(here)]
    return [(index, other) for index, other in found if other is not None]


def _fits(stored: Tensor, own: Tensor, axis: int | None) -> bool:
    """Whether the shapes are equal in all axes but the class axis."""
    if stored.ndim != own.ndim:
        return False
    return all(a == b or index == axis for index, (a, b) in enumerate(zip(stored.shape, own.shape, strict=True)))


def check_shape(key: str, source: str, name: str, stored: Tensor, own: Tensor) -> None:
    """Check that a stored tensor has the shape of the network's own.

    Raises:
        ConfigError: The shapes differ; the message has both.
    """
    if stored.shape != own.shape:
        found, need = tuple(stored.shape), tuple(own.shape)
        raise ConfigError(
            f"{key}: {name} of {source} has shape {found}, but the network needs {need}. Give weights of the same network.",
            code="weights_mismatch",
        )


def _fetch_imagenet(architecture: str) -> dict[str, Any]:
    from torchvision import models

    weights = backbone_row(architecture).torchvision_weights
    if weights is None:
        raise ConfigError(
            f"model.weights is imagenet, but torchvision does not have weights of {architecture}. Give a file, or null.",
            code="weights_missing",
        )
    try:
        state: State = getattr(models, weights).DEFAULT.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, or a download cut short
        raise ConfigError(
            f"model.weights is imagenet, but torchvision could not download them ({error}). "
            f"Download {architecture} weights elsewhere and give the file with --model.weights FILE.",
            code="download_failed",
        ) from None
    return cast(dict[str, Any], state)


def read_weights(path: Path, key: str) -> State:
    """A state dict from a file.

    Args:
        path: The file.
        key: The flag or field that names it, for the message.

    Raises:
        ConfigError: The file cannot be loaded safely, or is not a state dict.
    """
    return _tensors(key, str(path), _read(key, path))


def _read(key: str, path: Path) -> dict[str, Any]:
    try:
        return read_tensors(path)
    except NotTensorsError as error:
        raise ConfigError(f"{key}: {path} cannot be loaded: {error}.", code="not_a_state_dict") from None


def _tensors(key: str, source: str, state: dict[str, Any]) -> State:
    tensors = state_of(state)
    if tensors is None:
        raise ConfigError(
            f"{key}: {source} does not contain a state dict of tensors. Save one with torch.save(model.state_dict()).",
            code="not_a_state_dict",
        )
    return tensors
