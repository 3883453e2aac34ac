"""`cocotag retag`: other thresholds, names and outputs for what was tagged, without network and photographs."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, Command
from cocotag.cli.parsing.tag_flags import Outputs, add_choice, add_outputs
from cocotag.errors import ConfigError

if TYPE_CHECKING:
    from cocotag.tagging.state.store import State


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    given = parser.add_argument("given", metavar="STATE", nargs="+")
    given.help = (
        "state that cocotag tag kept, the output or gallery it lies beside, or the PATHs that were tagged without these"
    )
    add_outputs(parser)
    add_choice(parser)
    args = parser.parse_args(words)

    from cocotag.tagging.state.made import refuse_others
    from cocotag.tagging.state.place import find
    from cocotag.tagging.state.store import State

    with State.open(find(args.given), make=False) as state:
        run = state.last_run()
        state.use(run)
        outputs = Outputs.of(args, run.models)
        if args.xmp or args.txt or args.gallery:
            _check_photographs(state, str(run.asked.get("cwd", "")))
        if not args.overwrite:
            refuse_others(outputs.files(), state)
        for remark in outputs.choice.remarks:
            _say(remark)
        outputs.make(state, _say)
        if state.read_only and outputs.files():
            _say(f"{state.path} cannot be written, so it does not know what was made now: to replace that needs --overwrite.")
        failed = sum(result.status != "ok" for result in state.results())
        total = state.count()
    written = f": tags written to {', '.join(outputs.written)}" if outputs.written else ""
    if written or failed:
        _say(f"{total - failed} of {total} files{written}{f'; {failed} failed when they were tagged' if failed else ''}")
    if not run.whole:
        _say("The run was stopped before its end, so files are missing. Run cocotag tag again to go on.")
    return DONE if not failed and not outputs.faults and run.whole else DONE_WITH_FAULTS


def _check_photographs(state: State, before: str) -> None:
    """See that what paths that are no absolute ones lead to from here are the photographs that were tagged.

    Where they were tagged anything will do: a disk may not be plugged in. Elsewhere one of them has to be there, and of the
    size that it had, or tags would be written beside others of the same names.

    Args:
        state: Of the run.
        before: The working folder of the run; empty if it is not known.

    Raises:
        ConfigError: They are not there.
    """
    from cocotag.tagging.state.store import UNRELIABLE

    if not before or _same(before):
        return
    missing = None
    for result in state.results():
        if result.path.is_absolute():
            continue
        missing = missing or result.path
        with suppress(OSError, ValueError):
            size = result.path.stat().st_size
            folder, name = os.path.split(os.path.abspath(os.fsencode(Path(before) / result.path)))  # noqa: PTH100 (bytes)
            known = state.known(folder, [name]).get(name)
            if known is not None and known.size in (size, UNRELIABLE):
                return
    if missing is not None:
        where = f"Run it in {before}" if Path(before).is_dir() else f"Run it in the folder that {before} has become"
        raise ConfigError(
            f"--xmp, --txt and --gallery need the photographs, and {missing} is not there from here, or another is. {where}."
        )


def _same(folder: str) -> bool:
    try:
        return os.path.samefile(folder, os.curdir)  # noqa: PTH121 (a text)
    except OSError:
        return False


def _say(text: str) -> None:
    with suppress(BrokenPipeError):  # whoever listened has gone, as head does; the work goes on
        print(text, file=sys.stderr, flush=True)


COMMAND = Command(
    "retag",
    "Choose tags anew from kept scores: other thresholds, names and outputs, without network and photographs.",
    "cocotag retag tags.csv --threshold 0.6 --out sure.csv",
    _run,
)
