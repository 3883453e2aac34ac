"""The flags that say where the files of a data set are, the same for every command that reads one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cocotag.cli.parsing.command import Parser

if TYPE_CHECKING:
    from cocotag.data.layout import Given


def add_data(parser: Parser, *, files: bool = True) -> None:
    """Add the flags; without ``files`` only the one about crowds."""
    if files:
        about = "annotation file, if it is not found in the data set; {split} in it stands for the name of the split"
        parser.add_argument("--data.annotations", metavar="FILE", dest="annotation_file", help=about)
        parser.add_argument("--data.images", metavar="DIR", dest="image_folder", help="folder of its images, likewise")
    about = "true: annotations with iscrowd 1 are objects like any other (some programs write all masks so)"
    parser.add_argument(
        "--data.crowd_is_object", metavar="BOOL", dest="crowd_is_object", type=_boolean, default=False, help=about
    )


def given_of(args: argparse.Namespace) -> Given:
    """What the flags say."""
    from cocotag.data.layout import Given

    files = vars(args)
    return Given(files.get("annotation_file"), files.get("image_folder"), args.crowd_is_object)


def root_and_split(args: argparse.Namespace, parser: Parser) -> tuple[Path, str]:
    """Data set and split of a command: as given, or those of the annotation file, or the only split of the data set."""
    from cocotag.data.layout import find_splits, of_file

    given = given_of(args)
    root, split = args.root, args.split
    if given.annotations is not None and (split or "{split}" not in given.annotations):
        place = of_file(Path(given.annotations.replace("{split}", split or "")))
        return root or place.root, split or place.split
    if root is None:
        parser.error("give the data set, or its annotation file with --data.annotations FILE")
    if split is None:
        splits = sorted(find_splits(root, given))
        if len(splits) > 1:
            parser.error(f"{root} has the splits {', '.join(splits)}: give one with --split")
        split = splits[0] if splits else "train"
    return root, split


def _boolean(text: str) -> bool:
    values = {"true": True, "false": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is not true or false")
    return values[text.lower()]
