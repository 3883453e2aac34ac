"""Send keywords through real photo programs and cocotag in turn; write reports/photo_programs.md.

usage: bash scripts/measure/photo_programs.sh [--sequences N] [--report FILE]

The shell script starts a virtual screen and fetches Immich's package. Each case is done once with each program. After it, all
programs read all photographs as if they had never seen them. Each step of a program is done by its model in the tests too, on a
copy. Last, models of programs and cocotag do random steps in turn. Needs photographs of coco-mini (COCOTAG_DATA, or
../shared/data).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests" / "support"))

import photo_programs as models  # noqa: E402
from real_programs import Darktable, DigiKam, Immich, Keyword, RealProgram, copied  # noqa: E402

import cocotag.tagging.xmp.embed as embedding  # noqa: E402
from cocotag.inference.tags import Tag  # noqa: E402
from cocotag.process.cores import usable_cores  # noqa: E402
from cocotag.tagging.decisions.rows import Row  # noqa: E402
from cocotag.tagging.xmp.embed import embed_keywords, untag_embedded  # noqa: E402
from cocotag.tagging.xmp.photo_keywords import look_inside  # noqa: E402
from cocotag.tagging.xmp.sidecars import untag, write_sidecars  # noqa: E402
from cocotag.tagging.xmp.summary import SidecarSummary  # noqa: E402

DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")
TOGETHER = 100
"""Random sequences in one task."""

DOG, UMBRELLA = ("animal", "dog"), ("accessory", "umbrella")
BERLIN, HARBOUR = ("Berlin",), ("Orte", "Hafen")
OURS = {DOG, UMBRELLA}
BOTH = [models.TAGS["dog"], models.TAGS["umbrella"]]


@dataclass
class Trial:
    """One case with one program.

    Attributes:
        folder: The photograph IMG.jpg and its sidecars.
        program: The program that edits.
        scratch: A folder for its library.
        disagreed: Where the program and its model differ.
        compared: How many fields were compared with the model's.
    """

    folder: Path
    program: RealProgram
    scratch: Path
    disagreed: list[str] = field(default_factory=list)
    compared: int = 0

    def give(self, *keywords: Keyword, embed: bool = False) -> None:
        """Keywords of the user's, written before cocotag's first run."""
        packet = models.rewritten(None, {"dc": [(level,) for one in keywords for level in one], "lr": keywords})
        world = World(self.folder)
        if embed:
            world.embedded = packet
        else:
            world.appended = packet

    def tag(self, naming: str = "append", tags: Sequence[Tag] = BOTH) -> SidecarSummary:
        """Run ``cocotag tag --xmp``, or ``--embed`` for the naming "embed"."""
        rows = [Row(self.folder / "IMG.jpg", tags=tuple(tags))]
        summary = (
            embed_keywords(rows, backup=False) if naming == "embed" else write_sidecars(rows, naming=naming)  # type: ignore[arg-type]
        )
        if not summary.ok:
            raise AssertionError(summary.to_text())
        return summary

    def edit(self, *, add: Iterable[Keyword] = (), delete: Iterable[Keyword] = ()) -> None:
        """A change in the program, and in its model, on a copy."""
        with tempfile.TemporaryDirectory() as copy:
            for path in self.folder.iterdir():
                shutil.copy2(path, copy)
            world, model = World(Path(copy)), models.BY_NAME[self.program.name]
            shown = model.keywords(world)
            model.write(world, [one for one in shown if one not in set(delete)] + list(add))
            self.program.edit(self.folder, add=add, delete=delete)
            self._compare(world)

    def _compare(self, world: World) -> None:
        real = World(self.folder)
        for packet in ("appended", "adobe", "embedded"):
            for prefix in ("dc", "lr", "digiKam"):
                self.compared += 1
                expected = set(models.read(getattr(world, packet), prefix))
                seen = set(models.read(getattr(real, packet), prefix))
                if seen != expected:
                    self.disagreed.append(
                        f"{self.program.name} writes {prefix} as {texts(seen)}, its model as {texts(expected)} ({packet})"
                    )


class World(models.World):
    """A photograph that is there already."""

    def __post_init__(self) -> None:
        """Leave the photograph as it is."""


@dataclass(frozen=True)
class Case:
    """A case: what is done, what all programs have to show then and after untag, and which programs can do it.

    ``apart`` has what programs show by rules of their own: Immich writes its changes where darktable does not read, and
    darktable reads both fields of ``IMG.xmp``.
    """

    name: str
    do: Callable[[Trial], None]
    right: frozenset[Keyword]
    left: frozenset[Keyword] = frozenset()
    only: frozenset[str] = frozenset({"darktable", "digiKam", "Immich"})
    apart: Mapping[tuple[str, str], tuple[frozenset[Keyword], frozenset[Keyword]]] = field(default_factory=dict)

    def expected(self, editor: str, reader: str) -> tuple[frozenset[Keyword], frozenset[Keyword]]:
        """What a program has to show where another has edited: then, and after untag."""
        return self.apart.get((editor, reader), (self.right, self.left))


def opened(trial: Trial) -> None:
    """The program reads and writes, with nothing changed."""
    trial.tag()
    trial.edit()
    trial.tag()


def tag_deleted(trial: Trial) -> None:
    """A tag goes, and the summary says so."""
    trial.tag()
    trial.edit(delete=[UMBRELLA])
    refused = trial.tag().refused
    if "umbrella" not in refused:
        raise AssertionError(f"the summary does not say that umbrella is refused: {refused}")


def own_deleted(trial: Trial) -> None:
    """A keyword that was there before cocotag goes."""
    trial.give(BERLIN, HARBOUR)
    trial.tag()
    trial.edit(delete=[HARBOUR])
    trial.tag()


def added(trial: Trial) -> None:
    """A keyword comes beside the tags."""
    trial.give(BERLIN)
    trial.tag()
    trial.edit(add=[HARBOUR])
    trial.tag()


def known_before(trial: Trial) -> None:
    """A library without the tags is written over them, and the summary says that they are put back."""
    assert isinstance(trial.program, Darktable)
    trial.give(BERLIN)
    trial.program.imported(trial.folder, trial.scratch)
    trial.tag()
    trial.program.rate(trial.scratch)
    put_back = trial.tag().put_back
    if not {"dog", "umbrella"} <= set(put_back):
        raise AssertionError(f"the summary does not say that the tags are put back: {put_back}")


def adobe_deleted(trial: Trial) -> None:
    """A tag goes from what the program made of IMG.xmp."""
    trial.tag("adobe")
    trial.edit(delete=[UMBRELLA, ("umbrella",)] if isinstance(trial.program, Darktable) else [UMBRELLA])
    trial.tag("adobe")
    trial.tag()


def embedded(trial: Trial) -> None:
    """The program reads keywords in the photograph."""
    trial.give(BERLIN, HARBOUR, embed=True)
    trial.tag("embed")
    trial.edit()
    trial.tag("embed")


def embedded_deleted(trial: Trial) -> None:
    """A tag goes from what the program made of the photograph's keywords."""
    trial.give(BERLIN, embed=True)
    trial.tag("embed")
    trial.edit(delete=[UMBRELLA])
    trial.tag("embed")


