"""The search for the final configurations: on validation figures alone, in rounds.

Round 1 draws candidates at random and runs each with one seed. Round 2 runs the best with more
seeds. Round 3 runs the best few of these with fresh seeds, and only those decide. So luck helps a
candidate into round 3, and no further. The winners then train on all training data, with seeds of
their own, and meet the test set.

There are two searches. "free" draws all that the program offers within 784-300-10, sigmoid units
and 5 epochs. "plain" is SGD with a constant learning rate; its first rounds are the sweeps over
learning rate and batch size that the report has anyway, so it starts at round 3.
"""

from dataclasses import dataclass

import numpy as np
import yaml

from .sweeps import SMALL, Sweep

METRIC = "val_accuracy"
SEARCHES = "plain", "free"
PLAIN_SWEEPS = "lr", "beyond", "batch32", "batch"


@dataclass(frozen=True)
class Size:
    """How many candidates enter a round, and the seeds that each of them gets in it."""

    drawn: int  # "free" only, as are first and second
    second: int
    third: int
    seeds: tuple  # of rounds 1, 2, 3 and of the final runs


FULL = Size(48, 6, 3, (range(100, 101), range(101, 103), range(110, 118), range(200, 210)))
QUICK = Size(4, 2, 2, (range(100, 101), range(101, 102), range(110, 112), range(200, 202)))
PLAIN_SEEDS = range(3)  # those that all plain sweeps have


def size(place):
    return QUICK if place.quick else FULL


# Candidates: settings by dotted key


def draw(n):
    """n candidates, the same ones every time: {name: {key: value}}."""
    rng = np.random.default_rng(2024)
    families = [sgd, momentum, adam, muon]
    return {f"free_{i + 1:03}": common(rng) | families[i % 4](rng) for i in range(n)}


INITS = ("glorot", None), ("normal", 0.05), ("normal", 0.1), ("normal", 0.2)


def common(rng):
    init, std = INITS[rng.integers(4)]
    return {
        "schedule": str(rng.choice(["linear", "cosine", "one_cycle"])),
        "model.init": init,
        "model.init_std": std,
    }


def sgd(rng):
    batch_size = int(rng.choice([4, 8, 16, 32]))
    return {
        "optimizer": "sgd",
        "batch_size": batch_size,
        "lr": rounded(batch_size * log_uniform(rng, 0.05, 0.2)),
        "optimizer.weight_decay": maybe(rng, 3e-6, 6e-5),
    }


def momentum(rng):
    batch_size, kept = int(rng.choice([16, 32, 64])), float(rng.choice([0.8, 0.9, 0.95]))
    return {
        "optimizer": "sgd",
        "batch_size": batch_size,
        "lr": rounded(batch_size * (1 - kept) * log_uniform(rng, 0.05, 0.2)),
        "optimizer.momentum": kept,
        "optimizer.nesterov": bool(rng.integers(2)),
        "optimizer.weight_decay": maybe(rng, 3e-6, 6e-5),
    }


def adam(rng):
    return {
        "optimizer": "adam",
        "batch_size": int(rng.choice([16, 32, 64])),
        "lr": log_uniform(rng, 0.002, 0.01),
        "optimizer.weight_decay": maybe(rng, 3e-3, 0.06),
    }


def muon(rng):
    batch_size = int(rng.choice([256, 512]))
    return {
        "optimizer": "muon",
        "batch_size": batch_size,
        "lr": rounded((batch_size / 256) ** 0.5 * log_uniform(rng, 0.03, 0.12)),
        "optimizer.momentum": float(rng.choice([0.8, 0.9, 0.95])),
        "optimizer.weight_decay": maybe(rng, 1e-3, 0.05),
    }


FAMILIES = "SGD", "momentum", "Adam", "Muon"


def family(settings):
    if settings["optimizer"] != "sgd":
        return settings["optimizer"].capitalize()
    return "momentum" if "optimizer.momentum" in settings else "SGD"


def log_uniform(rng, low, high):
    return rounded(np.exp(rng.uniform(np.log(low), np.log(high))))


def maybe(rng, low, high):
    """0 in one of three draws, or else log-uniform."""
    return 0.0 if rng.integers(3) == 0 else log_uniform(rng, low, high)


def rounded(value):
    """Two significant digits, so that a person can type it."""
    return float(f"{value:.2g}")


