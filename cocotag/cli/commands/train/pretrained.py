"""`cocotag pretrained`: make a bundle without training."""

from __future__ import annotations

from pathlib import Path

from cocotag.cli.parsing.command import DONE, Command, refuse_existing, without_extra


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.add_argument("out", metavar="OUT", type=Path, help="the bundle, FILE.onnx")
    about = "the detector's state dict (default: torchvision downloads it, 14 MB)"
    parser.add_argument("--weights", metavar="FILE", help=about)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing OUT")
    args = parser.parse_args(words)

    refuse_existing(args.overwrite, args.out)
    try:
        from cocotag.export.bundles import export_pretrained
    except ModuleNotFoundError as error:
        raise without_extra("Making a bundle", error) from None
    metadata = export_pretrained(args.out, args.weights)
    print(f"largest difference in probability from the network: {metadata.parity['largest_difference']:.2g}")
    print(f"All thresholds are 0.5. Tune them: cocotag tune-thresholds {args.out} --root DATA --split SPLIT --out tuned.onnx")
    print(args.out)
    return DONE


COMMAND = Command(
    "pretrained",
    "Make a tagger of COCO's 80 classes without training, from torchvision's detector.",
    "cocotag pretrained tagger.onnx",
    _run,
)
