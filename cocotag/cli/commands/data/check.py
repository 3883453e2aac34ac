"""`cocotag check`: find the faults of a data set."""

from __future__ import annotations

import json
from pathlib import Path

from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, Command


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.add_argument("root", metavar="ROOT", type=Path, help="folder with annotations/instances_SPLIT.json and SPLIT/")
    parser.add_argument("--split", required=True, help="split to check, such as train")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    args = parser.parse_args(words)

    from cocotag.data.check.doctor import check_split

    report = check_split(args.root, args.split)
    print(json.dumps(report.to_json(), indent=2) if args.json else report.to_text())
    return DONE if report.ok else DONE_WITH_FAULTS


COMMAND = Command(
    "check",
    "Find the faults of a data set before hours of training are spent on it.",
    "cocotag check data --split train",
    _run,
)
