"""The errors that a user can do something about. Each message says what is wrong, the value, and what to do. Imports nothing.

Programs and tests look at ``code``, which is stable; messages are for people and may change.
"""


class CocotagError(Exception):
    """Base of every error whose cause is the input or the machine; the command line prints it as one line.

    Args:
        message: One line for people.
        code: A stable name for programs, in lower case with underscores, such as ``split_missing``; None for the class's own.

    Attributes:
        code: That name.
    """

    code: str = "error"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConfigError(CocotagError):
    """A training config, flag or parameter is impossible."""

    code = "config"


class DataError(CocotagError):
    """An annotation file or data set is missing, is not COCO's format, or contradicts itself."""

    code = "data"


class ImageError(CocotagError):
    """One image file cannot be used.

    Attributes:
        reason: The same as ``code``, such as ``missing``, ``empty``, ``not_an_image`` or ``truncated``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message, code=reason)
        self.args = (reason, message)  # so that it can be pickled

    @property
    def reason(self) -> str:
        """The code."""
        return self.code

    def __str__(self) -> str:
        return str(self.args[1])


class BundleError(CocotagError):
    """A file is not a cocotag bundle, or is one from a version that this one does not read."""

    code = "bundle"


class OutputError(CocotagError):
    """Something cannot be written where it was asked for, or already exists."""

    code = "output"


class MissingExtraError(CocotagError):
    """A command needs packages that the base install leaves out."""

    code = "missing_extra"


class Interrupted(CocotagError):
    """Ctrl-C stopped the work; the message says what is kept and how to resume."""

    code = "interrupted"
