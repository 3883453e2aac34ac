"""Whole jobs as functions: `tag` tags files and writes outputs; `retag` writes outputs from the state of an earlier run.

The command line parses flags and calls these functions; a script can do the same::

    from cocotag.tagging.jobs import retag, tag
    from cocotag.tagging.outputs.plan import OutputPlan
    from cocotag.tagging.xmp.outputs import Sidecars

    tag(["photos"], ["tagger.onnx"], OutputPlan(tables=["tags.csv"]))
    retag(["tags.csv"], OutputPlan(beside=[Sidecars()]))
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

from cocotag.errors import ConfigError, DataError, Interrupted
from cocotag.inference.tagger import Tagger
from cocotag.photos.walk import Walk
from cocotag.tagging.folder import tag_paths
from cocotag.tagging.outputs.plan import OutputPlan, Outputs
from cocotag.tagging.progress import Progress
from cocotag.tagging.state.made import refuse_others
from cocotag.tagging.state.models import Model
from cocotag.tagging.state.place import find, of_output, of_paths
from cocotag.tagging.state.store import NAME, UNRELIABLE, State
from cocotag.tagging.summary import TagSummary, counted


@dataclass(frozen=True)
class Done:
    """The result of a job.

    Attributes:
        total: Number of files.
        failed: Number of files that could not be tagged.
        faults: Number of outputs beside the images that could not be written.
        written: The tables that were written.
        whole: Whether the run reached all files; False after it was stopped.
        summary: Summary of a run of `tag`; None for `retag`.
    """

    total: int
    failed: int
    faults: int
    written: Sequence[str]
    whole: bool = True
    summary: TagSummary | None = None

    @property
    def ok(self) -> bool:
        """Whether every file was tagged and every output written."""
        return self.whole and not self.failed and not self.faults


def tag(
    paths: Sequence[Path | str],
    bundles: Sequence[Path | str],
    plan: OutputPlan,
    *,
    exclude: Sequence[str] = (),
    hidden: bool = False,
    state: Path | str | None = None,
    rehash: bool = False,
    retry_failed: bool = False,
    full_decode: bool = False,
    listed: BufferedIOBase | None = None,
    progress: Progress | None = None,
    bars: bool = False,
) -> Done:
    """Tag files and folders, and write the outputs of a plan.

    Results are kept in a state, so that a second run tags only new and changed files.

    Args:
        paths: Image files, folders and globs; ``-`` is a list, see ``listed``.
        bundles: Bundle files, each once; with several, every file has one row per bundle.
        plan: The outputs to write.
        exclude: Globs of files and folders to leave out, as for `cocotag.photos.walk.Walk`.
        hidden: Whether to tag files and folders whose names begin with a dot.
        state: Path of the state; None puts it beside the first output, or in ``$XDG_STATE_HOME/cocotag``.
        rehash: Recognise files by content, not by size and modification time.
        retry_failed: Retry unchanged files that failed before.
        full_decode: Decode every picture itself, even where the camera stored a smaller version that would do.
        listed: A stream with the paths of ``-``, one per line or ended by NUL.
        progress: Receives the progress and the messages; None discards them.
        bars: Whether slow outputs may show a bar on stderr.

    Raises:
        CocotagError: The job cannot start; nothing was written.
        Interrupted: Ctrl-C. The results so far are kept.
        BrokenPipeError: The reader of stdout has exited.
    """
    progress = Progress(quiet=True, stream=io.StringIO()) if progress is None else progress
    paths = _some(paths, "path to tag")
    named = _names([Path(path) for path in _some(bundles, "bundle")])
    copies = [output.copies for output in plan.beside if output.copies is not None]
    for folder in copies:
        if any(_same_place(folder, path) for path in paths):
            raise ConfigError(
                f"{folder} is one of the folders to tag, so copies cannot be written to it. Choose another folder.",
                code="output_is_input",
            )
    taggers = {name if len(named) > 1 else "": Tagger.load(path) for name, path in named.items()}
    models = [Model.of(name, tagger, full_decode=full_decode) for name, tagger in taggers.items()]
    outputs = plan.for_models(models)

    def walk(*, from_list: bool) -> Walk:
        if from_list and "-" in paths and listed is None:
            raise DataError("- is a list on stdin, which is closed. Leave it open, or give the paths.", code="stdin_closed")
        return Walk(paths, exclude=exclude, hidden=hidden, apart=copies, listed=listed if from_list else None)

    files = walk(from_list=True)
    place = _state_place(None if state is None else Path(state), plan, paths)
    with ExitStack() as stack:
        if not plan.overwrite and (place is None or not place.exists()):
            refuse_others(plan.files, None)
        kept = stack.enter_context(State.temporary() if place is None else State.open(place))
        if not plan.overwrite:
            refuse_others(plan.files, kept)
        for remark in outputs.choice.remarks:
            progress.say(remark)
        if "-" not in paths:
            progress.count(len(part.names) for part in walk(from_list=False))
        stream = outputs.stream()
        summary = tag_paths(
            taggers,
            files,
            kept,
            models=models,
            asked={"paths": list(paths), "cwd": str(Path.cwd())},
            on_result=None if stream is None else lambda result: stream([result]),
            rehash=rehash,
            retry_failed=retry_failed,
            full_decode=full_decode,
            progress=progress,
        )
        progress.end(summary.to_json())
        if not progress.as_json:
            progress.say(summary.to_text())
        try:
            if summary.total:
                outputs.write(kept, progress.say, log=progress.log, only_tables=summary.stopped, paths=paths, progress=bars)
        except KeyboardInterrupt:
            done = f"All {summary.total} files are done, kept in {kept.path}" if kept.path else "All files are done"
            raise Interrupted(
                f"Stopped while outputs were written. {done}. Run the same command again for the rest.", code="interrupted"
            ) from None
        if summary.stopped:
            raise Interrupted(_how_to_resume(outputs, kept, summary.total), code="interrupted")
        own_place = plan.files or state or any(output.folder for output in plan.beside)
        if kept.is_new and kept.path is not None and not own_place:
            progress.say(f"All scores are kept in {kept.path}; the next run and cocotag retag reuse them.")
        outputs.end_stream()
    return Done(summary.total, summary.failed.total(), outputs.faults, outputs.written, summary=summary)


def retag(
    given: Sequence[Path | str], plan: OutputPlan, *, say: Callable[[str], None] = lambda _: None, bars: bool = False
) -> Done:
    """Choose tags again from the scores in a state and write other outputs, without running the network.

    Args:
        given: A state, an output or gallery beside it, or the paths of a run without either.
        plan: The outputs to write.
        say: Receives the lines for people.
        bars: Whether slow outputs may show a bar on stderr.

    Raises:
        CocotagError: There is no state, or the plan cannot be carried out.
    """
    with State.open(find(_some(given, "state, output or path")), make=False) as state:
        run = state.last_run()
        state.use(run)
        outputs = plan.for_models(run.models)
        if plan.beside:
            _check_photographs(state, str(run.asked.get("cwd", "")))
        if not plan.overwrite:
            refuse_others(plan.files, state)
        for remark in outputs.choice.remarks:
            say(remark)
        outputs.write(state, say, paths=list(run.asked.get("paths", ())), progress=bars)
        if state.read_only and plan.files:
            say(f"{state.path} is read-only, so it cannot record these outputs. To replace them later, add --overwrite.")
        failed = sum(result.status != "ok" for result in state.results())
        return Done(state.count(), failed, outputs.faults, outputs.written, whole=run.whole)


def _how_to_resume(outputs: Outputs, state: State, done: int) -> str:
    if state.path is None:
        return f"Stopped after {counted(done, 'file')}. Their results are not kept; --state FILE would keep them."
    files = ", ".join(map(str, outputs.plan.files))
    written = f" and written to {files}" if files and done else ""
    rest = " The other outputs are written when all files are done." if outputs.plan.beside else ""
    number = f"{counted(done, 'file')} {'is' if done == 1 else 'are'}"
    return f"Stopped: {number} done, kept in {state.path}{written}. Run the same command again to continue.{rest}"


def _some(given: Sequence[Path | str], what: str) -> list[str]:
    """The values as text; at least one.

    Raises:
        ConfigError: There is none, or the values are one text.
    """
    if not given or isinstance(given, str):
        raise ConfigError(f"There must be a list with at least one {what}, not {given!r}.", code="nothing_given")
    return list(map(str, given))


def _state_place(state: Path | None, plan: OutputPlan, paths: Sequence[str]) -> Path | None:
    """Path of the state: as given, beside the first output, or in ``$XDG_STATE_HOME/cocotag``; None for stdout alone."""
    if state is not None:
        return state
    if plan.files:
        return of_output(plan.files[0])
    folder = next((output.folder for output in plan.beside if output.folder is not None), None)
    if folder is not None:
        return folder / NAME
    return of_paths(list(paths)) if plan.beside else None


def _names(bundles: Sequence[Path]) -> dict[str, Path]:
    """Name in the rows -> bundle file. The name is the file name, or the whole path if several files have the same name."""
    files = Counter(path.name for path in bundles)
    named = {path.name if files[path.name] == 1 else str(path): path for path in bundles}
    if len(named) < len(bundles):
        repeated = next(path for path in bundles if bundles.count(path) > 1)
        raise ConfigError(f"The bundle {repeated} is given more than once. Give each bundle once.", code="given_twice")
    return named


def _same_place(folder: Path, path: str) -> bool:
    try:
        return os.path.samefile(folder, path)  # noqa: PTH121 (any text, which may not be a path)
    except (OSError, ValueError):
        return False


def _check_photographs(state: State, before: str) -> None:
    """Check that relative paths lead to the photographs that were tagged.

    In the working folder of the run nothing is checked: a disk may be unplugged. In another folder at least one photograph must
    exist with the same size; otherwise tags would be written beside other photographs of the same name.

    Args:
        state: State of the run.
        before: Working folder of the run; empty if unknown.

    Raises:
        ConfigError: The paths do not lead to these photographs.
    """
    if not before or _same_place(Path(before), os.curdir):
        return
    missing = None
    for result in state.results():
        if result.path.is_absolute():
            continue
        missing = missing or result.path
        with suppress(OSError, ValueError):
            size = result.path.stat().st_size
            folder, name = os.path.split(os.path.abspath(os.fsencode(Path(before) / result.path)))  # noqa: PTH100 (bytes)
            known = state.known(folder, [name]).get(name)
            if known is not None and known.size in (size, UNRELIABLE):
                return
    if missing is not None:
        where = f"Run it in {before}" if Path(before).is_dir() else f"Run it in the folder that was {before}"
        raise ConfigError(
            f"Outputs beside the images need the photographs. From here {missing} is missing or another file. {where}.",
            code="photographs_elsewhere",
        )
