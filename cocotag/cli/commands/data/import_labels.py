"""`cocotag import`: make a data set from the user's own labels."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, Command, count, share


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = IMPORT_EXAMPLES
    parser.add_argument("source", metavar="SOURCE", type=Path, help="a CSV table, or a folder of images")
    parser.add_argument("out", metavar="OUT", type=Path, help="new folder for the data set")
    kinds = ("csv", "folders", "keywords")
    parser.add_argument("--from", dest="kind", choices=kinds, help="source of the labels (default: csv, if SOURCE is a file)")
    about = "share of the images to hold out as split val, stratified (default: 0.2)"
    parser.add_argument("--val", type=share, metavar="SHARE", help=about)
    about = "seed of the random choice of val images (default: 0)"
    parser.add_argument("--seed", type=int, default=0, metavar="S", help=about)
    about = "leave out tags with fewer than N images (default: 1)"
    parser.add_argument("--min-images", type=count, default=1, metavar="N", help=about)
    about = "copy the images; the default makes hard links, which take no space"
    parser.add_argument("--copy", action="store_true", help=about)
    about = "csv: folder that its paths are relative to (default: the table's folder)"
    parser.add_argument("--images", metavar="DIR", type=Path, help=about)
    about = "csv: character between tags (default: the first of ; | , that occurs)"
    parser.add_argument("--separator", metavar="MARK", help=about)
    about = "keywords: keep photographs without keywords, as negatives of every class"
    parser.add_argument("--keep-untagged", action="store_true", help=about)
    about = "keywords: character between several tags in one keyword, such as , (default: a keyword is one tag)"
    parser.add_argument("--split-keywords", metavar="MARK", help=about)
    about = "folders, keywords: skip files and folders, as for cocotag tag. Repeat the flag for further patterns"
    parser.add_argument("--exclude", metavar="GLOB", action="append", default=[], help=about)
    args = parser.parse_args(words)
    kind = args.kind or ("csv" if not args.source.is_dir() else None)
    if kind is None:
        parser.error(f"{args.source} is a folder: add --from folders (one folder per class) or --from keywords")
    own = {"images": "csv", "separator": "csv", "keep_untagged": "keywords", "split_keywords": "keywords"}
    if args.exclude and kind == "csv":
        parser.error("--exclude needs --from folders or keywords, but the labels come from csv")
    for flag, needed in own.items():
        if getattr(args, flag) and kind != needed:
            parser.error(f"--{flag.replace('_', '-')} needs --from {needed}, but the labels come from {kind}")

    from cocotag.data.importing import labelled
    from cocotag.data.importing.dataset import import_labels, refuse_place

    refuse_place(args.out, args.source)
    if kind == "csv":
        found = labelled.read_csv(args.source, images=args.images, separator=args.separator)
    elif kind == "folders":
        found = labelled.read_folders(args.source, exclude=args.exclude)
    else:
        found = labelled.read_photographs(
            args.source, keep_untagged=args.keep_untagged, split_keywords=args.split_keywords, exclude=args.exclude
        )
    summary = import_labels(found, args.out, val=args.val, seed=args.seed, min_images=args.min_images, copy=args.copy)
    print(f"{summary.to_text()}\nNext: cocotag check {shlex.quote(str(args.out))} --split train\n{args.out}")
    return DONE if summary.ok else DONE_WITH_FAULTS


IMPORT_EXAMPLES = """\
examples:
  cocotag import labels.csv data
      The table has the columns path and tags:   holiday/1.jpg,dog;beach
      An empty tags cell means that the image shows no class. A column split (train, val) is respected.
  cocotag import photos data --from folders
      The folder is the tag: photos/dog/1.jpg, photos/cat/2.jpg. A file in both folders gets both tags.
  cocotag import photos data --from keywords --min-images 20
      The tags are the keywords that Lightroom, digiKam, darktable, ... wrote into the photographs or
      beside them (.xmp).

SOURCE is never changed. OUT is a data set for cocotag check, train and evaluate."""


COMMAND = Command(
    "import",
    "Make a data set from your own labels: a CSV table, class folders, or keywords in the photographs.",
    "cocotag import labels.csv data",
    _run,
)
