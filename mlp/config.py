"""What can be set: every key with its meaning, unit and legal range.

The values themselves live in conf/. `check` turns the tree of values that was composed from there
and from the command line into a Config, or says in one line what is wrong with it.
"""

import difflib
import math
from dataclasses import dataclass, field, fields

from mlp.errors import UserError
from mlp.layers import ACTIVATIONS


def setting(meaning, *, above=None, least=None, below=None, choices=None):
    """A field with its meaning and its legal values (of each element, where it is a list)."""
    limits = {"above": above, "least": least, "below": below, "choices": choices}
    return field(metadata={"meaning": meaning, **limits})


def group(variants):
    """A field that holds one of several dataclasses, picked by its `name`."""
    return field(metadata={"variants": variants})


def split_seed():
    return setting("draws the points, or the validation fifth", least=0, below=2**32)


def normalize():
    return setting(
        "inputs as stored, to 0..1 by the least and greatest of all, or to mean 0 and std 1 each",
        choices=["none", "unit", "standard"],
    )


@dataclass(frozen=True)
class Synth:
    """two normal features, class 1 outside an ellipse"""

    name: str
    num_train: int = setting("training examples", least=1)
    num_val: int = setting("validation examples", least=1)
    seed: int = split_seed()
    normalize: str = normalize()


@dataclass(frozen=True)
class Mnist:
    """28 x 28 grey images of 10 classes"""

    name: str
    final: bool = setting("train on all 60,000 and measure on the canonical test set")
    normalize: str = normalize()


@dataclass(frozen=True)
class Digits:
    """scikit-learn's 1,797 digits of 8 x 8 pixels"""

    name: str
    seed: int = split_seed()
    normalize: str = normalize()


@dataclass(frozen=True)
class Npz:
    """your own arrays: x_train, y_train and, if you like, x_val, y_val"""

    name: str
    path: str = setting("the .npz file")
    seed: int = split_seed()
    normalize: str = normalize()


def hidden_sizes():
    return setting("units of each hidden layer; [] for none", least=1)


def init():
    return setting("spread of the initial weights", choices=["normal", "glorot", "he"])


def init_std():
    return setting("standard deviation, with init=normal only", above=0)


@dataclass(frozen=True)
class Mlp:
    """NumPy, batched"""

    name: str
    hidden_sizes: list[int] = hidden_sizes()
    activation: str = setting("of the hidden layers", choices=list(ACTIVATIONS))
    init: str = init()
    init_std: float | None = init_std()


@dataclass(frozen=True)
class Scalar:
    """plain Python, one example at a time, sigmoid units"""

    name: str
    hidden_sizes: list[int] = hidden_sizes()
    init: str = init()
    init_std: float | None = init_std()


@dataclass(frozen=True)
class Sgd:
    """stochastic gradient descent"""

    name: str
    momentum: float = setting("fraction of the velocity kept each step", least=0, below=1)
    nesterov: bool = setting("look ahead along the velocity; needs momentum")
    weight_decay: float = setting("added to the gradient, times the parameters", least=0)


@dataclass(frozen=True)
class Adam:
    """Adam, with decoupled weight decay"""

    name: str
    beta1: float = setting("decay of the mean of the gradient", least=0, below=1)
    beta2: float = setting("decay of the mean of its square", least=0, below=1)
    eps: float = setting("added to the root of the latter", above=0)
    weight_decay: float = setting("shrinks the parameters by lr times this each step", least=0)


@dataclass(frozen=True)
class Schedule:
    """factor on lr: 1 throughout, down to 0 in a line or half a cosine"""

    name: str


@dataclass(frozen=True)
class OneCycle:
    """factor on lr: straight up to 1, then half a cosine down to 0"""

    name: str
    warm_up: float = setting("fraction of all steps spent on the way up", above=0, below=1)


DATASETS = {"synth": Synth, "mnist": Mnist, "fashion_mnist": Mnist, "digits": Digits, "npz": Npz}
MODELS = {"mlp": Mlp, "scalar": Scalar}
OPTIMIZERS = {"sgd": Sgd, "adam": Adam}
SCHEDULES = {"constant": Schedule, "linear": Schedule, "cosine": Schedule, "one_cycle": OneCycle}


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
    progress: bool = setting("show a progress bar, where there is a terminal")
    dataset: object = group(DATASETS)
    model: object = group(MODELS)
    optimizer: object = group(OPTIMIZERS)
    schedule: object = group(SCHEDULES)


def check(tree):
    """The Config that a tree of plain values (dicts, lists, numbers, strings) says.

    Raises UserError on an unknown or missing key, a value of the wrong type or out of its range,
    and settings that contradict each other.
    """
    config = _build(Config, tree)
    if not config.name or ".." in config.name or config.name.startswith("/"):
        raise UserError(f"name must be a folder below outputs/, got {config.name!r}")
    model, optimizer = config.model, config.optimizer
    if (model.init == "normal") != (model.init_std is not None):
        raise UserError("model.init_std goes with model.init=normal: set both or neither")
    if optimizer.name == "sgd" and optimizer.nesterov and not optimizer.momentum:
        raise UserError("optimizer.nesterov=true needs optimizer.momentum above 0")
    if model.name == "scalar":
        scalar = "model=scalar trains on one example at a time, in Python's floats, by plain SGD"
        if config.batch_size != 1:
            raise UserError(f"{scalar}: batch_size must be 1, got {config.batch_size}")
        if config.dtype != "float64":
            raise UserError(f"{scalar}: dtype must be float64, got {config.dtype}")
        if optimizer != Sgd(name="sgd", momentum=0.0, nesterov=False, weight_decay=0.0):
            raise UserError(f"{scalar}: optimizer must be sgd without momentum or weight_decay")
    return config


