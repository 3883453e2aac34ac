"""The ways to run a network that `cocotag latency` times: torch, ONNX Runtime and a GPU."""

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
    """Torch's ways on the CPU, ONNX Runtime in float32 and int8, and the GPU if there is one.

    Args:
        network: In train or evaluation mode; it is not changed.
        graph: The same network as an ONNX file.
        int8: The same graph with its convolutions in 8-bit integers.
        threads: Threads within an operator.
    """
    ways = [Way(name, cpu_run(network, name, threads)) for name in NAMES]
    ways += [bundle_way(graph, threads), bundle_way(int8, threads, "ONNX Runtime, int8")]
    if torch.cuda.is_available():
        ways.append(Way("GPU, fp16", *cuda_run(network), pool="GPU"))
    return ways


@contextmanager
def torch_threads() -> Iterator[None]:
    """Restore torch's number of threads at the end."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def stir(network: TaggerNetwork) -> None:
    """Add noise to the head's weights. They start at zero, so every way would give the same output, right or wrong."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def cpu_run(network: TaggerNetwork, name: str, threads: int) -> Run:
    """A function that runs the network on the CPU in one of the ways in `NAMES`.

    ``eager`` has contiguous weights, ``channels_last`` that layout; ``bf16`` adds autocast to it, ``compiled`` the compiler.

    Args:
        network: Not changed; the function uses a copy in evaluation mode.
        name: Name of the way.
        threads: Torch's number of threads, set before each run.
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
    """A function that runs the network on the GPU, channels last with fp16 autocast, and one that times it in milliseconds.

    The GPU's own events time it. The images are copied to the GPU before the clock starts, so only the network is timed.
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
        on_gpu = torch.from_numpy(images).cuda()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        start.record()
        forward(on_gpu)
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end))

    return run, milliseconds