def renamed(trial: Trial) -> None:
    """The names of the tags change."""
    trial.tag()
    trial.edit()
    trial.tag(tags=[models.GERMAN["dog"], models.GERMAN["umbrella"]])


GERMAN = frozenset({("Tiere", "Hund"), ("Schirm",)})
CASES = (
    Case("opened, nothing changed, tagged again", opened, frozenset(OURS)),
    Case("a tag is deleted", tag_deleted, frozenset({DOG})),
    Case(
        "a keyword of the user's is deleted",
        own_deleted,
        frozenset({BERLIN, *OURS}),
        frozenset({BERLIN}),
        apart={("Immich", "darktable"): (frozenset({BERLIN, HARBOUR, *OURS}), frozenset({BERLIN, HARBOUR}))},
    ),
    Case(
        "a keyword is added",
        added,
        frozenset({BERLIN, HARBOUR, *OURS}),
        frozenset({BERLIN, HARBOUR}),
        apart={("Immich", "darktable"): (frozenset({BERLIN, *OURS}), frozenset({BERLIN}))},
    ),
    Case(
        "known before it was tagged; then rated, which writes the old keywords over the tags",
        known_before,
        frozenset({BERLIN, *OURS}),
        frozenset({BERLIN}),
        only=frozenset({"darktable"}),
    ),
    Case(
        "`--sidecar-name adobe`, a tag is deleted",
        adobe_deleted,
        frozenset({DOG}),
        apart={(editor, "darktable"): (frozenset({DOG, ("dog",)}), frozenset()) for editor in ("digiKam", "Immich")},
    ),
    Case(
        "`--embed`, opened, tagged again",
        embedded,
        frozenset({BERLIN, HARBOUR, *OURS}),
        frozenset({BERLIN, HARBOUR}),
        apart={("Immich", "darktable"): (frozenset({BERLIN, HARBOUR, *OURS}), frozenset())},
    ),
    Case(
        "`--embed`, a tag is deleted",
        embedded_deleted,
        frozenset({BERLIN, DOG}),
        frozenset({BERLIN}),
        apart={("Immich", "darktable"): (frozenset({BERLIN, DOG}), frozenset())},
    ),
    Case("tagged again with other names (`--rename`)", renamed, GERMAN),
)