def _build(schema, tree, prefix=""):
    specs = {spec.name: spec for spec in fields(schema)}
    for key in tree:
        if key not in specs:
            raise UserError(unknown_key(prefix + key))
    values = {}
    for name, spec in specs.items():
        key, value = prefix + name, tree.get(name)
        if name not in tree or value == "???":  # OmegaConf's mark of a value still to be given
            raise UserError(f"{key} is missing: it must be {legal(spec)}")
        if variants := spec.metadata.get("variants"):
            variant = value.get("name") if isinstance(value, dict) else value
            if variant not in variants:
                raise UserError(f"{key} must be {legal(spec)}, got {variant!r}")
            values[name] = _build(variants[variant], value, f"{key}.")
        elif not _is_legal(spec, value):
            raise UserError(f"{key} must be {legal(spec)}, got {value!r}")
        else:
            values[name] = float(value) if spec.type is float else value
    return schema(**values)


def _is_legal(spec, value):
    if spec.type == list[int]:
        return isinstance(value, list) and all(_is_in_range(spec, int, v) for v in value)
    if spec.type == float | None:
        return value is None or _is_in_range(spec, float, value)
    return _is_in_range(spec, spec.type, value)


def _is_in_range(spec, kind, value):
    limits = spec.metadata
    if type(value) is not kind and not (kind is float and type(value) is int):
        return False
    if limits.get("choices") is not None:
        return value in limits["choices"]
    return (
        (kind is not float or math.isfinite(value))
        and (limits.get("above") is None or value > limits["above"])
        and (limits.get("least") is None or value >= limits["least"])
        and (limits.get("below") is None or value < limits["below"])
    )


KINDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    list[int]: "a list of integers",
    float | None: "null or a number",
}


def legal(spec):
    """What a field accepts, in words."""
    limits = spec.metadata
    choices = limits.get("choices") or limits.get("variants")
    if choices:
        return "one of " + ", ".join(choices)
    signs = {"above": ">", "least": ">=", "below": "<"}
    ranges = [f"{sign} {limits[k]}" for k, sign in signs.items() if limits.get(k) is not None]
    return " ".join([KINDS[spec.type], " and ".join(ranges)]).strip()


def settings():
    """Every key there is: (dotted key, its field, the variants it belongs to, e.g. {"sgd"})."""
    for spec in fields(Config):
        if "variants" not in spec.metadata:
            yield spec.name, spec, []
            continue
        found = {}
        for variant, schema in spec.metadata["variants"].items():
            for inner in fields(schema):
                if inner.name != "name":
                    key = f"{spec.name}.{inner.name}"
                    found.setdefault((key, inner.metadata["meaning"]), (inner, []))[1].append(
                        variant
                    )
        for (key, _), (inner, variants) in found.items():
            yield key, inner, variants


def unknown_key(key):
    """One line about a key that does not exist, or not in the chosen variant of its group."""
    keys = [known for known, _, _ in settings()]
    owners = [variant for known, _, variants in settings() if known == key for variant in variants]
    if owners:
        group_name = key.split(".")[0]
        return f"{key} belongs to " + " and ".join(f"{group_name}={owner}" for owner in owners)
    groups = [spec.name for spec in fields(Config) if "variants" in spec.metadata]
    near = difflib.get_close_matches(key, [*keys, *groups], n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown key {key}{hint} (python run.py --help lists them all)"


HELP = """\
Train a multilayer perceptron; the run folder that is named at the end holds all that it gives.

Usage: python run.py [key=value ...]        one run
       python run.py -m key=v1,v2,... ...   a sweep: every combination, each in its own folder

Groups (group=choice)
{groups}

Settings (key=value)
{settings}

Examples
  python run.py lr=0.3 epochs=3 seed=1
  python run.py experiment=mnist model.hidden_sizes=[500,300] model.activation=relu lr=0.1
  python run.py -m experiment=mnist lr=0.001,0.003,0.01,0.03 seed='range(3)' name=lr-sweep

--cfg job shows the configuration without running; --hydra-help tells what Hydra itself can do.
"""


def help_text():
    """The page that --help shows."""
    groups = []
    for spec in fields(Config):
        for variant, schema in spec.metadata.get("variants", {}).items():
            groups.append(f"  {spec.name + '=' + variant:24} {schema.__doc__}")
    lines = []
    for key, spec, variants in settings():
        only = f" [{', '.join(variants)}]" if variants else ""
        lines.append(f"  {key:24} {legal(spec)}\n  {'':24}   {spec.metadata['meaning']}{only}")
    return HELP.format(groups="\n".join(groups), settings="\n".join(lines))
