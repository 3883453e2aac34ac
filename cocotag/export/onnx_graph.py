"""A torch network -> an ONNX graph, and the differences between their probabilities."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cocotag.bundle import open_session
from cocotag.errors import BundleError
from cocotag.models.network import TaggerNetwork

if TYPE_CHECKING:
    import onnx


OPSETS = range(18, 24)
"""Versions of ONNX's operator set that a network can be exported in. torch's operators are written in the lowest."""


class ProbabilityNetwork(nn.Module):
    """A network with the sigmoid or softmax that a bundle contains."""

    def __init__(self, network: TaggerNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Uint8 RGB ``(N, S, S, 3)`` -> probs float32 ``(N, C)``."""
        return self.network.probs(self.network(images))


def _giving_probs(network: nn.Module) -> nn.Module:
    """A network that returns probabilities, in evaluation mode; a `TaggerNetwork` gets its sigmoid or softmax."""
    return (ProbabilityNetwork(network) if isinstance(network, TaggerNetwork) else network).eval()


def to_onnx(network: nn.Module, image_size: int, opset: int = OPSETS[0]) -> onnx.ModelProto:
    """The graph ``images -> probs`` of a network in evaluation mode, with a dynamic batch size.

    Its file format (IR version) is the oldest that has this operator set, so that older runtimes load it.

    Args:
        network: A `TaggerNetwork`, or any module that maps uint8 RGB ``(N, S, S, 3)`` to probs ``(N, C)``.
        image_size: Side of the input, pixels.
        opset: Version of the operator set, one of `OPSETS`.

    Raises:
        BundleError: The exporter returned no graph.
    """
    model = _simplified(_giving_probs(network))
    example = torch.zeros(2, image_size, image_size, 3, dtype=torch.uint8, device=next(network.parameters()).device)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        # The exporter prints its progress to stdout, which is for results.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                opset_version=opset,
                external_data=False,
                input_names=["images"],
                output_names=["probs"],
                dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=4096)}},
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    if program is None:
        raise BundleError(
            f"torch {torch.__version__} exported no graph. Install a version of onnxscript that fits it.", code="export_failed"
        )
    proto: onnx.ModelProto = program.model_proto
    set_oldest_format(proto)
    return proto


def _simplified(network: nn.Module) -> nn.Module:
    """A copy with each batch norm folded into its convolution, as the exporter would do: it needs a third of the time."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if getattr(module, "inplace", False) is True:
            setattr(module, "inplace", False)  # noqa: B010 (a module's attributes have no types)
        if isinstance(module, nn.Sequential):
            for number, (one, following) in enumerate(pairwise(module)):
                if isinstance(one, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                    module[number], module[number + 1] = fuse_conv_bn_eval(one, following), nn.Identity()
    return copied


def set_oldest_format(model: onnx.ModelProto) -> None:
    """Declare the oldest IR version that has the model's operators, and no operator set without a node.

    A runtime refuses a newer version than it knows. ONNX Runtime's quantiser declares operator sets that it does not use.
    """
    import onnx

    used = {node.domain for node in model.graph.node}
    sets = [one for one in model.opset_import if one.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(sets)
    model.ir_version = onnx.helper.find_min_ir_version_for([one for one in sets if not one.domain])


def differences(network: nn.Module, bundle: Path | str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Absolute differences in probability between a bundle and its network, ``(N, C)``.

    Args:
        network: As for `to_onnx`; torch runs it in float32 on its device.
        bundle: The bundle, which ONNX Runtime runs.
        images: uint8 ``(N, S, S, 3)`` RGB.
    """
    ours, theirs = both_probs(network, bundle, images)
    absolute: NDArray[np.float32] = np.abs(ours - theirs)
    return absolute


def both_probs(
    network: nn.Module, bundle: Path | str, images: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The network's probabilities and the bundle's, each ``(N, C)``; arguments as for `differences`."""
    model = _giving_probs(network)
    device = next(network.parameters()).device
    session = open_session(bundle)
    ours, theirs = [], []
    for start in range(0, len(images), 16):
        part = images[start : start + 16]
        with torch.no_grad():
            ours.append(model(torch.from_numpy(part).to(device)).cpu().numpy())
        theirs.append(session.run(["probs"], {"images": part})[0])
    return np.concatenate(ours), np.concatenate(theirs)
