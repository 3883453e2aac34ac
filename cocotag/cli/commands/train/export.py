"""`cocotag export`: turn a checkpoint into a bundle."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, Command, refuse_existing, without_extra
from cocotag.cli.parsing.threshold_flag import RULES, add_thresholds
from cocotag.errors import ConfigError, DataError
from cocotag.files import probe_folder


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="RUN_DIR/checkpoints/best.ckpt")
    parser.add_argument("--out", required=True, metavar="FILE", type=Path, help="the bundle, FILE.onnx")
    int8 = parser.add_argument("--int8", action="store_true")
    int8.help = (
        "8-bit integers in convolutions: smaller, often faster (see cocotag latency --bundle); needs --calibration-images"
    )
    images = parser.add_argument("--calibration-images", "--calibrate", metavar="DIR", type=Path, dest="calibration")
    images.help = "for --int8: a folder of about 100 photographs like those that will be tagged, without labels"
    operators = parser.add_argument("--opset", metavar="N", type=int)
    operators.help = "version of ONNX's operator set, 18 to 23; default: 18, which the most runtimes load (see docs/formats.md)"
    add_thresholds(parser, f"the rule that thresholds are tuned by, on the run's tune images: {RULES}; default: the config's")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing FILE")
    args = parser.parse_args(words)

    if args.int8 != (args.calibration is not None):
        raise ConfigError(
            "--int8 and --calibration-images DIR go together: the photographs in DIR show how large features become.",
            code="flag_without_other",
        )
    refuse_existing(args.overwrite, args.out)
    probe_folder(args.out.parent)
    photographs = None if args.calibration is None else _spread(args.calibration)
    try:
        from cocotag.export.run import export_run
    except ModuleNotFoundError as error:
        raise without_extra("Exporting", error) from None
    from cocotag.export.onnx_graph import OPSETS
    from cocotag.thresholds import describe

    opset = OPSETS[0] if args.opset is None else args.opset
    if opset not in OPSETS:
        raise ConfigError(
            f"--opset {opset} cannot be exported. Choose {OPSETS[0]} to {OPSETS[-1]}; runtimes that load a newer one load an "
            "older one too.",
            code="opset_unsupported",
        )
    metadata, warning = export_run(args.checkpoint, args.out, photographs, args.thresholds, opset)
    if warning:
        print(f"cocotag: {warning}", file=sys.stderr)
    parity = metadata.parity
    print(f"difference in probability from the network, on {parity['images']} images: ", end="")
    print(f"mean {parity['mean_difference']:.2g}, largest {parity['largest_difference']:.2g}")
    print(f"thresholds: {describe(metadata.chosen_by)}")
    print(args.out)
    return DONE_WITH_FAULTS if warning else DONE


def _spread(folder: Path) -> Iterator[Path]:
    """All images under a folder: an even sample first, then the rest, in case some of the sample cannot be read."""
    from cocotag.export.quantize import CALIBRATION_IMAGES
    from cocotag.photos.walk import find_images

    files = list(find_images([folder]))
    if not files:
        raise DataError(
            f"There are no image files under {folder}. Give --calibration-images a folder of photographs.", code="no_images"
        )
    step = max(1, len(files) // CALIBRATION_IMAGES)
    return iter([path for start in range(step) for path in files[start::step]])


COMMAND = Command(
    "export",
    "Turn a checkpoint into a bundle, an ONNX file for cocotag tag.",
    "cocotag export runs/NAME/checkpoints/best.ckpt --out tagger.onnx",
    _run,
)
