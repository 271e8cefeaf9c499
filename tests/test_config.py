"""The configuration: what is legal, what is said about the rest; conf/ and the classes agree."""

import copy
import dataclasses
import functools
import re
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mlp.config import SWITCHES, Config, check
from mlp.data import DATASETS
from mlp.errors import UserError
from mlp.optimizers import OPTIMIZERS, SGD
from mlp.schedules import SCHEDULES
from mlp.settings import all_settings, build, describe, legal, tree_of

CONF = Path(__file__).resolve().parents[1] / "conf"
GROUPS = {
    field.name: field.metadata["variants"]
    for field in dataclasses.fields(Config)
    if "variants" in field.metadata
}
VARIANTS = [(group, variant) for group, variants in GROUPS.items() for variant in variants]
SETTINGS = [
    pytest.param(key, field, variants, id=f"{key} [{','.join(variants)}]" if variants else key)
    for key, field, variants in all_settings(Config)
]


@functools.cache
def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        values = OmegaConf.to_container(compose("config", list(overrides)), resolve=True)
        return {key: value for key, value in values.items() if key not in SWITCHES}


def tree(*choices, **changes):
    """The tree of values for choices such as "optimizer=adam"; then changes, by dotted key."""
    result = copy.deepcopy(composed(*choices))
    for key, value in changes.items():
        *groups, name = key.split(".")
        parent = result
        for group in groups:
            parent = parent[group]
        parent[name] = value
    return result


def complaint(values):
    """What `check` has to say: one line, or nothing."""
    try:
        check(values)
    except UserError as error:
        assert "\n" not in str(error)
        return str(error)
    return ""


def test_check_gives_the_values_by_attribute():
    config = check(tree(**{"lr": 1, "model.hidden_sizes": [4, 3], "optimizer.momentum": 0}))
    assert (config.seed, config.model.hidden_sizes, config.dataset.name) == (0, [4, 3], "synth")
    assert config.optimizer == SGD(momentum=0.0, nesterov=False, weight_decay=0.0)
    assert (type(config.lr), type(config.optimizer.momentum)) == (float, float)


@pytest.mark.parametrize("choice", ["model=scalar", "optimizer=adam", "schedule=one_cycle"])
def test_the_tree_of_a_config_makes_it_again(choice):
    values = tree(choice)
    config = check(values)
    assert tree_of(config) == values
    assert build(Config, tree_of(config)) == config


# conf/ and the classes


def test_every_part_is_one_of_the_tuples():
    assert tuple(GROUPS["dataset"].values()) == DATASETS
    assert tuple(GROUPS["optimizer"].values()) == OPTIMIZERS
    assert tuple(GROUPS["schedule"].values()) == SCHEDULES
    assert all(cls.name == name for variants in GROUPS.values() for name, cls in variants.items())


@pytest.mark.parametrize(("group", "variant"), VARIANTS, ids=map("=".join, VARIANTS))
def test_every_class_has_its_file_with_its_fields_and_legal_values(group, variant):
    values = tree(f"{group}={variant}")
    fields = dataclasses.fields(GROUPS[group][variant])
    assert values[group].keys() == {"name", *(field.name for field in fields)}
    assert values[group]["name"] == variant
    if variant in ("npz", "csv"):
        assert complaint(values) == "dataset.path is missing: it must be text"
        values[group]["path"] = "my.npz"
    assert complaint(values) == ""


def test_every_file_has_its_class():
    files = {(path.parent.name, path.stem) for path in CONF.glob("*/*.yaml")}
    assert files >= set(VARIANTS)
    assert {group for group, _ in files - set(VARIANTS)} <= {"experiment", "launcher", "sweeper"}


@pytest.mark.parametrize("cls", [Config, *(GROUPS[g][v] for g, v in VARIANTS)])
def test_values_stand_in_conf_alone(cls):
    for field in dataclasses.fields(cls):
        assert field.default is field.default_factory is dataclasses.MISSING


def test_the_main_file_has_the_keys_of_the_config():
    assert list(tree()) == [field.name for field in dataclasses.fields(Config)]


@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("experiment/*.yaml")))
def test_every_experiment_is_legal(name):
    assert complaint(tree(f"experiment={name}")) == ""


