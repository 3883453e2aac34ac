"""An ONNX graph -> the same graph with its convolutions in 8-bit integers. Does not depend on torch."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

CALIBRATION_IMAGES = 128
"""Enough calibration images to estimate the range of every feature; more change little and take longer."""

_BATCH = 4


def quantize_convolutions(model: onnx.ModelProto, images: NDArray[np.uint8]) -> onnx.ModelProto:
    """A graph with its convolutions quantised statically to 8 bits (Jacob et al. 2018, https://arxiv.org/abs/1712.05877).

    Weights are symmetric with one scale per channel, which depthwise convolutions need (Krishnamoorthi 2018,
    https://arxiv.org/abs/1806.08342). Each feature map has one range, measured on ``images``. Only convolutions and the ReLU6
    after them become integers: with the whole graph in 8 bits the sigmoid would output about 150 distinct probabilities. The
    first convolution stays in float32: with three input channels it is slow in integers, and so is normalising images for it in
    their channel order.

    Fast on CPUs that multiply 8-bit integers in one instruction (VNNI: Intel since about 2019, AMD since Zen 4; ARM's dot
    product). Older x86 processors add products in 16 bits, where large products saturate: check the difference there.

    Args:
        model: ``images`` uint8 ``(N, S, S, 3)`` -> ``probs``, float32 inside. It is not changed.
        images: Calibration images, ``(N, S, S, 3)``; they should be like those to tag.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Batches(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
        def __init__(self) -> None:
            self.parts: Iterator[NDArray[np.uint8]] = (images[i : i + _BATCH] for i in range(0, len(images), _BATCH))

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            part = next(self.parts, None)
            return None if part is None else {"images": part}

    with tempfile.TemporaryDirectory() as folder, _warnings_off():
        plain, folded, quantized = (Path(folder) / f"{name}.onnx" for name in ("plain", "folded", "quantized"))
        onnx.save_model(model, str(plain))
        quant_pre_process(plain, folded, skip_symbolic_shape=True)  # folds batch norms into the convolutions before them
        quantize_static(
            folded,
            quantized,
            Batches(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Clip"],
            nodes_to_exclude=_first_convolution(onnx.load_model(str(folded))),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load_model(str(quantized))


def _first_convolution(model: onnx.ModelProto) -> list[str]:
    """The names of the first convolution in graph order, and of the ReLU6 after it."""
    first = next((node for node in model.graph.node if node.op_type == "Conv"), None)
    if first is None:
        return []
    following = [node.name for node in model.graph.node if node.op_type == "Clip" and node.input[0] in first.output]
    return [first.name, *following]


@contextmanager
def _warnings_off() -> Iterator[None]:
    """Silence warnings: the quantiser asks on the root logger for a step that was done already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
