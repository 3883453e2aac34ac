"""Checkpoint -> bundle, checked against the torch network that it came from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cocotag.bundle import BundleMetadata, write_bundle
from cocotag.data.annotations import AnnotationTable
from cocotag.errors import BundleError, DataError, ImageError
from cocotag.export.checkpoint import load_checkpoint, versions
from cocotag.export.onnx_graph import both_probs, differences, to_onnx
from cocotag.export.quantize import CALIBRATION_IMAGES, quantize_convolutions
from cocotag.inference.stream import predict_files
from cocotag.inference.tagger import Tagger
from cocotag.labels import COCO80
from cocotag.photos.decode import load_square
from cocotag.thresholds import F1, Rule, choose_thresholds, fixed_thresholds, thresholds_for_precision

if TYPE_CHECKING:
    pass

MAX_DIFFERENCE = 1e-3
"""Largest difference in probability between bundle and torch network that is accepted."""

MAX_MEAN_DIFFERENCE_INT8 = 0.02
"""Mean absolute difference in probability between a bundle in 8-bit integers and the network that is accepted."""

MAX_SHARE_INT8 = 0.25
"""That difference over how much the network's own probabilities differ from image to image (mean absolute deviation from the
class's mean): with many rare classes all probabilities are small, and 0.02 would pass one image for another."""

ENOUGH_FOR_SPREAD = 8  # images that show how much probabilities differ from one to another
NO_DIFFERENCE = 1e-4  # mean difference that is accepted of a network that says the same of every image

UNCHOSEN = Rule("fixed", 0.5)
"""What a bundle's thresholds are where there is nothing to choose them on."""

PARITY_IMAGES = 64  # photographs that bundle and network are compared on


