"""`cocotag tag`: tag files and folders."""

from __future__ import annotations

import sys
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, INTERRUPTED, NOT_STARTED, Command, Parser
from cocotag.cli.parsing.tag_flags import add_choice, add_outputs, plan_of
from cocotag.errors import CocotagError, Interrupted
from cocotag.process.restarts import replayed


def _run(words: list[str]) -> int:
    args = _parser().parse_args(words)

    from cocotag.tagging.progress import Progress

    progress = Progress(as_json=args.json_log, quiet="-" in args.out and sys.stdout is not None and sys.stdout.isatty())
    try:
        plan = plan_of(args)
        from cocotag.tagging.jobs import tag

        done = tag(
            args.paths,
            args.model,
            plan,
            exclude=args.exclude,
            hidden=args.hidden,
            state=args.state,
            rehash=args.rehash,
            retry_failed=args.retry_failed,
            full_decode=args.full_decode,
            listed=None if sys.stdin is None else replayed(cast(BufferedIOBase, sys.stdin.buffer)),
            progress=progress,
            bars=not args.json_log,
        )
    except CocotagError as error:
        if not args.json_log:
            raise
        progress.end()
        progress.say(str(error), code=error.code)
        return INTERRUPTED if isinstance(error, Interrupted) else NOT_STARTED
    finally:
        progress.end()
    return DONE if done.ok else DONE_WITH_FAULTS


def _parser() -> Parser:
    parser = COMMAND.parser()
    paths = parser.add_argument("paths", metavar="PATH", nargs="+")
    paths.help = "image, folder to walk, or glob; - reads a list from stdin, one path per line or ended by NUL"
    model = parser.add_argument("--model", required=True, metavar="BUNDLE", type=Path, action="append")
    model.help = "tagger.onnx of a training run. Repeat the flag for further bundles: every file gets one row per bundle"
    add_outputs(parser)
    add_choice(parser)
    exclude = parser.add_argument("--exclude", metavar="GLOB", action="append", default=[])
    exclude.help = "skip files and folders by name; a pattern with a slash matches the path below the given folder"
    parser.add_argument("--hidden", action="store_true", help="also tag files and folders whose names begin with a dot")
    about = "file that caches results for the next run (default: beside the first output)"
    parser.add_argument("--state", metavar="FILE", type=Path, help=about)
    about = "recognise unchanged files by their content, not by size and modification time"
    parser.add_argument("--rehash", action="store_true", help=about)
    parser.add_argument("--retry-failed", action="store_true", help="retry unchanged files that failed before")
    about = (
        "decode every picture itself; by default the smaller version that cameras store in HEIC, AVIF and JPEG files is used"
    )
    parser.add_argument("--full-decode", action="store_true", help=f"{about} where its sides are at least the bundle's input")
    parser.add_argument("--json-log", action="store_true", help="print progress and messages as JSON lines on stderr")
    return parser


COMMAND = Command(
    "tag",
    "Tag images and folders: one row per file, readable or not.",
    "cocotag tag photos --model runs/NAME/tagger.onnx --out tags.csv",
    _run,
)
