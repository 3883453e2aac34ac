"""The wheel carries all it needs: built from what git would give a stranger, unpacked and run elsewhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, names.split("\0")):
        if (PROJECT / name).is_file():
            target = folder / "checkout" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, target)
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder / "dist"),
        str(folder / "checkout"),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    target = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    return target


def run(installed, cwd, *words):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-m", "cocotag", *map(str, words)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_the_installed_package_that_runs(installed, tmp_path):
    code = "import cocotag; print(cocotag.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).parent == installed / "cocotag"
    assert (installed / "cocotag" / "py.typed").is_file()


def test_templates_and_configs_are_inside(installed, tmp_path, sample_dir):
    annotations = sample_dir / "annotations" / "instances_val.json"
    done = run(installed, tmp_path, "imbalance", annotations, "--out", "report")
    assert done.returncode == 0, done.stderr
    assert "<html" in (tmp_path / "report" / "imbalance.html").read_text(encoding="utf-8")
    done = run(installed, tmp_path, "train", "--config", "coco_mobilenetv2", "--data.root", "nowhere")
    assert done.returncode == 2
    assert "data.root is nowhere" in done.stderr
    done = run(installed, tmp_path, "train", "--data.sources", '[{"root": ".", "aliases": "nothing"}]')
    assert "one of cocotag's own: imagenet, open_images, voc" in done.stderr
    done = run(installed, tmp_path, "train", "--config", "nothing")
    assert "coco_mini, coco_mobilenetv2, coco_original, sample" in done.stderr


def test_the_gallery_is_inside(installed, tmp_path, toy_bundle, sample_dir):
    done = run(installed, tmp_path, "tag", sample_dir / "val", "--model", toy_bundle, "--gallery", "gallery")
    assert done.returncode == 0, done.stderr
    assert "cocotagChunk" in (tmp_path / "gallery" / "index.html").read_text(encoding="utf-8")


def test_the_console_script_is_declared(installed):
    (entry,) = installed.glob("cocotag-*.dist-info/entry_points.txt")
    assert "cocotag = cocotag.cli.guard:main" in entry.read_text()
