"""`cocotag tune-thresholds`: a bundle's thresholds, tuned on labelled images."""

from __future__ import annotations

from pathlib import Path

from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, Command, refuse_existing, without_extra
from cocotag.cli.parsing.data_flags import add_data, given_of, root_and_split
from cocotag.cli.parsing.threshold_flag import RULES, add_thresholds


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="any bundle; with --out its file stays unchanged")
    about = "data set, in COCO's layout or as another program exported it; fixed:T needs none, unless scores are calibrated"
    parser.add_argument("--root", metavar="DIR", type=Path, help=about)
    about = "split to tune on (default: the only one); figures measured on it later are optimistic"
    parser.add_argument("--split", help=about)
    add_data(parser)
    add_thresholds(parser, f"the rule that thresholds are tuned by: {RULES}; default f1")
    about = (
        "first correct the scores inside the bundle, by one scale for all classes and a shift for each, then tune thresholds "
        "for the new scores. Refused, with nothing written, unless the log loss on held-out images falls by two standard errors"
    )
    parser.add_argument("--calibrate-scores", action="store_true", help=about)
    parser.add_argument("--out", metavar="FILE", type=Path, help="the new bundle (default: BUNDLE itself)")
    parser.add_argument(
        "--aliases", metavar="FILE", help="names of the data set's classes in the bundle: YAML, or voc, open_images"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing FILE")
    args = parser.parse_args(words)

    fixed = args.thresholds is not None and args.thresholds.name == "fixed" and not args.calibrate_scores
    if not fixed and args.root is None and args.annotation_file is None:
        what = "scores are calibrated" if args.calibrate_scores else "thresholds are tuned"
        parser.error(f"{what} on labelled images: give --root and --split, or --data.annotations")
    out = args.out or args.bundle
    if args.out is not None:
        refuse_existing(args.overwrite, args.out)
    try:
        import onnx  # noqa: F401 (so that a missing package stops the command before the work)
    except ModuleNotFoundError as error:
        raise without_extra("Writing a bundle", error) from None
    from cocotag.data.annotations import load_split
    from cocotag.data.image_files import Source, refuse_links
    from cocotag.data.matching import load_aliases
    from cocotag.export.tune_thresholds import set_thresholds, tune_thresholds
    from cocotag.files import probe_folder
    from cocotag.inference.tagger import Tagger
    from cocotag.thresholds import F1

    tagger = Tagger.load(args.bundle)
    if fixed:
        probe_folder(out.parent)
        print(set_thresholds(tagger, out, args.thresholds).to_text())
        print(out)
        return DONE
    root, split = root_and_split(args, parser)
    table = load_split(root, split, given_of(args))
    refuse_links(table, [Source(root, split, table.image_dir)])
    probe_folder(out.parent)
    aliases = load_aliases(args.aliases, "--aliases") if args.aliases else None
    rule = args.thresholds or F1
    tuned = tune_thresholds(tagger, table, out, split=split, rule=rule, aliases=aliases, calibrated=args.calibrate_scores)
    print(tuned.to_text())
    print(out)
    return DONE_WITH_FAULTS if tuned.failures else DONE


COMMAND = Command(
    "tune-thresholds",
    "Tune a bundle's thresholds on labelled images.\n"
    "Scores that are too high or too low, for example because the loss weights positives, can be corrected first: "
    "--calibrate-scores. A score of 0.3 then means that 3 of 10 such tags are right.",
    "cocotag tune-thresholds tagger.onnx --root data --split mine --out tuned.onnx",
    _run,
    aliases=("calibrate",),
)
