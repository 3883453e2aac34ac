"""`cocotag tag` in a process of its own that is killed, or finds its disk full, at a chosen moment.

Processes are forked from one that has imported everything, which takes longer than the tagging.
"""

import multiprocessing
import os
import resource
import signal
import sys
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["cocotag.cli.commands.tag.tag", "cocotag.tagging.folder", "cocotag.tagging.outputs.write", "onnxruntime"]
)


def tag(words, said, moment=None, *arguments):
    """Run the command.

    Args:
        words: Of the command line, behind ``tag``.
        said: A file for what it says on stderr.
        moment: What happens when: the name of a function in this module, and its arguments.

    Returns:
        The exit status, or the negative number of the signal that ended it.
    """
    process = _CONTEXT.Process(target=_tag, args=(list(map(str, words)), str(said), moment, arguments))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "it stands still"
    return process.exitcode


def _tag(words, said, moment, arguments):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    from cocotag.cli.main import main

    if moment is not None:
        globals()[moment](*arguments)
    sys.exit(main(["tag", *words]))


# Moments


def at_statement(number):
    """``kill -9`` when SQLite is told its so-many-th statement, and everything before is committed that could be."""
    from cocotag.tagging.state import database
    from cocotag.tagging.state import store as state

    state._COMMIT_SECONDS = 0
    connect = database.sqlite3.connect
    told = 0

    def count(_):
        nonlocal told
        told += 1
        if told == number:
            _die()

    def traced(*arguments, **settings):
        connection = connect(*arguments, **settings)
        connection.set_trace_callback(count)
        return connection

    database.sqlite3 = _Like(database.sqlite3, connect=traced)


def before_an_output_takes_its_place(number):
    """``kill -9`` when so many outputs are there, and the next is complete beside its place."""
    replace = Path.replace
    there = 0

    def replacing(self, target):
        nonlocal there
        if there == number:
            _die()
        there += 1
        return replace(self, target)

    Path.replace = replacing


def when_all_outputs_are_there():
    """``kill -9`` before the state is told so."""
    from cocotag.tagging.state import made

    made.has_made = lambda *_: _die()


def ctrl_c_at_result(number):
    """Ctrl-C when so many files have a result."""
    from cocotag.tagging import folder

    take = folder._Job.take
    taken = 0

    def taking(self, predictions):
        nonlocal taken
        take(self, predictions)
        taken += 1
        if taken == number:
            os.kill(os.getpid(), signal.SIGINT)

    folder._Job.take = taking


def when_files_may_not_grow_beyond(size):
    """The system refuses to write more bytes than so many to any file."""
    from cocotag.tagging.state import store as state

    state._COMMIT_SECONDS = 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class _Like:
    """A module, but for some names."""

    def __init__(self, module, **others):
        self._module = module
        self.__dict__.update(others)

    def __getattr__(self, name):
        return getattr(self._module, name)


def _die():
    os.kill(os.getpid(), signal.SIGKILL)
