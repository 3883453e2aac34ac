"""Run bundles with older and newer versions of ONNX Runtime; write reports/runtimes.md.

Exports a run's checkpoint with several operator sets, and with 8-bit convolutions. Installs each runtime into an environment of
its own in a temporary folder, with this Python, and compares its probabilities with the newest runtime's.

usage: python scripts/measure/measure_runtimes.py CHECKPOINT [--runtimes 1.16.3 ...] [--report FILE]

CHECKPOINT is RUN_DIR/checkpoints/best.ckpt. Needs a package index, photographs (COCOTAG_DATA, or ../shared/data), 2 GB of disk
and a few minutes. Old runtimes have no wheels for new versions of Python; Python 3.11 has all of the default ones.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from cocotag.bundle import read_metadata
from cocotag.photos.decode import load_square

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")
RUNTIMES = ("1.15.1", "1.16.3", "1.17.3", "1.18.1", "1.20.1", "1.22.1", "newest")
OPSETS = (18, 20, 21, 23)
IMAGES = 16

RUN = """
import sys
import numpy as np
import onnxruntime
print(onnxruntime.__version__)
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
np.save(sys.argv[3], session.run(["probs"], {"images": np.load(sys.argv[2])})[0])
"""


def main() -> None:
    """Export, run with each runtime, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--runtimes", nargs="+", default=RUNTIMES)
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "runtimes.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cocotag-runtimes-") as name:
        folder = Path(name)
        bundles = export(args.checkpoint, folder)
        rows = {version: probabilities(version, bundles, folder) for version in args.runtimes}
    write(args.report, rows, list(bundles))


def export(checkpoint: Path, folder: Path) -> dict[str, Path]:
    """The checkpoint's bundles by their names in the page, and the photographs that they are run on."""
    photographs = sorted((DATA / "coco-mini" / "val").iterdir())[:IMAGES]
    words = {f"opset {opset}": ["--opset", str(opset)] for opset in OPSETS}
    words["int8"] = ["--int8", "--calibration-images", str(photographs[0].parent)]
    bundles = {}
    for name, more in words.items():
        bundles[name] = folder / f"{name.replace(' ', '')}.onnx"
        command = [sys.executable, "-m", "cocotag", "export", str(checkpoint), "--out", str(bundles[name]), *more]
        subprocess.run(command, check=False)  # status 1 says that the tune images cannot be read
    side = read_metadata(bundles["int8"]).image_size
    np.save(folder / "images.npy", np.stack([load_square(path, side) for path in photographs]))
    return bundles


def probabilities(version: str, bundles: dict[str, Path], folder: Path) -> dict[str, np.ndarray | str]:
    """The probabilities of each bundle with one runtime, or its refusal; ``version`` is the installed version."""
    venv = folder / f"runtime-{version}"
    python = str(venv / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    what = "onnxruntime" if version == "newest" else f"onnxruntime=={version}"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", what]
    # The first runtime for numpy 2 is 1.19.
    old = version != "newest" and tuple(map(int, version.split(".")[:2])) < (1, 19)
    done = subprocess.run([*install, *(["numpy<2"] if old else [])], capture_output=True, text=True, check=False)
    if done.returncode:
        none = f"has no wheel for Python {platform.python_version()}"
        return {"version": version, **dict.fromkeys(bundles, none)}
    found: dict[str, np.ndarray | str] = {}
    for name, bundle in bundles.items():
        out = folder / "probs.npy"
        out.unlink(missing_ok=True)
        words = [python, "-c", RUN, str(bundle), str(folder / "images.npy"), str(out)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        found["version"] = done.stdout.split()[0]
        found[name] = np.load(out) if out.is_file() else "refused"
    return found


def write(report: Path, rows: dict[str, dict[str, np.ndarray | str]], names: list[str]) -> None:
    """The page: for each runtime and bundle the largest difference in probability, or the refusal."""
    reference = rows[list(rows)[-1]]
    lines = [
        "# Runtimes that load a bundle",
        "",
        "Written by `scripts/measure/measure_runtimes.py`. A cell is the largest difference in probability from the last",
        f"runtime of the table, over {IMAGES} photographs and all classes. `opset 18` is what `cocotag train` and",
        "`cocotag export` write by default; the others are `cocotag export --opset N`. `int8` is `--int8` with opset 18.",
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}.",
        "",
        f"| ONNX Runtime | {' | '.join(names)} |",
        f"| --- |{' ---: |' * len(names)}",
    ]
    for row in rows.values():
        cells = []
        for name in names:
            mine, theirs = row[name], reference[name]
            if isinstance(mine, np.ndarray) and isinstance(theirs, np.ndarray):
                cells.append(f"{np.abs(mine - theirs).max():.1g}")
            else:
                cells.append(str(mine))
        lines.append(f"| {row['version']} | {' | '.join(cells)} |")
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(report.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
