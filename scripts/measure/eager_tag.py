"""Tagging in eager PyTorch, as a baseline for bench_tag.py, and the network for its measurements."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cocotag.bundle import BundleMetadata, read_metadata, write_bundle
from cocotag.config import ModelConfig
from cocotag.export.bundles import export_network
from cocotag.export.quantize import CALIBRATION_IMAGES, quantize_convolutions
from cocotag.export.ways import stir
from cocotag.labels import COCO80
from cocotag.models.build import build_network
from cocotag.models.network import TaggerNetwork
from cocotag.models.normalization import IMAGENET_MEAN, IMAGENET_STD
from cocotag.models.weights import load_weights
from cocotag.photos.decode import load_square
from cocotag.process.cores import usable_cores

BATCH, WORKERS = 32, 2
CROP = 0.875  # share of the shorter side, as in timm's evaluation
THRESHOLD = 0.5


def make_network(folder: Path, side: int, weights: Path | None, photographs: Sequence[Path]) -> None:
    """Write MobileNetV2 1.0 for 80 classes with a random head, as ``network.pt``, ``fp32.onnx`` and ``int8.onnx``."""
    torch.manual_seed(0)
    network = build_network(ModelConfig(image_size=side), len(COCO80))
    if weights is not None:
        load_weights(network, str(weights), architecture="mobilenet_v2", classes=COCO80.names)
    stir(network)
    torch.save(network.state_dict(), folder / "network.pt")
    classes = len(COCO80)
    metadata = BundleMetadata(COCO80, side, thresholds=(THRESHOLD,) * classes, positives=(0,) * classes, train_images=0)
    export_network(network.eval(), metadata, folder / "fp32.onnx")
    to_int8(folder / "fp32.onnx", folder / "int8.onnx", photographs)


def to_int8(bundle: Path, out: Path, photographs: Sequence[Path]) -> None:
    """Write a bundle with convolutions in 8-bit integers, as ``cocotag export --int8`` does, but with the same thresholds."""
    metadata = read_metadata(bundle)
    step = max(1, len(photographs) // CALIBRATION_IMAGES)
    chosen = photographs[::step][:CALIBRATION_IMAGES]
    images = np.stack([load_square(path, metadata.image_size) for path in chosen])
    made_by = {**metadata.made_by, "int8": f"calibrated on {len(images)} images"}
    write_bundle(quantize_convolutions(onnx.load_model(str(bundle)), images), replace(metadata, made_by=made_by), out)


@cache
def load_network(file: Path) -> TaggerNetwork:
    """The network of `make_network`, on all cores."""
    torch.set_num_threads(usable_cores())
    network = build_network(ModelConfig(image_size=224), len(COCO80))  # the weights do not depend on the size
    network.load_state_dict(torch.load(file, weights_only=True))
    return network.eval()


class Photographs(Dataset[tuple[NDArray[np.uint8], int]]):
    """Images as in timm's evaluation: shorter side scaled bicubically, centre crop, uint8 ``(3, S, S)``."""

    def __init__(self, paths: Sequence[Path], side: int) -> None:
        self._paths = paths
        bicubic = transforms.InterpolationMode.BICUBIC
        self._transform = transforms.Compose(
            [transforms.Resize(int(side / CROP), interpolation=bicubic), transforms.CenterCrop(side)]
        )

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        with Image.open(self._paths[index]) as image:
            crop: Image.Image = self._transform(image.convert("RGB"))
        return np.ascontiguousarray(np.asarray(crop).transpose(2, 0, 1)), index


def as_timm(network_file: Path, paths: Sequence[Path], side: int, out: Path) -> None:
    """Tag as timm's inference.py does: loader workers, batches, normalisation in the main process, results as a table."""
    network = load_network(network_file)
    mean, std = (255 * torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    loader = DataLoader(Photographs(paths, side), batch_size=BATCH, num_workers=WORKERS)
    with out.open("w", newline="") as file, torch.no_grad():
        writer = csv.writer(file)
        for images, indices in loader:
            probs = _probs(network, images.float().sub_(mean).div_(std))
            writer.writerows(_row(paths[index], one) for index, one in zip(indices.tolist(), probs, strict=True))


def one_by_one(network_file: Path, paths: Sequence[Path], side: int, out: Path) -> None:
    """Tag as hobby projects do: open, resize, run and write one image at a time."""
    network = load_network(network_file)
    transform = transforms.Compose(
        [
            transforms.Resize((side, side)),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    with out.open("w", newline="") as file, torch.no_grad():
        writer = csv.writer(file)
        for path in paths:
            with Image.open(path) as image:
                probs = _probs(network, transform(image.convert("RGB"))[None])
            writer.writerow(_row(path, probs[0]))


def _probs(network: TaggerNetwork, images: Tensor) -> NDArray[np.float32]:
    logits: Tensor = network.head(network.backbone(images))
    probs: NDArray[np.float32] = network.probs(logits).numpy()
    return probs


def _row(path: Path, probs: NDArray[np.float32]) -> list[str]:
    chosen = np.flatnonzero(probs >= THRESHOLD)
    return [os.fspath(path), ";".join(COCO80.names[index] for index in chosen), ";".join(f"{probs[i]:.4f}" for i in chosen)]
