"""The command line: find the command, run it, turn errors into a line and an exit status. The commands are in `commands/`."""

from __future__ import annotations

import difflib
import io
import os
import sys
from collections.abc import Sequence
from typing import TextIO

import cocotag
from cocotag.cli.commands.data import check, import_labels, sample
from cocotag.cli.commands.report import calibrate, evaluate, imbalance, info, report
from cocotag.cli.commands.tag import retag, tag, untag
from cocotag.cli.commands.train import export, latency, pretrained, summary, train
from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, INTERRUPTED, NOT_STARTED, Command
from cocotag.errors import CocotagError, Interrupted

MODULES = (
    *(sample, check, import_labels, train, evaluate, report, imbalance, tag, retag, untag, export, pretrained, calibrate),
    *(info, summary, latency),
)
COMMANDS: dict[str, Command] = {module.COMMAND.name: module.COMMAND for module in MODULES}
"""By name, in the order of the help. To import them is cheap: what is heavy is imported inside a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is returned."""
    words = list(sys.argv[1:] if argv is None else argv)
    if sys.stderr is None:  # closed: nobody wants to hear it
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 (a name, not a path; for as long as the process lives)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that cannot show a sign gets another, not a stack trace
        sys.stdout.reconfigure(errors="backslashreplace")
    status = DONE
    try:
        status = _run(words)
    finally:  # argparse raises SystemExit after its help
        lost = _flush(sys.stdout)
        if lost and not isinstance(lost, BrokenPipeError) and status != NOT_STARTED:
            print(f"cocotag: stdout cannot be written ({lost.strerror or lost}). Free some space.", file=sys.stderr)
            status = NOT_STARTED
        _flush(sys.stderr)
    return max(status, DONE_WITH_FAULTS) if lost else status


def _run(words: list[str]) -> int:
    try:
        return _command(words)
    except Interrupted as error:
        print(f"cocotag: {error}", file=sys.stderr)
        return INTERRUPTED
    except CocotagError as error:
        print(f"cocotag: {error}", file=sys.stderr)
        return NOT_STARTED
    except KeyboardInterrupt:
        print("cocotag: stopped; nothing half-written is left.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone, as head does
        return DONE_WITH_FAULTS
    except OSError as error:  # a full disk, most of all
        print(f"cocotag: {error.filename or 'a file'} cannot be read or written ({error.strerror or error}).", file=sys.stderr)
        return NOT_STARTED


def _command(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return DONE if words else NOT_STARTED
    if words[0] == "--version":
        print(f"cocotag {cocotag.__version__}")
        return DONE
    name, *rest = words
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"Did you mean {near[0]}?" if near else f"The commands are: {', '.join(COMMANDS)}."
        print(f"cocotag: there is no command {name!r}. {hint} See cocotag --help", file=sys.stderr)
        return NOT_STARTED
    return COMMANDS[name].run(rest)


def _flush(stream: TextIO | None) -> OSError | None:
    """Write what a stream still holds: here, and not when Python ends, where a failure is a stack trace."""
    if stream is None:
        return None
    try:
        stream.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


def _overview() -> str:
    lines = [
        "usage: cocotag COMMAND ...",
        "",
        "Train a multi-label image tagger on COCO, tag folders of photographs with it, and report how good it is.",
        "",
        *(f"  {name:<10} {command.about.splitlines()[0]}" for name, command in COMMANDS.items()),
        "",
        "cocotag COMMAND --help tells more; cocotag --version names the version.",
        "Exit status: 0 done; 1 done, but something was wrong and is named; 2 could not start; 130 stopped by Ctrl-C.",
    ]
    return "\n".join(lines)
