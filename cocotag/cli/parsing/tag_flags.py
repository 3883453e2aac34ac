"""The flags that `cocotag tag` and `cocotag retag` share, and the output plan that their values mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cocotag.cli.parsing.command import Parser, count, share
from cocotag.errors import ConfigError
from cocotag.tagging.outputs.beside import BESIDE

if TYPE_CHECKING:
    from cocotag.tagging.outputs.plan import OutputPlan


def add_choice(parser: Parser) -> None:
    """Add the flags for how scores become tags."""
    about = "one threshold for all classes, 0 to 1 (default: the bundle's own)"
    parser.add_argument("--threshold", type=share, metavar="T", help=about)
    about = "the bundle's thresholds for a precision of at least P, tuned on the same images as its default ones"
    parser.add_argument("--precision", type=share, metavar="P", help=about)
    about = "threshold of one class; it overrides all others. Repeat the flag for further classes"
    parser.add_argument("--threshold-for", type=_named_share, metavar="NAME=T", action="append", default=[], help=about)
    parser.add_argument("--top-k", type=count, metavar="K", help="at most K tags per image")
    about = "file with other names for tags: it can translate them, merge them or leave them out"
    parser.add_argument("--rename", metavar="YAML", type=Path, help=about)


def add_outputs(parser: Parser, *, retag: bool = False) -> None:
    """Add the flags for the outputs."""
    out = parser.add_argument("--out", metavar="FILE", action="append", default=[])
    out.help = "format by ending: .csv, .jsonl, .parquet or .sqlite; - is JSONL to stdout. Repeat the flag for further files"
    parser.add_argument("--all-scores", action="store_true", help="JSONL and Parquet: add the scores of all classes")
    for row in BESIDE:
        for flag in () if retag and row.only_tag else row.flags:
            if flag.choices is not None:
                parser.add_argument(flag.name, choices=flag.choices, help=flag.help)
            elif flag.metavar is not None:
                parser.add_argument(flag.name, metavar=flag.metavar, type=Path, help=flag.help)
            else:
                parser.add_argument(flag.name, action="store_true", help=flag.help)
    parser.add_argument("--overwrite", action="store_true", help="replace existing outputs that were not made from this state")


def plan_of(args: argparse.Namespace) -> OutputPlan:
    """The plan that the values of the flags mean.

    Raises:
        ConfigError: Flags contradict each other, or there is no output.
    """
    from cocotag.tagging.decisions.choice import Wish
    from cocotag.tagging.outputs.plan import OutputPlan

    values = vars(args)
    rows = [row for row in BESIDE if all(flag.key in values for flag in row.flags)]
    wanted = [row.make(values) for row in rows]
    if not args.out and not any(wanted):
        flags = [" ".join(filter(None, (row.flags[0].name, row.flags[0].metavar))) for row in rows]
        raise ConfigError(f"No output is wanted. Give --out FILE, {', '.join(flags[:-1])} or {flags[-1]}.", code="no_output")
    return OutputPlan(
        tables=tuple(args.out),
        beside=tuple(output for output in wanted if output is not None),
        wish=Wish(args.threshold, args.precision, dict(args.threshold_for), args.top_k),
        rename=args.rename,
        all_scores=args.all_scores,
        overwrite=args.overwrite,
    )


def _named_share(text: str) -> tuple[str, float]:
    name, equals, value = text.rpartition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text} is not NAME=T, such as person=0.7")
    return name, share(value)
