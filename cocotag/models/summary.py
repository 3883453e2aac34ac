"""A network's layers, parameters and multiply-adds, as torchinfo counts them."""

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
UNITS = {"(Units.MEGABYTES)": "(M)", "(Units.GIGABYTES)": "(G)", "(Units.TERABYTES)": "(T)"}  # of torchinfo's total


@dataclass(frozen=True)
class Layer:
    """One row: a module without parts.

    Attributes:
        name: Where it is in the network.
        kind: Its class.
        output: Shape of what it gives.
        parameters: Of its own.
        multiply_adds: For the batch.
    """

    name: str
    kind: str
    output: list[int]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """What a network takes, for one batch.

    Attributes:
        batch: Images.
        image_size: Their side, pixels.
        parameters: All of them.
        trainable_parameters: Of those, the ones that learn.
        multiply_adds: Of convolutions, linear layers and norms; of a head that is not linear those of its matrix products,
            which torchinfo does not see, or sees once for all places of the map.
        parameter_bytes: Memory of the parameters.
        activation_bytes: Memory of what the layers give, there and back.
        input_bytes: Of the images.
        layers: In order.
        table: For people: torchinfo's own.
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
    """Run the network once and count.

    Args:
        network: Any; it is left in evaluation mode.
        image_size: Side of the square input, pixels.
        batch: Images.
        depth: Of the table: how far into the modules it goes.
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
    for ugly, plain in UNITS.items():
        table = table.replace(ugly, plain)
    multiply_adds = found.total_mult_adds
    if not isinstance(network.head, LinearHead):
        head = _head(network, images)
        seen = [layer for layer in layers if layer.name.startswith("head.")]
        multiply_adds += head.multiply_adds - sum(layer.multiply_adds for layer in seen)
        layers = [*(layer for layer in layers if layer not in seen), head]
        lines = (
            f"Total mult-adds (M): {multiply_adds / 1e6:.2f}, the head's matrix products {head.multiply_adds / 1e6:.2f}"
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
    """The head as one row, by torch's counter of floating-point operations, of which a multiply-add is two."""
    with torch.no_grad():
        features = network.forward_features(images)
        # The counter does not know the CPU's fused attention, which is the same products.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            logits = network.head(features)
    parameters = sum(parameter.numel() for parameter in network.head.parameters())
    return Layer("head", type(network.head).__name__, list(logits.shape), parameters, counter.get_total_flops() // 2)
