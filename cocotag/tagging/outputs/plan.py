"""The outputs to write, as plain values: `OutputPlan`. `Outputs` is a plan that was checked for some bundles, and writes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cocotag import __version__
from cocotag.errors import ConfigError
from cocotag.tagging.decisions.beside import Beside, Material
from cocotag.tagging.decisions.choice import Choice, Wish, choose
from cocotag.tagging.decisions.rename import load_rename
from cocotag.tagging.decisions.rows import Context
from cocotag.tagging.outputs.write import STDOUT, StdoutRows, check_outputs, file_of, write_outputs
from cocotag.tagging.state.made import about_to_make, has_made, how_made
from cocotag.tagging.state.models import Model
from cocotag.tagging.state.store import Result, State


@dataclass(frozen=True)
class OutputPlan:
    """The outputs to write, and how scores become tags.

    Attributes:
        tables: Files, whose ending determines the format, or ``-`` for JSON Lines on stdout.
        beside: Outputs beside the images: `cocotag.tagging.outputs.text_files.TextFiles`,
            `cocotag.tagging.xmp.outputs.Sidecars`, `cocotag.tagging.gallery.output.Gallery`, ...
        wish: Thresholds and the number of tags.
        rename: A YAML file with other names for tags; None keeps the bundle's.
        all_scores: Whether tables also have the scores of all classes; CSV cannot hold them.
        overwrite: Whether existing files that were not made from this state may be replaced.
    """

    tables: Sequence[Path | str] = ()
    beside: Sequence[Beside] = ()
    wish: Wish = field(default_factory=Wish)
    rename: Path | None = None
    all_scores: bool = False
    overwrite: bool = False

    @property
    def files(self) -> list[Path]:
        """The tables that are files."""
        return [path for path in map(file_of, self.tables) if path is not None]

    def for_models(self, models: Sequence[Model]) -> Outputs:
        """Check the plan for some bundles, before any file is opened or created.

        Raises:
            CocotagError: The plan cannot be carried out.
        """
        if not (self.tables or self.beside):
            raise ConfigError("The plan has no output. Give tables, or outputs beside the images.", code="no_output")
        vocabularies = {model.name: model.metadata.vocabulary for model in models}
        rename = load_rename(self.rename, vocabularies.values()) if self.rename else None
        choice = choose(self.wish, models, rename)
        context = Context(
            vocabularies,
            choice.thresholds,
            {model.name: {"bundle": model.bundle, "sha256": model.sha256, "cocotag": __version__} for model in models},
            several=len(models) > 1,
            all_scores=self.all_scores,
            rename=rename,
        )
        check_outputs(self.tables, context)
        for output in self.beside:
            output.check(context, overwrite=self.overwrite)
        return Outputs(self, choice, context)


@dataclass
class Outputs:
    """A plan that was checked, ready to be written from a state.

    Attributes:
        plan: The outputs to write.
        choice: How scores become tags.
        context: What all rows have in common.
        faults: Number of files beside the images that could not be written so far.
        written: The tables that were written so far.
    """

    plan: OutputPlan
    choice: Choice
    context: Context
    faults: int = field(default=0, init=False)
    written: list[str] = field(default_factory=list, init=False)
    _streamed: bool = field(default=False, init=False)

    def stream(self) -> Callable[[Iterable[Result]], None] | None:
        """A function that writes results to stdout during the work; None if stdout is not an output.

        When the reader of stdout has exited, the function raises BrokenPipeError. If there are also files to write, it does
        nothing instead, and `end_stream` raises BrokenPipeError at the end.
        """
        if STDOUT not in map(str, self.plan.tables):
            return None
        self._streamed = True
        self._stdout = StdoutRows(self.context, keep_going=bool(self.plan.files))
        return lambda results: self._stdout.write(list(self.choice.rows(results)))

    def end_stream(self) -> None:
        """Raise BrokenPipeError if the reader of stdout has exited."""
        if self._streamed:
            self._stdout.end()

    def write(
        self,
        state: State,
        say: Callable[[str], None],
        *,
        log: Callable[[Mapping[str, object]], None] | None = None,
        only_tables: bool = False,
        paths: Sequence[str] = (),
        progress: bool = True,
    ) -> None:
        """Write everything from the results of the state's last run.

        Args:
            state: The results.
            say: Receives the lines for people.
            log: Receives what happened to single files.
            only_tables: Leave out the outputs beside the images, which take longer.
            paths: The paths that were tagged, as they were given.
            progress: Whether slow outputs may show a bar on stderr.

        Raises:
            OutputError: The disk is full, or a file cannot be written.
        """
        context = replace(self.context, total=state.count() * len(self.choice.models))
        material = Material(lambda: self.choice.rows(state.results()), context, state, self.plan.rename, paths, progress)
        outputs = [] if only_tables else sorted(self.plan.beside, key=lambda output: not output.changes_photographs)
        changing = [output for output in outputs if output.changes_photographs]
        for output in changing:
            self._beside(output, material, say, log)
        self._tables(material, say)
        for output in outputs[len(changing) :]:
            self._beside(output, material, say, log)

    def _beside(
        self,
        output: Beside,
        material: Material,
        say: Callable[[str], None],
        log: Callable[[Mapping[str, object]], None] | None,
    ) -> None:
        written = output.write(material)
        self.faults += written.faults
        if log is not None:
            for event in written.events:
                log(event)
        if written.text:
            say(written.text)

    def _tables(self, material: Material, say: Callable[[str], None]) -> None:
        """Write the tables that are not up to date."""
        state, how = material.state, self._how(material.state)
        stale = [file for file in self.plan.files if how_made(file, state) != how]
        about_to_make(stale, state)
        stdout = [STDOUT] if STDOUT in map(str, self.plan.tables) and not self._streamed else []
        if stale or stdout:
            write_outputs([*stale, *stdout], material.rows, material.context)
        has_made(stale, state, how)
        self.written = [*map(str, stale), *("stdout" for _ in stdout)]
        for file in self.plan.files:
            if file not in stale:
                say(f"{file} is up to date.")

    def _how(self, state: State) -> str:
        """A hash of everything that the tables depend on."""
        about = {
            "state": state.digest(),
            "about": self.context.about(),
            "top_k": self.choice.top_k,
            "rename": self.plan.rename.read_text(encoding="utf-8") if self.plan.rename else None,
            "all_scores": self.context.all_scores,
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
