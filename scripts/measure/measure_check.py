"""Measure the speed of `cocotag check`, the planted faults it finds and its findings on sound data; write reports/check.md.

usage: python scripts/measure/measure_check.py [--repeats 5] [--report FILE]

Needs the real data: COCOTAG_DATA, or ../shared/data. Damaged copies are created in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cocotag.data.check.doctor import CheckReport, check_split
from cocotag.data.check.fed import fed_faults, fed_statistics
from cocotag.data.sample.draw import draw_sample
from cocotag.files import write_text
from cocotag.models.normalization import IMAGENET_MEAN, IMAGENET_STD, normalize
from cocotag.photos.decode import decode, load_square

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data") / "coco-mini"
LARGE = (4000, 3000)  # pixels, as a 12-megapixel phone takes them
LARGE_IMAGES = 40
SEED = 0


# Speed


def seconds(root: Path, repeats: int) -> list[float]:
    """Seconds of the whole command, from the start of its process to its end, one value per repetition."""
    command = [sys.executable, "-m", "cocotag", "check", str(root), "--split", "train", "--json"]
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - start)
    return taken


def enlarge(root: Path) -> Path:
    """Make a split of a few photographs of a phone's size; return the root."""
    (root / "annotations").mkdir(parents=True)
    (root / "train").mkdir()
    document = json.loads((DATA / "annotations" / "instances_train.json").read_text())
    document["images"] = document["images"][:LARGE_IMAGES]
    for image in document["images"]:
        with Image.open(DATA / "train" / image["file_name"]) as picture:
            large = picture.convert("RGB").resize(LARGE, Image.Resampling.BICUBIC)
        large.save(root / "train" / image["file_name"], quality=92)
        image["width"], image["height"] = LARGE
    kept = {image["id"] for image in document["images"]}
    document["annotations"] = [entry for entry in document["annotations"] if entry["image_id"] in kept]
    (root / "annotations" / "instances_train.json").write_text(json.dumps(document))
    return root


def opened(root: Path) -> Counter[str]:
    """How often a check opens each image file."""
    times: Counter[str] = Counter()

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith(".jpg"):
            times[str(arguments[0])] += 1

    sys.addaudithook(listen)
    check_split(root, "train", progress=False)
    return Counter(times)


# Planted faults


