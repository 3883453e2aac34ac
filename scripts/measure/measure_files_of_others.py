"""Make valid files as other programs write them, run cocotag's commands on them; write reports/files_of_others.md.

usage: python scripts/measure/measure_files_of_others.py BUNDLE [--report FILE]

BUNDLE is a tagger, such as RUN_DIR/tagger.onnx. Needs one photograph of coco-mini (COCOTAG_DATA, or ../shared/data), exiftool,
2 GB of memory and two minutes. What needs a file system of its own (folders with one inode number, no locks) is not
made; tests do that with replaced system calls.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")
YEAR_1601_NS = -11_644_473_600 * 10**9
"""NTFS' zero, 1601-01-01 UTC, in Unix time."""
XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" %s>
<dc:subject><rdf:Bag>%s</rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"""


@dataclass(frozen=True)
class Made:
    """Where a case lives: its own empty folder, the photograph, and the bundle.

    Attributes:
        folder: An empty folder.
        photo: The photograph, a JPEG.
        bundle: The tagger.
    """

    folder: Path
    photo: Path
    bundle: Path

    @property
    def image(self) -> Image.Image:
        """The photograph's pixels."""
        return Image.open(self.photo).convert("RGB")

    def run(self, *words: object, stdin: bytes = b"") -> tuple[int, list[str]]:
        """Run cocotag; returns its status and the lines it printed, without the case's folder."""
        command = [sys.executable, "-m", "cocotag", *map(str, words)]
        done = subprocess.run(command, input=stdin, capture_output=True, cwd=self.folder, check=False)
        text = (done.stdout + done.stderr).decode("utf-8", "replace").replace(f"{self.folder}/", "")
        return done.returncode, [line for line in text.splitlines() if line.strip()]

    def rows(self, *words: object, stdin: bytes = b"") -> list[dict[str, Any]] | str:
        """Tag; returns the rows, or the error's line if there are none."""
        out = self.folder.parent / f"{self.folder.name}.jsonl"
        status, lines = self.run("tag", *words, "--model", self.bundle, "--out", out, "--all-scores", stdin=stdin)
        if not out.exists():
            return f"status {status}: {lines[-1] if lines else 'nothing printed'}"
        return [json.loads(line) for line in out.read_text().splitlines()]

    def tagged(self, name: str, data: bytes) -> str:
        """What tagging says of one file, and how far its scores are from the photograph's."""
        (self.folder / name).write_bytes(data)
        (self.folder / "photograph.jpg").write_bytes(self.photo.read_bytes())
        rows = self.rows(self.folder / name, self.folder / "photograph.jpg")
        if isinstance(rows, str):
            return rows
        mine, theirs = rows
        if mine["status"] != "ok":
            return f"`{mine['status']}`: {str(mine['error']).replace(f'{self.folder}/', '')}"
        pairs = [(mine["all_scores"][key], theirs["all_scores"][key]) for key in theirs["all_scores"]]
        return f"tagged; scores differ from the photograph's by at most {max(abs(a - b) for a, b in pairs):.2f}"


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """A file that Pillow writes."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes, wrong: int = 0) -> bytes:
    """A PNG chunk; ``wrong`` spoils its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ wrong)


def behind_ihdr(png: bytes, extra: bytes) -> bytes:
    """A PNG with a chunk behind its header."""
    return png[:33] + extra + png[33:]


def entry(tag: int, kind: int, count: int, value: int) -> bytes:
    """An entry of a little-endian TIFF directory."""
    return struct.pack("<HHII", tag, kind, count, value)


def with_exif(jpeg: bytes, *entries: bytes, further: bytes = b"") -> bytes:
    """A JPEG with an EXIF block of these entries."""
    block = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4) + further
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


def bad_interop(jpeg: bytes) -> bytes:
    """A JPEG whose EXIF has an interoperability directory with an entry of a type that does not exist."""
    inner = struct.pack("<H", 1) + entry(0xA005, 4, 1, 44) + bytes(4)
    return with_exif(jpeg, entry(0x8769, 4, 1, 26), further=inner + struct.pack("<H", 1) + entry(1, 282, 4, 0) + bytes(4))


