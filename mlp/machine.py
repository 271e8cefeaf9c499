"""What the machine has: processors and memory."""

import contextlib
import os
from pathlib import Path

from mlp.errors import UserError


def cores():
    """Processors that this process may use, by affinity and by its control group's quota."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        n = min(n, max(1, int(quota) // int(period)))
    return n


def require_memory(n_bytes, what):
    """Raises UserError where the machine has less than `what` takes, before anything is made.

    The kernel gives memory that is not there, and ends the process that uses it.
    """
    with contextlib.suppress(AttributeError, ValueError):  # Windows tells nothing
        has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if n_bytes > has:
            wants = f"{n_bytes / 2**30:,.0f} GiB of memory"
            raise UserError(f"{what} would take {wants}; this machine has {has / 2**30:,.0f} GiB")
