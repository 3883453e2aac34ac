"""Draw the README's picture: some images with the tags that a bundle predicts for them.

usage: python scripts/measure/draw_tagged.py BUNDLE FOLDER OUT.png [--images N]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cocotag.inference.tagger import Tagger
from cocotag.inference.tags import Tag
from cocotag.photos.decode import decode
from cocotag.photos.walk import find_images

SIDE, LINE, MARGIN, MOST = 200, 20, 10, 4
INK, PAPER, BAR = (30, 30, 30), (255, 255, 255), (0, 114, 178)


def card(path: Path, tags: list[Tag]) -> Image.Image:
    """An image with a line and a bar for each tag below it."""
    drawn = Image.new("RGB", (SIDE, SIDE + LINE * MOST + 8), PAPER)
    drawn.paste(Image.fromarray(decode(path)).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    pen = ImageDraw.Draw(drawn)
    font = ImageFont.load_default(13)
    for index, tag in enumerate(tags):
        top = SIDE + 6 + LINE * index
        pen.rectangle((0, top + 15, round(SIDE * tag.score), top + 17), fill=BAR)
        pen.text((0, top), tag.name, INK, font)
        pen.text((SIDE, top), f"{tag.score:.2f}", INK, font, anchor="ra")
    return drawn


def main() -> None:
    """Draw images with several tags, spread evenly over the folder, side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=4)
    args = parser.parse_args()
    tagger = Tagger.load(args.bundle)
    tagged = [(path, tagger.tag(path, top_k=MOST)) for path in find_images([args.folder])]
    several = [pair for pair in tagged if 2 <= len(pair[1]) <= MOST] or tagged
    chosen = [several[round(index)] for index in np.linspace(0, len(several) - 1, args.images)]
    cards = [card(path, tags) for path, tags in chosen]
    sheet = Image.new("RGB", ((SIDE + MARGIN) * len(cards) + MARGIN, cards[0].height + 2 * MARGIN), PAPER)
    for index, picture in enumerate(cards):
        sheet.paste(picture, (MARGIN + index * (SIDE + MARGIN), MARGIN))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(args.out, optimize=True)


if __name__ == "__main__":
    main()
