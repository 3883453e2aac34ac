"""The errors that a user can do something about. Each message says what, the values, and what to do. Imports nothing."""


class CocotagError(Exception):
    """Base of every error that is the input's fault, not the program's; the command line prints it as one line."""


class ConfigError(CocotagError):
    """A training config, flag or parameter is impossible."""


class DataError(CocotagError):
    """An annotation file or data set is missing, is not COCO's format, or contradicts itself."""


class ImageError(CocotagError):
    """One image file cannot be used.

    Attributes:
        reason: A stable name for programs, such as ``missing``, ``empty``, ``not_an_image`` or ``truncated``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BundleError(CocotagError):
    """A file is not a cocotag bundle, or one from a version that this one does not read."""


class OutputError(CocotagError):
    """Something cannot be written where it was asked for, or is there already."""


class MissingExtraError(CocotagError):
    """A command needs packages that the base install leaves out."""


class Interrupted(CocotagError):
    """Ctrl-C stopped the work; the message says what is kept and how to go on."""
