"""Photographs of a phone's size, made from smaller ones: enlarged to 12 megapixels, with a sensor's noise, as JPEG.

The measurements of loading use them to show the cost of decoding, and the effect of decoding at reduced scale.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

PIXELS = 4000 * 3000
QUALITY = 90
NOISE = 3.0  # standard deviation of the noise in grey levels; files get 3 to 4 MB, as phones write them


def enlarge(source: Path, target: Path, *, progressive: bool, noise: float = NOISE) -> None:
    """Save a photograph with `PIXELS` pixels and its own aspect ratio, at quality 90, 4:2:0; deterministic."""
    with Image.open(source) as image:
        scale = (PIXELS / (image.width * image.height)) ** 0.5
        size = round(image.width * scale), round(image.height * scale)
        large = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    grains = np.random.default_rng(zlib.crc32(source.name.encode())).normal(0, noise, (size[1], size[0], 1)).astype(np.float32)
    pixels = np.clip(np.asarray(large, np.float32) + grains, 0, 255).round().astype(np.uint8)
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(target, "JPEG", quality=QUALITY, subsampling="4:2:0", progressive=progressive)
