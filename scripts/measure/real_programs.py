"""Run real photo programs on a folder with one photograph: darktable and digiKam on a virtual screen, and Immich's exiftool.

Each reads the files as a program does that has not seen them, or changes keywords and writes them. DISPLAY has to be a virtual
screen of 1400 x 900 without a window manager (photo_programs.sh starts one).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

Keyword = tuple[str, ...]
HERE = Path(__file__).resolve().parent


class RealProgram(ABC):
    """A program on the photograph IMG.jpg in a folder."""

    name: ClassVar[str]

    @abstractmethod
    def version(self) -> str:
        """Its version."""

    @abstractmethod
    def read(self, folders: Iterable[Path]) -> list[set[Keyword]]:
        """What it shows for each photograph, when it has not seen any of them before."""

    @abstractmethod
    def edit(self, folder: Path, *, add: Iterable[Keyword] = (), delete: Iterable[Keyword] = ()) -> None:
        """Read the photograph, change its keywords and write them."""


def wait(until: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Wait for something.

    Raises:
        TimeoutError: It did not come.
    """
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not after {seconds:g} s")
        time.sleep(0.3)


@contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own, which is ended afterwards."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=os.environ | environment, start_new_session=True, stdin=subprocess.DEVNULL
        )
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def keyword(text: str, separator: str) -> Keyword:
    """A hierarchical keyword of its text."""
    return tuple(text.split(separator))


class Darktable(RealProgram):
    """darktable, run by its Lua interface."""

    name = "darktable"

    def version(self) -> str:
        """Its version."""
        text = subprocess.run(["darktable", "--version"], capture_output=True, text=True, check=False).stdout
        return text.partition("darktable ")[2].split()[0]

    def read(self, folders: Iterable[Path]) -> list[set[Keyword]]:
        """What it shows: it also writes a sidecar for each, into a copy."""
        with tempfile.TemporaryDirectory() as scratch:
            names = gathered(folders, Path(scratch) / "photos")
            shown = self._run(Path(scratch) / "photos", Path(scratch))
        return [shown[name] for name in names]

    def edit(self, folder: Path, *, add: Iterable[Keyword] = (), delete: Iterable[Keyword] = ()) -> None:
        """Change keywords and write them."""
        with tempfile.TemporaryDirectory() as scratch:
            self._run(folder, Path(scratch), add=add, delete=delete)

    def imported(self, folder: Path, library: Path) -> None:
        """Import the photograph into a library that is kept."""
        self._run(folder, library)

    def rate(self, library: Path) -> None:
        """Give stars to the photographs of a library, which are not read anew."""
        self._run(None, library, rating=4)

    def _run(
        self,
        folder: Path | None,
        library: Path,
        *,
        add: Iterable[Keyword] = (),
        delete: Iterable[Keyword] = (),
        rating: int | None = None,
    ) -> dict[str, set[Keyword]]:
        shown = library / "shown"
        shown.unlink(missing_ok=True)
        asked = {
            "COCOTAG_SHOWN": str(shown),
            "COCOTAG_ATTACH": ",".join("|".join(one) for one in add),
            "COCOTAG_DETACH": ",".join("|".join(one) for one in delete),
        }
        if folder is not None:
            asked["COCOTAG_FOLDER"] = str(folder)
        if rating is not None:
            asked["COCOTAG_RATING"] = str(rating)
        script = f"dofile('{HERE / 'darktable_steps.lua'}')"
        command = ["darktable", "--configdir", str(library), "--library", str(library / "library.db"), "--disable-opencl"]
        for slower in (1, 2, 4):  # a busy machine may not have imported it in time
            asked["COCOTAG_WAIT"] = str(8000 * slower)
            with running([*command, "--luacmd", script], library / "log", **asked), suppress(TimeoutError):
                wait(lambda: shown.exists() and shown.read_text().endswith("end\n"), "darktable", seconds=60 * slower)
                break
        else:
            raise TimeoutError("darktable did not end in three tries")
        found = {}
        for line in shown.read_text().splitlines()[:-1]:
            name, _, words = line.partition("\t")
            found[name] = {keyword(word, "|") for word in words.split(";") if word}
        return found


def copied(folder: Path, to: Path, *, stem: str = "IMG") -> None:
    """Copy a photograph with its sidecars, with another name."""
    to.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        shutil.copy2(path, to / path.name.replace("IMG", stem, 1))


