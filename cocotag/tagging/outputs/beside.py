"""The table of outputs beside the images: their flags, and how to make one from the values of the flags.

To add an output, write a class with the methods of `cocotag.tagging.decisions.beside.Beside` in a module of its own and a row
here; ``cocotag tag`` and ``cocotag retag`` take their flags from this table. The modules are imported when an output is wanted,
so that ``--help`` stays quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cocotag.errors import ConfigError

if TYPE_CHECKING:
    from cocotag.tagging.decisions.beside import Beside


@dataclass(frozen=True)
class Flag:
    """A flag of the command line.

    Attributes:
        name: Name with its dashes.
        help: One line.
        metavar: Name of its value, a path; None for a switch without a value.
        choices: Its valid values; None for a switch or a path.
    """

    name: str
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] | None = None

    @property
    def key(self) -> str:
        """Key of its value."""
        return self.name.removeprefix("--").replace("-", "_")


@dataclass(frozen=True)
class Row:
    """One kind of output.

    Attributes:
        flags: Its flags.
        make: Values of the flags by `Flag.key` -> the output; None if it is not wanted. Raises ConfigError for flags that
            contradict each other.
        only_tag: Whether only ``cocotag tag`` has it, since it needs the photographs as they were tagged.
    """

    flags: tuple[Flag, ...]
    make: Callable[[Mapping[str, Any]], Beside | None]
    only_tag: bool = False


def _text_files(values: Mapping[str, Any]) -> Beside | None:
    if not values["txt"]:
        return None
    from cocotag.tagging.outputs.text_files import TextFiles

    return TextFiles()


def _sidecars(values: Mapping[str, Any]) -> Beside | None:
    if not values["xmp"]:
        if values["sidecar_name"]:
            raise ConfigError("--sidecar-name belongs to --xmp, which is not given.", code="flag_without_other")
        return None
    from cocotag.tagging.xmp.outputs import Sidecars

    return Sidecars(values["sidecar_name"] or "append")


def _embedded(values: Mapping[str, Any]) -> Beside | None:
    into: Path | None = values["embed_into"]
    if values["no_backup"] and not values["embed"]:
        raise ConfigError("--no-backup belongs to --embed, which is not given.", code="flag_without_other")
    if values["embed"] and into is not None:
        raise ConfigError(
            "--embed and --embed-into are both given. Give --embed for the photographs, or --embed-into for copies.",
            code="flags_contradict",
        )
    if not (values["embed"] or into is not None):
        return None
    from cocotag.tagging.xmp.outputs import Embedded

    return Embedded(into, backup=not values["no_backup"])


def _gallery(values: Mapping[str, Any]) -> Beside | None:
    if not values["gallery"]:
        return None
    from cocotag.tagging.gallery.output import Gallery

    return Gallery(values["gallery"])


BESIDE: tuple[Row, ...] = (
    Row((Flag("--txt", "a .txt beside each image, one tag per line"),), _text_files),
    Row(
        (
            Flag("--xmp", "XMP sidecars, which digiKam, darktable and Lightroom read"),
            Flag("--sidecar-name", "--xmp: IMG.jpg.xmp (append, the default) or IMG.xmp (adobe)", choices=("append", "adobe")),
        ),
        _sidecars,
    ),
    Row(
        (
            Flag("--embed", "write keywords into the photographs themselves, with exiftool"),
            Flag("--embed-into", "write keywords into copies of the photographs in this folder", metavar="DIR"),
            Flag("--no-backup", "--embed: do not keep the original as IMG.jpg_original"),
        ),
        _embedded,
        only_tag=True,
    ),
    Row((Flag("--gallery", "static pages to look at images and tags", metavar="DIR"),), _gallery),
)
"""The outputs beside the images, in the order of ``--help``."""
