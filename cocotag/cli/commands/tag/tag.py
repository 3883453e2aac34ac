"""`cocotag tag`: files and folders to tags."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from contextlib import ExitStack
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, INTERRUPTED, NOT_STARTED, Command, Parser
from cocotag.cli.parsing.tag_flags import Outputs, add_choice, add_outputs
from cocotag.errors import CocotagError, ConfigError, DataError, Interrupted

if TYPE_CHECKING:
    from cocotag.tagging.progress import Progress
    from cocotag.tagging.state.store import Result, State


def _run(words: list[str]) -> int:
    args = _parser().parse_args(words)

    from cocotag.tagging.progress import Progress

    progress = Progress(as_json=args.json_log, quiet="-" in args.out and sys.stdout is not None and sys.stdout.isatty())
    try:
        return _tag(args, progress)
    except CocotagError as error:
        if not args.json_log:
            raise
        progress.end()
        progress.say(str(error))
        return INTERRUPTED if isinstance(error, Interrupted) else NOT_STARTED
    finally:
        progress.end()


def _parser() -> Parser:
    parser = COMMAND.parser()
    paths = parser.add_argument("paths", metavar="PATH", nargs="+")
    paths.help = "image, folder to walk, or glob; - reads a list from stdin, one a line or ended by NUL"
    model = parser.add_argument("--model", required=True, metavar="BUNDLE", type=Path, action="append")
    model.help = "tagger.onnx of a training run; give it again for further ones: a row of each for every file"
    add_outputs(parser)
    parser.add_argument("--embed", action="store_true", help="write keywords into the photographs themselves, by exiftool")
    parser.add_argument("--embed-into", metavar="DIR", type=Path, help="write keywords into copies of the photographs there")
    parser.add_argument("--no-backup", action="store_true", help="--embed: keep no IMG.jpg_original")
    add_choice(parser)
    exclude = parser.add_argument("--exclude", metavar="GLOB", action="append", default=[])
    exclude.help = "leave out by name, or by the way from the folder if it has a slash; give it again for further ones"
    parser.add_argument("--hidden", action="store_true", help="files and folders that begin with a dot too")
    parser.add_argument("--state", metavar="FILE", type=Path, help="where results are kept (default: beside the first output)")
    about = "see by content, not by size and modification time, whether the file at a path is the one it was"
    parser.add_argument("--rehash", action="store_true", help=about)
    parser.add_argument("--retry-failed", action="store_true", help="try files again that failed, although they are the same")
    parser.add_argument("--json-log", action="store_true", help="progress and messages as JSON lines on stderr")
    return parser


def _tag(args: argparse.Namespace, progress: Progress) -> int:
    from cocotag.inference.tagger import Tagger
    from cocotag.photos.walk import Walk
    from cocotag.tagging.folder import tag_paths
    from cocotag.tagging.state.made import refuse_others
    from cocotag.tagging.state.models import Model
    from cocotag.tagging.state.store import State

    args.embeds = args.embed or args.embed_into is not None
    if args.no_backup and not args.embed:
        raise ConfigError("--no-backup is about --embed, which is not given.")
    if args.embed and args.embed_into is not None:
        raise ConfigError("--embed and --embed-into are both given: the photographs, or copies of them. Give one of them.")
    if args.embed_into is not None and any(_same_place(args.embed_into, path) for path in args.paths):
        raise ConfigError(
            f"--embed-into {args.embed_into} is a folder that is tagged. Give another, or --embed for the originals."
        )
    bundles = _names(args.model)
    taggers = {name if len(bundles) > 1 else "": Tagger.load(path) for name, path in bundles.items()}
    models = [Model.of(name, tagger) for name, tagger in taggers.items()]
    outputs = Outputs.of(args, models)
    outputs.progress = not args.json_log
    if args.embeds:
        from cocotag.tagging.xmp import find_exiftool

        find_exiftool()

    def walk(*, listed: bool) -> Walk:
        apart = [args.embed_into] if args.embed_into else []
        if listed and "-" in args.paths and sys.stdin is None:
            raise DataError("- is a list on stdin, which is closed. Leave it open, or give the paths.")
        stdin = cast(BufferedIOBase, sys.stdin.buffer) if listed and sys.stdin is not None else None
        return Walk(args.paths, exclude=args.exclude, hidden=args.hidden, apart=apart, listed=stdin)

    files = walk(listed=True)
    place = _state_path(args, outputs.files())
    with ExitStack() as stack:
        if not args.overwrite and (place is None or not place.exists()):
            refuse_others(outputs.files(), None)
        state = stack.enter_context(State.temporary() if place is None else State.open(place))
        if not args.overwrite:
            refuse_others(outputs.files(), state)
        for remark in outputs.choice.remarks:
            progress.say(remark)
        if "-" not in args.paths:
            progress.count(len(part.names) for part in walk(listed=False))
        stream = _Stream(outputs)
        summary = tag_paths(
            taggers,
            files,
            state,
            models=models,
            asked={"paths": args.paths, "cwd": str(Path.cwd())},
            on_result=stream.write if "-" in args.out else None,
            rehash=args.rehash,
            retry_failed=args.retry_failed,
            progress=progress,
        )
        progress.end(summary.to_json())
        if not args.json_log:
            progress.say(summary.to_text())
        try:
            if args.embeds and not summary.stopped:  # first: it changes modification times, by which a gallery knows its own
                _embed(args, outputs, state, progress)
            if summary.total:
                outputs.make(state, progress.say, only_files=summary.stopped)
        except KeyboardInterrupt:
            kept = f"All {summary.total} files are done, kept in {state.path}" if state.path else "All files are done"
            raise Interrupted(f"Stopped while outputs were made. {kept}. Run the same command again for the rest.") from None
        if summary.stopped:
            raise Interrupted(_how_to_go_on(outputs, state, summary.total))
        if state.is_new and state.path is not None and not (outputs.files() or args.gallery or args.state):
            progress.say(f"What was found is kept in {state.path}: the next run, and cocotag retag, go by it.")
        stream.end()
    return DONE if summary.ok == summary.total and not outputs.faults else DONE_WITH_FAULTS


def _embed(args: argparse.Namespace, outputs: Outputs, state: State, progress: Progress) -> None:
    from cocotag.tagging.folder import was_rewritten
    from cocotag.tagging.xmp import embed_keywords

    embedded = embed_keywords(
        outputs.choice.rows(state.results()),
        into=args.embed_into,
        given=list(map(Path, args.paths)),
        backup=not args.no_backup,
        changed=lambda path: was_rewritten(path, state),
    )
    state.commit()
    outputs.faults += embedded.failed.total()
    progress.say(embedded.to_text())


class _Stream:
    """Rows to stdout while the work goes on. If its reader goes, the files are made all the same."""

    def __init__(self, outputs: Outputs) -> None:
        from cocotag.tagging.outputs.write import open_stdout

        self._outputs = outputs
        self._gone: BrokenPipeError | None = None
        self._stdout = open_stdout(outputs.context)
        outputs.streamed = True

    def write(self, result: Result) -> None:
        if self._gone is None:
            try:
                self._stdout.write_all(list(self._outputs.choice.rows([result])))
            except BrokenPipeError as error:
                if not self._outputs.files():
                    raise
                self._gone = error

    def end(self) -> None:
        if self._gone is not None:
            raise self._gone


def _how_to_go_on(outputs: Outputs, state: State, done: int) -> str:
    from cocotag.tagging.summary import counted

    if state.path is None:
        return f"Stopped after {counted(done, 'file')}. Nothing of them is kept; --state FILE would keep them."
    files = ", ".join(map(str, outputs.files()))
    written = f" and written to {files}" if files and done else ""
    rest = " The other outputs are made when all is done." if outputs.has_others() else ""
    number = f"{counted(done, 'file')} {'is' if done == 1 else 'are'}"
    return f"Stopped: {number} done, kept in {state.path}{written}. Run the same command again to go on.{rest}"


def _state_path(args: argparse.Namespace, files: list[Path]) -> Path | None:
    """Where results are kept: beside the first output, or in the user's own folder; None for stdout alone."""
    from cocotag.tagging.state.place import of_output, of_paths
    from cocotag.tagging.state.store import NAME

    if args.state is not None:
        return Path(args.state)
    if files:
        return of_output(files[0])
    if args.gallery is not None:
        return Path(args.gallery) / NAME
    if not (args.txt or args.xmp or args.embeds):
        return None
    return of_paths(args.paths)


def _same_place(folder: Path, path: str) -> bool:
    try:
        return os.path.samefile(folder, path)  # noqa: PTH121 (a text, which may be no path at all)
    except (OSError, ValueError):
        return False


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
