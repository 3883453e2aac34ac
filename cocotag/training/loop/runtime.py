"""Several processes that train together: which one writes and speaks."""

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
    """Whether this process is the only one, or the first of those that train together: it alone writes and speaks."""
    return bool(cast(Any, rank_zero_only).rank == 0)


def check_started(config: TrainConfig) -> None:
    """Refuse a start by torchrun or SLURM that is of other processes than the config says.

    Each would take itself for the only one, and all would write into one directory.

    Raises:
        ConfigError: With both numbers.
    """
    wanted = config.devices * config.nodes
    if config.nodes > 1 and not {"WORLD_SIZE", "SLURM_PROCID"} & set(os.environ):
        raise ConfigError(
            f"nodes is {config.nodes}, but this process was started by neither torchrun nor srun, so it would wait for the "
            "other machines for ever. docs/training.md has the commands."
        )
    by_torchrun = os.environ.get("WORLD_SIZE")
    by_slurm = os.environ.get("SLURM_NTASKS") if "SLURM_PROCID" in os.environ else None
    for who, started in (("torchrun", by_torchrun), ("SLURM", None if by_torchrun else by_slurm)):
        if started is not None and int(started) != wanted:
            raise ConfigError(
                f"{who} started {started} processes, but devices {config.devices} times nodes {config.nodes} is {wanted}. Give "
                "--devices the processes of one machine and --nodes the number of machines."
            )
    if torch.cuda.is_available() and config.devices > torch.cuda.device_count():
        raise ConfigError(f"devices is {config.devices}, but this machine has {torch.cuda.device_count()} GPUs.")


class Together(DDPStrategy):
    """Lightning's DDP, but each process scores its part of the tune images for itself.

    Through DDP's forward every batch would exchange buffers, and a process with a batch more than the others would wait for
    them for ever. They are exchanged once, before the first batch (`TaggerModule.on_validation_epoch_start`).
    """

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (Lightning's)
        """One batch."""
        with self.precision_plugin.val_step_context():
            return cast(Any, self.lightning_module).validation_step(*args, **kwargs)


def say(text: str) -> None:
    """A line for people."""
    if first_process():
        tqdm.write(text, file=sys.stderr)


def keep_freed_memory() -> bool:
    """Let glibc keep the memory that a step frees for the next one, instead of giving it back to the system page by page.

    A step on the CPU allocates and frees hundreds of MB in large blocks. By default each is mapped anew, and the system
    zeroes its pages: about half of the time of a step (scripts/measure/bench_train.py). Does nothing without glibc.

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
    """Keep what does not concern the user off the screen."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    about_us = (
        "does not have many workers",  # small data sets need none
        "No positive samples found in target",  # left out of the means, see TaggerModule
        "Checkpoint directory",  # ours, on a resume
        "The number of training batches",
        r"`isinstance\(treespec",  # Lightning's own affair
    )
    for about in about_us:
        warnings.filterwarnings("ignore", f".*{about}")


def precision(config: TrainConfig) -> str:
    """Lightning's name for the precision of a run, ``auto`` resolved for this machine.

    Raises:
        ConfigError: fp16 without CUDA.
    """
    cuda = torch.cuda.is_available()
    wanted = config.precision
    if wanted == "auto" and cuda:
        wanted = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    elif wanted == "auto":
        # Without instructions of its own bf16 is emulated, and slower than float32.
        can: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        wanted = "bf16" if can.get("avx512_bf16") or can.get("amx_bf16") else "float32"
    if wanted == "fp16" and not cuda:
        raise ConfigError("precision is fp16, which needs a CUDA device, and there is none. Use bf16, float32 or auto.")
    return {"bf16": "bf16-mixed", "fp16": "16-mixed", "float32": "32-true"}[wanted]
