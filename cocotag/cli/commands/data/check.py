"""`cocotag check`: find the faults of a data set."""

from __future__ import annotations

import json
from pathlib import Path

from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, Command
from cocotag.cli.parsing.data_flags import add_data, given_of, root_and_split


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    about = "folder of the data set, in COCO's layout or as another program exported it"
    parser.add_argument("root", metavar="ROOT", nargs="?", type=Path, help=about)
    parser.add_argument("--split", help="split to check, such as train (default: the only one)")
    add_data(parser)
    about = "bundle that looks for likely label errors, trained on other images"
    parser.add_argument("--model", metavar="BUNDLE", type=Path, help=about)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    args = parser.parse_args(words)

    from cocotag.data.check.doctor import check_split

    root, split = root_and_split(args, parser)
    if args.model is None:
        report = check_split(root, split, given_of(args))
    else:
        from cocotag.evaluation.run import check_labels
        from cocotag.inference.tagger import Tagger

        tagger = Tagger.load(args.model)
        report = check_split(root, split, given_of(args))
        report = report.with_findings(check_labels(tagger, root, split, given_of(args)))
    print(json.dumps(report.to_json(), indent=2) if args.json else report.to_text())
    return DONE if report.ok else DONE_WITH_FAULTS


COMMAND = Command(
    "check",
    "Find the faults of a data set before hours of training are spent on it.",
    "cocotag check data --split train",
    _run,
)
