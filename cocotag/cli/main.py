"""The command line: it finds the command, runs it, and turns an error into one line and an exit status."""

from __future__ import annotations

import difflib
import io
import os
import sys
from collections.abc import Sequence
from typing import TextIO

import cocotag
from cocotag.cli.commands.data import check, import_labels, sample
from cocotag.cli.commands.report import evaluate, imbalance, info, report, tune_thresholds
from cocotag.cli.commands.tag import retag, tag, untag
from cocotag.cli.commands.train import export, latency, pretrained, summary, train
from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, INTERRUPTED, NOT_STARTED, Command
from cocotag.errors import CocotagError, Interrupted

JOBS: dict[str, tuple[Command, ...]] = {
    "Tag photographs": tuple(module.COMMAND for module in (tag, retag, untag, info)),
    "Train a tagger": tuple(module.COMMAND for module in (train, export, tune_thresholds, pretrained, summary, latency)),
    "Measure and report": tuple(module.COMMAND for module in (evaluate, report, imbalance)),
    "Prepare data": tuple(module.COMMAND for module in (check, import_labels, sample)),
}
"""The commands by job, in the order of the help. Importing them is cheap: a command imports heavy packages when it runs."""

COMMANDS: dict[str, Command] = {command.name: command for commands in JOBS.values() for command in commands}
"""The commands by name."""

_ALIASES = {alias: command for command in COMMANDS.values() for alias in command.aliases}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if sys.stderr is None:  # closed
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 (a name, not a path; for as long as the process lives)
    if isinstance(sys.stdout, io.TextIOWrapper):  # print an escape, not a stack trace, for a character outside the encoding
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
        print("cocotag: stopped; no unfinished files are left.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of stdout, such as head, has exited
        return DONE_WITH_FAULTS
    except OSError as error:  # most often a full disk
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
    command = COMMANDS.get(name, _ALIASES.get(name))
    if command is None:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"Did you mean {near[0]}?" if near else f"The commands are: {', '.join(COMMANDS)}."
        print(f"cocotag: there is no command {name!r}. {hint} See cocotag --help", file=sys.stderr)
        return NOT_STARTED
    return command.run(rest)


def _flush(stream: TextIO | None) -> OSError | None:
    """Flush a stream and return the error, if any. A failure in Python's own flush at exit would print a stack trace."""
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
        "Train a multi-label image tagger on COCO, tag folders of photographs with it, and measure how good it is.",
        "",
    ]
    width = max(map(len, COMMANDS))
    for job, commands in JOBS.items():
        lines += [f"{job}:", *(f"  {one.name:<{width}}  {one.about.splitlines()[0]}" for one in commands), ""]
    lines += [
        "cocotag COMMAND --help explains a command; cocotag --version prints the version.",
        "Exit status: 0 done; 1 done, with faults that are named; 2 could not start; 130 stopped by Ctrl-C.",
    ]
    return "\n".join(lines)
