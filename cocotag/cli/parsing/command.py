"""The commands, a file each, and what they share: exit status, one-line errors, kinds of arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from cocotag.errors import MissingExtraError, OutputError

DONE, DONE_WITH_FAULTS, NOT_STARTED, INTERRUPTED = 0, 1, 2, 130
"""Exit status: nothing to say; done, but something was wrong and was named; could not start; stopped by Ctrl-C."""


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where the help is."""
        self.exit(NOT_STARTED, f"{self.prog}: {message}. See {self.prog} --help\n")


@dataclass(frozen=True)
class Command:
    """One command: its name, what it is for, an example, and what it does with the words behind its name."""

    name: str
    about: str
    example: str
    run: Callable[[list[str]], int]

    def parser(self) -> Parser:
        """With the help's head and foot, and no arguments yet."""
        return Parser(
            prog=f"cocotag {self.name}",
            description=self.about,
            epilog=f"example: {self.example}",
            allow_abbrev=False,
        )


def share(text: str) -> float:
    """A number between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number between 0 and 1")
    return value


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def given_path(text: str) -> Path:
    """A path; an empty text is none, where `Path` takes it for the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path was given; . is the current folder")
    return Path(text)


def refuse_existing(overwrite: bool, *paths: Path) -> None:
    """Stop before anything that is there is replaced unasked.

    Raises:
        OutputError: Naming the first.
    """
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise OutputError(f"{there[0]} is there already. Add --overwrite to replace it, or choose another --out.")


def without_extra(what: str, error: ModuleNotFoundError) -> MissingExtraError:
    """What to raise where a command met a package that only the extra ``train`` brings."""
    return MissingExtraError(
        f"{what} needs packages that the base install leaves out ({error.name} is missing). "
        "Get them with: pip install 'cocotag[train]'"
    )
