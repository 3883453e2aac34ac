"""A torch network -> an ONNX graph, and how far their probabilities differ."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cocotag.bundle import open_session
from cocotag.errors import BundleError
from cocotag.models.network import TaggerNetwork

if TYPE_CHECKING:
    import onnx


class ProbabilityNetwork(nn.Module):
    """A network with the sigmoid or softmax that a bundle carries inside."""

    def __init__(self, network: TaggerNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Uint8 RGB ``(N, S, S, 3)`` -> probs float32 ``(N, C)``."""
        return self.network.probs(self.network(images))


def _giving_probs(network: nn.Module) -> nn.Module:
    """In evaluation mode: what gives logits with its last step, what gives probabilities as it is."""
    return (ProbabilityNetwork(network) if isinstance(network, TaggerNetwork) else network).eval()


def to_onnx(network: nn.Module, image_size: int) -> onnx.ModelProto:
    """The graph ``images -> probs`` with a free batch size, of the network in evaluation mode.

    Args:
        network: A `TaggerNetwork`, or any that takes uint8 RGB ``(N, S, S, 3)`` and gives probs ``(N, C)`` itself.
        image_size: Side of the input, pixels.

    Raises:
        BundleError: The exporter gave nothing.
    """
    model = _giving_probs(network)
    example = torch.zeros(2, image_size, image_size, 3, dtype=torch.uint8, device=next(network.parameters()).device)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        # The exporter tells its progress on stdout, which is for results.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                external_data=False,
                input_names=["images"],
                output_names=["probs"],
                dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=4096)}},
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    if program is None:
        raise BundleError("torch's exporter gave no program. Is the installed onnxscript one that this torch knows?")
    proto: onnx.ModelProto = program.model_proto
    return proto


def differences(network: nn.Module, bundle: Path | str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Absolute differences in probability between a bundle and the network it was made from, ``(N, C)``.

    Args:
        network: Torch's side, as for `to_onnx`; computed in float32 on its device.
        bundle: ONNX Runtime's side.
        images: uint8 ``(N, S, S, 3)`` RGB.
    """
    ours, theirs = both_probs(network, bundle, images)
    made: NDArray[np.float32] = np.abs(ours - theirs)
    return made


def both_probs(
    network: nn.Module, bundle: Path | str, images: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The network's probabilities and the bundle's, ``(N, C)`` each; arguments as for `differences`."""
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