def texts(keywords: Iterable[Keyword]) -> str:
    """Keywords as a list in words."""
    return ", ".join(sorted("|".join(one) for one in keywords)) or "nothing"


@dataclass
class Done:
    """A trial after cocotag's last run, a copy of it after untag, and what went wrong before."""

    case: Case
    trial: Trial
    untagged: Path
    failed: str = ""
    wrong: list[str] = field(default_factory=list)


def tried(case: Case, program: RealProgram, photo: Path, folder: Path) -> Done:
    """Do a case with a program."""
    trial = Trial(folder / "photo", program, folder / "library")
    trial.folder.mkdir(parents=True)
    trial.scratch.mkdir()
    shutil.copyfile(photo, trial.folder / "IMG.jpg")
    done = Done(case, trial, folder / "untagged")
    try:
        case.do(trial)
    except (AssertionError, TimeoutError, ValueError) as error:
        done.failed = str(error)
    copied(trial.folder, done.untagged)
    untag_embedded([done.untagged / "IMG.jpg"])
    untag([done.untagged])
    return done


def judge(all_done: Sequence[Done], programs: Sequence[RealProgram]) -> tuple[int, int]:
    """Have each program read all photographs; returns how many readings agree with the models, and of how many."""
    agreed = 0
    for untagged in (False, True):
        folders = [done.untagged if untagged else done.trial.folder for done in all_done]
        for program in programs:
            for done, folder, shown in zip(all_done, folders, program.read(folders), strict=True):
                right = done.case.expected(done.trial.program.name, program.name)[untagged]
                when = " after untag" if untagged else ""
                if shown != right:
                    done.wrong.append(f"{program.name} shows {texts(shown)}{when}; right: {texts(right)}")
                model = set(models.BY_NAME[program.name].keywords(World(folder)))
                if shown == model:
                    agreed += 1
                else:
                    done.trial.disagreed.append(f"{program.name} shows {texts(shown)}{when}, its model {texts(model)}")
    return agreed, 2 * len(all_done) * len(programs)


def sequences_from(first: int, number: int) -> list[str]:
    """Random sequences of steps of models and cocotag, each with its own number as seed: what broke."""
    setattr(embedding, "ExifTool", models.WithoutExifTool)  # noqa: B010
    broken = []
    for seed in range(first, first + number):
        rng = random.Random(seed)
        with tempfile.TemporaryDirectory() as folder:
            world = models.World(Path(folder))
            try:
                for _ in range(rng.randint(2, 12)):
                    models.do(world, step(rng))
            except models.Broken as error:
                broken.append(f"{seed}: {error}")
    return broken


def step(rng: random.Random) -> tuple[object, ...]:
    """A random step."""
    names = sorted(models.TAGS)
    match rng.choice(["tag", "tag", "rename", "untag", "program", "program", "program", "program"]):
        case "tag":
            return ("tag", sorted(rng.sample(names, rng.randint(0, 4))), rng.choice(["", "", "adobe", "embed"]))
        case "rename":
            return ("rename", sorted(rng.sample(names, rng.randint(1, 4))), "")
        case "untag":
            return ("untag",)
    program = rng.choice([one for one in models.PROGRAMS if one.writes])
    stale = program.name == "darktable" and rng.random() < 0.5
    return (program.name, rng.choice(["add", "delete", "rename", "rate"]), rng.randint(0, 9), stale)


def cell(done: Done | None) -> str:
    """A case's result."""
    if done is None:
        return "-"
    return "wrong" if done.failed or done.wrong else "right"


