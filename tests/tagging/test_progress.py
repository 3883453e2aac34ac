"""Progress of a run, for people and for programs; nothing without a reader."""

import io
import json
import threading

import pytest

from cocotag.tagging import progress as progress_module
from cocotag.tagging.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


def shown(terminal):
    return terminal.getvalue().rsplit("\x1b[K", 1)[-1]


def test_a_terminal_shows_count_rate_remaining_time_and_errors(clock):
    terminal = Terminal()
    progress = Progress(stream=terminal)
    progress.add(known=1000)
    assert shown(terminal) == "1,000 of ..."
    progress.total = 1430
    for _ in range(10):
        clock.now += 1
        progress.add(new=3, errors=1)
    assert shown(terminal) == "1,030 of 1,430  3.0 images/s  2:13 left  10 errors"
    progress.end()
    assert shown(terminal) == ""


def test_the_rate_is_recent_and_without_unchanged_files(clock):
    terminal = Terminal()
    progress = Progress(stream=terminal)
    for seconds, new in ((60, 1), (60, 10)):
        for _ in range(seconds):
            clock.now += 1
            progress.add(new=new, known=100)
    assert "10.0 images/s" in shown(terminal)


def test_not_every_file_is_reported(clock):
    terminal = Terminal()
    progress = Progress(stream=terminal)
    for _ in range(1000):
        clock.now += 0.001
        progress.add(new=1)
    assert terminal.getvalue().count("\r") <= 6


def test_nothing_is_written_to_a_file():
    stream = io.StringIO()
    progress = Progress(stream=stream)
    progress.count(iter([1, 2]))
    progress.add(new=5)
    progress.end({"files": 5})
    assert stream.getvalue() == ""
    progress.say("words")
    assert stream.getvalue() == "words\n"
    assert progress.total is None  # not counted, since it is not shown


def test_the_work_continues_when_the_reader_closes_the_pipe(monkeypatch):
    class Gone(Terminal):
        def write(self, text):
            raise BrokenPipeError

    progress = Progress(stream=Gone())
    progress.add(new=1)
    progress.say("words")
    progress.end()
    assert progress.done == 1


def test_a_message_replaces_the_updating_line():
    terminal = Terminal()
    progress = Progress(stream=terminal)
    progress.add(new=1)
    progress.say("words")
    assert terminal.getvalue().endswith("\r\x1b[Kwords\n")


def test_programs_get_json_lines(clock):
    stream = io.StringIO()
    progress = Progress(as_json=True, quiet=True, stream=stream)
    progress.add(known=10)
    progress.total = 50
    for _ in range(5):
        clock.now += 1
        progress.add(new=2, errors=1)
    progress.say("words")
    progress.end({"files": 20})
    progress.end({"files": 20})
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[0] == {"event": "progress", "files": 10, "total": None, "rate": 0.0, "errors": 0, "eta": None}
    assert lines[5] == {"event": "progress", "files": 20, "total": 50, "rate": 2.0, "errors": 5, "eta": 15.0}
    assert lines[6:] == [{"event": "message", "text": "words"}, lines[5], {"event": "end", "files": 20}]


def test_the_total_is_counted_beside_the_work():
    go = threading.Event()

    def sizes():
        go.wait(10)
        yield from (2, 3)

    progress = Progress(as_json=True, stream=io.StringIO())
    progress.count(sizes())
    progress.add(new=1)
    assert progress.total is None
    go.set()
    (counting,) = [thread for thread in threading.enumerate() if thread.name == "cocotag-count"]
    counting.join(10)
    assert progress.total == 5


def test_counting_ends_with_the_work():
    progress = Progress(as_json=True, stream=io.StringIO())
    took = []

    def endless():
        while True:
            took.append(1)
            yield 1

    progress.count(endless())
    progress.end()
    for thread in threading.enumerate():
        if thread.name == "cocotag-count":
            thread.join(10)
    assert progress.total is None


def test_the_total_is_never_less_than_what_is_done(clock):
    terminal = Terminal()
    progress = Progress(stream=terminal)
    progress.total = 3
    progress.add(new=5)
    assert shown(terminal).startswith("5 of 5")
