"""Run cocotag on COCO data as other programs export them, and write reports/exports.md.

usage: python scripts/measure/measure_exports.py [--only NAME ...] [--environments DIR] [--keep DIR] [--report FILE]

Each program is installed into an environment of its own, where it exports the same 30 photographs; `export_tools.py` has the
table of exports. Then cocotag's commands run on each folder as it was written. Needs a package index, 5 GB of disk, and the
real data: COCOTAG_DATA, or ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from export_source import SPLITS, Source
from export_tools import EXPORTS, Export

from cocotag.data.annotations import load_split
from cocotag.data.layout import Given
from cocotag.errors import DataError
from cocotag.files import write_text

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data") / "coco-mini"
PHOTOS = {"train": 20, "val": 10}
CLASSES = ("person", "bicycle", "car", "dog", "cup", "chair")
ONLY_IN_TRAIN = "clock"
COMMANDS = ("check", "imbalance", "train", "evaluate")
INSTALL_LIMIT = 1200  # seconds
EXPORT_LIMIT = 300  # seconds
COMMAND_LIMIT = 300  # seconds
CELL = 170  # characters of a message in the table
TRAINING = (
    *("--model.image_size", "96", "--model.weights", "null", "--batch_size", "8"),
    *("--stages", '[{"epochs": 1, "train": "all", "lr": 0.001}]'),
)
AS_IT_IS = "as it is"
OWN = "coco"  # the export in COCO's own layout


def log(*words: object) -> None:
    """Print progress."""
    print(*words, file=sys.stderr, flush=True)


# The photographs


def choose(split: str, root: Path) -> None:
    """Copy photographs of a split with their boxes: each class in turn, and one photograph without any of the classes.

    Photographs with crowds are not taken. `ONLY_IN_TRAIN` is on photographs of train only, so that the splits' classes differ.
    """
    document = json.loads((DATA / "annotations" / f"instances_{split}.json").read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in document["categories"]}
    classes: dict[int, set[str]] = {image["id"]: set() for image in document["images"]}
    for entry in document["annotations"]:
        classes[entry["image_id"]].add("a crowd" if entry["iscrowd"] else names[entry["category_id"]])
    wanted = (*CLASSES, ONLY_IN_TRAIN) if split == "train" else CLASSES
    refused = {"a crowd"} if split == "train" else {"a crowd", ONLY_IN_TRAIN}
    free = [image_id for image_id, on_it in classes.items() if not on_it & refused]
    chosen = [next(image_id for image_id in free if not classes[image_id] & {*wanted})]
    while len(chosen) < PHOTOS[split]:
        name = wanted[len(chosen) % len(wanted)]
        chosen.append(next(image_id for image_id in free if name in classes[image_id] and image_id not in chosen))
    kept = {number for number, name in names.items() if name in (*CLASSES, ONLY_IN_TRAIN)}
    document["categories"] = [one for one in document["categories"] if one["id"] in kept]
    document["images"] = [one for one in document["images"] if one["id"] in chosen]
    document["annotations"] = [
        one for one in document["annotations"] if one["image_id"] in chosen and one["category_id"] in kept
    ]
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir()
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))
    for image in document["images"]:
        shutil.copyfile(DATA / split / image["file_name"], root / split / image["file_name"])


# The programs


def environment(packages: tuple[str, ...], folder: Path) -> Path:
    """The Python of an environment with packages, which is made if it does not exist; pip's last line if this fails.

    Raises:
        RuntimeError: The packages cannot be installed.
    """
    if not packages:
        return Path(sys.executable)
    python = folder / packages[0].replace("==", "-") / "bin" / "python"
    name, _, pinned = packages[0].partition("==")
    ask = f"from importlib.metadata import version; print(version({name!r}))"
    there = python.exists() and subprocess.run([python, "-c", ask], capture_output=True, text=True).stdout.strip() == pinned
    if not there:
        log(f"installing {', '.join(packages)}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", python.parents[1]], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        done = subprocess.run(install, capture_output=True, text=True, timeout=INSTALL_LIMIT)
        if done.returncode:
            raise RuntimeError(f"cannot be installed: {shorten(last_line(done.stderr))}")
    return python


def write_export(name: str, source: Path, out: Path, environments: Path) -> str:
    """Export with a program; return what went wrong, or empty text."""
    try:
        python = environment(EXPORTS[name].packages, environments)
        command = [str(python), str(Path(__file__).with_name("export_tools.py")), name, str(source), str(out)]
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=EXPORT_LIMIT, env=clean)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return shorten(str(error))
    return shorten(last_line(done.stderr)) if done.returncode else ""


def layout(root: Path) -> str:
    """What a program wrote: the folders with the number of pictures or other files, and the names of JSON files."""
    parts: dict[str, int] = {}
    for path in sorted(root.rglob("*")):
        if path.is_dir():
            continue
        inside = path.relative_to(root)
        numbered = path.suffix != ".json" or re.search(r"\d{12}", path.name)
        kind = f"*{path.suffix}{' (links)' if path.is_symlink() else ''}" if numbered else path.name
        key = (inside.parent / kind).as_posix()
        parts[key] = parts.get(key, 0) + 1
    return ", ".join(f"`{name}`" + (f" ({count})" if "*" in name else "") for name, count in parts.items())


# cocotag's commands


@dataclass
class Row:
    """What was measured of an export: a cell for each command, what was read, and cells with what the program wrote."""

    name: str
    cells: dict[str, str] = field(default_factory=dict)
    photos: str = ""
    labels: str = ""
    layout: str = ""


def last_line(text: str) -> str:
    """The last line that is not empty."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no message")


