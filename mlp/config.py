"""The configuration of a run: the settings that belong to no part, and those of its parts."""

from dataclasses import dataclass

from mlp.data import DATASETS
from mlp.errors import UserError
from mlp.network import ACTIVATIONS
from mlp.optimizers import OPTIMIZERS
from mlp.schedules import SCHEDULES
from mlp.settings import build, choice, setting

SWITCHES = "overwrite", "fail_fast", "dry_run", "stack"  # of the program, not of a run
APART = (
    "name",
    "progress",
    "checkpoint_every",
    "launcher",
    "sweeper",
    *SWITCHES,
)  # a run's bytes are the same


@dataclass(frozen=True)
class Scalar:
    """plain Python, one example at a time, sigmoid units"""

    name = "scalar"
    hidden_sizes: list[int] = setting("units of each hidden layer; [] for none", least=1)
    init: str = setting("spread of the initial weights", choices=["normal", "glorot", "he"])
    init_std: float | None = setting("standard deviation, with init=normal only", above=0)


@dataclass(frozen=True)
class Mlp(Scalar):
    """NumPy, batched"""

    name = "mlp"
    activation: str = setting("of the hidden layers", choices=list(ACTIVATIONS))
    fast: bool = setting("take exact shortcuts where they pay; false: every step the plain way")


@dataclass(frozen=True)
class Config:
    """One run."""

    name: str = setting("folder under outputs/")
    seed: int = setting("draws the initial weights and the order of the examples", least=0)
    lr: float = setting("step size at schedule factor 1", above=0)
    batch_size: int = setting("examples a step", least=1)
    epochs: int = setting("passes over the training examples", least=1)
    dtype: str = setting("floating-point type", choices=["float32", "float64"])
    threads: int = setting("BLAS threads of the run", least=1)
    checkpoint_every: int | None = setting("steps between checkpoints within an epoch", least=1)
    progress: bool = setting("show a progress bar, or a line an epoch where there is no terminal")
    dataset: object = choice(*DATASETS)
    model: object = choice(Mlp, Scalar)
    optimizer: object = choice(*OPTIMIZERS)
    schedule: object = choice(*SCHEDULES)

    def __post_init__(self):
        if not self.name or ".." in self.name or self.name.startswith("/"):
            raise UserError(f"name must be a folder below outputs/, got {self.name!r}")
        if (self.model.init == "normal") != (self.model.init_std is not None):
            raise UserError("model.init_std goes with model.init=normal: set both or neither")
        if self.model.name == "scalar":
            rule = "model=scalar trains on one example at a time, in Python's floats, by plain SGD"
            if self.batch_size != 1:
                raise UserError(f"{rule}: batch_size must be 1, got {self.batch_size}")
            if self.dtype != "float64":
                raise UserError(f"{rule}: dtype must be float64, got {self.dtype}")
            if self.optimizer.name != "sgd" or any(vars(self.optimizer).values()):
                raise UserError(f"{rule}: optimizer must be sgd without momentum or weight_decay")


def check(tree):
    """The Config that a tree of plain values (dicts, lists, numbers, strings) describes.

    Raises UserError on an unknown or missing key, a value of the wrong type or out of its range,
    and settings that contradict each other.
    """
    return build(Config, tree)


def difference(there, here):
    """What two nested configurations say differently, but for APART; "" where they agree."""
    there, here = _flat(there), _flat(here)
    absent = "nothing"
    return ", ".join(
        f"{key} is {there.get(key, absent)} there, {here.get(key, absent)} here"
        for key in {**there, **here}
        if key.split(".")[0] not in APART and there.get(key, absent) != here.get(key, absent)
    )


def _flat(tree, prefix=""):
    flat = {}
    for key, value in tree.items():
        is_tree = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{key}.") if is_tree else {prefix + key: value}
    return flat
