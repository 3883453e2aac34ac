"""`cocotag tag`: files and folders to tags."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from cocotag.commands import DONE, DONE_WITH_FAULTS, Command, count, share
from cocotag.errors import ConfigError


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="image, or folder to walk")
    model = parser.add_argument("--model", required=True, metavar="BUNDLE", type=Path, action="append")
    model.help = "tagger.onnx of a training run; give it again for further ones: a row of each for every file"
    parser.add_argument("--out", required=True, metavar="FILE", help=".csv or .jsonl by the ending; - is JSONL to stdout")
    parser.add_argument("--threshold", type=share, metavar="T", help="one for all classes, 0 to 1 (default: the bundle's own)")
    parser.add_argument("--top-k", type=count, metavar="K", help="at most so many tags an image")
    parser.add_argument("--all-scores", action="store_true", help="JSONL: the scores of all classes too")
    parser.add_argument("--overwrite", action="store_true", help="replace a FILE that is there already")
    args = parser.parse_args(words)

    from cocotag.tagging.folder import tag_paths
    from cocotag.tagging.outputs import open_writer
    from cocotag.tagging.tagger import Tagger

    named = {name: Tagger.load(path) for name, path in _names(args.model).items()}
    taggers = named if len(named) > 1 else next(iter(named.values()))
    metadata = {name: one.metadata for name, one in named.items()} if len(named) > 1 else next(iter(named.values())).metadata
    with open_writer(args.out, metadata, overwrite=args.overwrite, all_scores=args.all_scores) as writer:
        summary = tag_paths(taggers, args.paths, writer, threshold=args.threshold, top_k=args.top_k)
    print(summary.to_text(), file=sys.stderr)
    return DONE if summary.ok == summary.total else DONE_WITH_FAULTS


def _names(bundles: list[Path]) -> dict[str, Path]:
    """The bundles by what their rows call them: the file's name, or the whole path where several files are called that."""
    files = Counter(path.name for path in bundles)
    named = {path.name if files[path.name] == 1 else str(path): path for path in bundles}
    if len(named) < len(bundles):
        again = next(path for path in bundles if bundles.count(path) > 1)
        raise ConfigError(f"--model {again} is given more than once. Give each bundle once.")
    return named


COMMAND = Command(
    "tag",
    "Tag images and folders: one row for every file, whatever is in it.",
    "cocotag tag photos --model runs/NAME/tagger.onnx --out tags.csv",
    _run,
)