def shorten(text: str, *folders: Path) -> str:
    """One line for a cell of the table; the folders become ``ROOT``, and others below that for temporary files ``...``."""
    for folder in folders:
        text = text.replace(str(folder), "ROOT")
    text = re.sub(rf"{re.escape(tempfile.gettempdir())}/[^/\s]+", "...", text)
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= CELL else text[: CELL - 4].rstrip() + " ..."


def run(*words: str | Path) -> tuple[int, str, str]:
    """Run one command of cocotag in a process of its own; return exit status, stdout and stderr. -1: it took too long."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cocotag", *map(str, words)], capture_output=True, text=True, timeout=COMMAND_LIMIT
        )
    except subprocess.TimeoutExpired:
        return -1, "", f"took more than {COMMAND_LIMIT} s"
    return done.returncode, done.stdout, done.stderr


def said(status: int, stdout: str, stderr: str, root: Path) -> str:
    """The cell of a command: "as it is", or what it printed when it failed."""
    if status == 0:
        return AS_IT_IS
    lines = [line for line in stderr.splitlines() if line.startswith("cocotag: ")]
    return shorten(lines[-1].removeprefix("cocotag: ") if lines else last_line(stderr or stdout), root)


def annotation_files(root: Path, export: Export) -> list[Path]:
    """The annotation files of the splits, as the program wrote them."""
    return [root / export.files.format(split) for split in export.splits]


def contents(root: Path, export: Export) -> str:
    """Cells with the number of images, annotations, crowds among these, and categories in each annotation file."""
    documents = [json.loads(file.read_text(encoding="utf-8")) for file in annotation_files(root, export)]
    lists = [
        [len(document["images"]) for document in documents],
        [len(document["annotations"]) for document in documents],
        [sum(bool(one.get("iscrowd")) for one in document["annotations"]) for document in documents],
        [len(document["categories"]) for document in documents],
    ]
    return " | ".join(" + ".join(map(str, counts)) for counts in lists)


def check(root: Path, export: Export) -> str:
    """The cell of `cocotag check`: its first error if it has one."""
    status, stdout, stderr = run("check", root, "--split", export.splits[0], "--json", *export.flags)
    if status == 1 and stdout.startswith("{"):
        errors = [one["message"] for one in json.loads(stdout)["findings"] if one["severity"] == "error"]
        return shorten(errors[0], root) if errors else "exit status 1"
    return said(status, stdout, stderr, root)


def imbalance(root: Path, export: Export, labels: int, out: Path) -> str:
    """The cell of `cocotag imbalance`: what failed, or which part of the labels and images it did not read."""
    status, stdout, stderr = run("imbalance", root, "--out", out, *export.flags)
    if not (out / "dataset.json").is_file():
        return said(status, stdout, stderr, root)
    document = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    read = sum(one["positives"] for one in document.get("splits", [document]))
    missing = [] if read == labels else [f"{read} of {labels} labels"]
    if not document["integrity"]["images_read"]:
        missing.append("it does not find the images")
    missing += [one["message"] for one in document["integrity"]["findings"] if one["severity"] == "error"]
    return shorten(f"exit status {status}: " + "; ".join(missing), root) if status or missing else AS_IT_IS


def read_labels(root: Path, export: Export, source: Source) -> tuple[str, str]:
    """The photographs found and the labels read by cocotag's loader, compared with the source."""
    true = {(photo.path.stem, name) for photos in source.photos.values() for photo in photos for name, _ in photo.objects}
    stems = {photo.path.stem for photos in source.photos.values() for photo in photos}
    read: set[tuple[str, str]] = set()
    found: set[str] = set()
    classes: set[str] = set()
    for split in export.splits:
        try:
            table = load_split(root, split, Given(crowd_is_object=bool(export.flags)))
        except DataError:
            return "not read", "not read"
        classes.update(table.vocabulary.names)
        for row, path in enumerate(table.paths()):
            stem = max((stem for stem in stems if stem in path.name), key=len)  # programs add to the name
            if path.is_file():
                found.add(stem)
            read.update((stem, table.vocabulary.names[column]) for column in (table.targets & table.known)[row].nonzero()[0])
    text = f"{len(read & true)} of {len(true)}"
    if read - true:
        text += f", {len(read - true)} invented"
    if extra := classes - {*source.classes}:
        text += f"; classes that are not in the data: {', '.join(sorted(extra))}"
    return f"{len(found)} of {len(stems)}", text