def tiff(
    pixels: np.ndarray, form: int, *, planes: bool = False, webp: bytes = b"", more: tuple[tuple[int, int], ...] = ()
) -> bytes:
    """An uncompressed little-endian TIFF.

    Args:
        pixels: ``(H, W, C)``; C is 2 for grey with alpha, 3 for RGB.
        form: SampleFormat: 1 unsigned, 3 float.
        planes: One strip per channel.
        webp: The same pixels as a WebP file, which the TIFF has instead.
        more: Further tags of type SHORT with one value per channel.
    """
    height, width, channels = pixels.shape
    strips = [pixels[..., c].tobytes() for c in range(channels)] if planes else [webp or pixels.tobytes()]
    data, tail = b"".join(strips), b""

    def values(code: str, numbers: list[int]) -> int:
        nonlocal tail
        packed = struct.pack(f"<{len(numbers)}{code}", *numbers)
        if len(packed) <= 4:
            return int.from_bytes(packed.ljust(4, b"\0"), "little")
        tail += packed + bytes(len(packed) % 2)
        return 8 + len(data) + len(tail) - len(packed) - len(packed) % 2

    starts = [8 + sum(map(len, strips[:n])) for n in range(len(strips))]
    tags = {256: (4, [width]), 257: (4, [height]), 258: (3, [8 * pixels.itemsize] * channels), 259: (3, [50001 if webp else 1])}
    tags |= {262: (3, [1 if channels < 3 else 2]), 273: (4, starts), 277: (3, [channels]), 278: (4, [height])}
    tags |= {279: (4, list(map(len, strips))), 284: (3, [2 if planes else 1]), 339: (3, [form] * channels)}
    tags |= {tag: (3, [value] * channels) for tag, value in more}
    entries = b"".join(
        entry(tag, kind, len(numbers), values("H" if kind == 3 else "I", numbers))
        for tag, (kind, numbers) in sorted(tags.items())
    )
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(data) + len(tail))
        + data
        + tail
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )


