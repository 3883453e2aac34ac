"""``--thresholds RULE``, for the commands that choose a bundle's thresholds or set them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cocotag.cli.parsing.command import Parser

if TYPE_CHECKING:
    from cocotag.thresholds import Rule

RULES = (
    "f1 (each class for its F1), f1:global (one for all, for micro-F1), precision:P (highest recall at a precision of P), "
    "recall:R (highest threshold with a recall of R) or fixed:T"
)


def add_thresholds(parser: Parser, about: str) -> None:
    """Add the flag; None where it is not given."""
    parser.add_argument("--thresholds", metavar="RULE", type=_rule, help=about)


def _rule(text: str) -> Rule:
    from cocotag.thresholds import parse_rule  # it loads numpy, which --help can do without

    try:
        return parse_rule(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
