"""Photographs as large as phones take them, made of smaller ones: enlarged to 12 megapixels, with a sensor's noise, as JPEG.

For the measurements of loading; the files stand for what decoding costs, and for what reduced decoding may lose.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

PIXELS = 4000 * 3000
QUALITY = 90
NOISE = 3.0  # standard deviation of the noise, grey levels: files come out at the 3 to 4 MB that phones write


def enlarge(source: Path, target: Path, *, progressive: bool, noise: float = NOISE) -> None:
    """Save a photograph with `PIXELS` pixels in its own proportions, quality 90, 4:2:0; the same way each time."""
    with Image.open(source) as image:
        scale = (PIXELS / (image.width * image.height)) ** 0.5
        size = round(image.width * scale), round(image.height * scale)
        large = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    grains = np.random.default_rng(zlib.crc32(source.name.encode())).normal(0, noise, (size[1], size[0], 1)).astype(np.float32)
    pixels = np.clip(np.asarray(large, np.float32) + grains, 0, 255).round().astype(np.uint8)
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(target, "JPEG", quality=QUALITY, subsampling="4:2:0", progressive=progressive)
