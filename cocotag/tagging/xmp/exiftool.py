"""A running exiftool process that executes commands. Does not depend on keywords.

exiftool is a separate program (GPL or Artistic): https://exiftool.org. It never gets the name of a user's file: some names
have a meaning to it (a name that ends in ``|`` is a command), and a line break would end the name and start an option. So it
gets links with names chosen by cocotag.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import IO

from cocotag.errors import MissingExtraError, OutputError

OLDEST = (12, 10)
"""The first version (November 2020) that reports the result of each command."""

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
_SECONDS = 600
"""Time limit of one command; files on slow networks take some seconds."""

_FEED = ["sh", "-c", r"cat; printf '\n-stay_open\nFalse\n'"]
"""Passes commands on to exiftool and stops it at the end. If its input just ended, as when cocotag is killed, exiftool would
wait for ever."""


def find_exiftool() -> str:
    """The path of the installed exiftool.

    Raises:
        MissingExtraError: exiftool is not installed.
    """
    if program := shutil.which("exiftool"):
        return program
    raise MissingExtraError(
        "Writing keywords into photographs needs exiftool, which is not installed. Get it with: apt install "
        "libimage-exiftool-perl (Debian, Ubuntu), dnf install perl-Image-ExifTool (Fedora) or brew install exiftool (macOS).",
        code="missing_exiftool",
    )


class ExifTool:
    """A running exiftool process, started by the first command and restarted if it ends by itself."""

    def __init__(self) -> None:
        """Find exiftool, without starting it.

        Raises:
            MissingExtraError: exiftool is not installed.
        """
        self._program = find_exiftool()
        self._process: subprocess.Popen[bytes] | None = None
        self._feed: subprocess.Popen[bytes] | None = None
        self._errors: SimpleQueue[bytes] = SimpleQueue()
        self._number = 0
        self._folder = Path(tempfile.mkdtemp(prefix="cocotag-"))
        self._links = 0

    def __enter__(self) -> ExifTool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def scratch(self, name: str) -> Path:
        """A path for a temporary file that exiftool reads."""
        return self._folder / name

    def link(self, path: Path, *, own: bool = False) -> str:
        """A safe path of a file for exiftool, through a link.

        Args:
            path: The file.
            own: The name was chosen by cocotag, and exiftool writes the file. Then only the folder is a link, since
                exiftool would replace a link to the file by a file.
        """
        if own:
            folder = self._folder / "folder"
            folder.unlink(missing_ok=True)
            folder.symlink_to(path.parent.absolute(), target_is_directory=True)
            return str(folder / path.name)
        for old in self._folder.glob("photo*"):
            old.unlink()
        link = self._folder / f"photo{path.suffix if _SUFFIX.fullmatch(path.suffix) else ''}"
        link.symlink_to(path.absolute())
        return str(link)

    def read(self, path: Path, tags: Sequence[str]) -> Mapping[str, object]:
        """Some metadata tags of a file, by name without group; binary values as exiftool's JSON has them.

        Raises:
            OutputError: exiftool cannot read the file, or failed.
        """
        answer, errors = self.run(["-j", "-b", *(f"-{tag}" for tag in tags), self.link(path)])
        try:
            # Numbers stay text: "2.50" may be a keyword.
            found = json.loads(answer, strict=False, parse_float=str, parse_int=str, parse_constant=str)[0]
        except (ValueError, LookupError):
            raise OutputError(errors or "exiftool gave no answer", code="exiftool_failed") from None
        return found if isinstance(found, dict) else {}

    def run(self, arguments: Sequence[str]) -> tuple[bytes, str]:
        """Run one command.

        Args:
            arguments: Arguments without line breaks.

        Returns:
            Its output, and its errors and warnings in one line.

        Raises:
            OutputError: exiftool ended during the command, or did not answer in time.
        """
        if any("\n" in argument or "\r" in argument for argument in arguments):
            raise ValueError("an argument has a line break")
        process = self._running()
        self._number += 1
        end = f"{{ready{self._number}}}".encode()
        lines = [*arguments, "-echo4", f"{{err{self._number}}}", f"-execute{self._number}"]
        assert self._feed is not None
        assert self._feed.stdin is not None
        assert process.stdout is not None
        watch = threading.Timer(_SECONDS, process.kill)
        watch.daemon = True  # after Ctrl-C, the program must not wait for a timer that was not cancelled
        try:
            watch.start()
            self._feed.stdin.write(b"".join(os.fsencode(line) + b"\n" for line in lines))
            self._feed.stdin.flush()
            answer = bytearray()
            while line := process.stdout.readline():
                if line.rstrip() == end:
                    return bytes(answer), self._error_text()
                answer += line
        except BrokenPipeError:
            pass
        finally:
            watch.cancel()
        self._stop()
        raise OutputError("exiftool ended during the command", code="exiftool_crashed")

    def _error_text(self) -> str:
        lines: list[bytes] = []
        while (line := self._errors.get()).strip() not in (b"", f"{{err{self._number}}}".encode()):
            lines.append(line.strip())
        text = b"; ".join(lines).decode("utf-8", "replace")
        return re.sub(rf" - {re.escape(str(self._folder))}\S*", "", text)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            # New sessions: Ctrl-C stops cocotag, while exiftool finishes the current photograph.
            self._feed = subprocess.Popen(_FEED, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
            assert self._feed.stdout is not None
            with self._feed.stdout as commands:
                self._process = subprocess.Popen(
                    # No user configuration, since it may contain programs.
                    [self._program, "-config", "", "-stay_open", "True", "-@", "-"],
                    stdin=commands,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                    env={name: value for name, value in os.environ.items() if not name.startswith("PERL")} | {"LC_ALL": "C"},
                )
            assert self._process.stderr is not None
            self._errors = SimpleQueue()
            threading.Thread(target=_collect, args=(self._process.stderr, self._errors), daemon=True).start()
            self._check_version()
        return self._process

    def _check_version(self) -> None:
        answer, _ = self.run(["-ver"])
        found = re.match(rb"(\d+)\.(\d+)", answer)
        if found is None or (int(found[1]), int(found[2])) < OLDEST:
            self._stop()
            version = answer.decode("utf-8", "replace").strip()[:20]
            raise MissingExtraError(
                f"exiftool is version {version}, but {OLDEST[0]}.{OLDEST[1]} or newer is required. Update it.",
                code="exiftool_outdated",
            )

    def _stop(self) -> None:
        feed, process = self._feed, self._process
        self._feed = self._process = None
        if feed is not None and feed.stdin is not None:
            with suppress(OSError):  # the reader may have ended
                feed.stdin.close()
        if process is None:
            return
        try:
            process.communicate(timeout=10)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        if feed is not None:
            feed.wait()


def _collect(stream: IO[bytes], lines: SimpleQueue[bytes]) -> None:
    """Read errors continuously, so that the pipe does not fill up; an empty line marks the end of the process."""
    try:
        for line in stream:
            if line.strip():
                lines.put(line)
    except ValueError:  # closed
        pass
    lines.put(b"")