def old_time(made: Made) -> str:
    """Tag a file of the year 1601, on the file system in memory: most disks cannot store it."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        names = [Path(folder) / name for name in ("1601.jpg", "now.jpg")]
        for name in names:
            shutil.copy(made.photo, name)
        os.utime(names[0], ns=(YEAR_1601_NS, YEAR_1601_NS))
        rows = made.rows(*names)
        return rows if isinstance(rows, str) else f"{len(rows)} of 2 rows: {', '.join(str(row['status']) for row in rows)}"


def listed(encoding: str) -> Callable[[Made], str]:
    """Tag a list on stdin in an encoding."""

    def run(made: Made) -> str:
        for name in ("a.jpg", "b.jpg", "not listed.jpg"):
            shutil.copy(made.photo, made.folder / name)
        rows = made.rows("-", stdin="a.jpg\r\nb.jpg\r\n".encode(encoding))
        return rows if isinstance(rows, str) else f"tagged: {', '.join(str(row['path']) for row in rows)}"

    return run


def folders_of_others(made: Made) -> str:
    """Tag a folder with folders that other programs keep copies in."""
    for name in (
        "@eaDir",
        "#recycle",
        "@Recycle",
        "$RECYCLE.BIN",
        "#snapshot",
        ".thumbnails",
        "x.photoslibrary/resources/derivatives",
    ):
        (made.folder / name).mkdir(parents=True)
        shutil.copy(made.photo, made.folder / name / "copy.jpg")
    shutil.copy(made.photo, made.folder / "mine.jpg")
    out = made.folder.parent / "folders.jsonl"
    _, lines = made.run("tag", made.folder, "--model", made.bundle, "--out", out)
    return f"{len(out.read_text().splitlines())} of 8 files tagged. " + " ".join(one for one in lines if "left out" in one)


def embedded(name: str, data: Callable[[Made], bytes]) -> Callable[[Made], str]:
    """Write keywords into a file and take them out again."""

    def run(made: Made) -> str:
        path, before = made.folder / name, data(made)
        path.write_bytes(before)
        words = ("--model", made.bundle, "--embed", "--no-backup", "--state", made.folder.parent / f"{made.folder.name}.state")
        _, lines = made.run("tag", path, *words)
        summary = next((line for line in lines if "keywords in them" in line), lines[-1])
        made.run("untag", path, "--embed")
        back = "the same bytes" if path.read_bytes() == before else "not the same bytes"
        return f"{summary}; after `cocotag untag --embed`: {back}"

    return run


def sidecar(other: str, attributes: str = "") -> Callable[[Made], str]:
    """Tag IMG.jpg beside a sidecar of another file."""

    def run(made: Made) -> str:
        shutil.copy(made.photo, made.folder / "IMG.jpg")
        if other:
            (made.folder / other).touch()
        before = XMP % (attributes, "<rdf:li>mine</rdf:li>")
        (made.folder / "IMG.xmp").write_text(before)
        state = made.folder.parent / f"{made.folder.name}.state"
        made.run("tag", made.folder / "IMG.jpg", "--model", made.bundle, "--xmp", "--state", state)
        same = "unchanged" if (made.folder / "IMG.xmp").read_text() == before else "changed"
        own = "has" if (made.folder / "IMG.jpg.xmp").exists() else "does not have"
        return f"`IMG.xmp` is {same}; `IMG.jpg` {own} its own `IMG.jpg.xmp`"

    return run


def keyword(made: Made) -> str:
    """Import a photograph with one keyword that is a list."""
    shutil.copy(made.photo, made.folder / "a.jpg")
    (made.folder / "a.jpg.xmp").write_text(XMP % ("", "<rdf:li>dog, cat</rdf:li>"))
    return (
        imported(made, made.folder, "--from", "keywords", "--val", "0")
        + "; with `--split-keywords ,`: "
        + imported(made, made.folder, "--from", "keywords", "--val", "0", "--split-keywords", ",")
    )


def table(text: str, encoding: str = "utf-8") -> Callable[[Made], str]:
    """Import a table of tags."""

    def run(made: Made) -> str:
        for name in ("a.jpg", "b.jpg"):
            shutil.copy(made.photo, made.folder / name)
        saved(made.image.rotate(180), "JPEG")
        (made.folder / "b.jpg").write_bytes(saved(made.image.rotate(180), "JPEG"))
        (made.folder / "labels.csv").write_bytes(text.encode(encoding))
        return imported(made, made.folder / "labels.csv", "--val", "0")

    return run


def imported(made: Made, *words: object) -> str:
    """The classes of an import, and the images of each; or its error."""
    out = made.folder.parent / f"{made.folder.name}-data"
    shutil.rmtree(out, ignore_errors=True)
    status, lines = made.run("import", *words[:1], out, *words[1:])
    files = list(out.glob("annotations/*.json"))
    if not files:
        return f"status {status}: {lines[-1]}"
    document = json.loads(files[0].read_text())
    names = {one["id"]: one["name"] for one in document["categories"]}
    found = sorted({names[one["category_id"]] for one in document["annotations"]})
    return f"{len(document['images'])} images, classes {', '.join(f'`{name}`' for name in found)}"


def other_form(made: Made) -> str:
    """Check a data set whose annotation file names a file in composed form, while the disk has the decomposed form."""
    name, stored = (unicodedata.normalize(form, "Café.jpg") for form in ("NFC", "NFD"))
    (made.folder / "train").mkdir()
    shutil.copy(made.photo, made.folder / "train" / stored)
    (made.folder / "annotations").mkdir()
    image = {"id": 1, "file_name": name, "width": made.image.width, "height": made.image.height}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
    document = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "cup"}]}
    (made.folder / "annotations" / "instances_train.json").write_text(json.dumps(document))
    status, lines = made.run("check", made.folder, "--split", "train", "--json")
    text = "\n".join(lines)  # what is said on stderr comes behind the report
    found = json.JSONDecoder().raw_decode(text)[0]["findings"] if text.startswith("{") else []
    missing = any(one["code"] == "missing_images" for one in found)
    return f"`cocotag check`: status {status}, the file is {'missing' if missing else 'found'}"


def large(made: Made) -> str:
    """Tag a JPEG of 276 megapixels."""
    return made.tagged("large.jpg", saved(made.image.resize((23_000, 12_000)), "JPEG", quality=50))


def deep(bits_declared: bool) -> Callable[[Made], str]:
    """Tag a TIFF of 12 bits in 16."""

    def run(made: Made) -> str:
        twelve = np.rint(np.asarray(made.image) * (4095 / 255)).astype("<u2")
        return made.tagged("a.tif", tiff(twelve, 1, more=((281, 4095),) if bits_declared else ()))

    return run


def pixels(made: Made, kind: str, scale: float) -> np.ndarray:
    """The photograph's pixels in another type."""
    return (np.asarray(made.image) * np.float64(scale)).astype(kind)


