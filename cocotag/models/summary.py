"""The layers, parameters and multiply-adds of a network, as counted by torchinfo."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torchinfo
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cocotag.models.heads import LinearHead
from cocotag.models.network import TaggerNetwork

COLUMNS = ("output_size", "kernel_size", "num_params", "mult_adds")
UNITS = {"(Units.MEGABYTES)": "(M)", "(Units.GIGABYTES)": "(G)", "(Units.TERABYTES)": "(T)"}  # in torchinfo's total


@dataclass(frozen=True)
class Layer:
    """One layer: a module without submodules.

    Attributes:
        name: Its path in the network.
        kind: Its class.
        output: Shape of its output.
        parameters: Number of its own parameters.
        multiply_adds: Multiply-adds for the batch.
    """

    name: str
    kind: str
    output: list[int]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """The cost of a network for one batch.

    Attributes:
        batch: Number of images.
        image_size: Side of the images, pixels.
        parameters: Number of parameters.
        trainable_parameters: Number of parameters that are trained.
        multiply_adds: Multiply-adds of convolutions, linear layers and norms. For a head that is not linear they are those of
            its matrix products, which torchinfo does not count, or counts only once for all positions of the map.
        parameter_bytes: Memory of the parameters.
        activation_bytes: Memory of the layers' outputs, forward and backward.
        input_bytes: Memory of the images.
        layers: The layers in order.
        table: torchinfo's table, for people.
    """

    batch: int
    image_size: int
    parameters: int
    trainable_parameters: int
    multiply_adds: int
    parameter_bytes: int
    activation_bytes: int
    input_bytes: int
    layers: list[Layer]
    table: str

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, without the table."""
        plain = asdict(self)
        del plain["table"]
        return plain


def summarise(network: TaggerNetwork, image_size: int, *, batch: int = 1, depth: int = 3) -> Summary:
    """Run the network once and count its cost.

    Args:
        network: Any network; it is left in evaluation mode.
        image_size: Side of the square input, pixels.
        batch: Number of images.
        depth: Levels of nested modules that the table shows.
    """
    images = torch.zeros(batch, image_size, image_size, 3, dtype=torch.uint8)
    found = torchinfo.summary(
        network, input_data=images, depth=depth, col_names=COLUMNS, row_settings=("var_names",), verbose=0, mode="eval"
    )
    path_of = {id(module): path for path, module in network.named_modules()}
    layers = [
        Layer(path_of[id(row.module)], row.class_name, list(row.output_size), row.leftover_params(), row.macs)
        for row in found.summary_list
        if row.is_leaf_layer
    ]
    table = str(found)
    for unit, symbol in UNITS.items():
        table = table.replace(unit, symbol)
    multiply_adds = found.total_mult_adds
    if not isinstance(network.head, LinearHead):
        head = _head(network, images)
        counted = [layer for layer in layers if layer.name.startswith("head.")]
        multiply_adds += head.multiply_adds - sum(layer.multiply_adds for layer in counted)
        layers = [*(layer for layer in layers if layer not in counted), head]
        lines = (
            f"Total mult-adds (M): {multiply_adds / 1e6:.2f}, of these the head's matrix products "
            f"{head.multiply_adds / 1e6:.2f}"
            if line.startswith("Total mult-adds")
            else line
            for line in table.splitlines()
        )
        table = "\n".join(lines)
    return Summary(
        batch=batch,
        image_size=image_size,
        parameters=found.total_params,
        trainable_parameters=found.trainable_params,
        multiply_adds=multiply_adds,
        parameter_bytes=found.total_param_bytes,
        activation_bytes=found.total_output_bytes,
        input_bytes=images.numel() * images.element_size(),
        layers=layers,
        table=table,
    )


def _head(network: TaggerNetwork, images: torch.Tensor) -> Layer:
    """The head as one layer, counted by torch's FLOP counter; a multiply-add is two operations."""
    with torch.no_grad():
        features = network.forward_features(images)
        # The counter does not support the CPU's fused attention, which computes the same products.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            logits = network.head(features)
    parameters = sum(parameter.numel() for parameter in network.head.parameters())
    return Layer("head", type(network.head).__name__, list(logits.shape), parameters, counter.get_total_flops() // 2)
