"""Calibrated scores: a scale and a shift of the logits of each class, inside a bundle's graph. Does not depend on torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cocotag.bundle import BundleMetadata
from cocotag.errors import BundleError, DataError
from cocotag.metrics.recalibration import HeldOutLoss, fit_labels, held_out_loss, logit, sigmoid

if TYPE_CHECKING:
    import onnx

ENOUGH_IMAGES = 32
"""Fewer images are not cross-validated."""

MARGIN = 2
"""Standard errors by which the log loss on held-out images must fall."""

SCALE, SHIFT = "score_scale", "score_shift"
"""Names of the two constants in the graph, ``(C,)`` float32 each."""

_SIGMOID_INPUT = "calibrated_logits"


@dataclass(frozen=True, eq=False)
class ScoreCalibration:
    """A correction of the logits: ``scale * logits + shift``.

    Attributes:
        scale: Above 0, ``(C,)``.
        shift: Logits, ``(C,)``.
        loss: The log loss that justifies it.
        images: Number of images it was fitted to.
    """

    scale: NDArray[np.float32]
    shift: NDArray[np.float32]
    loss: HeldOutLoss
    images: int

    def corrected(self, probs: ArrayLike) -> NDArray[np.float32]:
        """Probabilities ``(..., C)`` after the correction; 0 and 1 stay."""
        probs = np.asarray(probs, np.float32)
        inside = (probs > 0) & (probs < 1)
        return np.where(inside, sigmoid(self.scale * logit(probs) + self.shift), probs).astype(np.float32)

    def in_metadata(self, metadata: BundleMetadata, split: str) -> BundleMetadata:
        """Metadata with this calibration on record, and each threshold moved as the scores are, so that tags stay the same."""
        for_precision = {
            wish: {**one, "thresholds": self.corrected(one["thresholds"]).tolist()}
            for wish, one in metadata.for_precision.items()
        }
        moved = metadata.with_thresholds(self.corrected(metadata.thresholds), metadata.chosen_by, for_precision)
        return replace(moved, calibrated_scores=self.record(split))

    def record(self, split: str) -> dict[str, Any]:
        """The record in a bundle: the images, and the log loss on held-out images in nats per known label."""
        return {
            "split": split,
            "images": self.images,
            "log_loss_before": self.loss.before,
            "log_loss_after": self.loss.after,
            "standard_error": self.loss.error,
        }


def calibrate_scores(probs: ArrayLike, targets: ArrayLike, known: ArrayLike) -> ScoreCalibration:
    """Fit the correction by `cocotag.metrics.recalibration`, if it is worth it.

    A class that lacks labels or negatives gets the correction that all classes have in common.

    Args:
        probs: A bundle's probabilities, ``(N, C)``.
        targets: Multi-hot, ``(N, C)`` bool.
        known: False where the label is unknown, ``(N, C)`` bool.

    Raises:
        DataError: There are fewer than `ENOUGH_IMAGES` images, or the log loss on held-out images does not fall by `MARGIN`
            standard errors.
    """
    targets, known = np.asarray(targets, bool), np.asarray(known, bool)
    images, classes = targets.shape
    if images < ENOUGH_IMAGES:
        raise DataError(
            f"Scores cannot be calibrated on {images} images: at least {ENOUGH_IMAGES} are needed. Nothing was written. "
            "Give more labelled images, or leave out --calibrate-scores.",
            code="too_few_images",
        )
    judged = known & (known & ~targets).any(axis=0)  # if only positives are known, the best score would be 1 for every image
    x = logit(probs)
    loss = held_out_loss(x, targets, judged)
    if not loss.before - loss.after >= MARGIN * loss.error > 0:
        raise DataError(
            f"Calibrating the scores gains too little. On held-out images the log loss goes from {loss.before:.4f} to "
            f"{loss.after:.4f} nats per label, with a standard error of {loss.error:.4f}. It must fall by {MARGIN} standard "
            "errors. Nothing was written. Leave out --calibrate-scores to tune only the thresholds.",
            code="calibration_gains_too_little",
        )
    model = fit_labels(x, targets, judged)
    scale = np.full(classes, model.slope, np.float32)
    return ScoreCalibration(scale, (model.common + model.shift).astype(np.float32), loss, images)


def last_sigmoid(model: onnx.ModelProto, path: Path) -> onnx.NodeProto:
    """The node of a bundle's graph that makes its probabilities from logits.

    Raises:
        BundleError: The graph ends in another operator, as that of exclusive classes or a detector does.
    """
    last: onnx.NodeProto | None = next((node for node in model.graph.node if "probs" in node.output), None)
    if last is None or last.op_type != "Sigmoid":
        found = "no known operator" if last is None else last.op_type
        raise BundleError(
            f"{path} makes its scores by {found}, not by Sigmoid, so they have no logits to calibrate. "
            "Leave out --calibrate-scores to tune only the thresholds.",
            code="no_final_sigmoid",
        )
    return last


def put_into(model: onnx.ModelProto, calibration: ScoreCalibration, path: Path) -> None:
    """Scale and shift the logits in a bundle's graph; a correction that is there already is combined with the new one.

    Raises:
        BundleError: As `last_sigmoid`.
    """
    from onnx import helper, numpy_helper

    sigmoid_node, graph = last_sigmoid(model, path), model.graph
    scale, shift = calibration.scale, calibration.shift
    constants = {constant.name: constant for constant in graph.initializer if constant.name in (SCALE, SHIFT)}
    if sigmoid_node.input[0] == _SIGMOID_INPUT and len(constants) == 2:
        before = {name: numpy_helper.to_array(constant) for name, constant in constants.items()}
        constants[SCALE].CopyFrom(numpy_helper.from_array(scale * before[SCALE], SCALE))
        constants[SHIFT].CopyFrom(numpy_helper.from_array(scale * before[SHIFT] + shift, SHIFT))
        return
    place = list(graph.node).index(sigmoid_node)
    scaled = helper.make_node("Mul", [sigmoid_node.input[0], SCALE], ["scaled_logits"], name="scale_scores")
    shifted = helper.make_node("Add", ["scaled_logits", SHIFT], [_SIGMOID_INPUT], name="shift_scores")
    sigmoid_node.input[0] = _SIGMOID_INPUT
    graph.node.insert(place, shifted)
    graph.node.insert(place, scaled)
    graph.initializer.extend([numpy_helper.from_array(scale, SCALE), numpy_helper.from_array(shift, SHIFT)])
