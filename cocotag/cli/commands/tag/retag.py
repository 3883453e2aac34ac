"""`cocotag retag`: apply other thresholds, names and outputs to cached scores, without the network and the photographs."""

from __future__ import annotations

import sys
from contextlib import suppress

from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, Command
from cocotag.cli.parsing.tag_flags import add_choice, add_outputs, plan_of


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    given = parser.add_argument("given", metavar="STATE", nargs="+")
    given.help = "state file of cocotag tag, an output or gallery beside it, or the PATHs of a run without either"
    add_outputs(parser, retag=True)
    add_choice(parser)
    args = parser.parse_args(words)
    plan = plan_of(args)

    from cocotag.tagging.jobs import retag

    done = retag(args.given, plan, say=_say, bars=True)
    written = f": tags written to {', '.join(done.written)}" if done.written else ""
    if written or done.failed:
        failed = f"; {done.failed} failed when tagged" if done.failed else ""
        _say(f"{done.total - done.failed} of {done.total} files{written}{failed}")
    if not done.whole:
        _say("The run was stopped before its end, so files are missing. Run cocotag tag again to continue it.")
    return DONE if done.ok else DONE_WITH_FAULTS


def _say(text: str) -> None:
    with suppress(BrokenPipeError):  # the reader, such as head, has exited; the work continues
        print(text, file=sys.stderr, flush=True)


COMMAND = Command(
    "retag",
    "Choose tags again from cached scores, with other thresholds, names and outputs.\n"
    "This runs no network and, except for outputs beside the photographs, does not need the photographs.",
    "cocotag retag tags.csv --threshold 0.6 --out sure.csv",
    _run,
)
