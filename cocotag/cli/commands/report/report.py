"""`cocotag report`: show an evaluation again, or compare two."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, Command, Parser, refuse_existing

if TYPE_CHECKING:
    from cocotag.evaluation.compare import Comparison
    from cocotag.evaluation.stored import StoredEvaluation

FORMATS = ("text", "md", "json", "csv")
_EVALUATION = "a run directory, an output folder of cocotag evaluate, or a report.json"


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    actions = parser.add_subparsers(dest="action", required=True, metavar="compare|show")
    compare = actions.add_parser(
        "compare",
        help="compare two evaluations class by class",
        description="Compare two evaluations class by class, regressions first. On the same images: differences with 95% "
        "intervals. On different images: side by side, with a note and exit status 1.",
        epilog="example: cocotag report compare runs/old runs/new --format md",
        allow_abbrev=False,
    )
    compare.add_argument("baseline", metavar="A", type=Path, help=f"the baseline: {_EVALUATION}")
    compare.add_argument(
        "other", metavar="B", type=Path, help="the evaluation to compare with the baseline, given the same way"
    )
    show = actions.add_parser(
        "show",
        help="show the figures of one evaluation, weakest class first",
        description="Show the figures of one evaluation, weakest class first.",
        epilog="example: cocotag report show runs/new --format md",
        allow_abbrev=False,
    )
    show.add_argument("evaluation", metavar="A", type=Path, help=_EVALUATION)
    for each in (compare, show):
        _add_output(each)
    args = parser.parse_args(words)

    from cocotag.evaluation.compare import compare_stored
    from cocotag.evaluation.stored import read_evaluation

    if args.out is not None:
        refuse_existing(args.overwrite, args.out)
    form = args.format or _format_of(args.out)
    if args.action == "show":
        _output(_evaluation_text(read_evaluation(args.evaluation), form), args.out)
        return DONE
    sides = read_evaluation(args.baseline), read_evaluation(args.other)
    comparison = compare_stored(*sides, names=(str(args.baseline), str(args.other)))
    _output(_comparison_text(comparison, form), args.out)
    if comparison.paired:
        return DONE
    print(f"cocotag report: {comparison.note}", file=sys.stderr)
    return DONE_WITH_FAULTS


def _add_output(parser: Parser) -> None:
    about = "md is a Markdown table to paste; csv has only the rows of the classes (default: by the ending of FILE, else text)"
    parser.add_argument("--format", choices=FORMATS, help=about)
    parser.add_argument("--out", metavar="FILE", type=Path, help="write to FILE instead of stdout")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing FILE")


def _format_of(out: Path | None) -> str:
    ending = out.suffix.lower().removeprefix(".") if out else ""
    return ending if ending in FORMATS else "text"


def _evaluation_text(evaluation: StoredEvaluation, form: str) -> str:
    from cocotag.evaluation.markdown import evaluation_text

    if form == "json":
        return evaluation.path.read_text(encoding="utf-8")
    if form == "csv":
        return evaluation.per_class.to_csv(index=False, lineterminator="\n")
    return evaluation_text(evaluation, markdown=form == "md")


def _comparison_text(comparison: Comparison, form: str) -> str:
    from cocotag.evaluation.markdown import comparison_text

    if form == "json":
        return json.dumps(comparison.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if form == "csv":
        return comparison.to_csv()
    return comparison_text(comparison, markdown=form == "md")


def _output(text: str, out: Path | None) -> None:
    from cocotag.files import write_text

    text = text.encode("utf-8", "replace").decode("utf-8")  # a name in JSON may contain half a surrogate pair
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
        print(out)


COMMAND = Command(
    "report",
    "Show an evaluation again, or compare two, as text or as a table to paste.",
    "cocotag report compare runs/old runs/new --format md",
    _run,
)
