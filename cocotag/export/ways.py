"""The ways in which torch runs a network, for `cocotag latency`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cocotag.inference.latency import Way, bundle_way
from cocotag.models.network import TaggerNetwork

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
NAMES = ("eager", "channels_last", "bf16", "compiled")


def all_ways(network: TaggerNetwork, graph: Path | str, int8: Path | str, threads: int) -> list[Way]:
    """Torch's ways on the CPU, ONNX Runtime in float32 and int8, and the GPU where there is one.

    Args:
        network: In any state; it stays as it is.
        graph: The same network as an ONNX file.
        int8: That with its convolutions in 8-bit integers.
        threads: Within an operator.
    """
    made = [Way(name, cpu_run(network, name, threads)) for name in NAMES]
    made += [bundle_way(graph, threads), bundle_way(int8, threads, "ONNX Runtime, int8")]
    if torch.cuda.is_available():
        made.append(Way("GPU, fp16", *cuda_run(network), pool="GPU"))
    return made


@contextmanager
def torch_threads() -> Iterator[None]:
    """Put torch's number of threads back at the end."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def stir(network: TaggerNetwork) -> None:
    """Give the head other than its first weights, which are zero: or every way would say the same, right or wrong."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def cpu_run(network: TaggerNetwork, name: str, threads: int) -> Run:
    """One of `NAMES`: contiguous weights, channels last, that with bf16 autocast, that compiled.

    Args:
        network: It is copied, and the copy put in evaluation mode.
        name: Which way.
        threads: That torch takes, set before each run.
    """
    layout = torch.contiguous_format if name == "eager" else torch.channels_last
    model = copy.deepcopy(network).eval().to(memory_format=layout)
    forward: Callable[[Tensor], Tensor] = torch.compile(model) if name == "compiled" else model

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
            probs: NDArray[np.float32] = model.probs(forward(torch.from_numpy(images))).numpy()
        return probs

    return run


def cuda_run(network: TaggerNetwork) -> tuple[Run, Callable[[NDArray[np.uint8]], float]]:
    """The network in channels last under fp16 autocast on the GPU; and its milliseconds by the GPU's own events.

    The images are there before the clock starts: what is timed is the network.
    """
    model = copy.deepcopy(network).eval().to("cuda").to(memory_format=torch.channels_last)

    def forward(images: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast("cuda", torch.float16):
            probs: Tensor = model.probs(model(images))
        return probs

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        probs: NDArray[np.float32] = forward(torch.from_numpy(images).cuda()).cpu().numpy()
        return probs

    def milliseconds(images: NDArray[np.uint8]) -> float:
        there = torch.from_numpy(images).cuda()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        start.record()
        forward(there)
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end))

    return run, milliseconds
