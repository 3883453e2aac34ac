"""The process of a run: its rank, its messages, memory, warnings and precision."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import warnings
from typing import Any, cast

import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from tqdm import tqdm

from cocotag.config import TrainConfig
from cocotag.errors import ConfigError


def first_process() -> bool:
    """Whether this is the only process or the first of several; only this one writes files and messages."""
    return bool(cast(Any, rank_zero_only).rank == 0)


def check_started(config: TrainConfig) -> None:
    """Check that torchrun or SLURM started as many processes as the config says.

    Otherwise each process would take itself for the only one, and all would write into one directory.

    Raises:
        ConfigError: The numbers differ, or the machine has fewer GPUs.
    """
    wanted = config.devices * config.nodes
    if config.nodes > 1 and not {"WORLD_SIZE", "SLURM_PROCID"} & set(os.environ):
        raise ConfigError(
            f"nodes is {config.nodes}, but neither torchrun nor srun started this process: it would wait forever for the "
            "other machines. docs/training.md has the commands.",
            code="not_distributed",
        )
    by_torchrun = os.environ.get("WORLD_SIZE")
    by_slurm = os.environ.get("SLURM_NTASKS") if "SLURM_PROCID" in os.environ else None
    for who, started in (("torchrun", by_torchrun), ("SLURM", None if by_torchrun else by_slurm)):
        if started is not None and int(started) != wanted:
            raise ConfigError(
                f"{who} started {started} processes, but devices {config.devices} times nodes {config.nodes} is {wanted}. Give "
                "--devices the processes per machine and --nodes the machines.",
                code="process_count",
            )
    if torch.cuda.is_available() and config.devices > torch.cuda.device_count():
        raise ConfigError(
            f"devices is {config.devices}, but this machine has {torch.cuda.device_count()} GPUs.", code="too_few_gpus"
        )


class Together(DDPStrategy):
    """Lightning's DDP, in which each process scores its part of the tune images alone.

    DDP's forward would exchange buffers in every batch, and a process with one batch more than the others would wait for them
    forever. Buffers are exchanged once, before the first batch (`TaggerModule.on_validation_epoch_start`).
    """

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (Lightning's)
        """One batch."""
        with self.precision_plugin.val_step_context():
            return cast(Any, self.lightning_module).validation_step(*args, **kwargs)


def say(text: str) -> None:
    """Print a line for people on stderr."""
    if first_process():
        tqdm.write(text, file=sys.stderr)


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next step, instead of returning it to the system page by page.

    A step on the CPU allocates and frees hundreds of MB in large blocks. By default each block is mapped again and the system
    zeroes its pages, which takes about half of a step (scripts/measure/bench_train.py). Without glibc it does nothing.

    Returns:
        Whether it took effect.
    """
    m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False
    return bool(mallopt(m_mmap_max, 0)) and bool(mallopt(m_trim_threshold, 2**31 - 1))


def quiet() -> None:
    """Silence warnings that do not concern the user."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    silenced = (
        "does not have many workers",  # small data sets do not need them
        "No positive samples found in target",  # TaggerModule leaves such classes out of the means
        "Checkpoint directory",  # on a resume it is ours
        "The number of training batches",
        r"`isinstance\(treespec",  # inside Lightning
    )
    for text in silenced:
        warnings.filterwarnings("ignore", f".*{text}")


def precision(config: TrainConfig) -> str:
    """Lightning's name of a run's precision, with ``auto`` resolved for this machine.

    Raises:
        ConfigError: fp16 without CUDA.
    """
    cuda = torch.cuda.is_available()
    wanted = config.precision
    if wanted == "auto" and cuda:
        wanted = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    elif wanted == "auto":
        # Without bf16 instructions the CPU emulates it, which is slower than float32.
        can: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        wanted = "bf16" if can.get("avx512_bf16") or can.get("amx_bf16") else "float32"
    if wanted == "fp16" and not cuda:
        raise ConfigError(
            "precision is fp16, but this machine has no CUDA device. Use bf16, float32 or auto.", code="fp16_without_cuda"
        )
    return {"bf16": "bf16-mixed", "fp16": "16-mixed", "float32": "32-true"}[wanted]
