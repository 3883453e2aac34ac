"""CIFAR-10 or CIFAR-100 -> COCO's layout: a data set with one tag per image, for cocotag train, check and evaluate.

usage: python scripts/data/cifar_to_coco.py SOURCE OUT [--per-class N]

SOURCE is an archive (.tar.gz, .tar.xz) or a folder. It contains one of these, which the script recognises:
- the original distribution, "python version", from https://www.cs.toronto.edu/~kriz/cifar.html (data_batch_1, test_batch,
  batches.meta; or train, test, meta of CIFAR-100, whose fine labels become classes and coarse labels supercategories). Pixels
  are written as PNG, without loss;
- image files by split and class: train/CLASS/NAME, test/CLASS/NAME, copied without changes.

Writes OUT/annotations/instances_{train,test}.json, OUT/train/ and OUT/test/; an unfinished OUT is never left behind. Each image
has one box, the whole image. Next: cocotag train --config cifar10_mobilenetv2_050 --data.root OUT
"""

from __future__ import annotations

import argparse
import io
import json
import pickle
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, NoReturn

import cv2
import numpy as np
from tqdm import tqdm

from cocotag.errors import ImageError
from cocotag.photos.decode import decode

SIDE = 32
SPLITS = ("train", "test")
FILES = {  # files of the original distribution, by split
    "cifar10": {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"], "names": "batches.meta"},
    "cifar100": {"train": ["train"], "test": ["test"], "names": "meta"},
}
# The names that unpickling numpy arrays needs, in old and new versions of numpy.
ALLOWED = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *(("numpy", name) for name in ("ndarray", "dtype")),
    ("_codecs", "encode"),
}


class Picture(NamedTuple):
    """One image to write."""

    split: str
    label: int
    name: str
    content: bytes
    width: int
    height: int


class Classes(NamedTuple):
    """Class names in the order of their labels, and the supercategory of each; empty if there are none."""

    names: list[str]
    groups: list[str]


class ArraysOnly(pickle.Unpickler):
    """An unpickler of containers, strings, numbers and numpy arrays that refuses all other types."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 (pickle's)
        """An object in `ALLOWED`; all others are refused."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it uses {module}.{name}, which no array needs")
        return super().find_class(module, name)


def fail(message: str) -> NoReturn:
    """Print one line and exit with status 2."""
    print(f"cifar_to_coco: {message}", file=sys.stderr)
    sys.exit(2)


