"""``--thresholds RULE``, for the commands that tune or set a bundle's thresholds."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cocotag.cli.parsing.command import Parser

if TYPE_CHECKING:
    from cocotag.thresholds import Rule

RULES = (
    "f1 (best F1 per class), f1:global (one threshold, best micro-F1), precision:P (highest recall at a precision of P), "
    "recall:R (highest threshold with a recall of R) or fixed:T"
)


def add_thresholds(parser: Parser, about: str) -> None:
    """Add the flag; its value is None if it is not given."""
    parser.add_argument("--thresholds", metavar="RULE", type=_rule, help=about)


def _rule(text: str) -> Rule:
    from cocotag.thresholds import parse_rule  # it loads numpy, which --help does not need

    try:
        return parse_rule(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
