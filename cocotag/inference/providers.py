"""What a bundle runs on: one of ONNX Runtime's execution providers, chosen, tried and said. Knows no images and no tags."""

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
from cocotag.cores import usable_cores
from cocotag.errors import BundleError, ConfigError

if TYPE_CHECKING:
    import onnxruntime

    from cocotag.bundle import BundleMetadata

ENVIRONMENT = "COCOTAG_PROVIDER"
"""The variable that says which provider to use, where nobody else says."""

AUTO = "auto"
_NAMES = {"cuda": "CUDAExecutionProvider", "openvino": "OpenVINOExecutionProvider", "cpu": "CPUExecutionProvider"}
PROVIDERS = (AUTO, *_NAMES)
"""What may be asked for. ``auto`` takes the first of the others that is installed, agrees with the CPU and is faster."""

_LABELS = {"cuda": "CUDA", "openvino": "OpenVINO", "cpu": "CPU"}
_PACKAGES = {"cuda": "onnxruntime-gpu", "openvino": "onnxruntime-openvino", "cpu": "onnxruntime"}
AGREES = 0.005
"""Mean difference in probability from the CPU that is accepted of another provider, on a few images of noise. In float32 they
differ by less than a thousandth of that; in 8-bit integers they round in their own ways, by about a third of it."""

FASTER = 0.9
"""Of the CPU's time on that noise, what another provider may take at most to be chosen without being asked for."""