def turned(kind: int, order: str) -> Callable[[Made], str]:
    """Tag a photograph stored on its side, with an orientation of an odd type."""

    def run(made: Made) -> str:
        jpeg = saved(made.image.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95)
        value = {1: b"\6\0\0\0", 2: b"6\0\0\0", 4: struct.pack(order + "I", 6)}[kind]
        head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 1)
        count = 2 if kind == 2 else 1
        block = b"Exif\0\0" + head + struct.pack(order + "HHI", 0x0112, kind, count) + value + bytes(4)
        return made.tagged("a.jpg", jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:])

    return run


def profile(made: Made) -> bytes:
    """A PNG with a colour profile of over 1 MiB."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(1_300_000)
    packed = zlib.compress(struct.pack(">I", len(srgb)) + srgb[4:])
    return behind_ihdr(saved(made.image, "PNG"), chunk(b"iCCP", b"p\0\0" + packed))


def cases() -> list[tuple[str, str, str, Callable[[Made], str]]]:
    """Input, programs that write it, what makes it here, and the run."""
    pillow, own = f"Pillow {version('Pillow')}", "this script"
    names = "image,cup,cat\na.jpg,1,0\nb.jpg,0,1\n"
    cells = 'path,tags\na.jpg,"[""cup"", ""cat""]"\nb.jpg,"[]"\n'
    return [
        ("modification time in 1601", "Windows, NTFS' zero", "`os.utime` on tmpfs", old_time),
        ("list on stdin in UTF-16", "PowerShell 5.1", own, listed("utf-16")),
        ("list on stdin with a byte order mark", "Notepad, PowerShell", own, listed("utf-8-sig")),
        ("folders of copies beside the photographs", "Synology DSM, QNAP QTS, Windows, Photos", own, folders_of_others),
        (
            "EXIF with a bad directory, `--embed`",
            "camera firmware",
            own,
            embedded("a.jpg", lambda m: bad_interop(m.photo.read_bytes())),
        ),
        ("a PNG called .jpg, `--embed`", "browsers, chat programs", pillow, embedded("a.jpg", lambda m: saved(m.image, "PNG"))),
        (
            "16-bit TIFF in separate planes",
            "ImageJ, tifffile",
            own,
            lambda m: m.tagged("a.tif", tiff(pixels(m, "<u2", 257), 1, planes=True)),
        ),
        ("PNG with a profile over 1 MiB", "colour management programs", pillow, lambda m: m.tagged("a.png", profile(m))),
        (
            "PNG with a wrong checksum in pHYs",
            "old image editors",
            pillow,
            lambda m: m.tagged("a.png", behind_ihdr(saved(m.image, "PNG"), chunk(b"pHYs", struct.pack(">IIB", 1, 1, 1), 1))),
        ),
        ("JPEG without its end marker", "network cameras", pillow, lambda m: m.tagged("a.jpg", saved(m.image, "JPEG")[:-2])),
        (
            "TIFF of 32-bit floats, RGB",
            "HDR and scientific programs",
            own,
            lambda m: m.tagged("a.tif", tiff(pixels(m, "<f4", 1 / 255), 3)),
        ),
        (
            "TIFF of 32-bit integers, RGB",
            "scientific programs",
            own,
            lambda m: m.tagged("a.tif", tiff(pixels(m, "<u4", 2**24), 1)),
        ),
        (
            "TIFF of grey with alpha, 16 bits",
            "scanner programs",
            own,
            lambda m: m.tagged("a.tif", tiff(pixels(m, "<u2", 257)[..., :2], 1)),
        ),
        (
            "TIFF with WebP inside",
            "libtiff programs",
            pillow,
            lambda m: m.tagged("a.tif", tiff(np.asarray(m.image), 1, webp=saved(m.image, "WEBP"))),
        ),
        ("TIFF of 12 bits in 16, declared", "cameras of microscopes", own, deep(True)),
        ("TIFF of 12 bits in 16, not declared", "cameras of microscopes", own, deep(False)),
        ("`IMG.xmp` beside `IMG.GPR` and `IMG.jpg`", "Adobe Lightroom, GoPro", own, sidecar("IMG.GPR")),
        ("`IMG.xmp` beside `IMG.MOV` and `IMG.jpg`", "Adobe Bridge, Apple", own, sidecar("IMG.MOV")),
        ("`IMG.xmp` that names the ending CR2", "Adobe Camera Raw", own, sidecar("", 'photoshop:SidecarForExtension="CR2"')),
        ("JPEG of 276 megapixels", "panorama programs", pillow, large),
        ("one keyword `dog, cat`", "Windows Explorer, phone apps", own, keyword),
        ("CSV of 0 and 1 by class", "Roboflow", own, table(names)),
        ("CSV whose cells are lists", "pandas, Label Studio", own, table(cells)),
        ("CSV with `sep=;`", "Excel", own, table("sep=;\npath;tags\na.jpg;cup\nb.jpg;cat\n", "utf-8-sig")),
        ("CSV in UTF-16", "Excel's Unicode text, PowerShell 5.1", own, table("path,tags\na.jpg,cup\nb.jpg,cat\n", "utf-16")),
        ("names in another Unicode form", "macOS, zip programs", own, other_form),
        ("EXIF orientation of type BYTE", "phone apps", own, turned(1, "<")),
        ("EXIF orientation of type ASCII, big-endian", "phone apps", own, turned(2, ">")),
        ("EXIF orientation of type LONG, big-endian", "phone apps", own, turned(4, ">")),
    ]


def main() -> None:
    """Run all cases and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "files_of_others.md")
    args = parser.parse_args()
    photo = min((DATA / "coco-mini" / "val").glob("*.jpg"))
    exiftool = subprocess.run(["exiftool", "-ver"], capture_output=True, text=True, check=True).stdout.strip()
    lines = [
        "# Files of other programs",
        "",
        "Written by `scripts/measure/measure_files_of_others.py`: it makes each input from one photograph, runs the commands,",
        f"and prints what came out. exiftool {exiftool}. Folders with one inode number and file systems without locks are not",
        "made here; the tests do that with replaced system calls. [runtimes.md](runtimes.md) has bundles on older runtimes.",
        "",
        "| input | written by | made here by | what cocotag does |",
        "| --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory(prefix="cocotag-others-") as name:
        for number, (what, programs, maker, run) in enumerate(cases()):
            folder = Path(name) / f"{number}"
            folder.mkdir()
            done = run(Made(folder, photo, args.bundle.resolve())).replace("|", "\\|")
            lines.append(f"| {what} | {programs} | {maker} | {done} |")
            print(lines[-1], flush=True)
    args.report.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