def gathered(folders: Iterable[Path], to: Path) -> list[str]:
    """Copy photographs into one folder; returns their names."""
    names = []
    for number, folder in enumerate(folders):
        copied(folder, to, stem=f"P{number:03}")
        names.append(f"P{number:03}.jpg")
    return names


SETTINGS = """[Album Settings]
Show ToolTips=false

[Database Settings]
Database Type=QSQLITE
Database Name={folder}/
Database Name Thumbnails={folder}/
Database Name Face={folder}/
Database Name Similarity={folder}/
Internal Database Server=false

[General Settings]
Version={version}

[Metadata Settings]
Use XMP Sidecar For Reading=true
Use XMP Sidecar For Writing=true
Metadata Writing Mode=1
Save Tags=true
Use Lazy Synchronization=false
"""
DATABASES = ("digikam4", "thumbnails-digikam", "recognition", "similarity")
NO_DOWNLOAD, FIRST_ALBUM, ITEM_MENU, WRITE_METADATA = (939, 530), (87, 120), (177, 10), (259, 290)
"""Places on the screen: the button that refuses face models; the album; a menu and its entry."""


class DigiKam(RealProgram):
    """digiKam with sidecars switched on: it is clicked on, and its database is read, and changed while it is not running."""

    name = "digiKam"

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._empty = scratch / "empty"
        with self._started(self._empty, None):
            wait(lambda: "AlbumRoots" in self._tables(self._empty), "digiKam's database")
            time.sleep(2)

    def version(self) -> str:
        """Its version."""
        text = subprocess.run(
            ["digikam", "--version"],
            capture_output=True,
            text=True,
            env=os.environ | {"QT_QPA_PLATFORM": "offscreen"},
            check=True,
        ).stdout
        return text.split()[-1]

    def read(self, folders: Iterable[Path]) -> list[set[Keyword]]:
        """What it shows."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as scratch:
            photos, profile = Path(scratch) / "photos", Path(scratch) / "profile"
            names = gathered(folders, photos)
            with self._started(profile, photos):
                self._wait_for_images(profile, len(names))
            shown = self._shown(profile)
        return [shown[name] for name in names]

    def edit(self, folder: Path, *, add: Iterable[Keyword] = (), delete: Iterable[Keyword] = ()) -> None:
        """Change keywords and write them."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as scratch:
            profile = Path(scratch) / "profile"
            with self._started(profile, folder):
                self._wait_for_images(profile, 1)
            with closing(sqlite3.connect(profile / "digikam4.db")) as database, database:
                for one in delete:
                    self._delete(database, one)
                for one in add:
                    self._add(database, one)
            before = snapshot(folder)
            for slower in (1, 2, 4):  # a busy machine may draw the window later
                with self._started(profile, folder), suppress(TimeoutError):
                    self._write_metadata(slower)
                    wait(lambda: snapshot(folder) != before, "digiKam writes metadata", seconds=10 * slower)
                    time.sleep(1)
                    return
            raise TimeoutError("digiKam wrote no metadata in three tries")

    def _write_metadata(self, slower: int) -> None:
        for place, rest in ((None, 9), (NO_DOWNLOAD, 2), (FIRST_ALBUM, 2), (ITEM_MENU, 1), (WRITE_METADATA, 1)):
            if place:
                subprocess.run(["xdotool", "mousemove", *map(str, place), "click", "1"], check=True)
            time.sleep(slower * rest)

    @contextmanager
    def _started(self, profile: Path, photos: Path | None) -> Iterator[None]:
        if not profile.exists():
            if photos is not None:
                shutil.copytree(self._empty, profile)
                with closing(sqlite3.connect(profile / "digikam4.db")) as database, database:
                    row = ("photographs", 0, 1, f"volumeid:?path={photos}", "/")
                    database.execute(
                        "INSERT INTO AlbumRoots (label, status, type, identifier, specificPath) VALUES (?, ?, ?, ?, ?)", row
                    )
            profile.mkdir(exist_ok=True)
            for name in DATABASES:
                (profile / f"{name}.db").touch()
            (profile / "digikamrc").write_text(SETTINGS.format(folder=profile, version=self.version()))
            (profile / "run").mkdir(mode=0o700, exist_ok=True)
        places = {
            "HOME": str(profile),
            "XDG_CONFIG_HOME": str(profile),
            "XDG_DATA_HOME": str(profile / "data"),
            "XDG_CACHE_HOME": str(profile / "cache"),
            "XDG_RUNTIME_DIR": str(profile / "run"),
            "QTWEBENGINE_DISABLE_SANDBOX": "1",
        }
        with running(["dbus-run-session", "digikam"], self._scratch / "digikam.log", **places):
            yield

    def _query(self, profile: Path, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{profile / 'digikam4.db'}?mode=ro", uri=True)) as database:
            try:
                return database.execute(sql).fetchall()
            except sqlite3.OperationalError:  # it is being written
                return []

    def _tables(self, profile: Path) -> set[str]:
        return {name for (name,) in self._query(profile, "SELECT name FROM sqlite_master")}

    def _wait_for_images(self, profile: Path, number: int) -> None:
        count = "SELECT COUNT(*) FROM Images WHERE name LIKE '%.jpg' AND uniqueHash IS NOT NULL"
        wait(lambda: (self._query(profile, count) or [(0,)])[0][0] == number, "digiKam imports", seconds=120)
        time.sleep(3)

    def _shown(self, profile: Path) -> dict[str, set[Keyword]]:
        tags = {number: (parent, name) for number, parent, name in self._query(profile, "SELECT id, pid, name FROM Tags")}
        found: dict[str, set[Keyword]] = {name: set() for (name,) in self._query(profile, "SELECT name FROM Images")}
        given = "SELECT Images.name, tagid FROM ImageTags JOIN Images ON imageid = Images.id"
        for name, number in self._query(profile, given):
            levels: list[str] = []
            while number:
                number, level = tags[number]
                levels.insert(0, level)
            if levels[0] != "_Digikam_Internal_Tags_":
                found[name].add(tuple(levels))
        return found

    def _tag(self, database: sqlite3.Connection, one: Keyword, *, make: bool) -> int | None:
        number = 0
        for name in one:
            row = database.execute("SELECT id FROM Tags WHERE pid = ? AND name = ?", (number, name)).fetchone()
            if row is None:
                if not make:
                    return None
                row = (database.execute("INSERT INTO Tags (pid, name) VALUES (?, ?)", (number, name)).lastrowid,)
            number = row[0]
        return number

    def _delete(self, database: sqlite3.Connection, one: Keyword) -> None:
        number = self._tag(database, one, make=False)
        if not database.execute("DELETE FROM ImageTags WHERE tagid = ?", (number,)).rowcount:
            raise ValueError(f"digiKam does not show {one}")

    def _add(self, database: sqlite3.Connection, one: Keyword) -> None:
        (image,) = database.execute("SELECT id FROM Images").fetchone()
        database.execute("INSERT OR IGNORE INTO ImageTags VALUES (?, ?)", (image, self._tag(database, one, make=True)))


def snapshot(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Immich(RealProgram):
    """Immich's rule, through the package by which it reads and writes; Immich itself does not run."""

    name = "Immich"

    def __init__(self, modules: Path) -> None:
        self._modules = modules

    def version(self) -> str:
        """Its version."""
        package = json.loads((self._modules / "exiftool-vendored" / "package.json").read_text())
        return f"exiftool-vendored {package['version']}"

    def read(self, folders: Iterable[Path]) -> list[set[Keyword]]:
        """What it shows."""
        return [self._node("read", self._file(folder)) for folder in folders]

    def edit(self, folder: Path, *, add: Iterable[Keyword] = (), delete: Iterable[Keyword] = ()) -> None:
        """Change keywords and write them."""
        file = self._file(folder)
        words = self._node("read", file)
        if set(delete) - words:
            raise ValueError(f"Immich does not show {set(delete) - words}")
        if not file.name.endswith(".xmp"):
            file = folder / "IMG.jpg.xmp"
        self._node("write", file, *sorted("/".join(one) for one in words - set(delete) | set(add)))

    def _file(self, folder: Path) -> Path:
        return next(path for name in ("IMG.jpg.xmp", "IMG.xmp", "IMG.jpg") if (path := folder / name).exists())

    def _node(self, action: str, file: Path, *words: str) -> set[Keyword]:
        command = ["node", str(HERE / "immich_keywords.mjs"), str(self._modules), action, str(file), *words]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return {keyword(one, "/") for one in answer["keywords"]}
