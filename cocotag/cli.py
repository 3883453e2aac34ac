"""The command line: parse, call, print. Heavy imports happen only inside a command."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import cocotag
from cocotag.errors import CocotagError, ConfigError, Interrupted, MissingExtraError, OutputError

if TYPE_CHECKING:
    from cocotag.config import TrainConfig

DONE, DONE_WITH_FAULTS, NOT_STARTED, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Command:
    """One command: what it is for, an example, and what it does with the words behind its name."""

    about: str
    example: str
    run: Callable[[list[str]], int]


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where the help is."""
        self.exit(NOT_STARTED, f"{self.prog}: {message}. See {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is returned."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return DONE if words else NOT_STARTED
    if words[0] == "--version":
        print(f"cocotag {cocotag.__version__}")
        return DONE
    name, *rest = words
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"Did you mean {near[0]}?" if near else f"The commands are: {', '.join(COMMANDS)}."
        print(f"cocotag: there is no command {name!r}. {hint} See cocotag --help", file=sys.stderr)
        return NOT_STARTED
    try:
        return COMMANDS[name].run(rest)
    except Interrupted as error:
        print(f"cocotag: {error}", file=sys.stderr)
        return INTERRUPTED
    except CocotagError as error:
        print(f"cocotag: {error}", file=sys.stderr)
        return NOT_STARTED
    except KeyboardInterrupt:
        print("cocotag: stopped; nothing half-written is left.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE_WITH_FAULTS
    except OSError as error:  # a full disk, most of all
        print(f"cocotag: {error.filename or 'a file'} cannot be read or written ({error.strerror or error}).", file=sys.stderr)
        return NOT_STARTED


def _parser(name: str) -> Parser:
    command = COMMANDS[name]
    return Parser(
        prog=f"cocotag {name}",
        description=command.about,
        epilog=f"example: {command.example}",
        allow_abbrev=False,
    )


def _overview() -> str:
    lines = [
        "usage: cocotag COMMAND ...",
        "",
        "Train a multi-label image tagger on COCO, tag folders of photographs with it, and report how good it is.",
        "",
        *(f"  {name:<10} {command.about.splitlines()[0]}" for name, command in COMMANDS.items()),
        "",
        "cocotag COMMAND --help tells more; cocotag --version names the version.",
        "Exit status: 0 done; 1 done, but something was wrong and is named; 2 could not start; 130 stopped by Ctrl-C.",
    ]
    return "\n".join(lines)


# sample


def _sample(words: list[str]) -> int:
    parser = _parser("sample")
    parser.add_argument("out", metavar="OUT_DIR", type=Path, help="new or empty folder to draw into")
    parser.add_argument("--train", type=int, default=1200, metavar="N", help="images to learn from (default: 1200)")
    parser.add_argument("--val", type=int, default=300, metavar="N", help="images to report on (default: 300)")
    parser.add_argument("--size", type=int, default=160, metavar="PX", help="side of an image (default: 160)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed draws the same bytes (default: 0)")
    args = parser.parse_args(words)

    from cocotag.data.sample import draw_sample

    draw_sample(args.out, train=args.train, val=args.val, size=args.size, seed=args.seed)
    print(args.out)
    return DONE


# check


def _check(words: list[str]) -> int:
    parser = _parser("check")
    parser.add_argument("root", metavar="ROOT", type=Path, help="folder with annotations/instances_SPLIT.json and SPLIT/")
    parser.add_argument("--split", required=True, help="which split")
    parser.add_argument("--json", action="store_true", help="findings for programs")
    args = parser.parse_args(words)

    from cocotag.data.check import check_split

    report = check_split(args.root, args.split)
    print(json.dumps(report.to_json(), indent=2) if args.json else report.to_text())
    return DONE if report.ok else DONE_WITH_FAULTS


# import


def _import(words: list[str]) -> int:
    parser = _parser("import")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = IMPORT_EXAMPLES
    parser.add_argument("source", metavar="SOURCE", type=Path, help="a CSV table, or a folder of images")
    parser.add_argument("out", metavar="OUT", type=Path, help="new folder for the data set")
    kinds = ("csv", "folders", "keywords")
    parser.add_argument("--from", dest="kind", choices=kinds, help="where the labels are (default: csv, if SOURCE is a file)")
    parser.add_argument("--val", type=_share, metavar="SHARE", help="held out as the split val, stratified (default: 0.2)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed holds others out (default: 0)")
    parser.add_argument("--min-images", type=_count, default=1, metavar="N", help="leave out tags on fewer images (default: 1)")
    parser.add_argument("--copy", action="store_true", help="copy the images; by default hard links, which take no space")
    parser.add_argument("--images", metavar="DIR", type=Path, help="csv: where its paths start (default: the table's folder)")
    parser.add_argument("--separator", metavar="MARK", help="csv: between tags (default: the first of ; | , that there is)")
    parser.add_argument("--keep-untagged", action="store_true", help="keywords: photographs without any show nothing")
    args = parser.parse_args(words)
    kind = args.kind or ("csv" if not args.source.is_dir() else None)
    if kind is None:
        parser.error(f"{args.source} is a folder: add --from folders (each class has its folder) or --from keywords")
    for flag, of in (("images", "csv"), ("separator", "csv"), ("keep_untagged", "keywords")):
        if getattr(args, flag) and kind != of:
            parser.error(f"--{flag.replace('_', '-')} goes with --from {of}, not with {kind}")

    from cocotag.data import labelled
    from cocotag.data.importing import import_labels, refuse_place

    refuse_place(args.out, args.source)
    if kind == "csv":
        found = labelled.read_csv(args.source, images=args.images, separator=args.separator)
    elif kind == "folders":
        found = labelled.read_folders(args.source)
    else:
        found = labelled.read_photographs(args.source, keep_untagged=args.keep_untagged)
    summary = import_labels(found, args.out, val=args.val, seed=args.seed, min_images=args.min_images, copy=args.copy)
    print(f"{summary.to_text()}\nNext: cocotag check {shlex.quote(str(args.out))} --split train\n{args.out}")
    return DONE if summary.ok else DONE_WITH_FAULTS


IMPORT_EXAMPLES = """\
examples:
  cocotag import labels.csv data
      a table with the columns path and tags:   holiday/1.jpg,dog;beach
      no tags: somebody looked, and there is nothing. A column split (train, val) is kept to.
  cocotag import photos data --from folders
      photos/dog/1.jpg, photos/cat/2.jpg: the folder is the tag. The same file in both: both tags.
  cocotag import photos data --from keywords --min-images 20
      keywords that Lightroom, digiKam, darktable, ... wrote into the photographs or beside them (.xmp)

SOURCE is never changed. OUT is then a data set for cocotag check, train and evaluate."""


# train


def _train(words: list[str]) -> int:
    config, resume, out = _train_config(words)
    try:
        from cocotag.training import fit
    except ModuleNotFoundError as error:
        raise _without_extra("Training", error) from None
    run = fit.resume(resume) if resume is not None else fit.fit(config, out)
    if run.evaluation is not None:
        print(run.evaluation.to_text())
        print(f"Report: {run.directory / 'report' / 'report.html'}")
    print(f"Bundle: {run.directory / 'tagger.onnx'}")
    print(run.directory)
    return DONE_WITH_FAULTS if run.failures else DONE


def _train_config(words: list[str]) -> tuple[TrainConfig, Path | None, Path]:
    """The config of YAML and flags, the run to resume, and the run directory."""
    from datetime import datetime

    import jsonargparse

    from cocotag.config import TrainConfig

    class TrainParser(jsonargparse.ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            # A list's entry is read by a parser of its own, which knows neither the command nor the list.
            keys = ", ".join(action.dest for action in self._actions if action.dest != "help")
            entry = "" if self.prog == "cocotag train" else f"in an entry of {keys}: "
            self.exit(NOT_STARTED, f"cocotag train: {entry}{' '.join(message.split()).rstrip('.')}. See cocotag train --help\n")

    parser = TrainParser(
        prog="cocotag train",
        description=COMMANDS["train"].about,
        epilog=f"example: {COMMANDS['train'].example}",
        allow_abbrev=False,
        default_env=False,
    )
    parser.add_argument("--config", action="config", help="YAML file, or the name of one that comes with cocotag")
    parser.add_argument("--resume", type=str | None, metavar="RUN_DIR", help="go on with a run; nothing else is needed")
    parser.add_argument("--out", type=str | None, metavar="RUN_DIR", help="run directory (default: runs/CONFIG-DATE-TIME)")
    parser.add_class_arguments(TrainConfig, as_group=False)
    words, name = _config_first(words)
    parsed = parser.parse_args(words)
    made = parser.instantiate(parsed)
    config = TrainConfig(**{key: getattr(made, key) for key in TrainConfig.__dataclass_fields__})
    if parsed.resume is not None and any(not word.startswith("--resume") for word in words if word.startswith("--")):
        raise ConfigError("--resume takes everything else from the run. Leave the other flags out, or start a new run.")
    out = Path(parsed.out) if parsed.out else Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    return config, Path(parsed.resume) if parsed.resume else None, out


def _config_first(words: list[str]) -> tuple[list[str], str]:
    """Put ``--config`` before the other flags, which override it wherever it stands, and its name in place of its path.

    Returns:
        The words, and the config's name.
    """
    from cocotag.config import find_config

    configs: list[str] = []
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--config" and queue:
            configs.append(queue.pop(0))
        elif word.startswith("--config="):
            configs.append(word.removeprefix("--config="))
        else:
            rest.append(word)
    files = [find_config("--config", config) for config in configs]
    return [*(f"--config={file}" for file in files), *rest], files[-1].stem if files else "run"


# evaluate


def _evaluate(words: list[str]) -> int:
    parser = _parser("evaluate")
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="tagger.onnx of a training run")
    parser.add_argument("--root", required=True, metavar="DIR", type=Path, help="data set in COCO's layout")
    parser.add_argument("--split", required=True, help="split to report on; not one that was trained on")
    parser.add_argument("--out", required=True, metavar="DIR", type=Path, help="folder for report.json, *.csv and report.html")
    parser.add_argument(
        "--aliases", metavar="FILE", help="what its classes are called in the bundle: YAML, or voc, open_images"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a report that is there already")
    args = parser.parse_args(words)

    from cocotag.data.annotations import load_split
    from cocotag.data.matching import load_aliases
    from cocotag.data.sources import align
    from cocotag.evaluate import evaluate_bundle
    from cocotag.reports.evaluation import FILES
    from cocotag.tagging.tagger import Tagger

    _refuse_existing(args.overwrite, *(args.out / name for name in FILES))
    tagger = Tagger.load(args.bundle)
    table = load_split(args.root, args.split)
    if args.aliases:
        table = align(table, tagger.metadata.vocabulary, name=str(args.root), aliases=load_aliases(args.aliases, "--aliases"))
    evaluation, failures = evaluate_bundle(tagger, table, split=args.split)
    evaluation.write(args.out)
    print(evaluation.to_text())
    print(args.out / "report.html")
    return DONE_WITH_FAULTS if failures else DONE


# imbalance


def _imbalance(words: list[str]) -> int:
    parser = _parser("imbalance")
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

    _refuse_existing(args.overwrite, *(args.out / name for name in FILES))
    found = [
        imbalance(load_annotations(path, args.images), split=path.stem.removeprefix("instances_")) for path in args.annotations
    ]
    write(found, args.out)
    for one in found:
        print(one.to_text())
    print(args.out / "imbalance.html")
    return DONE


# tag


def _tag(words: list[str]) -> int:
    parser = _parser("tag")
    parser.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="image, or folder to walk")
    parser.add_argument("--model", required=True, metavar="BUNDLE", type=Path, help="tagger.onnx of a training run")
    parser.add_argument("--out", required=True, metavar="FILE", help=".csv or .jsonl by the ending; - is JSONL to stdout")
    parser.add_argument("--threshold", type=_share, metavar="T", help="one for all classes, 0 to 1 (default: the bundle's own)")
    parser.add_argument("--top-k", type=_count, metavar="K", help="at most so many tags an image")
    parser.add_argument("--all-scores", action="store_true", help="JSONL: the scores of all classes too")
    parser.add_argument("--overwrite", action="store_true", help="replace a FILE that is there already")
    args = parser.parse_args(words)

    from cocotag.tagging.folder import tag_paths
    from cocotag.tagging.outputs import open_writer
    from cocotag.tagging.tagger import Tagger

    tagger = Tagger.load(args.model)
    with open_writer(args.out, tagger.metadata, overwrite=args.overwrite, all_scores=args.all_scores) as writer:
        summary = tag_paths(tagger, args.paths, writer, threshold=args.threshold, top_k=args.top_k)
    print(summary.to_text(), file=sys.stderr)
    return DONE if summary.ok == summary.total else DONE_WITH_FAULTS


# export


def _export(words: list[str]) -> int:
    parser = _parser("export")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="RUN_DIR/checkpoints/best.ckpt")
    parser.add_argument("--out", required=True, metavar="FILE", type=Path, help="the bundle, FILE.onnx")
    parser.add_argument("--overwrite", action="store_true", help="replace a FILE that is there already")
    args = parser.parse_args(words)

    _refuse_existing(args.overwrite, args.out)
    try:
        from cocotag.training.fit import export_run
    except ModuleNotFoundError as error:
        raise _without_extra("Exporting", error) from None
    metadata, warning = export_run(args.checkpoint, args.out)
    if warning:
        print(f"cocotag: {warning}", file=sys.stderr)
    print(f"largest difference in probability from the network: {metadata.parity['largest_difference']:.2g}")
    print(args.out)
    return DONE_WITH_FAULTS if warning else DONE


# info


def _info(words: list[str]) -> int:
    parser = _parser("info")
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="tagger.onnx of a training run")
    parser.add_argument("--json", action="store_true", help="everything, for programs")
    args = parser.parse_args(words)

    from cocotag.bundle import fingerprint, read_metadata

    metadata = read_metadata(args.bundle)
    if args.json:
        print(json.dumps({**metadata.to_json(), "sha256": fingerprint(args.bundle)}, indent=2, ensure_ascii=False))
        return DONE
    model: dict[str, Any] = metadata.config.get("model", {})
    tuned = metadata.tuned_on
    print(f"network      {model.get('name', 'unknown')}, output stride {model.get('output_stride', '?')}")
    print(f"input        uint8 RGB, {metadata.image_size} x {metadata.image_size} pixels")
    print(f"trained on   {metadata.train_images} images")
    print(f"tuned on     {tuned.get('images', '?')} images ({tuned.get('split', '?')}): figures taken there are optimistic")
    print(f"made by      {', '.join(f'{key} {value}' for key, value in metadata.made_by.items())}")
    print(f"parity       {json.dumps(metadata.parity)}")
    print(f"sha256       {fingerprint(args.bundle)}")
    print(f"classes      {len(metadata.vocabulary)}\n")
    print("index  id  threshold  positives  name")
    rows = zip(metadata.vocabulary, metadata.thresholds, metadata.positives, strict=True)
    for index, (category, threshold, positives) in enumerate(rows):
        print(f"{index:5d} {category.id!s:>3}  {threshold:9.3f}  {positives:9d}  {category.name}")
    return DONE


