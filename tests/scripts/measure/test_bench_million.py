"""The benchmark of a million files, with few: every part does what it says, and the page has its figures."""

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "measure" / "bench_million.py"


def test_every_part_meets_every_file_and_nothing_stays(tmp_path):
    (tmp_path / "place").mkdir()
    words = ["--files", "2500", "--decoded", "30", "--folder", tmp_path / "place", "--report", tmp_path / "report.md"]
    done = subprocess.run([sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True, check=True)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert done.stdout.strip() == text.strip()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if re.match(r"\| .*\d \|$", line)]
    assert [row[1] for row in rows] == ["30", "2,500", "2,500", "2,500"]
    assert '"known": 2500' in done.stderr
    for _, files, seconds, rate, _, memory in rows:
        assert float(memory) < 250
        if float(seconds) >= 1:
            assert abs(int(rate.replace(",", "")) * float(seconds) - int(files.replace(",", ""))) < 0.1 * int(
                files.replace(",", "")
            )
    assert not list((tmp_path / "place").iterdir())
