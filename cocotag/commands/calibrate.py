"""`cocotag calibrate`: a bundle's thresholds, chosen on labelled images."""

from __future__ import annotations

from pathlib import Path

from cocotag.commands import DONE, DONE_WITH_FAULTS, Command, refuse_existing, without_extra


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="any bundle; with --out it stays as it is")
    parser.add_argument("--root", required=True, metavar="DIR", type=Path, help="data set in COCO's layout")
    parser.add_argument("--split", required=True, help="split to choose on; claim no figures from it afterwards")
    parser.add_argument("--out", metavar="FILE", type=Path, help="the bundle with the new thresholds (default: BUNDLE itself)")
    parser.add_argument(
        "--aliases", metavar="FILE", help="what its classes are called in the bundle: YAML, or voc, open_images"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a FILE that is there already")
    args = parser.parse_args(words)

    out = args.out or args.bundle
    if args.out is not None:
        refuse_existing(args.overwrite, args.out)
    try:
        import onnx  # noqa: F401 (to say early that it is missing)
    except ModuleNotFoundError as error:
        raise without_extra("Writing a bundle", error) from None
    from cocotag.calibrate import calibrate
    from cocotag.data.annotations import load_split
    from cocotag.data.image_files import refuse_links
    from cocotag.data.matching import load_aliases
    from cocotag.files import probe_folder
    from cocotag.tagging.tagger import Tagger

    tagger = Tagger.load(args.bundle)
    table = load_split(args.root, args.split)
    refuse_links(table, [(args.root, args.split)])
    probe_folder(out.parent)
    aliases = load_aliases(args.aliases, "--aliases") if args.aliases else None
    made = calibrate(tagger, table, out, split=args.split, aliases=aliases)
    print(made.to_text())
    print(out)
    return DONE_WITH_FAULTS if made.failures else DONE


COMMAND = Command(
    "calibrate",
    "Choose a bundle's thresholds anew on labelled images.",
    "cocotag calibrate tagger.onnx --root data --split mine --out calibrated.onnx",
    _run,
)
