"""A check of the code of the error that a command ends with."""

from contextlib import contextmanager
from unittest import mock

from cocotag.cli import main
from cocotag.errors import CocotagError


@contextmanager
def ends_with(code):
    """Run `cocotag.cli.main.main` in the block; check that it ends with an error of this code, or without one for None."""
    command, codes = main._command, []

    def recorded(words):
        try:
            return command(words)
        except CocotagError as error:
            codes.append(error.code)
            raise

    with mock.patch.object(main, "_command", recorded):
        yield
    assert codes == ([] if code is None else [code]), f"it ended with {codes}"