_GPU_BATCH = 16  # held by each thread that decodes, and more are no faster for a MobileNet
_BATCH_PIXELS = 2 * 224 * 224
"""Of one run on CPU cores: what the first layers make of more leaves a core's own cache, and each image takes longer."""
_MOST_AT_ONCE = 8
_TRIALS = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """A bundle, ready to run.

    Attributes:
        session: Threads may run it at the same time. On the CPU it computes on the thread that calls alone.
        metadata: What the bundle says of itself.
        provider: One of `PROVIDERS` but ``auto``.
        threads: CPU cores for it.
    """

    session: onnxruntime.InferenceSession
    metadata: BundleMetadata
    provider: str
    threads: int

    def __str__(self) -> str:
        """For a person: ``CPU, 2 threads``, ``CUDA``."""
        label = _LABELS[self.provider]
        return f"{label}, {self.threads} thread{'s' if self.threads > 1 else ''}" if self.on_cores else label

    @property
    def on_cores(self) -> bool:
        """Whether it computes on the cores that decode, so that each had best do both."""
        return self.provider != "cuda"

    @property
    def batch_size(self) -> int:
        """Images at once that make it fastest; so few that the first result comes soon."""
        if not self.on_cores:
            return _GPU_BATCH
        return min(max(1, _BATCH_PIXELS // self.metadata.image_size**2), _MOST_AT_ONCE)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images ``(N, S, S, 3)`` -> probs ``(N, C)``."""
        return _run(self.session, images)


def start(path: Path | str, *, provider: str | None = None, threads: int = 0) -> Engine:
    """Load a bundle into the provider that is asked for, or the best there is.

    Where another provider than the CPU's does not start, or says something else than the CPU does, a line of warning is logged
    and the CPU takes over. Which is faster depends on the processor and the bundle, so it is tried, which takes a moment.

    Args:
        path: The bundle.
        provider: One of `PROVIDERS`; None for what the environment variable `ENVIRONMENT` says, or else ``auto``.
        threads: CPU cores to use; 0 for all that this process may use.

    Raises:
        BundleError: No such file, not a bundle, or damaged.
        ConfigError: There is no such provider, or the installed ONNX Runtime is made without it.
    """
    candidates, asked_for = _candidates(provider)
    threads = threads or usable_cores()
    on_cpu = open_session(path, threads=1, spinning=False)
    metadata = session_metadata(on_cpu, path)
    for name in candidates:
        if name == "cpu":
            break
        label, instead = _LABELS[name], f"the CPU takes over. {ENVIRONMENT}=cpu leaves it out."
        try:
            session = _open(path, name, threads)
            difference, part = _compare(session, on_cpu, _trial(metadata))
        except Exception as error:  # each provider fails in its own ways
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
            logger.warning(f"{label} does not start ({reason}); {instead}")
            continue
        if not difference <= AGREES:
            logger.warning(f"{label} gives probabilities {difference:.2g} away from the CPU's on average; {instead}")
        elif asked_for or part <= FASTER:
            return Engine(session, metadata, name, threads)
        else:
            logger.info(f"{label} takes {part:.2f} of the CPU's time, so the CPU is used.")
    return Engine(on_cpu, metadata, "cpu", threads)


def _compare(
    session: onnxruntime.InferenceSession, on_cpu: onnxruntime.InferenceSession, images: NDArray[np.uint8]
) -> tuple[float, float]:
    """Mean difference in probability, and the part of the CPU's time that the other takes."""
    difference = float(np.abs(_run(session, images) - _run(on_cpu, images)).mean())
    taken: list[list[float]] = [[], []]
    for _ in range(_TRIALS):
        for one, into in zip((session, on_cpu), taken, strict=True):
            begun = time.perf_counter()
            _run(one, images)
            into.append(time.perf_counter() - begun)
    return difference, min(taken[0]) / min(taken[1])


def _candidates(provider: str | None) -> tuple[list[str], bool]:
    """The providers to try, the best first, and whether somebody asked for just that."""
    import onnxruntime

    wanted, said_by = (provider, "provider") if provider is not None else (os.environ.get(ENVIRONMENT) or AUTO, ENVIRONMENT)
    wanted = wanted.lower()
    if wanted not in PROVIDERS:
        raise ConfigError(f"{said_by} is {wanted!r}; it must be one of {', '.join(PROVIDERS)}.")
    installed = [name for name, full in _NAMES.items() if full in onnxruntime.get_available_providers()]
    if wanted == AUTO:
        return installed, False
    if wanted not in installed:
        raise ConfigError(
            f"{said_by} is {wanted}, but the installed ONNX Runtime has only {', '.join(installed)}. "
            f"Install {_PACKAGES[wanted]} in its place, or leave {said_by} out."
        )
    return [wanted], True


def _open(path: Path | str, name: str, threads: int) -> onnxruntime.InferenceSession:
    """A session of another provider than the CPU's.

    Raises:
        BundleError: It is not the one that came up.
    """
    import onnxruntime

    options: dict[str, Any]
    if name == "cuda":
        # TF32 would cost three digits; the exhaustive search for an algorithm starts anew for every size of batch.
        options = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    else:
        # A stream for each thread that calls. Nothing narrower than float32, which new processors are given unasked.
        precision = '{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}'
        options = {"device_type": "CPU", "num_of_threads": str(threads), "num_streams": str(threads), "load_config": precision}
    with _quiet(onnxruntime):
        if name == "cuda" and hasattr(onnxruntime, "preload_dlls"):  # CUDA and cuDNN, where pip has brought them
            onnxruntime.preload_dlls()
        session = open_session(path, threads=1, spinning=False, provider=(_NAMES[name], options))
    if session.get_providers()[0] != _NAMES[name]:
        raise BundleError("a library that it needs is missing, or a device")
    return session


@contextlib.contextmanager
def _quiet(onnxruntime: Any) -> Iterator[None]:  # noqa: ANN401 (ONNX Runtime has no types)
    """What fails is said in one line by us, not in twenty by ONNX Runtime, some of them on stdout."""
    onnxruntime.set_default_logger_severity(4)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        onnxruntime.set_default_logger_severity(2)  # what it is at the start; nobody tells what it was


def _trial(metadata: BundleMetadata) -> NDArray[np.uint8]:
    """Three images of noise, from fine to coarse."""
    side = metadata.image_size
    noise = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    for image, cell in zip(noise, (1, 8, 32), strict=True):
        coarse = image[::cell, ::cell].repeat(cell, axis=0).repeat(cell, axis=1)
        image[:] = coarse[:side, :side]
    return noise


def _run(session: onnxruntime.InferenceSession, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    probs: NDArray[np.float32] = session.run(["probs"], {"images": images})[0]
    return probs