def test_the_help_names_every_group_every_key_and_what_is_legal():
    page = describe(Config, tree())
    groups, settings = (f" {' '.join(page[part].split())} " for part in ("groups", "settings"))
    for group, variant in VARIANTS:
        words = " ".join(GROUPS[group][variant].__doc__.splitlines()[0].split())
        assert f" {group}={variant} {words} " in groups
    for key, field, variants in all_settings(Config):
        only = f" [{', '.join(variants)}]" if variants else ""
        shown = rf" {re.escape(key)}(=(\S+))? {re.escape(legal(field))} "
        meaning = re.escape(f"{field.metadata['meaning']}{only} ")
        given = re.search(shown + meaning, settings)[2]
        *group, name = key.split(".")
        values = tree()[group[0]] if group else tree()
        is_there = not variants or values["name"] in variants
        assert (given is not None) == is_there
        assert not is_there or yaml.safe_load(given) == values[name]


# Values

SCIKIT = "digits,iris,wine,breast_cancer"
LEGAL = f"""
name: text
seed: an integer >= 0
lr: a number > 0
batch_size: an integer >= 1
epochs: an integer >= 1
dtype: one of float32, float64
threads: an integer >= 1
checkpoint_every: null or an integer >= 1
progress: true or false
dataset.num_train [synth]: an integer >= 1
dataset.num_val [synth]: an integer >= 1
dataset.seed [synth,{SCIKIT},npz,csv]: an integer >= 0 and < 4294967296
dataset.normalize [synth,mnist,fashion_mnist,{SCIKIT},npz,csv]: one of none, unit, standard
dataset.final [mnist,fashion_mnist,npz]: true or false
dataset.path [npz,csv]: text
dataset.label [csv]: null or text
model.hidden_sizes [mlp,scalar]: a list of integers >= 1
model.activation [mlp]: one of sigmoid, tanh, relu, leaky_relu
model.init [mlp,scalar]: one of normal, glorot, he
model.init_std [mlp,scalar]: null or a number > 0
model.fast [mlp]: true or false
optimizer.momentum [sgd,muon]: a number >= 0 and < 1
optimizer.nesterov [sgd]: true or false
optimizer.weight_decay [sgd]: a number >= 0
optimizer.beta1 [adam]: a number >= 0 and < 1
optimizer.beta2 [adam]: a number >= 0 and < 1
optimizer.eps [adam]: a number > 0
optimizer.weight_decay [adam,muon]: a number >= 0
schedule.warm_up [one_cycle]: a number > 0 and < 1
"""


def legal_values(field):
    limits = field.metadata
    if limits.get("choices"):
        return limits["choices"]
    if field.type is bool:
        return [True, False]
    if field.type in (str, str | None):
        return ["some text", *([] if field.type is str else [None])]
    if field.type == list[int]:
        return [[], [1], [300, 200, 100]]
    if field.type in (int, int | None):
        most = [] if limits["below"] is None else [limits["below"] - 1]
        null = [] if field.type is int else [None]
        return [limits["least"], limits["least"] + 1, *most, *null]
    least = 0 if limits["least"] is not None else 1e-30
    most = 1e30 if limits["below"] is None else 0.999999
    return [least, 0.5, most, *([None] if field.type == float | None else [])]


def illegal_values(field):
    limits = field.metadata
    numbers = []
    if limits.get("least") is not None:
        numbers.append(limits["least"] - 1)
    for bound in limits.get("above"), limits.get("below"):
        if bound is not None:
            numbers.append(bound)
    if field.type == list[int]:
        return ["300", 300, None, ["300"], [300.0], [True], [None], *([n] for n in numbers)]
    other_types = {
        bool: [0, 1, "true", None, []],
        str: [1, True, None, [], {}],
        int: [1.5, 1.0, "1", True, None, [1], float("nan"), float("inf")],
        int | None: [1.5, "1", True, [1], float("nan")],
        float: ["0.5", True, None, [0.5], float("nan"), float("inf")],
        str | None: [1, True, [], {}],
        float | None: ["0.5", False, [0.5], float("nan"), float("inf")],
    }[field.type]
    return [*other_types, *numbers, *(["nonsense", ""] if limits.get("choices") else [])]


