"""Weights from elsewhere -> a network: torchvision's, by name or from a file, or a cocotag checkpoint's. And back."""

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

State = dict[str, Tensor]
KEY = "model.weights"  # what names them in a config


@dataclass(frozen=True)
class Loaded:
    """What weights gave to a network.

    Attributes:
        source: File, or ``imagenet``.
        loaded: Parameters and buffers of the network that were set, counted; those of `classes` too.
        skipped: Names in the file that the network has no use for.
        missing: Names in the network that keep their initial values.
        classes: Names of the classes whose part of the head was carried over; None where the file has none to carry.
        classifier: Whether that was made of an ImageNet classifier's.
    """

    source: str
    loaded: int
    skipped: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    classes: list[str] | None = None
    classifier: bool = False

    def to_text(self) -> str:
        """For the screen: one line."""
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
"""How strongly an ImageNet classifier speaks through a head that starts from it. A classifier of one class an image is surer of
itself than a tagger may be; on folds of training photographs this was about the best factor (reports/study.md)."""


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
    """Load what a file, or torchvision, has for this network.

    - torchvision's state dict: the backbone, and MobileNetV3's hidden layer. Of its ImageNet classifier a linear or CSRA head
      takes what it knows of the network's classes: the mean of the rows of all that belong to one (a class's many breeds),
      against the mean of all rows, as the first weights of that class.
    - a cocotag checkpoint: the backbone, and of the head what does not depend on the classes if it is the same head; classes
      that both have, by name, whatever its case, keep their weights.

    Args:
        network: It is changed only if everything fits.
        weights: ``imagenet``, or the path of a file.
        architecture: Name of the network's backbone, as in the config.
        classes: The names of the network's classes; without them no class is carried over.
        imagenet: Index of the network's class that each of ImageNet's is, -1 where it is none, ``(1000,)``; without it nothing
            of the classifier is carried over.

    Raises:
        ConfigError: Not to be had, not a state dict, or the first parameter that is missing or of another shape.
    """
    state = _fetch_imagenet(architecture) if weights == "imagenet" else _read(KEY, Path(weights))
    if isinstance(state.get("cocotag"), dict):
        return _load_checkpoint(network, weights, state, classes)
    loaded = _load_torchvision(network, weights, _tensors(KEY, weights, state), architecture)
    if classes is None or imagenet is None:
        return loaded
    carried = [classes[index] for index in _carry_classifier(network, state, imagenet)]
    return replace(loaded, classes=carried, classifier=True)


def to_torchvision(network: TaggerNetwork) -> State:
    """The state dict of torchvision's network with the same weights.

    Raises:
        ValueError: The head is not linear; torchvision has no other.
    """
    if not isinstance(network.head, LinearHead):
        raise ValueError(f"torchvision's networks have a linear head, this one has {type(network.head).__name__}")
    names = _torchvision_head(network)
    return {_torchvision_name(name, names): value for name, value in network.state_dict().items()}


def from_torchvision(network: TaggerNetwork, state: State) -> None:
    """Load all of torchvision's state dict, classifier included: the reverse of `to_torchvision`.

    Raises:
        RuntimeError: Something is missing, too much, or of another shape (torch's own message).
    """
    names = {_torchvision_name(name, _torchvision_head(network)): name for name in network.state_dict()}
    network.load_state_dict({names.get(name, name): value for name, value in state.items()})


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
                f"model.weights: {source} has no {theirs}, so it is not a state dict of torchvision's {architecture}."
            )
        check_shape(KEY, source, theirs, state[theirs], own[name])
    network.load_state_dict({name: state[theirs] for name, theirs in wanted.items()}, strict=False)
    used = set(wanted.values())
    return Loaded(
        source, len(wanted), [name for name in state if name not in used], [name for name in own if name not in wanted]
    )


def _carry_classifier(network: TaggerNetwork, state: State, imagenet: NDArray[np.int64]) -> list[int]:
    """Start a head from an ImageNet classifier; the indices of the classes that it knows something of."""
    head = network.head
    rows = state.get(_torchvision_head(network).get("head.linear.weight", ""))
    weight = head.linear.weight if isinstance(head, LinearHead) else head.weight if isinstance(head, CSRAHead) else None
    if rows is None or weight is None or rows.shape != (len(imagenet), weight.shape[-1]):
        return []  # no classifier, a head of another kind, or one that reads other features than the classifier did
    rows = rows.float() - rows.float().mean(dim=0)
    found = sorted(set(imagenet[imagenet >= 0].tolist()))
    heads = weight.shape[0] if weight.ndim == 3 else 1  # csra adds up the scores of its heads
    with torch.no_grad():
        for index in found:
            weight[..., index, :] = CARRIED / heads * rows[torch.from_numpy(imagenet == index)].mean(dim=0)
    return found