def measure(name: str, root: Path, source: Source, out: Path, ready: Path) -> Row:
    """Run all commands on an exported folder; ``ready`` is a bundle for `evaluate` where training fails."""
    export = EXPORTS[name]
    row = Row(name, layout=f"{layout(root)} | {contents(root, export)}")
    row.photos, row.labels = read_labels(root, export, source)
    labels = len({(photo.path, one) for photos in source.photos.values() for photo in photos for one, _ in photo.objects})
    row.cells["check"] = check(root, export)
    row.cells["imbalance"] = imbalance(root, export, labels, out / "imbalance")
    splits = ("--data.train_split", export.splits[0], "--data.val_split", (*export.splits, "null")[1])
    row.cells["train"] = said(*run("train", "--data.root", root, *splits, *TRAINING, *export.flags, "--out", out / "run"), root)
    bundle = out / "run" / "tagger.onnx"
    words: tuple[str | Path, ...] = ("--root", root, "--split", export.splits[-1], "--out", out / "report", *export.flags)
    row.cells["evaluate"] = said(*run("evaluate", bundle if bundle.is_file() else ready, *words), root)
    for command in COMMANDS:
        log(f"  {command}: {row.cells[command]}")
    log(f"  photographs {row.photos}, labels {row.labels}")
    return row


# The report


def title(name: str) -> str:
    """An export in words: its program with the version, and what is exported."""
    export = EXPORTS[name]
    program = export.packages[0].replace("==", " ") if export.packages else ""
    return f"{program}: {export.what}" if program else export.what


def table(rows: list[Row]) -> Iterator[str]:
    """The lines of the tables."""
    yield f"| export | {' | '.join(COMMANDS)} | photographs found | labels read |"
    yield f"|{' --- |' * (len(COMMANDS) + 3)}"
    for row in rows:
        cells = [row.cells.get(command, "not run") for command in COMMANDS]
        yield "| " + " | ".join([title(row.name), *cells, row.photos or "not run", row.labels or "not run"]) + " |"


def page(rows: list[Row], source: Source) -> str:
    """The report."""
    whole = [all(row.cells.get(command) == AS_IT_IS for command in COMMANDS) for row in rows if row.name != OWN]
    labels = len({(photo.path, one) for photos in source.photos.values() for photo in photos for one, _ in photo.objects})
    layouts = "\n".join(f"| {title(row.name)} | {row.layout} |" for row in rows)
    return f"""# COCO as other programs export it

Written by `.venv/bin/python scripts/measure/measure_exports.py` with cocotag {version("cocotag")}, Python \
{platform.python_version()}, {platform.system()} {platform.machine()}.

The same {sum(PHOTOS.values())} photographs of COCO ({PHOTOS["train"]} for train, {PHOTOS["val"]} for val) with \
{len(source.classes)} classes and {labels} labels (a class on a photograph), exported by each program through its own
Python interface. Each command ran on the folder as the program wrote it. {sum(whole)} of {len(whole)} exports work in all \
{len(COMMANDS)} commands.

{chr(10).join(table(rows))}

- "{AS_IT_IS}": exit status 0; for `imbalance` also all labels and images read. Other cells are what the command printed, cut.
- `check` reads the first split, `imbalance` all, `train` trains for one epoch, and `evaluate` runs its
  bundle on the last split, or, where there is no such bundle, the bundle of the first row.
- Labels are compared by photograph with the source. One photograph of each split has none of the classes, and
  `{ONLY_IN_TRAIN}` is on photographs of train only.
- Roboflow's layout is written by `scripts/measure/export_tools.py`, as its exporter runs on Roboflow's servers only.
- Where a program writes one JSON file at a path that the user chooses, this is `annotations/instances_SPLIT.json`, and the
  photographs are copied to `SPLIT/`.

## What each program writes

The numbers are those of each annotation file.

| export | files | images | annotations | of these, `iscrowd` 1 | categories |
| --- | --- | --- | --- | --- | --- |
{layouts}
"""


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="exports, or programs, whose names start so")
    parser.add_argument("--environments", type=Path, help="folder for the programs' environments (default: temporary)")
    parser.add_argument("--keep", type=Path, help="new folder for exports and runs (default: temporary)")
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "exports.md")
    args = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"There are no real photographs in {DATA}. Set COCOTAG_DATA.")
    names = [name for name in EXPORTS if not args.only or name == OWN or name.startswith(tuple(args.only))]
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.keep or Path(temporary) / "work").resolve()
        environments = (args.environments or Path(temporary) / "environments").resolve()
        folder.mkdir(parents=True)
        for split in SPLITS:
            choose(split, folder / "source")
        source = Source(folder / "source")
        rows: list[Row] = []
        for number, name in enumerate(names, 1):
            log(f"[{number}/{len(names)}] {name}")
            problem = write_export(name, source.root, folder / name, environments)
            if problem:
                log(f"  not exported: {problem}")
                rows.append(Row(name, layout=f"not exported: {problem} | | | |"))
            else:
                ready = folder / "out" / OWN / "run" / "tagger.onnx"
                rows.append(measure(name, folder / name, source, folder / "out" / name, ready))
        text = page(rows, source)
    write_text(args.report, text)
    print(text)
    print(args.report)


if __name__ == "__main__":
    main()
