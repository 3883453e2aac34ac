"""Code that all commands share: exit statuses, one-line errors, types of arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from cocotag.errors import MissingExtraError, OutputError

DONE, DONE_WITH_FAULTS, NOT_STARTED, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: done; done, with faults that were named; could not start; stopped by Ctrl-C."""


class Parser(argparse.ArgumentParser):
    """An argparse parser that prints an error as one line."""

    def error(self, message: str) -> NoReturn:
        """Print one line with the fault and the command that shows the help, and exit."""
        self.exit(NOT_STARTED, f"{self.prog}: {message}. See {self.prog} --help\n")


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: Name on the command line.
        about: What it does; the overview shows the first line.
        example: A command line.
        run: The words after the name -> exit status.
        aliases: Former names, which keep working.
    """

    name: str
    about: str
    example: str
    run: Callable[[list[str]], int]
    aliases: tuple[str, ...] = ()

    def parser(self) -> Parser:
        """A parser without arguments, which the command adds."""
        return Parser(
            prog=f"cocotag {self.name}",
            description=self.about,
            epilog=f"example: {self.example}",
            allow_abbrev=False,
        )


def share(text: str) -> float:
    """An argument that is a number between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number between 0 and 1")
    return value


def count(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def given_path(text: str) -> Path:
    """An argument that is a path. An empty text is refused; `Path` would take it for the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path was given; . is the current folder")
    return Path(text)


def refuse_existing(overwrite: bool, *paths: Path) -> None:
    """Refuse to replace existing files without ``--overwrite``.

    Raises:
        OutputError: A file exists; the message names the first.
    """
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        raise OutputError(
            f"{existing[0]} already exists. Add --overwrite to replace it, or choose another --out.", code="output_exists"
        )


def without_extra(what: str, error: ModuleNotFoundError) -> MissingExtraError:
    """The error for a package that only the extra ``train`` installs."""
    return MissingExtraError(
        f"{what} needs packages that the base install leaves out ({error.name} is missing). "
        "Install them with: pip install 'cocotag[train]'",
        code="missing_extra",
    )