def candidates(place):
    """All candidates of both searches, as {name: {key: value}}. The plain sweeps must be there."""
    plain = {plain_name(settings): settings for settings, _ in plain_groups(place)}
    return plain | draw(size(place).drawn)


def plain_groups(place):
    """(settings, [accuracy of each seed]) of every pair of batch size and learning rate."""
    sweep = place.sweep(*PLAIN_SWEEPS, by=("batch_size", "lr"))
    return [
        (
            group.values,
            [r.final(METRIC) for r in group.counted if r.config["seed"] in PLAIN_SEEDS],
        )
        for group in sweep.groups
    ]


def plain_name(settings):
    return "plain_{batch_size}_at_{lr:g}".format(**settings)


# Experiments: a YAML file for each candidate, so that Hydra sweeps over them by name

EXPERIMENTS = "experiments"  # the folder that --config-dir names, below the report's runs


def write_experiments(place):
    folder = place.runs / EXPERIMENTS / "experiment"
    folder.mkdir(parents=True, exist_ok=True)
    for name, settings in candidates(place).items():
        tree = yaml.safe_dump(experiment(settings), sort_keys=False)
        (folder / f"{name}.yaml").write_text("# @package _global_\n" + tree)


def experiment(settings):
    """The tree of an experiment's file."""
    choices = {"dataset": "mnist", "model": "mlp"}
    tree = {"epochs": 5, "model": {"hidden_sizes": [300], "activation": "sigmoid"}}
    for key, value in settings.items():
        group, _, name = key.partition(".")
        if name:
            tree.setdefault(group, {})[name] = value
        elif group in ("optimizer", "schedule"):
            choices[group] = value
        else:
            tree[key] = value
    defaults = [{f"override /{group}": choice} for group, choice in choices.items()]
    return {"defaults": defaults} | tree


# Rounds: each is a sweep, which the results of those before it make


def first(place):
    """Every candidate of the free search, with one seed."""
    return round_of(place, "search", draw(size(place).drawn), 0)


def second(place):
    """The best of the first round, with more seeds."""
    return round_of(place, "search", best(scores(place, 0), size(place).second), 1)


def third(place):
    """The best few of both searches, with fresh seeds."""
    return round_of(
        place, "search", [n for search in SEARCHES for n in finalists(place, search)], 2
    )


def final(place):
    """The winners: on all training data, and measured on the test set."""
    winners = [winner(place, search) for search in SEARCHES]
    more = {"dataset": "mnist", "dataset.final": "true"}  # Hydra wants both at once
    return round_of(place, "final", winners, 3, more)


def round_of(place, folder, names, i, more=None):
    seeds = size(place).seeds[i]
    overrides = (more or {}) | {"seed": f"range({seeds.start},{seeds.stop})"}
    return Sweep(folder, tuple(names), overrides, SMALL, EXPERIMENTS)


ROUNDS = first, second, third, final


def finalists(place, search):
    """Names of the candidates in a search's third round, best first."""
    return best(before_third(place, search), size(place).third)


def before_third(place, search):
    """{candidate: scores} on which a search chooses those of its third round."""
    if search == "plain":
        return {plain_name(settings): own for settings, own in plain_groups(place)}
    earlier = scores(place, 0)
    more = scores(place, 1, best(earlier, size(place).second))
    return {name: earlier[name] + own for name, own in more.items()}


def fresh(place, search):
    """{candidate: scores on fresh seeds} of a search's third round."""
    return scores(place, 2, finalists(place, search))


def winner(place, search):
    return best(fresh(place, search), 1)[0]


def best(scored, n):
    """The n names with the greatest mean, best first."""
    return sorted(scored, key=lambda name: (-np.mean(scored[name]), name))[:n]


def scores(place, i, names=None):
    """{candidate: [validation accuracy of each seed]} of round i; 0 for a run that diverged.

    names: of the candidates in the round; None for all that the free search has drawn.
    """
    found = {}
    for result in place.results("search"):
        accuracy = result["metrics"].get(METRIC) or 0.0
        found[candidate_of(result), result["config"]["seed"]] = accuracy
    names, seeds = names or draw(size(place).drawn), size(place).seeds[i]
    return {name: [found[name, seed] for seed in seeds] for name in names}


def candidate_of(result):
    return dict(override.split("=", 1) for override in result["overrides"])["experiment"]