def export_checkpoint(
    checkpoint: Path | str,
    out: Path | str,
    tune: AnnotationTable | None = None,
    calibration: Iterable[Path] | None = None,
    rule: Rule = F1,
) -> BundleMetadata:
    """Write a checkpoint's bundle, checked against its network before it takes its place.

    Args:
        checkpoint: Of a training run.
        out: The ``.onnx`` file.
        tune: Images that thresholds are chosen on, by the bundle's own outputs; without them all are 0.5, or as the rule fixes.
        calibration: Photographs; the convolutions become 8-bit integers with ranges taken from the first of them that can be
            read, at most `CALIBRATION_IMAGES`. None keeps them in float32.
        rule: What thresholds are chosen for.

    Returns:
        What the bundle says.

    Raises:
        BundleError: Not a checkpoint, or the bundle differs from its network by more than `MAX_DIFFERENCE`, in 8-bit integers
            by more than `MAX_MEAN_DIFFERENCE_INT8` or `MAX_SHARE_INT8` on average.
        DataError: No photograph of ``calibration`` can be read.
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
    return export_network(network, metadata, out, images, choose, photographs)


def export_network(
    network: nn.Module,
    metadata: BundleMetadata,
    out: Path | str,
    images: NDArray[np.uint8] | None = None,
    choose: Callable[[Path], tuple[tuple[float, ...], dict[str, Any], dict[str, Any]]] | None = None,
    calibration: NDArray[np.uint8] | None = None,
) -> BundleMetadata:
    """Write a network's bundle, checked against it before it takes its place.

    Args:
        network: As for `to_onnx`.
        metadata: What the bundle says; how far it differs is added.
        out: The ``.onnx`` file.
        images: That both are compared on, besides some noise, uint8 ``(N, S, S, 3)`` RGB.
        choose: Gives the thresholds, from the finished graph, how they were chosen, and those for some precisions.
        calibration: As ``images``; the convolutions become 8-bit integers with the ranges that features take on these.

    Returns:
        What the bundle says.

    Raises:
        BundleError: The bundle differs from its network by more than `MAX_DIFFERENCE`, in 8-bit integers by more than
            `MAX_MEAN_DIFFERENCE_INT8` or `MAX_SHARE_INT8` on average.
        OutputError: The file cannot be written.
    """
    model = to_onnx(network, metadata.image_size)
    real, images = images, np.concatenate([_noise(metadata.image_size), *([] if images is None else [images])])
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.onnx"
        write_bundle(model, metadata, trial)
        differs = differences(network, trial, images)
        if not differs.max() < MAX_DIFFERENCE:
            raise BundleError(
                f"The bundle's probabilities differ from the network's by up to {differs.max():.2g} on {len(images)} images; "
                f"{MAX_DIFFERENCE:g} is accepted. {out} was not written. Try other versions of torch and onnxscript."
            )
        if calibration is not None:
            model = quantize_convolutions(model, calibration)
            write_bundle(model, metadata, trial)
            images = calibration if real is None else real
            ours, theirs = both_probs(network, trial, images)
            differs, spread = np.abs(ours - theirs), np.abs(ours - ours.mean(axis=0)).mean()
            accepted = MAX_MEAN_DIFFERENCE_INT8
            if len(images) >= ENOUGH_FOR_SPREAD:
                accepted = min(accepted, max(NO_DIFFERENCE, MAX_SHARE_INT8 * float(spread)))
            if not differs.mean() < accepted:
                raise BundleError(
                    f"In 8-bit integers the bundle's probabilities differ from the network's by {differs.mean():.2g} on "
                    f"average on {len(images)} images; {accepted:.2g} is accepted. {out} was not written. "
                    "Calibrate on photographs like those that will be tagged, or leave out --int8."
                )
            metadata = replace(metadata, made_by={**metadata.made_by, "int8": f"calibrated on {len(calibration)} images"})
        parity = {"largest_difference": float(differs.max()), "mean_difference": float(differs.mean()), "images": len(images)}
        metadata = replace(metadata, parity=parity)
        if choose is not None:
            metadata = metadata.with_thresholds(*choose(trial))
    write_bundle(model, metadata, out)
    return metadata


def export_pretrained(out: Path | str, weights: str | None = None) -> BundleMetadata:
    """A bundle of COCO's 80 classes out of torchvision's detector; thresholds are 0.5.

    Args:
        out: The ``.onnx`` file.
        weights: A file with the detector's state dict; None for those that torchvision publishes and fetches.

    Returns:
        What the bundle says. Positives and training images are 0: who trained it did not count them for us.

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
    """Pictures of noise, of three contrasts."""
    noise = np.random.default_rng(0).normal(size=(3, side, side, 3))
    made: NDArray[np.uint8] = np.clip(128 + noise * np.array([10, 40, 90]).reshape(3, 1, 1, 1), 0, 255).astype(np.uint8)
    return made


def _calibration_images(paths: Iterable[Path], side: int) -> NDArray[np.uint8]:
    made: list[NDArray[np.uint8]] = []
    first: ImageError | None = None
    for path in paths:
        try:
            made.append(load_square(path, side))
        except ImageError as error:
            first = first or error
        if len(made) == CALIBRATION_IMAGES:
            break
    if not made:
        raise DataError(f"No photograph to calibrate on can be read{f'. The first: {first}' if first else ''}. Give others.")
    return np.stack(made)


def _thresholds(
    bundle: Path, tune: AnnotationTable, rule: Rule = F1
) -> tuple[tuple[float, ...], dict[str, Any], dict[str, Any]]:
    """Chosen on the bundle's own outputs, how, and those for some precisions."""
    probs = []
    for prediction in predict_files(Tagger.load(bundle), tune.paths()):
        if prediction.error is not None:
            raise prediction.error
        probs.append(cast(NDArray[np.float32], prediction.probs))
    cells = np.stack(probs), tune.targets, tune.known
    chosen = choose_thresholds(*cells, rule)
    return tuple(float(value) for value in chosen.values), chosen.record(), thresholds_for_precision(*cells)
