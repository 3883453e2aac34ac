"""How many CPU cores there are for us."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """CPU cores that this process may run on: ``taskset`` and schedulers of clusters may leave it fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
