"""Choice of the ONNX Runtime execution provider that runs a bundle. Does not depend on files or tags."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cocotag.bundle import open_session, session_metadata
from cocotag.errors import BundleError, ConfigError
from cocotag.process.cores import usable_cores

if TYPE_CHECKING:
    import onnxruntime

    from cocotag.bundle import BundleMetadata

ENVIRONMENT = "COCOTAG_PROVIDER"
"""Environment variable with the default provider."""

AUTO = "auto"
_NAMES = {"cuda": "CUDAExecutionProvider", "openvino": "OpenVINOExecutionProvider", "cpu": "CPUExecutionProvider"}
PROVIDERS = (AUTO, *_NAMES)
"""Valid choices. ``auto`` takes the first of the others that is installed, agrees with the CPU and is faster."""

_LABELS = {"cuda": "CUDA", "openvino": "OpenVINO", "cpu": "CPU"}
_PACKAGES = {"cuda": "onnxruntime-gpu", "openvino": "onnxruntime-openvino", "cpu": "onnxruntime"}
AGREES = 0.005
"""Largest mean difference in probability from the CPU that is accepted of another provider, on a few images of noise. In
float32, providers differ by less than a thousandth of that; with 8-bit integers, their rounding differs by about a third."""

FASTER = 0.9
"""``auto`` chooses another provider only if it takes at most this fraction of the CPU's time on that noise."""