def report(
    all_done: Sequence[Done], versions: Sequence[str], agreed: tuple[int, int], number: int, broken: Sequence[str]
) -> str:
    """The page."""
    names = list(dict.fromkeys(done.trial.program.name for done in all_done))
    table = [f"| case | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for case in CASES:
        found = {done.trial.program.name: done for done in all_done if done.case is case}
        table.append(f"| {case.name} | {' | '.join(cell(found.get(name)) for name in names)} |")
    wrong = [
        f"- {done.trial.program.name}, {done.case.name}: {text}"
        for done in all_done
        for text in [*([done.failed] if done.failed else []), *done.wrong]
    ]
    differ = [f"- {done.case.name}: {text}" for done in all_done for text in done.trial.disagreed]
    fields = sum(done.trial.compared for done in all_done)
    apart = sum(" writes " in text for done in all_done for text in done.trial.disagreed)
    return (
        "\n".join(
            [
                "# Photo programs",
                "",
                "Made by `bash scripts/measure/photo_programs.sh`.",
                "",
                f"Programs: {', '.join(versions)}. Of Immich, only its rule and the package by which it reads and writes.",
                "",
                "Each case was done once in each program, on a photograph of its own. cocotag tags it `animal|dog` and",
                "`accessory|umbrella`, the program changes and writes, and cocotag runs again. Then all three programs",
                "read the photograph as if for the first time, and again after `cocotag untag`. Right means that each of",
                "them shows what the user gave and what cocotag gave and nobody deleted, with its levels and nothing else;",
                "after `untag`, what the user gave. A dash: the program does not do that.",
                "",
                "Three things are the programs' own. Changes of the user's keywords in Immich do not reach darktable,",
                "since Immich writes digiKam:TagsList, which darktable does not read. The sidecar that Immich makes",
                "beside keywords in the photograph has that field alone, so darktable shows none of them after `untag`.",
                "Of an `IMG.xmp`, darktable shows single words beside those with levels.",
                "",
                *table,
                "",
                *(["## What was wrong", "", *wrong, ""] if wrong else []),
                "## The models that the tests use",
                "",
                f"{agreed[0]} of {agreed[1]} readings of the programs agree with those of their models in",
                f"tests/support/photo_programs.py, and {fields - apart} of {fields} fields that they wrote (dc:subject,",
                "lr:hierarchicalSubject, digiKam:TagsList).",
                "",
                *([*differ, ""] if differ else []),
                f"{number:,} random sequences of 2 to 12 steps of these models and cocotag:",
                f"{len(broken)} broke what must hold.",
                "",
                *[f"- {text}" for text in broken[:20]],
            ]
        ).rstrip()
        + "\n"
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", required=True, type=Path, help="node_modules with exiftool-vendored")
    parser.add_argument("--sequences", default=20_000, type=int, metavar="N", help="random sequences of models")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the photographs and sidecars there")
    parser.add_argument("--cases", default="", metavar="WORDS", help="only cases and programs with these words in their names")
    parser.add_argument("--report", default=PROJECT / "reports" / "photo_programs.md", type=Path, metavar="FILE")
    args = parser.parse_args()
    photos = [path for path in sorted((DATA / "coco-mini" / "val").glob("*.jpg")) if not look_inside(path).keywords()]
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(usable_cores(), mp_context=get_context("spawn")) as pool:
        parts = [
            pool.submit(sequences_from, first, min(TOGETHER, args.sequences - first))
            for first in range(0, args.sequences, TOGETHER)
        ]
        base = args.keep or Path(scratch) / "kept"
        base.mkdir(parents=True)
        own = Path(scratch) / "digikam"
        own.mkdir()
        programs: list[RealProgram] = [Darktable(), DigiKam(own), Immich(args.modules)]
        all_done: list[Done] = []
        for program in programs:
            for number, case in enumerate(CASES, 1):
                if program.name in case.only and args.cases in f"{program.name} {case.name}":
                    print(f"{program.name}: {case.name}", file=sys.stderr, flush=True)
                    photo = photos[len(all_done)]
                    all_done.append(tried(case, program, photo, base / f"{program.name}_{number}"))
        agreed = judge(all_done, programs)
        versions = [f"{one.name} {one.version()}" for one in programs]
        broken = [text for part in parts for text in part.result()]
    args.report.write_text(report(all_done, versions, agreed, args.sequences, broken), encoding="utf-8")
    print(args.report)


if __name__ == "__main__":
    main()
