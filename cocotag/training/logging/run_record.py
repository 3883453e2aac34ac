"""``run.json``: what a run was started with. Together with ``config.yaml`` it suffices to repeat the run.

It has no user name, host name or environment variables, so that a run can be shared.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import cocotag
from cocotag.config import TrainConfig
from cocotag.data.annotations import AnnotationTable
from cocotag.data.loading.datamodule import TaggingData
from cocotag.files import write_text
from cocotag.process.cores import usable_cores

PACKAGES = (
    "torchvision",
    "lightning",
    "torchmetrics",
    "albumentations",
    "numpy",
    "opencv-python-headless",
    "simplejpeg",
    "pillow",
    "pi-heif",
    "pycocotools",
    "onnx",
    "onnxscript",
    "onnxruntime",
)
"""Packages whose version can change a run's figures, besides Python, cocotag and torch."""
GIT_SECONDS = 10  # a working tree on a slow disk must not delay training
SCHEMA_VERSION = 1


def write_record(directory: Path, config: TrainConfig, data: TaggingData, precision: str) -> None:
    """Write ``run.json``; for a resumed run, add what differs from the start.

    Its keys are ``started`` and ``resumed``, a list. ``started`` has ``time`` (UTC), ``command``, ``versions``, ``machine``,
    ``precision``, ``seed``, ``source`` and ``data``; an entry of ``resumed`` has ``time``, ``command``, and the other
    keys that have changed since the start. Images are identified by names and labels, not by pixels.

    Args:
        directory: Directory of the run.
        config: Config of the run.
        data: Data of the run.
        precision: Lightning's name of the precision, resolved for this machine.

    Raises:
        OutputError: The file cannot be written.
    """
    path = directory / "run.json"
    before = _read(path)
    now = {"command": command(), **_facts(config, data, precision)}
    time = datetime.now(UTC).isoformat(timespec="seconds")
    if before is None and not (directory / "checkpoints").is_dir():
        before = {"schema_version": SCHEMA_VERSION, "started": {"time": time, **now}, "resumed": []}
    else:  # a run without a record, or with a damaged one, did not start now
        before = before or {"schema_version": SCHEMA_VERSION, "started": None, "resumed": []}
        first = before["started"] or {}
        changed = {key: _changed(first.get(key), value) for key, value in now.items() if first.get(key) != value}
        before["resumed"].append({"time": time, "command": now["command"], **changed})
    write_text(path, json.dumps(before, indent=2) + "\n")


def command() -> str:
    """The command line, with ``$HOME`` for the home folder, whose name is often the user's."""
    name = Path(sys.argv[0]).name if sys.argv else "python"
    words = ["cocotag" if name == "__main__.py" else name, *sys.argv[1:]]
    home = os.path.expanduser("~")  # noqa: PTH111 (Path.home raises where there is none)
    if len(home) < 2:
        return shlex.join(words)
    return re.sub(rf"(?<![\w.-]){re.escape(home)}(?![\w.-])", "$HOME", shlex.join(words))


def versions() -> dict[str, str | None]:
    """Versions of Python, cocotag, torch with its build, CUDA, and `PACKAGES`; None for a package that is not installed."""
    return {
        "python": platform.python_version(),
        "cocotag": cocotag.__version__,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "cudnn": str(torch.backends.cudnn.version()) if torch.cuda.is_available() else None,  # type: ignore[no-untyped-call]
        **{name: _version(name) for name in PACKAGES},
    }


def machine() -> dict[str, Any]:
    """Operating system, processor, usable cores, threads, and the names of the GPUs."""
    return {
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }


def source_state(package: Path) -> dict[str, Any]:
    """The version of the source that runs.

    Args:
        package: Folder of the package.

    Returns:
        ``sha256`` of its Python files; ``git_commit`` if they are in a git checkout; and ``git_dirty``, whether the package
        differs from that commit. Both are None without git or a checkout, or if the package lies in a checkout without being
        part of it, as in a virtual environment.
    """
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    commit = dirty = None
    if _git(package, "ls-files", "--error-unmatch", "--", "__init__.py"):
        commit = (_git(package, "rev-parse", "HEAD") or "").strip() or None
        status = _git(package, "status", "--porcelain", "--", ".")
        dirty = None if status is None else bool(status.strip())
    return {"sha256": digest.hexdigest(), "git_commit": commit, "git_dirty": dirty}


def table_facts(table: AnnotationTable) -> dict[str, Any]:
    """The number of images of a table, and SHA-256 of its names and labels, independent of the order."""
    order = np.argsort(table.file_names, kind="stable")
    digest = hashlib.sha256(json.dumps(table.vocabulary.to_json(), sort_keys=True).encode())
    for cells in (table.targets, table.known):
        digest.update(np.packbits(cells[order], axis=1).tobytes())
    return {"images": len(table), "names_sha256": table.names_sha256(), "labels_sha256": digest.hexdigest()}


def _facts(config: TrainConfig, data: TaggingData, precision: str) -> dict[str, Any]:
    return {
        "versions": versions(),
        "machine": machine(),
        "precision": precision,
        "seed": config.seed,
        "source": source_state(Path(cocotag.__file__).parent),
        "data": {
            "classes": len(data.vocabulary),
            "train": table_facts(data.train),
            "tune": table_facts(data.tune),
            "tuned_on": data.splits.tuned_on(),
        },
    }


def _changed(before: Any, now: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """The new value; for mappings only the keys that differ."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return now
    return {key: now.get(key) for key in {**before, **now} if before.get(key) != now.get(key)}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("resumed"), list) and "started" in record else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git(folder: Path, *words: str) -> str | None:
    """The output of git in a folder; None without git, without a checkout, or after a timeout."""
    # GIT_DIR and similar variables would make git use another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