@pytest.mark.parametrize(("key", "field", "variants"), SETTINGS)
def test_values_at_the_edge_are_accepted_and_those_beyond_are_refused(key, field, variants):
    wants = f"{key} must be {legal(field)}, got "
    for variant in variants or [None]:
        choices = [f"{key.split('.')[0]}={variant}"] if variant else []
        choices += ["dataset.path=x"] if variant in ("npz", "csv") else []
        for value in legal_values(field):
            assert not complaint(tree(*choices, **{key: value})).startswith(f"{key} must be"), value
        for value in illegal_values(field):
            assert complaint(tree(*choices, **{key: value})) == f"{wants}{value!r}"


def test_what_is_legal():
    found = [f"{setting.id}: {legal(setting.values[1])}" for setting in SETTINGS]
    assert sorted(found) == sorted(LEGAL.strip().splitlines())


@pytest.mark.parametrize(("key", "field", "variants"), SETTINGS)
def test_a_missing_value_is_named(key, field, variants):
    choices = [f"{key.split('.')[0]}={variants[0]}"] if variants else []
    choices += ["dataset.path=x"] if variants[:1] in (["npz"], ["csv"]) else []
    values = tree(*choices, **{key: "???"})
    assert complaint(values) == f"{key} is missing: it must be {legal(field)}"
    *groups, name = key.split(".")
    del (values[groups[0]] if groups else values)[name]
    assert complaint(values) == f"{key} is missing: it must be {legal(field)}"


# Keys


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("lrr", "unknown key lrr; did you mean lr?"),
        ("batchsize", "unknown key batchsize; did you mean batch_size?"),
        ("model.hiden_sizes", "unknown key model.hiden_sizes; did you mean model.hidden_sizes?"),
        ("optimiser", "unknown key optimiser; did you mean optimizer?"),
        ("xyzzy", "unknown key xyzzy (--help"),
        ("optimizer.beta1", "optimizer.beta1 belongs to optimizer=adam"),
        ("schedule.warm_up", "schedule.warm_up belongs to schedule=one_cycle"),
        ("dataset.final", "dataset.final belongs to dataset=mnist and dataset=fashion_mnist"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_or_with_where_it_belongs(key, answer):
    assert complaint(tree(**{key: 1})).startswith(answer)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("value", [None, "nonsense", 3, {}, {"name": "nonsense"}], ids=str)
def test_a_group_must_be_one_of_its_variants(group, value):
    wants = f"{group} must be one of {', '.join(sorted(GROUPS[group]))}, got "
    assert complaint(tree(**{group: value})).startswith(wants)


# Settings that contradict each other


@pytest.mark.parametrize(
    ("choices", "changes", "answer"),
    [
        ([], {"name": "../x"}, "name must be a folder below outputs/, got '../x'"),
        ([], {"name": ""}, "name must be a folder below outputs/, got ''"),
        ([], {"model.init": "normal"}, "model.init_std goes with model.init=normal"),
        ([], {"model.init_std": 0.1}, "model.init_std goes with model.init=normal"),
        ([], {"optimizer.nesterov": True}, "optimizer.nesterov=true needs optimizer.momentum"),
        (["model=scalar"], {"batch_size": 2}, "batch_size must be 1, got 2"),
        (["model=scalar"], {"dtype": "float32"}, "dtype must be float64, got float32"),
        (["model=scalar"], {"optimizer.momentum": 0.5}, "optimizer must be sgd without momentum"),
        (["model=scalar"], {"optimizer.weight_decay": 0.1}, "optimizer must be sgd without"),
        (["model=scalar", "optimizer=adam"], {}, "optimizer must be sgd without"),
    ],
    ids=str,
)
def test_contradictions_are_refused(choices, changes, answer):
    assert answer in complaint(tree(*choices, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"model.init": "normal", "model.init_std": 0.1},
        {"optimizer.nesterov": True, "optimizer.momentum": 0.9},
    ],
    ids=str,
)
def test_settings_that_go_together_are_accepted(changes):
    assert complaint(tree(**changes)) == ""


@pytest.mark.parametrize(("key", "field", "variants"), SETTINGS)
def test_the_page_lists_every_key_with_what_is_legal_and_what_it_means(key, field, variants):
    rows = (CONF.parent / "docs/hyperparameters.md").read_text(encoding="utf-8").splitlines()
    of_key = [row for row in rows if row.startswith(f"| `{key}` |")]
    assert any(legal(field) in row and field.metadata["meaning"] in row for row in of_key)
