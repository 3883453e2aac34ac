"""Verify one of COCO's archives and unpack it, for scripts/data/download_coco.sh.

usage: python scripts/data/unpack_coco.py ARCHIVE ROOT PART FILES BYTES SHA256

Nothing half-written is ever under its final name: an annotation file is renamed when it is whole, an image folder when all of
its images are there. Stopped at any moment, it goes on where it was. Exit status: 0 done; 2 not done; 3 the archive is not
what was published.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from cocotag.errors import CocotagError, DataError, OutputError
from cocotag.files import atomic_path

CHUNK = 1 << 20
"""Bytes read at a time."""


def verify(archive: Path, size: int, sha256: str) -> None:
    """Is this the file that was published?

    Args:
        archive: The downloaded file.
        size: Its published size in bytes.
        sha256: Its published SHA-256, hexadecimal.

    Raises:
        DataError: The size or the content is another; the message has both.
    """
    found = archive.stat().st_size
    if found != size:
        raise DataError(f"{archive} has {found:,} bytes and should have {size:,}.")
    digest = hashlib.sha256()
    with archive.open("rb") as file, tqdm(total=size, unit="B", unit_scale=True, desc="checking", disable=None) as bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    if digest.hexdigest() != sha256:
        raise DataError(f"{archive} has the right size, but not COCO's content: SHA-256 {digest.hexdigest()}, not {sha256}.")


def unpack(archive: Path, root: Path, part: str, files: int) -> None:
    """Unpack one archive into COCO's layout.

    Args:
        archive: The verified archive.
        root: The data set's folder.
        part: ``annotations`` takes ``annotations/instances_*.json`` and leaves captions and keypoints; another name is an
            image folder, ``PART/*.jpg``.
        files: How many files it must give.

    Raises:
        DataError: The archive holds another number of files, or is damaged.
        OutputError: Something cannot be written.
    """
    prefix, suffix = ("instances_", ".json") if part == "annotations" else ("", ".jpg")
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = [member for member in bundle.infolist() if _belongs(member.filename, part, prefix, suffix)]
            if len(members) != files:
                raise DataError(f"{archive} holds {len(members):,} files {part}/{prefix}*{suffix} and should hold {files:,}.")
            if part == "annotations":
                _unpack_members(bundle, members, root / part)
                return
            unpacking = root / f".{part}.unpacking"
            _unpack_members(bundle, members, unpacking)
            there = sum(1 for path in unpacking.iterdir() if path.suffix == suffix)
            if there != files:
                raise DataError(f"{unpacking} holds {there:,} images and should hold {files:,}. Remove it and run again.")
            unpacking.replace(root / part)  # onto nothing or an empty folder: the system refuses a full one
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{archive} is damaged ({error}). Remove it and run again.") from None
    except OSError as error:
        what = f"{archive} cannot be unpacked into {root} ({error.strerror or error})."
        raise OutputError(f"{what} What is there is kept: free some space or mend the folder, and run again.") from error


def _belongs(name: str, part: str, prefix: str, suffix: str) -> bool:
    """Is a member of the archive ``PART/PREFIX*SUFFIX`` itself, not deeper and not elsewhere?"""
    path = PurePosixPath(name)
    return str(path.parent) == part and path.name.startswith(prefix) and path.suffix == suffix and "\\" not in name


def _unpack_members(bundle: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path) -> None:
    """Unpack files into a folder, those already there left out: they were renamed when whole, so their size is enough."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {PurePosixPath(member.filename).name: member.file_size for member in members}
    there = {}
    for path in list(folder.iterdir()):
        if path.suffix == ".part" and path.name[1:].rsplit(".", 2)[0] in sizes:
            path.unlink()  # a temporary file of `atomic_path`, left by a run that was killed
        elif path.name in sizes:
            there[path.name] = path.stat().st_size
    for name, size in there.items():
        if size != sizes[name]:
            what = f"{folder / name} is there and has {size:,} bytes; the archive's has {sizes[name]:,}."
            raise OutputError(f"{what} It is not overwritten: move it away and run again.")
    for member in tqdm(members, unit="file", desc=f"unpacking {Path(members[0].filename).parent}", disable=None):
        name = PurePosixPath(member.filename).name
        if name not in there:
            with bundle.open(member) as source, atomic_path(folder / name) as temporary, temporary.open("wb") as target:
                shutil.copyfileobj(source, target, CHUNK)  # the end of `source` compares the CRC


def main() -> None:
    """Verify, then unpack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("root", type=Path, help="the data set's folder")
    parser.add_argument("part", help="annotations, or the image folder in the archive")
    parser.add_argument("files", type=int, help="how many files it must give")
    parser.add_argument("size", type=int, help="published size of the archive, bytes")
    parser.add_argument("sha256", help="published SHA-256 of the archive")
    args = parser.parse_args()
    try:
        verify(args.archive, args.size, args.sha256)
    except DataError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    try:
        unpack(args.archive, args.root, args.part, args.files)
    except CocotagError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
