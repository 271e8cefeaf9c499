"""What the machine has: processors, memory, and files that may be open."""

import contextlib
import os
from pathlib import Path

from mlp.errors import UserError

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None


def cores():
    """Processors that this process may use, by affinity and by its control group's quota."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        n = min(n, max(1, int(quota) // int(period)))
    return n


def open_files():
    """How many files this process may have open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else -1
    return 10**6 if limit < 0 else limit


def require_memory(n_bytes, what):
    """Raises UserError where the machine has less than `what` takes, before anything is made.

    The kernel gives memory that is not there, and ends the process that uses it.
    """
    with contextlib.suppress(AttributeError, ValueError):  # Windows tells nothing
        has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if n_bytes > has:
            wants = f"{n_bytes / 2**30:,.0f} GiB of memory"
            raise UserError(f"{what} would take {wants}; this machine has {has / 2**30:,.0f} GiB")
