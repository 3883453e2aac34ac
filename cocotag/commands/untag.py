"""`cocotag untag`: take cocotag's keywords out of sidecars and photographs again."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from cocotag.commands import DONE, DONE_WITH_FAULTS, Command


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    parser.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="photograph, sidecar, or folder to walk")
    parser.add_argument("--embed", action="store_true", help="out of the photographs themselves too (needs exiftool)")
    parser.add_argument("--dry-run", action="store_true", help="write nothing; show what would change")
    args = parser.parse_args(words)

    from cocotag.tagging.xmp import find_exiftool, untag, untag_embedded

    if args.embed:
        find_exiftool()  # before anything is changed
    show_diff = partial(print, end="") if args.dry_run else None
    summaries = [untag(args.paths, dry_run=args.dry_run, show_diff=show_diff)]
    if args.embed:
        photographs = [path for path in args.paths if path.suffix.lower() != ".xmp"]
        summaries.append(untag_embedded(photographs, dry_run=args.dry_run, show_diff=show_diff))
    for summary in summaries:
        print(summary.to_text(), file=sys.stderr)
    return DONE if all(summary.ok for summary in summaries) else DONE_WITH_FAULTS


COMMAND = Command(
    "untag",
    "Take out of sidecars what cocotag put in, byte for byte where nobody else has written since.\n"
    "A sidecar that holds nothing else is removed; the user's own keywords stay. What a person had refused is forgotten.",
    "cocotag untag photos --dry-run",
    _run,
)