class Copy:
    """A small copy of coco-mini to damage: 60 photographs in train, 30 in val."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "annotations").mkdir(parents=True)
        for split, count in (("train", 60), ("val", 30)):
            document = json.loads((DATA / "annotations" / f"instances_{split}.json").read_text())
            labelled = {entry["image_id"] for entry in document["annotations"]}
            document["images"] = [image for image in document["images"] if image["id"] in labelled][:count]
            kept = {image["id"] for image in document["images"]}
            document["annotations"] = [entry for entry in document["annotations"] if entry["image_id"] in kept]
            (root / split).mkdir()
            for image in document["images"]:
                shutil.copyfile(DATA / split / image["file_name"], root / split / image["file_name"])
            self.annotations(split).write_text(json.dumps(document))
        self.document: dict[str, list[dict[str, Any]]] = json.loads(self.annotations("train").read_text())

    def annotations(self, split: str) -> Path:
        """The annotation file of a split."""
        return self.root / "annotations" / f"instances_{split}.json"

    def image(self, number: int) -> Path:
        """The path of an image of train."""
        return self.root / "train" / str(self.document["images"][number]["file_name"])

    def change(self, number: int, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> None:
        """Save an image of train with other pixels (RGB), under the same name, as a PNG, which keeps the pixels exactly."""
        image = np.ascontiguousarray(change(decode(self.image(number))))
        Image.fromarray(image).save(self.image(number), "PNG")

    def save(self) -> None:
        """Write the annotation file of train."""
        self.annotations("train").write_text(json.dumps(self.document))


def _cut(copy: Copy, number: int) -> None:
    data = copy.image(number).read_bytes()
    copy.image(number).write_bytes(data[: len(data) // 2])


def _away(copy: Copy, number: int) -> None:
    target = copy.root.parent / f"{copy.root.name}-away.jpg"
    shutil.move(copy.image(number), target)
    copy.image(number).symlink_to(target)


def _repeat_file(copy: Copy, number: int) -> None:
    copy.image(number).unlink()
    copy.document["images"][number]["file_name"] = copy.document["images"][number + 10]["file_name"]


def _bare(copy: Copy, number: int) -> None:
    image = copy.document["images"][number]["id"]
    copy.document["annotations"] = [entry for entry in copy.document["annotations"] if entry["image_id"] != image]


def _crowd(copy: Copy, number: int) -> None:
    entry = {**copy.document["annotations"][number], "id": 10**9 + number, "category_id": 89, "iscrowd": 1}  # hair drier
    copy.document["annotations"].append(entry)


def _set(key: str, **values: object) -> Callable[[Copy, int], None]:
    return lambda copy, number: copy.document[key][number].update(values)


def _of_another(key: str) -> Callable[[Copy, int], None]:
    return lambda copy, number: copy.document[key][number].update(id=copy.document[key][number + 30]["id"])


def _without(key: str, what: str) -> Callable[[Copy, int], object]:
    return lambda copy, number: copy.document[key][number].pop(what)


def _named(pattern: str) -> Callable[[Copy, int], None]:
    return lambda copy, number: copy.document["images"][number].update(file_name=pattern.format(number))


def _unlisted(copy: Copy, number: int) -> None:
    shutil.copyfile(copy.image(number), copy.root / "train" / f"new{number}.jpg")


def _exchange(copy: Copy, number: int) -> None:
    copy.change(number, lambda image: image[..., ::-1])


def _levels(scale: float, offset: float) -> Callable[[Copy, int], None]:
    return lambda copy, number: copy.change(number, lambda image: (image * scale + offset).clip(0, 255).astype(np.uint8))


EVERY = -1
FAULTS: list[tuple[str, str, int, Callable[[Copy, int], object]]] = [
    ("image file removed", "missing_images", 3, lambda copy, n: copy.image(n).unlink()),
    ("image file emptied", "empty_images", 3, lambda copy, n: copy.image(n).write_bytes(b"")),
    ("image file cut in half", "truncated_images", 3, _cut),
    ("text named .jpg", "unreadable_images", 3, lambda copy, n: copy.image(n).write_text("not a picture")),
    ("half the size in the file", "size_mismatch", 3, lambda copy, n: copy.change(n, lambda image: image[::2, ::2])),
    ("file name with ..", "outside_paths", 3, _named("../{}.jpg")),
    ("absolute file name", "outside_paths", 3, _named("/tmp/{}.jpg")),
    ("link to a file outside", "outside_paths", 3, _away),
    ("file name of another image", "duplicate_file_names", 3, _repeat_file),
    ("image id of another", "duplicate_image_ids", 3, _of_another("images")),
    ("image without file_name", "bad_image_entries", 3, _without("images", "file_name")),
    ("annotation id of another", "duplicate_annotation_ids", 3, _of_another("annotations")),
    ("annotation of an unknown image", "annotations_of_unknown_images", 3, _set("annotations", image_id=-1)),
    ("annotation of an unknown category", "annotations_of_unknown_categories", 3, _set("annotations", category_id=12)),
    ("annotation without image_id", "bad_annotation_entries", 3, _without("annotations", "image_id")),
    ("category id of another", "duplicate_category_ids", 1, _of_another("categories")),
    ("category name of another", "duplicate_category_names", 1, _set("categories", name="dog")),
    ("iscrowd of 2", "annotations_refused", 1, _set("annotations", iscrowd=2)),
    ("box with NaN", "bad_boxes", 3, _set("annotations", bbox=[1, 2, float("nan"), 4])),
    ("box with zero width", "boxes_without_area", 3, _set("annotations", bbox=[1, 2, 0, 4])),
    ("box outside the image", "boxes_outside", 3, _set("annotations", bbox=[900, 2, 50, 50])),
    ("all annotations removed", "no_labels", EVERY, lambda copy, _: copy.document["annotations"].clear()),
    ("labels of an image removed", "images_without_labels", 3, _bare),
    ("class with only a crowd annotation", "crowd_only", 1, _crowd),
    ("re-encoded copy, pixels kept", "identical_images", 3, lambda copy, n: _same_pixels(copy, n, copy.image(n + 20))),
    ("copy of a val image", "leaked_images", 3, lambda copy, n: shutil.copyfile(_val(copy, n), copy.image(n))),
    ("re-encoded val image, pixels kept", "leaked_images", 3, lambda copy, n: _same_pixels(copy, n, _val(copy, n))),
    ("brightness times 0.2", "dark_images", 3, _levels(0.2, 0)),
    ("brightness in its highest quarter only", "bright_images", 3, _levels(0.25, 190)),
    ("contrast times 0.02", "low_contrast_images", 3, _levels(0.02, 120)),
    ("file that is not listed", "unlisted_files", 3, _unlisted),
    ("all files: pixels of 0 and 1", "fed_divided_twice", EVERY, _levels(1 / 255, 0.5)),
    ("all files: red and blue swapped", "fed_channels_swapped", EVERY, _exchange),
]


def _val(copy: Copy, number: int) -> Path:
    return sorted((copy.root / "val").iterdir())[number]


def _same_pixels(copy: Copy, number: int, source: Path) -> None:
    """Replace an image of train by a PNG, named .jpg, with the pixels of another; the listed size is changed too."""
    with Image.open(source) as image:
        image.convert("RGB").save(copy.image(number), "PNG")
        copy.document["images"][number].update(width=image.width, height=image.height)


def plant(folder: Path) -> Iterator[str]:
    """Yield a row of the table per fault."""
    before = {
        finding.code: finding.count for finding in check_split(Copy(folder / "sound").root, "train", progress=False).findings
    }
    for index, (what, code, count, damage) in enumerate(FAULTS):
        copy = Copy(folder / str(index))
        wanted = len(copy.document["images"]) if count == EVERY else count
        for number in range(wanted):
            damage(copy, number)
        copy.save()
        report = check_split(copy.root, "train", progress=False)
        found = {finding.code: finding for finding in report.findings}
        others = [f"`{other}`" for other in found if other != code and other not in before]
        hit = found.get(code)
        earlier = f" ({before[code]} before)" if code in before else ""
        count_found = f"{hit.count}{earlier}" if hit else "**not found**"
        cells = [what, str(wanted), f"`{code}`", count_found, hit.severity if hit else "", str(int(not report.ok))]
        yield "| " + " | ".join([*cells, ", ".join(others)]) + " |"
        shutil.rmtree(copy.root)


# Sound data, and inputs that are normalised wrongly


def described(report: CheckReport) -> str:
    """The cells of a data set: number of images, exit status, findings."""
    findings = ", ".join(f"{finding.severity} `{finding.code}` {finding.count}" for finding in report.findings)
    return f"| {report.images} | {int(not report.ok)} | {findings or 'none'} |"


def alarms() -> Iterator[str]:
    """Yield a row per mistake: the numbers of random draws of photographs on which exactly this mistake is reported."""
    paths = sorted([*(DATA / "train").iterdir(), *(DATA / "val").iterdir()])
    photographs = np.stack([load_square(path, 64) for path in paths])
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    ways: list[tuple[str, list[str], Callable[[NDArray[np.uint8]], NDArray[Any]]]] = [
        ("correct", [], normalize),
        ("not divided by 255", ["fed_not_divided"], lambda rgb: (rgb - mean) / std),
        ("not normalised, 0..255", ["fed_not_normalised"], lambda rgb: rgb.astype(np.float32)),
        ("not normalised, 0..1", ["fed_not_normalised"], lambda rgb: rgb / 255),
        ("normalised twice", ["fed_normalised_twice"], lambda rgb: (normalize(rgb) - mean) / std),
        ("divided by 255 twice", ["fed_divided_twice"], lambda rgb: (rgb / 255**2 - mean) / std),
        ("channels swapped", ["fed_channels_swapped"], lambda rgb: normalize(rgb[..., ::-1])),
    ]
    random = np.random.default_rng(SEED)
    for name, wanted, way in ways:
        shares = []
        for count in (4, 32, 64, 128):
            draws = [photographs[random.permutation(len(photographs))[:count]] for _ in range(50)]
            named = [[fault.code for fault in fed_faults(fed_statistics(way(draw).transpose(0, 3, 1, 2)))] for draw in draws]
            shares.append(f"{sum(codes == wanted for codes in named)} of {len(draws)}")
        yield "| " + " | ".join([name, *(f"`{code}`" for code in wanted or ["none"]), *shares]) + " |"


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "check.md")
    args = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"There are no real photographs in {DATA}. Set COCOTAG_DATA.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        small = seconds(DATA, args.repeats)
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        large = seconds(enlarge(folder / "large"), args.repeats)
        times = opened(DATA)
        planted = "\n".join(plant(folder))
        draw_sample(folder / "sample", progress=False)
        sound = "\n".join(
            f"| {name}, {split} {described(check_split(root, split, progress=False))}"
            for name, root in (("coco-mini", DATA), ("`cocotag sample`", folder / "sample"))
            for split in ("train", "val")
        )
    count = len(times)
    text = f"""# cocotag check

