"""Checkpoint -> bundle, checked against the torch network that it was exported from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cocotag.bundle import BundleMetadata, write_bundle
from cocotag.data.annotations import AnnotationTable
from cocotag.errors import BundleError, DataError, ImageError
from cocotag.export.checkpoint import load_checkpoint, versions
from cocotag.export.onnx_graph import OPSETS, both_probs, differences, set_oldest_format, to_onnx
from cocotag.export.quantize import CALIBRATION_IMAGES, quantize_convolutions
from cocotag.inference.stream import predict_files
from cocotag.inference.tagger import Tagger
from cocotag.labels import COCO80
from cocotag.photos.decode import load_square
from cocotag.thresholds import F1, Rule, choose_thresholds, fixed_thresholds, thresholds_for_precision

MAX_DIFFERENCE = 1e-3
"""Largest accepted difference in probability between a float32 bundle and the torch network."""

MAX_MEAN_DIFFERENCE_INT8 = 0.02
"""Largest accepted mean absolute difference in probability between an int8 bundle and the torch network."""

MAX_SHARE_INT8 = 0.25
"""Largest accepted ratio of that difference to the spread of the network's probabilities between images.

The spread is the mean absolute deviation from the class's mean. With many rare classes all probabilities are small, and a
bundle that confuses one image with another would stay below 0.02.
"""

ENOUGH_FOR_SPREAD = 8  # images, the fewest from which the spread is estimated
NO_DIFFERENCE = 1e-4  # mean difference that is always accepted, also if the network's output is the same for every image

UNCHOSEN = Rule("fixed", 0.5)
"""The threshold rule of a bundle without tune images."""

PARITY_IMAGES = 64  # photographs on which bundle and network are compared


def export_checkpoint(
    checkpoint: Path | str,
    out: Path | str,
    tune: AnnotationTable | None = None,
    calibration: Iterable[Path] | None = None,
    rule: Rule = F1,
    opset: int = OPSETS[0],
) -> BundleMetadata:
    """Export a checkpoint to a bundle. The bundle is compared with its network before the file is written.

    Args:
        checkpoint: Checkpoint of a training run.
        out: The ``.onnx`` file.
        tune: Images to tune thresholds on, with the bundle's own outputs. Without them every threshold is 0.5, or the value of
            a ``fixed`` rule.
        calibration: Calibration images. The convolutions become 8-bit integers, with ranges from the first readable images,
            at most `CALIBRATION_IMAGES`. None keeps the convolutions in float32.
        rule: The rule that thresholds are tuned by.
        opset: As for `to_onnx`.

    Returns:
        The bundle's metadata.

    Raises:
        BundleError: Not a checkpoint, or the bundle differs too much from its network: by more than `MAX_DIFFERENCE` in
            float32, by more than `MAX_MEAN_DIFFERENCE_INT8` or `MAX_SHARE_INT8` on average in 8-bit integers.
        DataError: No calibration image can be read.
        ImageError: A tune image cannot be read.
        OutputError: The file cannot be written.
    """
    network, metadata = load_checkpoint(checkpoint)
    images = (
        None if tune is None else np.stack([load_square(path, metadata.image_size) for path in tune.paths()[:PARITY_IMAGES]])
    )
    choose = None
    if tune is None or rule.name == "fixed":
        given = fixed_thresholds(rule if rule.name == "fixed" else UNCHOSEN, len(metadata.vocabulary))
        metadata = metadata.with_thresholds(given.values, given.record())
    else:
        choose = partial(_thresholds, tune=tune, rule=rule)
    photographs = None if calibration is None else _calibration_images(calibration, metadata.image_size)
    return export_network(network, metadata, out, images, choose, photographs, opset)


def export_network(
    network: nn.Module,
    metadata: BundleMetadata,
    out: Path | str,
    images: NDArray[np.uint8] | None = None,
    choose: Callable[[Path], tuple[tuple[float, ...], dict[str, Any], dict[str, Any]]] | None = None,
    calibration: NDArray[np.uint8] | None = None,
    opset: int = OPSETS[0],
) -> BundleMetadata:
    """Export a network to a bundle. The bundle is compared with the network before the file is written.

    Args:
        network: As for `to_onnx`.
        metadata: The bundle's metadata; the measured differences are added.
        out: The ``.onnx`` file.
        images: Images to compare bundle and network on, in addition to noise, uint8 ``(N, S, S, 3)`` RGB.
        choose: Path of the finished graph -> the thresholds, the record of how they were tuned, and the thresholds for some
            precisions.
        calibration: Calibration images, as ``images``; the convolutions become 8-bit integers with the ranges of the features
            on these.
        opset: As for `to_onnx`.

    Returns:
        The bundle's metadata.

    Raises:
        BundleError: The bundle differs too much from the network: by more than `MAX_DIFFERENCE` in float32, by more than
            `MAX_MEAN_DIFFERENCE_INT8` or `MAX_SHARE_INT8` on average in 8-bit integers.
        OutputError: The file cannot be written.
    """
    model = to_onnx(network, metadata.image_size, opset)
    real, images = images, np.concatenate([_noise(metadata.image_size), *([] if images is None else [images])])
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.onnx"
        write_bundle(model, metadata, trial)
        differs = differences(network, trial, images)
        if not differs.max() < MAX_DIFFERENCE:
            raise BundleError(
                f"The bundle's probabilities differ from the network's by up to {differs.max():.2g} on {len(images)} images; "
                f"the limit is {MAX_DIFFERENCE:g}. {out} was not written. Try other versions of torch and onnxscript.",
                code="bundle_differs",
            )
        if calibration is not None:
            model = quantize_convolutions(model, calibration)
            set_oldest_format(model)
            write_bundle(model, metadata, trial)
            images = calibration if real is None else real
            ours, theirs = both_probs(network, trial, images)
            differs, spread = np.abs(ours - theirs), np.abs(ours - ours.mean(axis=0)).mean()
            accepted = MAX_MEAN_DIFFERENCE_INT8
            if len(images) >= ENOUGH_FOR_SPREAD:
                accepted = min(accepted, max(NO_DIFFERENCE, MAX_SHARE_INT8 * float(spread)))
            if not differs.mean() < accepted:
                raise BundleError(
                    f"The int8 bundle's probabilities differ from the network's by {differs.mean():.2g} on average "
                    f"({len(images)} images); the limit is {accepted:.2g}. {out} was not written. "
                    "Give --calibration-images photographs like those to tag, or leave out --int8.",
                    code="int8_differs",
                )
            metadata = replace(metadata, made_by={**metadata.made_by, "int8": f"calibrated on {len(calibration)} images"})
        parity = {"largest_difference": float(differs.max()), "mean_difference": float(differs.mean()), "images": len(images)}
        metadata = replace(metadata, parity=parity)
        if choose is not None:
            metadata = metadata.with_thresholds(*choose(trial))
    write_bundle(model, metadata, out)
    return metadata


def export_pretrained(out: Path | str, weights: str | None = None) -> BundleMetadata:
    """Export torchvision's detector to a bundle for COCO's 80 classes; every threshold is 0.5.

    Args:
        out: The ``.onnx`` file.
        weights: A file with the detector's state dict; None downloads the weights that torchvision publishes.

    Returns:
        The bundle's metadata. Positives and training images are 0, because their numbers are unknown.

    Raises:
        ConfigError: As `build_detector`.
        BundleError: As `export_network`.
        OutputError: The file cannot be written.
    """
    from cocotag.models.detector import IMAGE_SIZE, DetectorTagger, build_detector

    name = "torchvision's published" if weights is None else Path(weights).name
    metadata = BundleMetadata(
        vocabulary=COCO80,
        image_size=IMAGE_SIZE,
        thresholds=(0.5,) * len(COCO80),
        positives=(0,) * len(COCO80),
        train_images=0,
        config={"model": {"name": "ssdlite320_mobilenet_v3_large", "weights": name}},
        made_by=versions(),
    )
    return export_network(DetectorTagger(build_detector(weights)), metadata, out)


def _noise(side: int) -> NDArray[np.uint8]:
    """Three images of noise with different contrast, ``(3, S, S, 3)``."""
    noise = np.random.default_rng(0).normal(size=(3, side, side, 3))
    images: NDArray[np.uint8] = np.clip(128 + noise * np.array([10, 40, 90]).reshape(3, 1, 1, 1), 0, 255).astype(np.uint8)
    return images


def _calibration_images(paths: Iterable[Path], side: int) -> NDArray[np.uint8]:
    """The first readable images, ``(N, S, S, 3)``."""
    images: list[NDArray[np.uint8]] = []
    first: ImageError | None = None
    for path in paths:
        try:
            images.append(load_square(path, side))
        except ImageError as error:
            first = first or error
        if len(images) == CALIBRATION_IMAGES:
            break
    if not images:
        cause = f" The first: {first}" if first else ""
        raise DataError(f"No calibration image can be read.{cause} Give other images.", code="no_readable_image")
    return np.stack(images)


def _thresholds(
    bundle: Path, tune: AnnotationTable, rule: Rule = F1
) -> tuple[tuple[float, ...], dict[str, Any], dict[str, Any]]:
    """Thresholds tuned on the bundle's own outputs, the record of how, and the thresholds for some precisions."""
    probs = []
    for prediction in predict_files(Tagger.load(bundle), tune.paths()):
        if prediction.error is not None:
            raise prediction.error
        probs.append(cast(NDArray[np.float32], prediction.probs))
    cells = np.stack(probs), tune.targets, tune.known
    chosen = choose_thresholds(*cells, rule)
    return tuple(float(value) for value in chosen.values), chosen.record(), thresholds_for_precision(*cells)