_GPU_BATCH = 16  # each decoding thread holds one batch; larger batches are no faster for a MobileNet
_BATCH_PIXELS = 2 * 224 * 224
"""Pixels per run on CPU cores: with more, the first layers' outputs exceed a core's own cache and each image takes longer."""
_MOST_AT_ONCE = 8
_TRIALS = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """A loaded bundle with its execution provider.

    Attributes:
        session: Several threads may run it at the same time. On the CPU, it computes only on the calling thread.
        metadata: The bundle's metadata.
        provider: One of `PROVIDERS`, but not ``auto``.
        threads: Number of CPU cores to use.
    """

    session: onnxruntime.InferenceSession
    metadata: BundleMetadata
    provider: str
    threads: int

    def __str__(self) -> str:
        """The name for people: ``CPU, 2 threads``, ``CUDA``."""
        label = _LABELS[self.provider]
        return f"{label}, {self.threads} thread{'s' if self.threads > 1 else ''}" if self.on_cores else label

    @property
    def on_cores(self) -> bool:
        """Whether it computes on CPU cores, so that each core should decode images and run the network."""
        return self.provider != "cuda"

    @property
    def batch_size(self) -> int:
        """The batch size with the highest throughput, small enough that the first result comes soon."""
        if not self.on_cores:
            return _GPU_BATCH
        return min(max(1, _BATCH_PIXELS // self.metadata.image_size**2), _MOST_AT_ONCE)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images ``(N, S, S, 3)`` -> probs ``(N, C)``."""
        return _run(self.session, images)


def start(path: Path | str, *, provider: str | None = None, threads: int = 0) -> Engine:
    """Load a bundle with the requested provider, or with the fastest available one.

    If another provider than the CPU does not start, or its probabilities differ from the CPU's, one warning is logged and the
    CPU is used. Which provider is faster depends on the processor and the bundle, so it is measured, which takes a moment.

    Args:
        path: The bundle.
        provider: One of `PROVIDERS`; None for the value of the environment variable `ENVIRONMENT`, or else ``auto``.
        threads: CPU cores to use; 0 for all that this process may use.

    Raises:
        BundleError: The file does not exist, is not a bundle or is damaged.
        ConfigError: The provider does not exist, or the installed ONNX Runtime does not have it.
    """
    candidates, requested = _candidates(provider)
    threads = threads or usable_cores()
    on_cpu = open_session(path, threads=1, spinning=False)
    metadata = session_metadata(on_cpu, path)
    for name in candidates:
        if name == "cpu":
            break
        label, instead = _LABELS[name], f"using the CPU. To skip {_LABELS[name]}, set {ENVIRONMENT}=cpu."
        try:
            session = _open(path, name, threads)
            difference, time_ratio = _compare(session, on_cpu, _noise(metadata))
        except Exception as error:  # each provider raises its own types
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
            logger.warning(f"{label} does not start ({reason}); {instead}")
            continue
        if not difference <= AGREES:
            logger.warning(f"{label}'s probabilities differ from the CPU's by {difference:.2g} on average; {instead}")
        elif requested or time_ratio <= FASTER:
            return Engine(session, metadata, name, threads)
        else:
            logger.info(f"{label} takes {time_ratio:.2f} times as long as the CPU; using the CPU.")
    return Engine(on_cpu, metadata, "cpu", threads)


def _compare(
    session: onnxruntime.InferenceSession, on_cpu: onnxruntime.InferenceSession, images: NDArray[np.uint8]
) -> tuple[float, float]:
    """Mean absolute difference in probability from the CPU, and the time relative to the CPU's."""
    difference = float(np.abs(_run(session, images) - _run(on_cpu, images)).mean())
    seconds: list[list[float]] = [[], []]
    for _ in range(_TRIALS):
        for candidate, times in zip((session, on_cpu), seconds, strict=True):
            start_time = time.perf_counter()
            _run(candidate, images)
            times.append(time.perf_counter() - start_time)
    return difference, min(seconds[0]) / min(seconds[1])


def _candidates(provider: str | None) -> tuple[list[str], bool]:
    """The providers to try, best first, and whether the caller requested one by name."""
    import onnxruntime

    wanted, source = (provider, "provider") if provider is not None else (os.environ.get(ENVIRONMENT) or AUTO, ENVIRONMENT)
    wanted = wanted.lower()
    if wanted not in PROVIDERS:
        raise ConfigError(f"{source} is {wanted!r}; it must be one of {', '.join(PROVIDERS)}.", code="unknown_provider")
    installed = [name for name, full in _NAMES.items() if full in onnxruntime.get_available_providers()]
    if wanted == AUTO:
        return installed, False
    if wanted not in installed:
        raise ConfigError(
            f"{source} is {wanted}, but the installed ONNX Runtime has only {', '.join(installed)}. "
            f"Install {_PACKAGES[wanted]} instead of it, or do not set {source}.",
            code="provider_not_installed",
        )
    return [wanted], True


def _open(path: Path | str, name: str, threads: int) -> onnxruntime.InferenceSession:
    """A session of a provider other than the CPU.

    Raises:
        BundleError: ONNX Runtime started another provider.
    """
    import onnxruntime

    options: dict[str, Any]
    if name == "cuda":
        # TF32 would lose three digits; the exhaustive algorithm search would start again for every batch size.
        options = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    else:
        # One stream per calling thread. float32, since OpenVINO uses a narrower type on new processors by default.
        precision = '{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}'
        options = {"device_type": "CPU", "num_of_threads": str(threads), "num_streams": str(threads), "load_config": precision}
    with _quiet(onnxruntime):
        if name == "cuda" and hasattr(onnxruntime, "preload_dlls"):  # CUDA and cuDNN, if installed by pip
            onnxruntime.preload_dlls()
        session = open_session(path, threads=1, spinning=False, provider=(_NAMES[name], options))
    if session.get_providers()[0] != _NAMES[name]:
        raise BundleError("a required library or device is missing", code="provider_not_started")
    return session


@contextlib.contextmanager
def _quiet(onnxruntime: Any) -> Iterator[None]:  # noqa: ANN401 (ONNX Runtime has no types)
    """Silence ONNX Runtime, which prints about twenty lines about one failure, some of them on stdout."""
    onnxruntime.set_default_logger_severity(4)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        onnxruntime.set_default_logger_severity(2)  # the default; the previous value cannot be read


def _noise(metadata: BundleMetadata) -> NDArray[np.uint8]:
    """Three images of noise, from fine to coarse, ``(3, S, S, 3)``."""
    side = metadata.image_size
    noise = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    for image, cell in zip(noise, (1, 8, 32), strict=True):
        coarse = image[::cell, ::cell].repeat(cell, axis=0).repeat(cell, axis=1)
        image[:] = coarse[:side, :side]
    return noise


def _run(session: onnxruntime.InferenceSession, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    probs: NDArray[np.float32] = session.run(["probs"], {"images": images})[0]
    return probs
