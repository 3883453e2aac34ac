"""`cocotag export`: checkpoint to bundle."""

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
    int8.help = "convolutions in 8-bit integers: smaller; whether faster, cocotag latency --bundle tells; takes --calibrate"
    calibrate = parser.add_argument("--calibrate", metavar="DIR", type=Path)
    calibrate.help = "for --int8: a folder of some 100 photographs such as will be tagged, without labels"
    add_thresholds(parser, f"what they are chosen for, on the run's tune images: {RULES}; default: as the run's config says")
    parser.add_argument("--overwrite", action="store_true", help="replace a FILE that is there already")
    args = parser.parse_args(words)

    if args.int8 != (args.calibrate is not None):
        raise ConfigError("--int8 and --calibrate DIR go together: the photographs in DIR show how large features become.")
    refuse_existing(args.overwrite, args.out)
    probe_folder(args.out.parent)
    photographs = None if args.calibrate is None else _spread(args.calibrate)
    try:
        from cocotag.export.run import export_run
    except ModuleNotFoundError as error:
        raise without_extra("Exporting", error) from None
    from cocotag.thresholds import describe

    metadata, warning = export_run(args.checkpoint, args.out, photographs, args.thresholds)
    if warning:
        print(f"cocotag: {warning}", file=sys.stderr)
    parity = metadata.parity
    print(f"difference in probability from the network, on {parity['images']} images: ", end="")
    print(f"mean {parity['mean_difference']:.2g}, largest {parity['largest_difference']:.2g}")
    print(f"thresholds: {describe(metadata.chosen_by)}")
    print(args.out)
    return DONE_WITH_FAULTS if warning else DONE


def _spread(folder: Path) -> Iterator[Path]:
    """All images under a folder: first some from all over it, then the rest, should some of those be unreadable."""
    from cocotag.export.quantize import CALIBRATION_IMAGES
    from cocotag.photos.walk import find_images

    files = list(find_images([folder]))
    if not files:
        raise DataError(f"There are no image files under {folder}. Give --calibrate a folder of photographs.")
    step = max(1, len(files) // CALIBRATION_IMAGES)
    return iter([path for start in range(step) for path in files[start::step]])


COMMAND = Command(
    "export",
    "Turn a checkpoint into a bundle.",
    "cocotag export runs/NAME/checkpoints/best.ckpt --out tagger.onnx",
    _run,
)