def files_of(source: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """All regular files of a folder or archive, each with its path there; an archive is read once, from start to end."""
    if source.is_dir():
        for name in sorted(source.rglob("*")):
            if name.is_file():
                with name.open("rb") as file:
                    yield PurePosixPath(name.relative_to(source).as_posix()), file
        return
    with tarfile.open(source, "r|*") as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts:
                fail(f"{source} has a member {member.name!r} outside of its folder, so it is not CIFAR. Download CIFAR again.")
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield path, content


def unpickle(path: PurePosixPath, file: IO[bytes]) -> dict[bytes, Any]:
    """A batch of the original distribution: a dictionary whose keys are Python 2's strings."""
    try:
        batch = ArraysOnly(io.BytesIO(file.read()), encoding="bytes").load()
    except Exception as error:  # unpickling an arbitrary file can raise any exception
        fail(f"{path} is not a batch of CIFAR that can be read safely ({error}). Download it again.")
    if not isinstance(batch, dict):
        fail(f"{path} has a {type(batch).__name__} instead of the dictionary of a CIFAR batch. Download it again.")
    return batch


def from_batch(path: PurePosixPath, split: str, batch: dict[bytes, Any]) -> Iterator[Picture]:
    """The images of a batch: rows of 3,072 bytes, first the red plane, then the green, then the blue."""
    pixels, labels = np.asarray(batch.get(b"data")), batch.get(b"fine_labels", batch.get(b"labels"))
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3 * SIDE**2 or len(labels or ()) != len(pixels):
        fail(
            f"{path} has data of {pixels.dtype} {pixels.shape} and {len(labels or ())} labels; it must have one row of "
            f"{3 * SIDE**2} bytes per label. Download it again."
        )
    for row, (flat, label) in enumerate(zip(pixels, labels or (), strict=True)):
        image = flat.reshape(3, SIDE, SIDE)[::-1].transpose(1, 2, 0)  # BGR, OpenCV's order
        content = cv2.imencode(".png", image)[1].tobytes()
        yield Picture(split, int(label), f"{path.name}/{row:05d}.png", content, SIDE, SIDE)


def read_original(source: Path, kind: str) -> tuple[Classes, Iterator[Picture]]:
    """The classes and images of the original distribution."""
    files = FILES[kind]
    split_of = {name: split for split in SPLITS for name in files[split]}
    batches: dict[str, dict[bytes, Any]] = {}
    for path, file in files_of(source):
        if path.name in split_of or path.name == files["names"]:
            batches[path.name] = unpickle(path, file)
    missing = [name for name in (*split_of, str(files["names"])) if name not in batches]
    if missing:
        fail(f"{source} lacks {', '.join(missing)}. Download it again.")
    meta = batches[str(files["names"])]
    names = [bytes(name).decode() for name in meta.get(b"fine_label_names", meta.get(b"label_names", []))]
    coarse = [bytes(name).decode() for name in meta.get(b"coarse_label_names", [])]
    groups = [""] * len(names)
    for name in split_of:
        fine_labels, coarse_labels = (batches[name].get(key, []) for key in (b"fine_labels", b"coarse_labels"))
        if coarse_labels and len(coarse_labels) != len(fine_labels):
            fail(f"{name} has {len(fine_labels)} fine labels but {len(coarse_labels)} coarse labels. Download it again.")
        for fine, group in zip(fine_labels, coarse_labels, strict=False):
            if not (0 <= fine < len(names) and 0 <= group < len(coarse)):
                fail(
                    f"{name} has the fine label {fine} of {len(names)} and the coarse label {group} of {len(coarse)}. "
                    "Download it again."
                )
            groups[fine] = coarse[group]
    pictures = (
        picture for name, split in split_of.items() for picture in from_batch(PurePosixPath(name), split, batches[name])
    )
    return Classes(names, groups), pictures


def read_folders(source: Path) -> tuple[Classes, Iterator[Picture]]:
    """The classes and images of image files by split and class."""
    found = [(path, file.read()) for path, file in files_of(source)]
    images = [(path, content) for path, content in found if len(path.parts) >= 3 and path.parts[-3] in SPLITS]
    names = sorted({path.parts[-2] for path, _ in images})
    label_of = {name: label for label, name in enumerate(names)}

    def pictures() -> Iterator[Picture]:
        for path, content in sorted(images):
            try:
                height, width = decode(content).shape[:2]
            except ImageError as error:
                fail(f"{path}: {error} Remove it and convert again.")
            split, name, file_name = path.parts[-3:]
            yield Picture(split, label_of[name], f"{name}/{file_name}", content, width, height)

    return Classes(names, [""] * len(names)), pictures()


def read(source: Path) -> tuple[Classes, Iterator[Picture]]:
    """The classes and images of a source in either form."""
    names: set[str] = set()
    for path, _ in files_of(source):
        names.add(path.name)
        for kind, files in FILES.items():
            if files["names"] in names and set(files["test"]) & names:
                return read_original(source, kind)
        if len(path.parts) >= 3 and path.parts[-3] in SPLITS:
            return read_folders(source)
    fail(f"{source} is not CIFAR: it has neither the files of the python version nor train/CLASS/ and test/CLASS/.")


def write(classes: Classes, pictures: Iterator[Picture], out: Path, per_class: int | None) -> Counter[str]:
    """Write the data set to a temporary folder, then rename it. Returns the number of images in each split."""
    taken: Counter[tuple[str, int]] = Counter()
    entries: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    boxes: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        unfinished = Path(scratch) / out.name
        folders: set[Path] = set()
        for number, picture in enumerate(tqdm(pictures, unit="image", disable=None), start=1):
            if not 0 <= picture.label < len(classes.names):
                fail(
                    f"{picture.name} has label {picture.label}; valid are 0 to {len(classes.names) - 1}. Download CIFAR again."
                )
            key = picture.split, picture.label
            if per_class is not None and taken[key] >= per_class:
                continue
            taken[key] += 1
            path = unfinished / picture.split / picture.name
            if path.parent not in folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                folders.add(path.parent)
            path.write_bytes(picture.content)
            size = {"width": picture.width, "height": picture.height}
            entries[picture.split].append({"id": number, "file_name": picture.name, **size})
            box = {"bbox": [0, 0, picture.width, picture.height], "area": picture.width * picture.height, "iscrowd": 0}
            boxes[picture.split].append({"id": number, "image_id": number, "category_id": picture.label + 1, **box})
        (unfinished / "annotations").mkdir(parents=True)
        categories = [
            {"id": label + 1, "name": name, "supercategory": classes.groups[label]} for label, name in enumerate(classes.names)
        ]
        for split in SPLITS:
            if not entries[split]:
                fail(f"there are no images of split {split}. Download CIFAR again.")
            document = {"images": entries[split], "annotations": boxes[split], "categories": categories}
            (unfinished / "annotations" / f"instances_{split}.json").write_text(json.dumps(document), encoding="utf-8")
        unfinished.rename(out)
    return Counter({split: len(entries[split]) for split in SPLITS})


def main() -> None:
    """Convert the data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="archive or folder")
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder")
    parser.add_argument(
        "--per-class", type=int, metavar="N", help="only the first N images of each class and split, for trials"
    )
    args = parser.parse_args()
    if args.out.exists():
        fail(f"{args.out} already exists. Remove it, or choose another folder.")
    if not args.source.exists():
        fail(f"{args.source} does not exist. Give CIFAR's archive or folder.")
    if args.per_class is not None and args.per_class < 1:
        fail(f"--per-class is {args.per_class}; it must be at least 1.")
    try:
        classes, pictures = read(args.source)
        counts = write(classes, pictures, args.out, args.per_class)
    except (tarfile.TarError, EOFError, OSError) as error:
        fail(f"{args.source} cannot be converted to {args.out} ({error}). Check the archive and the disk.")
    except KeyboardInterrupt:
        print("cifar_to_coco: stopped; no unfinished files are left.", file=sys.stderr)
        sys.exit(130)
    print(f"{len(classes.names)} classes, " + ", ".join(f"{count} images in {split}" for split, count in counts.items()))
    print(args.out)


if __name__ == "__main__":
    main()