Written by `.venv/bin/python scripts/measure/measure_check.py` on {os.cpu_count()} CPU cores ({platform.machine()}), Python \
{platform.python_version()}.

## Speed

`cocotag check coco-mini --split train`, the whole command from the start of its process. It reads the 317 photographs of train,
and the 150 of val to compare with. Median of {args.repeats} runs (range).

| photographs | seconds | photographs/s | target |
| --- | --- | --- | --- |
| {count} of coco-mini, 640 x 480 | {statistics.median(small):.1f} ({min(small):.1f} to {max(small):.1f}) | \
{count / statistics.median(small):.0f} | 500 in 10 s |
| {LARGE_IMAGES} enlarged to {LARGE[0]} x {LARGE[1]} | {statistics.median(large):.1f} ({min(large):.1f} to {max(large):.1f}) | \
{LARGE_IMAGES / statistics.median(large):.0f} | |

Peak memory of the process on coco-mini: {memory:.0f} MB. Files opened: {count}; largest number of times for one file: \
{max(times.values())}.

## Planted faults

Copies of coco-mini (60 photographs in train, 30 in val), each damaged in one way. "Others" are further findings that the
undamaged copy does not have.

| planted fault | number | code | found | severity | exit status | others |
| --- | --- | --- | --- | --- | --- | --- |
{planted}

If another image replaces an image, the labels and boxes stay and may not fit. `no_labels` counts classes. Images are compared
after decoding. A JPEG with more than 896 px on its shorter side is decoded at reduced scale, so it is not recognised as equal
to a PNG with the same pixels.

## Sound data

| data set | images | exit status | findings |
| --- | --- | --- | --- |
{sound}

## Network inputs

Random draws (without replacement, seed {SEED}) of coco-mini's photographs, 64 px, as (N, 3, H, W) arrays. The table has the
number of draws on which exactly this finding is reported.

| inputs | finding | 4 photographs | 32 | 64 | 128 |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(alarms())}

The channel order is judged by colour alone: photographs have more red than blue. This needs some dozens of photographs, and a
set of seascapes causes a false alarm; so it is a warning, and the others are errors.
"""
    write_text(args.report, text)
    print(text)
    print(args.report)


if __name__ == "__main__":
    main()
