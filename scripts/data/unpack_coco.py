"""Verify one of COCO's archives and unpack it, for scripts/data/download_coco.sh.

usage: python scripts/data/unpack_coco.py ARCHIVE ROOT PART FILES BYTES SHA256

An unfinished file or folder never has its final name: an annotation file is renamed when it is complete, an image folder when
all its images are unpacked. To resume after an interruption, run the same command again. Exit status: 0 done; 2 failed; 3 the
archive differs from the published one.
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
from cocotag.files import atomic_path, write_fault

CHUNK = 1 << 20
"""Bytes read at a time."""


def verify(archive: Path, size: int, sha256: str) -> None:
    """Check that an archive is the published one.

    Args:
        archive: The downloaded file.
        size: Its published size in bytes.
        sha256: Its published SHA-256, hexadecimal.

    Raises:
        DataError: The size or the content differs; the message has both values.
    """
    found = archive.stat().st_size
    if found != size:
        raise DataError(f"{archive} has {found:,} bytes, but COCO's has {size:,}.", code="archive_differs")
    digest = hashlib.sha256()
    with archive.open("rb") as file, tqdm(total=size, unit="B", unit_scale=True, desc="checking", disable=None) as bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    if digest.hexdigest() != sha256:
        raise DataError(
            f"{archive} has the right size, but not COCO's content: SHA-256 {digest.hexdigest()}, not {sha256}.",
            code="archive_differs",
        )


def unpack(archive: Path, root: Path, part: str, files: int) -> None:
    """Unpack one archive into COCO's layout.

    Args:
        archive: The verified archive.
        root: The data set's folder.
        part: ``annotations`` unpacks ``annotations/instances_*.json``, not captions and keypoints; any other name is an image
            folder and unpacks ``PART/*.jpg``.
        files: Expected number of files.

    Raises:
        DataError: The archive has another number of files, or is damaged.
        OutputError: A file cannot be written.
    """
    prefix, suffix = ("instances_", ".json") if part == "annotations" else ("", ".jpg")
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = [member for member in bundle.infolist() if _belongs(member.filename, part, prefix, suffix)]
            if len(members) != files:
                raise DataError(
                    f"{archive} has {len(members):,} files {part}/{prefix}*{suffix}, but COCO's has {files:,}.",
                    code="archive_differs",
                )
            if part == "annotations":
                _unpack_members(bundle, members, root / part)
                return
            unpacking = root / f".{part}.unpacking"
            _unpack_members(bundle, members, unpacking)
            unpacked = sum(1 for path in unpacking.iterdir() if path.suffix == suffix)
            if unpacked != files:
                raise DataError(
                    f"{unpacking} has {unpacked:,} images, but COCO's has {files:,}. Remove it and run again.",
                    code="folder_differs",
                )
            unpacking.replace(root / part)  # the system refuses to replace a folder that is not empty
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{archive} is damaged ({error}). Remove it and run again.", code="archive_damaged") from None
    except OSError as error:
        fault = f"{archive} cannot be unpacked into {root} ({error.strerror or error})."
        raise OutputError(
            f"{fault} Finished files are kept. Free some space or repair the folder, and run again.", code=write_fault(error)
        ) from error


def _belongs(name: str, part: str, prefix: str, suffix: str) -> bool:
    """Whether a member of the archive is ``PART/PREFIX*SUFFIX``, not in a subfolder and not elsewhere."""
    path = PurePosixPath(name)
    return str(path.parent) == part and path.name.startswith(prefix) and path.suffix == suffix and "\\" not in name


def _unpack_members(bundle: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path) -> None:
    """Unpack files into a folder except existing ones: those were renamed when complete, so checking the size is enough."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {PurePosixPath(member.filename).name: member.file_size for member in members}
    existing = {}
    for path in list(folder.iterdir()):
        if path.suffix == ".part" and path.name[1:].rsplit(".", 2)[0] in sizes:
            path.unlink()  # a temporary file of `atomic_path`, left by a killed run
        elif path.name in sizes:
            existing[path.name] = path.stat().st_size
    for name, size in existing.items():
        if size != sizes[name]:
            raise OutputError(
                f"{folder / name} exists with {size:,} bytes; the archive's has {sizes[name]:,}. It was not overwritten. "
                "Move it away and run again.",
                code="output_exists",
            )
    for member in tqdm(members, unit="file", desc=f"unpacking {Path(members[0].filename).parent}", disable=None):
        name = PurePosixPath(member.filename).name
        if name not in existing:
            with bundle.open(member) as source, atomic_path(folder / name) as temporary, temporary.open("wb") as target:
                shutil.copyfileobj(source, target, CHUNK)  # `source` checks the CRC at its end


def main() -> None:
    """Verify the archive, then unpack it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("root", type=Path, help="the data set's folder")
    parser.add_argument("part", help="annotations, or the image folder in the archive")
    parser.add_argument("files", type=int, help="expected number of files")
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