def _load_checkpoint(network: TaggerNetwork, source: str, file: dict[str, Any], classes: Sequence[str] | None) -> Loaded:
    prefix = "network."
    try:
        stored = {key.removeprefix(prefix): value for key, value in file["state_dict"].items() if key.startswith(prefix)}
        names = [str(category["name"]) for category in file["cocotag"]["vocabulary"]]
        sound = all(isinstance(value, Tensor) for value in stored.values())
    except (KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise ConfigError(f"model.weights: {source} is a damaged checkpoint, or one of another version.")
    own = network.state_dict()
    axes: dict[str, int] = {f"head.{name}": axis for name, axis in cast(Any, network.head).class_axes.items()}
    body = {name for name in own if name.startswith("backbone.")}
    for name in own:
        if name in body and name not in stored:
            raise ConfigError(f"model.weights: {source} has no {name}, so it is of another network.")
        if name in body:
            check_shape(KEY, source, name, stored[name], own[name])
    made = {name: stored[name] for name in body}
    # Of the head: whole parameters where they fit, and of those that lie along the classes only the classes that both have.
    same_head = {name for name in stored if name.startswith("head.")} == {name for name in own if name.startswith("head.")}
    fits = same_head and all(_fits(stored[name], own[name], axes.get(name)) for name in own if name.startswith("head."))
    places = _same_classes(list(classes or ()), names) if fits and axes else []
    shared = [list(classes or ())[here] for here, _ in places]
    if fits and (axes or list(classes or ()) == names):
        made |= {name: stored[name] for name in own if name.startswith("head.") and name not in axes}
        for name, axis in axes.items() if shared else ():
            value = own[name].clone()
            for here, there in places:
                value.select(axis, here).copy_(stored[name].select(axis, there))
            made[name] = value
    network.load_state_dict(made, strict=False)
    skipped = [name for name in stored if name not in made]
    return Loaded(source, len(made), skipped, [name for name in own if name not in made], shared)


def _same_classes(here: list[str], there: list[str]) -> list[tuple[int, int]]:
    """Index here and there of the classes that both have: by name, else by what no other there is called but for its case."""
    exact = {name: place for place, name in reversed(list(enumerate(there)))}
    times = Counter(map(fold, there))
    loose = {fold(name): place for place, name in enumerate(there) if times[fold(name)] == 1}
    found = [(place, exact.get(name, loose.get(fold(name)))) for place, name in enumerate(here)]
    return [(place, other) for place, other in found if other is not None]


def _fits(stored: Tensor, own: Tensor, axis: int | None) -> bool:
    """Whether the shapes agree, along the classes' axis apart."""
    if stored.ndim != own.ndim:
        return False
    return all(a == b or place == axis for place, (a, b) in enumerate(zip(stored.shape, own.shape, strict=True)))


def check_shape(key: str, source: str, name: str, stored: Tensor, own: Tensor) -> None:
    """Refuse a tensor of another shape than the network's.

    Raises:
        ConfigError: With both shapes.
    """
    if stored.shape != own.shape:
        found, need = tuple(stored.shape), tuple(own.shape)
        raise ConfigError(f"{key}: {name} of {source} has shape {found}, the network needs {need}. Is it of this network?")


def _fetch_imagenet(architecture: str) -> dict[str, Any]:
    from torchvision import models

    weights = backbone_row(architecture).torchvision_weights
    if weights is None:
        raise ConfigError(f"model.weights is imagenet, but torchvision has none of {architecture}. Give a file, or null.")
    try:
        state: State = getattr(models, weights).DEFAULT.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, or a download cut short
        raise ConfigError(
            f"model.weights is imagenet, but torchvision could not fetch them ({error}). "
            f"Download {architecture} weights elsewhere and give the file with --model.weights FILE."
        ) from None
    return cast(dict[str, Any], state)


def read_weights(path: Path, key: str) -> State:
    """A state dict from a file.

    Args:
        path: Of the file.
        key: What named it, for the message.

    Raises:
        ConfigError: It cannot be loaded safely, or is something else.
    """
    return _tensors(key, str(path), _read(key, path))


def _read(key: str, path: Path) -> dict[str, Any]:
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling what is no pickle can raise anything
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ConfigError(f"{key}: {path} is not a state dict that torch can load safely ({reason}).") from None
    return state if isinstance(state, dict) else {"": state}


def _tensors(key: str, source: str, state: dict[str, Any]) -> State:
    if not all(isinstance(value, Tensor) for value in state.values()) or "" in state:
        raise ConfigError(f"{key}: {source} holds no state dict of tensors. Save one with torch.save(model.state_dict()).")
    return state
