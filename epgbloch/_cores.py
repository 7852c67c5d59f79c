"""The cores that this process may use."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Return the number of cores of this process: a cluster may allow it fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
