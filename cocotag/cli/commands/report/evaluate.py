"""`cocotag evaluate`: a report on a bundle."""

from __future__ import annotations

import sys
from pathlib import Path

from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, Command, refuse_existing
from cocotag.cli.parsing.data_flags import add_data, given_of, root_and_split
from cocotag.cli.parsing.threshold_flag import add_thresholds
from cocotag.errors import ConfigError, DataError


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="tagger.onnx of a training run")
    parser.add_argument("--root", metavar="DIR", type=Path, help="data set, in COCO's layout or as another program exported it")
    about = "split to report on (default: the only one); it must not be a training split"
    parser.add_argument("--split", help=about)
    add_data(parser)
    parser.add_argument("--out", required=True, metavar="DIR", type=Path, help="folder for report.json, report.html and tables")
    parser.add_argument(
        "--aliases", metavar="FILE", help="names of the data set's classes in the bundle: YAML, or voc, open_images"
    )
    add_thresholds(parser, "fixed:T, one threshold for all classes instead of the bundle's own, such as fixed:0.5")
    parser.add_argument(
        "--baseline",
        metavar="REPORT_JSON",
        type=Path,
        help="report.json of another evaluation of the same images, to compare with",
    )
    about = "format of the summary on stdout; md is Markdown (default: text)"
    parser.add_argument("--format", choices=["text", "md"], default="text", help=about)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing report")
    args = parser.parse_args(words)

    if args.thresholds is not None and args.thresholds.name != "fixed":
        raise ConfigError(
            f"--thresholds {args.thresholds} would tune thresholds on the reported images, so the figures would be optimistic. "
            "Tune them on other images: "
            f"cocotag tune-thresholds {args.bundle} --root DIR --split SPLIT --thresholds {args.thresholds} --out FILE",
            code="rule_not_fixed",
        )
    from cocotag.data.annotations import load_split
    from cocotag.data.image_files import Source, refuse_links
    from cocotag.data.matching import load_aliases
    from cocotag.evaluation.compare import optimism
    from cocotag.evaluation.markdown import summary_table
    from cocotag.evaluation.run import evaluate_bundle
    from cocotag.evaluation.stored import read_evaluation
    from cocotag.evaluation.write import FILES, write_evaluation
    from cocotag.files import probe_folder
    from cocotag.inference.tagger import Tagger

    refuse_existing(args.overwrite, *(args.out / name for name in FILES))
    stored = read_evaluation(args.baseline) if args.baseline else None
    if stored is not None and stored.predictions is None:
        raise DataError(
            f"{args.baseline} has no predictions.npz beside it, so it cannot be compared image by image. "
            "Write it again with: cocotag evaluate",
            code="predictions_missing",
        )
    tagger = Tagger.load(args.bundle)
    root, split = root_and_split(args, parser)
    table = load_split(root, split, given_of(args))
    refuse_links(table, [Source(root, split, table.image_dir)])
    aliases = load_aliases(args.aliases, "--aliases") if args.aliases else None
    probe_folder(args.out)
    evaluation, failures = evaluate_bundle(
        tagger,
        table,
        split=split,
        aliases=aliases,
        fixed=args.thresholds,
        baseline=stored.predictions if stored else None,
        baseline_name=str(args.baseline),
        warnings=[optimism(str(args.baseline))] if stored and stored.optimistic else [],
    )
    write_evaluation(evaluation, args.out)
    print(summary_table(evaluation.summary) if args.format == "md" else evaluation.to_text())
    print(args.out / "report.html", file=sys.stderr if args.format == "md" else sys.stdout)
    measured = evaluation.summary.loc["macro_f1", "n_classes"]
    return DONE_WITH_FAULTS if failures or not measured else DONE


COMMAND = Command(
    "evaluate",
    "Measure a bundle on labelled images, and write a report.",
    "cocotag evaluate runs/NAME/tagger.onnx --root data --split val --out report",
    _run,
)
