"""`cocotag imbalance`: a report on a data set."""

from __future__ import annotations

from pathlib import Path

from cocotag.commands import DONE, Command, refuse_existing
from cocotag.errors import DataError


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.add_argument(
        "annotations",
        metavar="ANNOTATIONS_JSON",
        nargs="+",
        type=Path,
        help="COCO instances file; several: splits of one data set",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", type=Path, help="folder for dataset.json, *.csv and imbalance.html"
    )
    parser.add_argument("--images", metavar="DIR", type=Path, help="folder of the images, if not beside annotations/")
    parser.add_argument("--overwrite", action="store_true", help="replace a report that is there already")
    args = parser.parse_args(words)

    from cocotag.data.annotations import load_annotations
    from cocotag.reports.imbalance import FILES, imbalance, write

    refuse_existing(args.overwrite, *(args.out / name for name in FILES))
    if args.images is not None and not args.images.is_dir():
        raise DataError(f"--images {args.images} is not a folder. Give the folder of the images, or leave it out.")
    found = [
        imbalance(load_annotations(path, args.images), split=path.stem.removeprefix("instances_")) for path in args.annotations
    ]
    write(found, args.out)
    for one in found:
        print(one.to_text())
    print(args.out / "imbalance.html")
    return DONE


COMMAND = Command(
    "imbalance",
    "Report how unbalanced a data set is.",
    "cocotag imbalance data/annotations/instances_train.json --out imbalance",
    _run,
)
