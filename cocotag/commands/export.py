"""`cocotag export`: checkpoint to bundle."""

from __future__ import annotations

import sys
from pathlib import Path

from cocotag.commands import DONE, DONE_WITH_FAULTS, Command, refuse_existing, without_extra


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="RUN_DIR/checkpoints/best.ckpt")
    parser.add_argument("--out", required=True, metavar="FILE", type=Path, help="the bundle, FILE.onnx")
    parser.add_argument("--overwrite", action="store_true", help="replace a FILE that is there already")
    args = parser.parse_args(words)

    refuse_existing(args.overwrite, args.out)
    try:
        from cocotag.training.fit import export_run
    except ModuleNotFoundError as error:
        raise without_extra("Exporting", error) from None
    metadata, warning = export_run(args.checkpoint, args.out)
    if warning:
        print(f"cocotag: {warning}", file=sys.stderr)
    print(f"largest difference in probability from the network: {metadata.parity['largest_difference']:.2g}")
    print(args.out)
    return DONE_WITH_FAULTS if warning else DONE


COMMAND = Command(
    "export",
    "Turn a checkpoint into a bundle.",
    "cocotag export runs/NAME/checkpoints/best.ckpt --out tagger.onnx",
    _run,
)
