"""A short run of `image_fuzz`: damaged files of every kind, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CASES = 1300  # fifty of each kind
MEMORY = 150e6  # bytes, for pictures of up to `image_fuzz.PIXELS`
FROM_LIBRAW = ("Corrupt JPEG data", "Premature end of JPEG", "Warning: unknown JFIF")
"""What the libjpeg inside LibRaw prints of a damaged preview; there is no way to keep it from that."""


@pytest.fixture(scope="module")
def run():
    command = [
        sys.executable,
        Path(__file__).resolve().parents[1] / "support" / "image_fuzz.py",
        "--cases",
        str(CASES),
        "--seed",
        "7",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    last = done.stdout.splitlines()[-1:]
    # Else a crash, a hang or a broken promise.
    assert done.returncode == 0, f"ended with {done.returncode} after {last}\n{done.stderr}"
    return json.loads(last[0]), done.stderr


def test_damage_comes_to_a_picture_or_to_a_named_error(run):
    found = run[0]["found"]
    assert sum(sum(counts.values()) for counts in found.values()) == CASES
    assert len(found) > 20
    for name, counts in found.items():
        assert set(counts) - {"ok"}, f"{name}: no damage was noticed"


def test_memory_is_bounded(run):
    assert run[0]["grown_bytes"] < MEMORY


def test_nothing_is_printed(run):
    assert [line for line in run[1].splitlines() if not line.startswith(FROM_LIBRAW)] == []
