"""What a run folder says about its run. Nothing else decides what is done."""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from mlp.errors import UserError
from mlp.run_folder import ENDED, FILES, Damaged, read_config, read_result

try:
    import fcntl
except ImportError:  # not on Windows: there a run that is running looks like one that was killed
    fcntl = None


@dataclass
class State:
    """`word` is one of ENDED, or killed (nobody holds it, it has not ended), running, absent."""

    word: str
    config: dict | None = None  # nested; None where nothing tells it
    error: str | None = None
    metrics: dict = field(default_factory=dict)
    seconds: float | None = None


def read_state(folder):
    """The State of a run folder, which need not exist. Raises UserError where it can't be read."""
    folder = Path(folder)
    try:
        result = read_result(folder)
    except FileNotFoundError:
        if not folder.exists():
            return State("absent")
        config = None
        with contextlib.suppress(Damaged):
            config = read_config(folder)
        started = any((folder / name).exists() for name in FILES)
        return State("running" if is_held(folder) else "killed" if started else "absent", config)
    if result["status"] not in ENDED:
        raise UserError(f"{folder}/result.json: status is {result['status']!r}, unknown here")
    known = {name: result.get(name) for name in ("config", "error", "metrics", "seconds")}
    return State(result["status"], **known)


def is_held(folder):
    """Whether a living process owns the folder."""
    if fcntl is None:
        return False
    try:
        with open(folder / ".lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
