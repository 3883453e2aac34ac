"""ModelConfig -> network with its weights. The only file that joins config and network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from cocotag.config import ModelConfig
from cocotag.errors import ConfigError
from cocotag.models.heads import LinearHead
from cocotag.models.mobilenet_v2 import InvertedResidual, MobileNetV2
from cocotag.models.network import TaggerNetwork


def build_network(config: ModelConfig, num_classes: int, *, pretrained: bool = True) -> TaggerNetwork:
    """Make the network: initialised, then the backbone's weights loaded where the config names some.

    Args:
        config: The model part of a training config.
        num_classes: Logits; the config's own ``num_classes`` must agree where it is set.
        pretrained: False leaves ``config.weights`` alone, for a checkpoint that is loaded afterwards.

    Raises:
        ConfigError: Classes disagree, or the weights are not there or do not fit.
    """
    if config.num_classes not in (None, num_classes):
        raise ConfigError(f"model.num_classes is {config.num_classes}, but the data have {num_classes} classes. Leave it out.")
    backbone = MobileNetV2(width=config.width, output_stride=config.output_stride)
    initialise(backbone)
    if pretrained and config.weights is not None:
        load_backbone(backbone, config.weights)
    head = LinearHead(backbone.out_channels, num_classes, dropout=config.dropout, prior=config.prior)
    return TaggerNetwork(backbone, head).to(memory_format=torch.channels_last)


def initialise(backbone: nn.Module) -> None:
    """He initialisation for convolutions, one and zero for the norms, zero for the last norm of a residual branch.

    He et al. 2015, https://arxiv.org/abs/1502.01852, by fan-out: the variance of the gradients stays level. Branches that
    start as nothing make the network a shallow one that deepens as it learns, Goyal et al. 2017, section 5.1,
    https://arxiv.org/abs/1706.02677: from scratch, a short training gets much further.
    """
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for module in backbone.modules():
        if isinstance(module, InvertedResidual) and module.residual:
            nn.init.zeros_(cast(nn.BatchNorm2d, module.conv[-1]).weight)


def load_backbone(backbone: nn.Module, weights: str) -> None:
    """Load torchvision's MobileNetV2 weights into a backbone; its ImageNet classifier is left out.

    Args:
        backbone: With torchvision's parameter names.
        weights: ``imagenet``, or the path of a state dict.

    Raises:
        ConfigError: Not to be had, not a state dict, or the first parameter that is missing or of another shape.
    """
    state = _fetch_imagenet() if weights == "imagenet" else _read_state_dict(Path(weights))
    wanted = backbone.state_dict()
    for name, tensor in wanted.items():
        if name not in state:
            raise ConfigError(
                f"model.weights: {weights} has no {name}, so it is not a state dict of torchvision's mobilenet_v2."
            )
        if state[name].shape != tensor.shape:
            found, need = tuple(state[name].shape), tuple(tensor.shape)
            raise ConfigError(
                f"model.weights: {name} of {weights} has shape {found}, the network needs {need}. Is the width right?"
            )
    backbone.load_state_dict({name: state[name] for name in wanted})


def _fetch_imagenet() -> dict[str, Tensor]:
    from torchvision.models import MobileNet_V2_Weights

    try:
        state: dict[str, Tensor] = MobileNet_V2_Weights.IMAGENET1K_V2.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, or a download cut short
        raise ConfigError(
            f"model.weights is imagenet, but torchvision could not fetch them ({error}). "
            "Download mobilenet_v2 weights elsewhere and give the file with --model.weights FILE."
        ) from None
    return state


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling what is no pickle can raise anything
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ConfigError(f"model.weights: {path} is not a state dict that torch can load safely ({reason}).") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(
            f"model.weights: {path} holds no state dict of tensors. Save one with torch.save(model.state_dict())."
        )
    return state
