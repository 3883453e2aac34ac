"""`cocotag retag`: other thresholds, names and outputs for what was tagged, without network and photographs."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from cocotag.commands import DONE, DONE_WITH_FAULTS, Command
from cocotag.commands.tag_outputs import Outputs, add_choice, add_outputs
from cocotag.errors import ConfigError, DataError


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.add_argument("state", metavar="STATE", type=Path, help="state that cocotag tag kept, or the output it lies beside")
    add_outputs(parser)
    add_choice(parser)
    args = parser.parse_args(words)

    from cocotag.tagging.made import refuse_others
    from cocotag.tagging.state import State

    with State.open(_state_of(args.state), make=False) as state:
        run = state.last_run()
        state.use(run)
        outputs = Outputs.of(args, run.models)
        _check_places(args, run.asked.get("cwd", ""))
        if not args.overwrite:
            refuse_others(outputs.files(), state)
        for remark in outputs.choice.remarks:
            _say(remark)
        outputs.make(state, _say)
        failed = sum(result.status != "ok" for result in state.results())
        total = state.count()
    _say(f"{total - failed} of {total} images with other tags{f'; {failed} failed when they were tagged' if failed else ''}")
    if not run.whole:
        _say("The run was stopped before its end, so files are missing. Run cocotag tag again to go on.")
    return DONE if not failed and not outputs.faults and run.whole else DONE_WITH_FAULTS


def _state_of(path: Path) -> Path:
    """The state that a path means: itself, the one beside an output, or the one in a gallery.

    Raises:
        DataError: There is none.
    """
    from cocotag.tagging.state import ENDING, NAME

    beside = path.with_name(path.name + ENDING) if path.name else path
    for place in (beside, path / NAME, path):
        if place.is_file():
            return place
    raise DataError(f"{path} is no state of cocotag tag, and there is none beside it ({beside.name}). Run cocotag tag first.")


def _check_places(args: argparse.Namespace, before: str) -> None:
    """Refuse to look for photographs from another place than that which their paths begin at."""
    if (args.xmp or args.txt or args.gallery) and before and not _same(before):
        raise ConfigError(f"--xmp, --txt and --gallery need the photographs, whose paths begin in {before}. Run it there.")


def _same(folder: str) -> bool:
    try:
        return os.path.samefile(folder, os.curdir)  # noqa: PTH121 (a text)
    except OSError:
        return False


def _say(text: str) -> None:
    print(text, file=sys.stderr)


COMMAND = Command(
    "retag",
    "Choose tags anew from kept scores: other thresholds, names and outputs, without network and photographs.",
    "cocotag retag tags.csv --threshold 0.6 --out sure.csv",
    _run,
)
