"""`cocotag imbalance`: a report on the class imbalance of a data set."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, Command, refuse_existing
from cocotag.cli.parsing.data_flags import add_data, given_of
from cocotag.errors import DataError

if TYPE_CHECKING:
    from cocotag.data.annotations import AnnotationTable
    from cocotag.data.layout import Place

_LOOKED_FOR = 1000  # images; if none of these exists, the folder is not that of the images


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.add_argument(
        "annotations",
        metavar="ANNOTATIONS_JSON",
        nargs="+",
        type=Path,
        help="COCO instances file, or a data set; several files are splits of one data set, the main one first",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", type=Path, help="folder for dataset.json, *.csv and imbalance.html"
    )
    about = "folder of the images, if it is not found beside the annotations"
    parser.add_argument("--images", "--data.images", metavar="DIR", type=Path, help=about)
    add_data(parser, files=False)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing report")
    args = parser.parse_args(words)

    from cocotag.data.annotations import load_annotations
    from cocotag.data.sources import in_classes_of
    from cocotag.files import probe_folder
    from cocotag.imbalance.brightness import measure_brightness
    from cocotag.imbalance.integrity import look_over
    from cocotag.imbalance.result import distinct, imbalance
    from cocotag.imbalance.write import FILES, write

    refuse_existing(args.overwrite, *(args.out / name for name in FILES))
    if args.images is not None and not args.images.is_dir():
        raise DataError(
            f"--images {args.images} is not a folder. Give the folder of the images, or leave out the flag.",
            code="not_a_folder",
        )
    given = given_of(args)
    places = [place for path in args.annotations for place in _places(path)]
    probe_folder(args.out)
    tables = [load_annotations(place.annotations, args.images, crowd_is_object=given.crowd_is_object) for place in places]
    names = distinct([place.split for place in places])
    for number in range(1, len(tables)):
        tables[number] = in_classes_of(tables[0], names[0], tables[number], names[number], say=_say)
    found = [imbalance(table, split=name) for table, name in zip(tables, names, strict=True)]
    folders = [args.images or (table.image_dir if _has_images(table) else None) for table in tables]
    others = {
        name: (folder, table.file_names.tolist())
        for name, folder, table in zip(names[1:], folders[1:], tables[1:], strict=True)
        if folder is not None
    }
    integrity, survey = look_over(places[0].annotations, names[0], folders[0], given=given, others=others)
    light = None
    if survey is not None and folders[0] is not None:
        light = measure_brightness(survey, folders[0], tables[0].file_names.tolist())
    write(found, args.out, brightness=light, integrity=integrity)
    for one in found:
        print(one.to_text())
    if light is not None:
        print(light.to_text())
    print(integrity.to_text())
    print(args.out / "imbalance.html")
    faults = any(finding.severity == "error" for finding in integrity.findings)
    return DONE_WITH_FAULTS if faults or (light is not None and light.measures["unreadable"]) else DONE


def _places(path: Path) -> list[Place]:
    """The annotation file, or those of all splits of a data set: train first, then by name."""
    from cocotag.data.layout import find, find_splits, of_file

    if not path.is_dir():
        return [of_file(path)]
    splits = sorted(find_splits(path), key=lambda name: (name != "train", name)) or ["train"]
    return [find(path, split) for split in splits]


def _has_images(table: AnnotationTable) -> bool:
    """Whether the image folder is that of the images; one that may not be read is, so that its images are named."""
    if not table.image_dir.is_dir():
        return False
    return not os.access(table.image_dir, os.X_OK) or any(map(os.path.lexists, table.paths()[:_LOOKED_FOR]))


def _say(text: str) -> None:
    print(f"cocotag: {text}", file=sys.stderr)


COMMAND = Command(
    "imbalance",
    "Measure the class imbalance of a data set, and write a report.",
    "cocotag imbalance data/annotations/instances_train.json --out imbalance",
    _run,
)
