"""`cocotag sample`: draw a synthetic data set."""

from __future__ import annotations

from pathlib import Path

from cocotag.cli.parsing.command import DONE, Command


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.add_argument("out", metavar="OUT_DIR", type=Path, help="new or empty folder to draw into")
    parser.add_argument("--train", type=int, default=1200, metavar="N", help="number of training images (default: 1200)")
    parser.add_argument("--val", type=int, default=300, metavar="N", help="number of validation images (default: 300)")
    parser.add_argument("--size", type=int, default=160, metavar="PX", help="side of an image in pixels (default: 160)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed draws identical files (default: 0)")
    args = parser.parse_args(words)

    from cocotag.data.sample.draw import draw_sample

    draw_sample(args.out, train=args.train, val=args.val, size=args.size, seed=args.seed)
    print(args.out)
    return DONE


COMMAND = Command(
    "sample",
    "Draw a small synthetic data set in COCO's layout, to try every command on.",
    "cocotag sample data",
    _run,
)
