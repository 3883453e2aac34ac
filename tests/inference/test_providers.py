"""The choice of an execution provider, and the CPU as the fallback."""

import re
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from cocotag.errors import ConfigError
from cocotag.inference import providers
from cocotag.inference.tagger import Tagger

INSTALLED = onnxruntime.get_available_providers()
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def no_environment_variable(monkeypatch):
    monkeypatch.delenv(providers.ENVIRONMENT, raising=False)


@pytest.fixture
def installed(monkeypatch):
    """Have ONNX Runtime list more providers than it has."""

    def pretend(*names):
        full = [providers._NAMES[name] for name in names]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*full, "CPUExecutionProvider"])

    return pretend


class Session:
    """A session with the CPU's probabilities plus ``higher``, which takes ``seconds`` longer."""

    def __init__(self, path, *, higher=0.0, seconds=0.0):
        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self._higher, self._seconds = higher, seconds

    def run(self, names, feeds):
        time.sleep(self._seconds)
        return [self._session.run(names, feeds)[0] + np.float32(self._higher)]


@pytest.fixture
def slow_cpu(monkeypatch):
    """A slow CPU, so that other providers are faster."""
    whole = providers.open_session
    monkeypatch.setattr(providers, "open_session", lambda path, **rest: _Slow(whole(path, **rest)))


class _Slow:
    def __init__(self, session):
        self._session = session

    def __getattr__(self, name):
        return getattr(self._session, name)

    def run(self, names, feeds):
        time.sleep(0.01)
        return self._session.run(names, feeds)


def test_without_other_providers_the_cpu_is_used_silently(toy_bundle, installed, caplog, capfd):
    installed()
    assert Tagger.load(toy_bundle, threads=2).runs_on == "CPU, 2 threads"
    assert not caplog.records and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how", ["by itself", "argument", "environment"])
@pytest.mark.parametrize("name", ["cuda", "openvino"])
def test_a_provider_that_does_not_start_is_replaced_by_the_cpu_with_one_warning(
    toy_bundle, installed, monkeypatch, caplog, capfd, how, name
):
    if providers._NAMES[name] in INSTALLED:
        monkeypatch.setattr(providers, "_open", lambda *_: 1 / 0)
    installed(name)
    if how == "environment":
        monkeypatch.setenv(providers.ENVIRONMENT, name)
    tagger = Tagger.load(toy_bundle, threads=2, provider=name if how == "argument" else None)
    assert tagger.runs_on == "CPU, 2 threads"
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith(providers._LABELS[name]) and "\n" not in message
    assert "COCOTAG_PROVIDER=cpu" in message
    assert capfd.readouterr() == ("", "")  # only the log has it
    np.testing.assert_allclose(tagger.predict(IMAGES), Tagger.load(toy_bundle, provider="cpu").predict(IMAGES), atol=1e-6)


def test_without_logging_handlers_the_warning_is_on_stderr(toy_bundle):
    code = f"""
import onnxruntime
onnxruntime.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
from cocotag import Tagger
print(Tagger.load({str(toy_bundle)!r}, threads=1).runs_on)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "CPU, 1 thread\n"
    assert done.stderr.startswith("CUDA") and "COCOTAG_PROVIDER=cpu" in done.stderr and done.stderr.count("\n") == 1


def test_the_first_that_agrees_and_is_faster_is_chosen(toy_bundle, installed, slow_cpu, monkeypatch, caplog):
    installed("cuda", "openvino")
    opened = {"cuda": Session(toy_bundle), "openvino": Session(toy_bundle)}
    monkeypatch.setattr(providers, "_open", lambda path, name, threads: opened[name])
    tagger = Tagger.load(toy_bundle, threads=2)
    assert tagger.runs_on == "CUDA"
    assert not tagger.on_cores and tagger.batch_size > 8
    opened["cuda"] = Session(toy_bundle, higher=0.02)
    tagger = Tagger.load(toy_bundle, threads=2)
    assert tagger.runs_on == "OpenVINO, 2 threads"
    assert tagger.on_cores
    (record,) = caplog.records
    assert record.getMessage().startswith("CUDA") and "0.02" in record.getMessage()


def test_a_provider_whose_probabilities_are_nan_does_not_agree(toy_bundle, installed, slow_cpu, monkeypatch, caplog):
    installed("cuda")
    monkeypatch.setattr(providers, "_open", lambda *_: Session(toy_bundle, higher=np.nan))
    assert Tagger.load(toy_bundle, threads=1).runs_on == "CPU, 1 thread"
    assert re.search(r"\bnan\b", caplog.text)


def test_a_slower_provider_is_used_only_on_request(toy_bundle, installed, monkeypatch, caplog):
    installed("openvino")
    monkeypatch.setattr(providers, "_open", lambda *_: Session(toy_bundle, seconds=0.01))
    assert Tagger.load(toy_bundle, threads=1).runs_on == "CPU, 1 thread"
    assert Tagger.load(toy_bundle, threads=1, provider="openvino").runs_on == "OpenVINO, 1 thread"
    assert not caplog.records  # not a fault


def test_an_argument_takes_precedence_over_the_environment(toy_bundle, installed, monkeypatch):
    installed("cuda")
    monkeypatch.setattr(providers, "_open", lambda *_: pytest.fail("must not be tried"))
    monkeypatch.setenv(providers.ENVIRONMENT, "CUDA")
    assert Tagger.load(toy_bundle, threads=1, provider="cpu").runs_on == "CPU, 1 thread"
    monkeypatch.setenv(providers.ENVIRONMENT, "cpu")
    assert Tagger.load(toy_bundle, threads=1).runs_on == "CPU, 1 thread"


def test_an_unavailable_provider_is_an_error_that_names_the_choices(toy_bundle, installed, monkeypatch):
    installed()
    with pytest.raises(ConfigError, match=r"'tpu'.*auto, cuda, openvino, cpu") as caught:
        Tagger.load(toy_bundle, provider="tpu")
    assert caught.value.code == "unknown_provider"
    with pytest.raises(ConfigError, match=r"cuda.*\bcpu\b.*onnxruntime-gpu") as caught:
        Tagger.load(toy_bundle, provider="cuda")
    assert caught.value.code == "provider_not_installed"
    monkeypatch.setenv(providers.ENVIRONMENT, "openvino")
    with pytest.raises(ConfigError, match=r"COCOTAG_PROVIDER.*openvino.*onnxruntime-openvino") as caught:
        Tagger.load(toy_bundle)
    assert caught.value.code == "provider_not_installed"


def test_batches_fit_a_cores_cache(toy_bundle):
    engine = providers.start(toy_bundle, provider="cpu", threads=1)
    sides = (32, 160, 224, 384, 1024)
    sizes = {side: replace(engine, metadata=replace(engine.metadata, image_size=side)).batch_size for side in sides}
    assert sizes == {32: 8, 160: 3, 224: 2, 384: 1, 1024: 1}


if "OpenVINOExecutionProvider" in INSTALLED:

    def test_openvino_agrees_with_the_cpu(toy_bundle):
        tagger = Tagger.load(toy_bundle, threads=2, provider="openvino")
        assert tagger.runs_on == "OpenVINO, 2 threads"
        np.testing.assert_allclose(tagger.predict(IMAGES), Tagger.load(toy_bundle, provider="cpu").predict(IMAGES), atol=1e-4)
