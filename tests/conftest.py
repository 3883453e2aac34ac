"""Fixtures that the whole suite shares. Real data are found through COCOTAG_DATA and skipped without it."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from toy_bundle import make_toy_bundle

settings.register_profile("no deadline", deadline=None)  # how long an example takes says more of what else a machine does
settings.load_profile("no deadline")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script: there Ctrl-C is ignored, and so it would be in every process that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several test processes share the cores. OpenMP's threads would wait for each other at every barrier.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

PROJECT = Path(__file__).resolve().parent.parent
REQUIRE_ALL = os.environ.get("COCOTAG_REQUIRE_ALL") == "1"


THREADS = pytest.StashKey[int]()


def pytest_runtest_setup(item):
    """Give torch the same number of threads for every test: with another, a training's last digits differ."""
    torch = sys.modules.get("torch")
    if torch is not None:
        number = int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads())
        torch.set_num_threads(item.config.stash.setdefault(THREADS, number))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Where everything must run, a skipped test is a failed one; only a missing GPU is nobody's fault."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and REQUIRE_ALL and not item.get_closest_marker("cuda") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"COCOTAG_REQUIRE_ALL=1, but the test was skipped: {reason}"


@pytest.fixture(scope="session")
def data_dir():
    """The folder of real data that the project does not carry."""
    folder = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set COCOTAG_DATA")
    return folder


@pytest.fixture(scope="session")
def coco_mini(data_dir):
    """Real COCO photographs in COCO's layout, splits train and val."""
    folder = data_dir / "coco-mini"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


@pytest.fixture(scope="session")
def imagenet_weights(data_dir):
    """torchvision's MobileNetV2 state dict."""
    file = data_dir / "mobilenet_v2_imagenet.pth"
    if not file.is_file():
        pytest.skip(f"no {file}")
    return file


@pytest.fixture(scope="session")
def sample_dir(tmp_path_factory):
    """A small drawn data set: 120 images of 96 px to train on, 40 for validation. Not to be changed."""
    from cocotag.data.sample.draw import draw_sample

    folder = tmp_path_factory.mktemp("sample") / "data"
    draw_sample(folder, train=120, val=40, size=96, progress=False)
    return folder


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory):
    """A tiny real bundle: 80 COCO classes, 64 px, no training. Not to be changed."""
    path = tmp_path_factory.mktemp("bundle") / "toy.onnx"
    make_toy_bundle(path)
    return path


@pytest.fixture(scope="session")
def exiftool():
    """Write tags with exiftool, which knows all formats and dialects better than we do."""
    program = shutil.which("exiftool")
    if program is None:
        pytest.skip("no exiftool (Debian: libimage-exiftool-perl)")

    def write(path, *words):
        done = subprocess.run([program, "-q", "-overwrite_original", *words, str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    return write


@pytest.fixture
def photographs(coco_mini, tmp_path):
    """Copies of four real photographs."""
    (tmp_path / "photos").mkdir()
    sources = sorted((coco_mini / "val").iterdir())[:4]
    return [shutil.copy(source, tmp_path / "photos" / f"{number}.jpg") for number, source in enumerate(sources)]
