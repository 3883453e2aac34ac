"""`cocotag untag`: remove cocotag's keywords from sidecars and photographs."""

from __future__ import annotations

import sys
from functools import partial
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import cast

from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, Command, given_path
from cocotag.errors import DataError
from cocotag.process.restarts import replayed


def _run(words: list[str]) -> int:
    parser = COMMAND.parser()
    paths = parser.add_argument("paths", metavar="PATH", nargs="+", type=given_path)
    paths.help = "photograph, sidecar, folder to walk, or glob; - reads a list from stdin, one path per line or ended by NUL"
    parser.add_argument("--embed", action="store_true", help="also remove them from the photographs (needs exiftool)")
    parser.add_argument("--dry-run", action="store_true", help="write nothing; show what would change")
    args = parser.parse_args(words)

    from cocotag.tagging.xmp import find_exiftool, untag, untag_embedded

    if args.embed:
        find_exiftool()  # before anything is changed
    if Path("-") in args.paths and sys.stdin is None:
        raise DataError("- is a list on stdin, which is closed. Leave it open, or give the paths.", code="stdin_closed")
    listed = replayed(cast(BufferedIOBase, sys.stdin.buffer)).read() if Path("-") in args.paths else b""
    show_diff = partial(print, end="") if args.dry_run else None
    summaries = [
        work(args.paths, listed=BytesIO(listed), dry_run=args.dry_run, show_diff=show_diff)
        for work in ((untag, untag_embedded) if args.embed else (untag,))
    ]
    for summary in summaries:
        print(summary.to_text(), file=sys.stderr)
    return DONE if all(summary.ok for summary in summaries) else DONE_WITH_FAULTS


COMMAND = Command(
    "untag",
    "Remove cocotag's keywords from sidecars, byte for byte if no other program has changed them since.\n"
    "A sidecar without other content is deleted; your own keywords stay. Tags that you had deleted may be added again later.",
    "cocotag untag photos --dry-run",
    _run,
)
