"""A tiny real bundle, written with onnx.helper and no torch: mean colour -> linear -> sigmoid."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from cocotag.bundle import BundleMetadata, write_bundle
from cocotag.labels import COCO80, Vocabulary


def make_toy_bundle(path: Path, *, size: int = 64, vocabulary: Vocabulary = COCO80, seed: int = 0) -> Path:
    """Write a bundle whose probabilities depend on the image's mean colour, spread over (0, 1); thresholds are 0.5."""
    classes = len(vocabulary)
    rng = np.random.default_rng(seed)
    weights = {
        "scale": np.array(255, np.float32),
        "weight": rng.normal(0, 6, (3, classes)).astype(np.float32),
        "bias": rng.normal(-1, 1, classes).astype(np.float32),
        "axes": np.array([1, 2], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["cast"], to=TensorProto.FLOAT),
        # Averaged before it is scaled: sums of whole numbers are exact, so a score does not depend on its batch.
        helper.make_node("ReduceMean", ["cast", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "scale"], ["pooled"]),
        helper.make_node("MatMul", ["pooled", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probs"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", size, size, 3])],
        [helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    metadata = BundleMetadata(
        vocabulary=vocabulary,
        image_size=size,
        thresholds=(0.5,) * classes,
        positives=(10,) * classes,
        train_images=100,
        made_by={"program": "toy"},
    )
    write_bundle(model, metadata, path)
    return path
