"""What `cocotag tag` and `cocotag retag` share: the flags of tags and outputs, and the making of outputs from a state."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cocotag.cli.parsing.command import Parser, count, share
from cocotag.errors import ConfigError

if TYPE_CHECKING:
    from cocotag.tagging.decisions.choice import Choice
    from cocotag.tagging.outputs.write import Context, Row
    from cocotag.tagging.state.models import Model
    from cocotag.tagging.state.store import State


def add_choice(parser: Parser) -> None:
    """Add the flags that say how scores become tags."""
    parser.add_argument("--threshold", type=share, metavar="T", help="one for all classes, 0 to 1 (default: the bundle's own)")
    about = "thresholds for at least this precision, as chosen with the bundle's own on labelled images"
    parser.add_argument("--precision", type=share, metavar="P", help=about)
    about = "threshold of one class, before all others; give it again for further classes"
    parser.add_argument("--threshold-for", type=_named_share, metavar="NAME=T", action="append", default=[], help=about)
    parser.add_argument("--top-k", type=count, metavar="K", help="at most so many tags an image")
    parser.add_argument("--rename", metavar="YAML", type=Path, help="what tags are to be called: translated, merged, left out")


def add_outputs(parser: Parser) -> None:
    """Add the flags that say what is written."""
    out = parser.add_argument("--out", metavar="FILE", action="append", default=[])
    out.help = ".csv, .jsonl, .parquet or .sqlite by the ending; - is JSONL to stdout; give it again for further ones"
    parser.add_argument("--all-scores", action="store_true", help="JSONL and Parquet: the scores of all classes too")
    parser.add_argument("--txt", action="store_true", help="a .txt beside each image, a tag a line")
    parser.add_argument("--xmp", action="store_true", help="XMP sidecars, which digiKam, darktable and Lightroom read")
    about = "--xmp: IMG.jpg.xmp (append, the default) or IMG.xmp (adobe)"
    parser.add_argument("--sidecar-name", choices=("append", "adobe"), help=about)
    parser.add_argument("--gallery", metavar="DIR", type=Path, help="static pages to look at images and tags")
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that are there already and not made by this")


def _named_share(text: str) -> tuple[str, float]:
    name, equals, value = text.rpartition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text} is not NAME=T, such as person=0.7")
    return name, share(value)


@dataclass
class Outputs:
    """The outputs of a command, checked before the work, made after it.

    Attributes:
        args: What was given.
        choice: How scores become tags.
        context: What all rows have in common.
        streamed: ``--out -`` was written while the work went on.
        progress: What takes long may show how far it is.
        faults: Files beside the images that could not be written, and images without a thumbnail.
        written: What was written of `--out`.
    """

    args: argparse.Namespace
    choice: Choice
    context: Context
    streamed: bool = False
    progress: bool = True
    faults: int = field(default=0, init=False)
    written: list[str] = field(default_factory=list, init=False)

    @classmethod
    def of(cls, args: argparse.Namespace, models: Sequence[Model]) -> Outputs:
        """Check what was asked for, before anything is opened or made.

        Raises:
            CocotagError: It cannot be had.
        """
        from cocotag import __version__
        from cocotag.tagging.decisions.choice import Wish, choose
        from cocotag.tagging.decisions.rename import load_rename
        from cocotag.tagging.outputs.write import Context, check_outputs

        vocabularies = {model.name: model.metadata.vocabulary for model in models}
        rename = load_rename(args.rename, vocabularies.values()) if args.rename else None
        choice = choose(Wish(args.threshold, args.precision, dict(args.threshold_for), args.top_k), models, rename)
        context = Context(
            vocabularies,
            choice.thresholds,
            {model.name: {"bundle": model.bundle, "sha256": model.sha256, "cocotag": __version__} for model in models},
            several=len(models) > 1,
            all_scores=args.all_scores,
            rename=rename,
        )
        outputs = cls(args, choice, context)
        if not (args.out or outputs.has_others()):
            embed = ", --embed" if hasattr(args, "embed") else ""
            raise ConfigError(f"there is no output. Give --out FILE, --xmp, --txt{embed} or --gallery DIR.")
        if args.sidecar_name and not args.xmp:
            raise ConfigError("--sidecar-name is about --xmp, which is not given.")
        check_outputs(args.out, context)
        if args.txt:
            from cocotag.tagging.outputs.text_files import check_texts

            check_texts(context)
        if args.gallery:
            from cocotag.tagging.gallery import check_gallery

            check_gallery(args.gallery, overwrite=args.overwrite)
        return outputs

    def files(self) -> list[Path]:
        """Those that `--out` names."""
        from cocotag.tagging.outputs.write import file_of

        return [path for path in map(file_of, self.args.out) if path is not None]

    def has_others(self) -> bool:
        """Whether there is more to make than `files`."""
        return bool(self.args.txt or self.args.xmp or self.args.gallery or getattr(self.args, "embeds", False))

    def make(self, state: State, say: Callable[[str], None], *, only_files: bool = False) -> None:
        """Make them of what the state's run has met.

        Args:
            state: Of which they are made.
            say: Gets a line for what is worth one.
            only_files: Those of `--out`, which are quickly made; the rest is left.

        Raises:
            OutputError: The disk is full, or something cannot be written.
        """
        from dataclasses import replace

        from cocotag.tagging.outputs.write import write_outputs
        from cocotag.tagging.state.made import about_to_make, has_made, how_made

        context = replace(self.context, total=state.count() * len(self.choice.models))

        def rows() -> Iterator[Row]:
            return self.choice.rows(state.results())

        how = self._how(state)
        stale = [file for file in self.files() if how_made(file, state) != how]
        about_to_make(stale, state)
        stdout = ["-"] if "-" in self.args.out and not self.streamed else []
        if stale or stdout:
            write_outputs([*stale, *stdout], rows, context)
        has_made(stale, state, how)
        self.written = [*map(str, stale), *("stdout" for _ in stdout)]
        for file in self.files():
            if file not in stale:
                say(f"{file} is as it should be already.")
        if only_files:
            return
        if self.args.txt:
            from cocotag.tagging.outputs.text_files import write_texts

            texts = write_texts(rows())
            self.faults += texts.failed
            self._say(say, texts.to_text())
        if self.args.xmp:
            from cocotag.tagging.xmp import write_sidecars

            sidecars = write_sidecars(rows(), naming=self.args.sidecar_name or "append")
            self.faults += sidecars.failed.total()
            self._say(say, sidecars.to_text())
        if self.args.gallery:
            from cocotag.tagging.gallery import write_gallery

            gallery = write_gallery(
                rows, self.args.gallery, context, progress=self.progress, state=state.path, names=self.args.rename
            )
            self.faults += gallery.failed
            self._say(say, gallery.to_text())

    @staticmethod
    def _say(say: Callable[[str], None], text: str) -> None:
        if text:
            say(text)

    def _how(self, state: State) -> str:
        """The same as long as the outputs would be."""
        context = self.context
        about = {
            "state": state.digest(),
            "about": context.about(),
            "top_k": self.choice.top_k,
            "rename": self.args.rename.read_text(encoding="utf-8") if self.args.rename else None,
            "all_scores": context.all_scores,
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
