"""`cocotag imbalance`: a report on the class imbalance of a data set."""

from __future__ import annotations

from pathlib import Path

from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, Command, refuse_existing
from cocotag.errors import DataError


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.add_argument(
        "annotations",
        metavar="ANNOTATIONS_JSON",
        nargs="+",
        type=Path,
        help="COCO instances file; several files are splits of one data set, the main one first",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", type=Path, help="folder for dataset.json, *.csv and imbalance.html"
    )
    parser.add_argument("--images", metavar="DIR", type=Path, help="folder of the images, if it is not beside annotations/")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing report")
    args = parser.parse_args(words)

    from cocotag.data.annotations import load_annotations
    from cocotag.files import probe_folder
    from cocotag.imbalance.brightness import measure_brightness
    from cocotag.imbalance.integrity import find_images, look_over
    from cocotag.imbalance.result import imbalance, split_names
    from cocotag.imbalance.write import FILES, write

    refuse_existing(args.overwrite, *(args.out / name for name in FILES))
    if args.images is not None and not args.images.is_dir():
        raise DataError(
            f"--images {args.images} is not a folder. Give the folder of the images, or leave out the flag.",
            code="not_a_folder",
        )
    for path in args.annotations:
        if path.is_dir():
            raise DataError(f"{path} is a folder. {_hint(path)}", code="not_a_file")
    probe_folder(args.out)
    tables = [load_annotations(path, args.images) for path in args.annotations]
    found = [
        imbalance(table, split=path.stem.removeprefix("instances_"))
        for table, path in zip(tables, args.annotations, strict=True)
    ]
    names = split_names(found)
    folders = [args.images or find_images(path) for path in args.annotations]
    others = {
        name: (folder, table.file_names.tolist())
        for name, folder, table in zip(names[1:], folders[1:], tables[1:], strict=True)
        if folder is not None
    }
    integrity, survey = look_over(args.annotations[0], names[0], folders[0], others=others)
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
    return DONE_WITH_FAULTS if light is not None and light.measures["unreadable"] else DONE


def _hint(folder: Path) -> str:
    """A sentence with a file to give instead of a folder."""
    files = sorted([*folder.glob("instances_*.json"), *folder.glob("annotations/instances_*.json")])
    return f"Give a file, such as {files[0]}." if files else "Give a COCO instances file."


COMMAND = Command(
    "imbalance",
    "Measure the class imbalance of a data set, and write a report.",
    "cocotag imbalance data/annotations/instances_train.json --out imbalance",
    _run,
)
