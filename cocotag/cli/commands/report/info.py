"""`cocotag info`: show the metadata of a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cocotag.cli.parsing.command import DONE, Command


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="tagger.onnx of a training run")
    parser.add_argument("--json", action="store_true", help="print all metadata as JSON")
    args = parser.parse_args(words)

    from cocotag.bundle import fingerprint, read_metadata
    from cocotag.thresholds import describe

    metadata = read_metadata(args.bundle)
    if args.json:
        print(json.dumps({**metadata.to_json(), "sha256": fingerprint(args.bundle)}, indent=2, ensure_ascii=False))
        return DONE
    model: dict[str, Any] = metadata.config.get("model", {})
    tuned = metadata.tuned_on
    stride = f", output stride {model['output_stride']}" if "output_stride" in model else ""
    print(f"network      {model.get('name', 'unknown')}{stride}")
    print(f"input        uint8 RGB, {metadata.image_size} x {metadata.image_size} pixels")
    print(f"trained on   {f'{metadata.train_images} images' if metadata.train_images else 'an unknown number of images'}")
    if tuned:
        where = f"{tuned.get('images', '?')} images ({tuned.get('split', '?')})"
        print(f"tuned on     {where}: figures taken there are optimistic")
    else:
        print("tuned on     nothing: cocotag tune-thresholds tunes thresholds on labelled images")
    if metadata.chosen_by:
        print(f"thresholds   {describe(metadata.chosen_by)}")
    if record := metadata.calibrated_scores:
        where = f"{record.get('images', '?')} images ({record.get('split', '?')})"
        losses = [f"{record[key]:.4f}" for key in ("log_loss_before", "log_loss_after") if key in record]
        print(f"scores       calibrated on {where}: log loss on held-out images {', then '.join(losses)} nats per label")
    print(f"made by      {', '.join(f'{key} {value}' for key, value in metadata.made_by.items())}")
    parity = [f"{key} {value if isinstance(value, int) else format(value, '.2g')}" for key, value in metadata.parity.items()]
    print("parity      ", ", ".join(parity).replace("_", " "))
    print(f"sha256       {fingerprint(args.bundle)}")
    print(f"classes      {len(metadata.vocabulary)}\n")
    print("index  id  threshold  positives  name")
    rows = zip(metadata.vocabulary, metadata.thresholds, metadata.positives, strict=True)
    for index, (category, threshold, positives) in enumerate(rows):
        print(f"{index:5d} {category.id!s:>3}  {threshold:9.3f}  {positives:9d}  {category.name}")
    return DONE


COMMAND = Command(
    "info",
    "Show a bundle's metadata: network, images it was tuned on, classes and thresholds.",
    "cocotag info runs/NAME/tagger.onnx",
    _run,
)
