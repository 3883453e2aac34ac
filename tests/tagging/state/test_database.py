"""The lock of a state: another run and a file system without locks are told apart."""

import errno
import fcntl
import os

import pytest

from cocotag.errors import OutputError
from cocotag.files import has_locks
from cocotag.tagging.state.store import State


@pytest.fixture(params=["ENOLCK", "EACCES", "EOPNOTSUPP", "EINVAL"])
def without_locks(request, monkeypatch):
    """A system whose locks all fail; SQLite's own still work, so a test holds one to make it fail."""
    number = getattr(errno, request.param)

    def failing(*_):
        raise OSError(number, os.strerror(number))

    for function in ("flock", "lockf"):
        monkeypatch.setattr(fcntl, function, failing)


def code(path):
    with pytest.raises(OutputError) as caught:
        State.open(path)
    assert str(path) in str(caught.value)
    return caught.value.code


@pytest.mark.usefixtures("without_locks")
def test_a_file_system_without_locks_is_named(tmp_path):
    path = tmp_path / "t.csv.state"
    with State.open(path):
        assert code(path) == "no_locks"
    assert not has_locks(tmp_path, "flock")
    assert list(tmp_path.iterdir()) == []


def test_another_run_is_named_where_there_are_locks(tmp_path):
    path = tmp_path / "t.csv.state"
    with State.open(path):
        assert code(path) == "state_in_use"
    assert has_locks(tmp_path, "flock") and has_locks(tmp_path, "lockf")
    assert has_locks(tmp_path / "missing", "lockf")  # not known to have none