def _without_extra(what: str, error: ModuleNotFoundError) -> MissingExtraError:
    return MissingExtraError(
        f"{what} needs packages that the base install leaves out ({error.name} is missing). "
        "Get them with: pip install 'cocotag[train]'"
    )


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number between 0 and 1")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def _refuse_existing(overwrite: bool, *paths: Path) -> None:
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise OutputError(f"{there[0]} is there already. Add --overwrite to replace it, or choose another --out.")


COMMANDS = {
    "sample": Command(
        "Draw a small data set in COCO's layout, to try everything on.",
        "cocotag sample data",
        _sample,
    ),
    "check": Command(
        "Look for what is wrong with a data set before hours are spent on it.",
        "cocotag check data --split train",
        _check,
    ),
    "import": Command(
        "Make a data set of your own labels: a CSV table, class folders, or keywords in the photographs.",
        "cocotag import labels.csv data",
        _import,
    ),
    "train": Command(
        "Train a tagger and write its bundle and report.",
        "cocotag train --config sample --data.root data",
        _train,
    ),
    "evaluate": Command(
        "Report how good a bundle is on labelled images.",
        "cocotag evaluate runs/NAME/tagger.onnx --root data --split val --out report",
        _evaluate,
    ),
    "imbalance": Command(
        "Report how unbalanced a data set is.",
        "cocotag imbalance data/annotations/instances_train.json --out imbalance",
        _imbalance,
    ),
    "tag": Command(
        "Tag images and folders: one row for every file, whatever is in it.",
        "cocotag tag photos --model runs/NAME/tagger.onnx --out tags.csv",
        _tag,
    ),
    "export": Command(
        "Turn a checkpoint into a bundle.",
        "cocotag export runs/NAME/checkpoints/best.ckpt --out tagger.onnx",
        _export,
    ),
    "info": Command(
        "Say what is in a bundle.",
        "cocotag info runs/NAME/tagger.onnx",
        _info,
    ),
}
