"""The report's numbers: run folders -> {name: Fact}. The text takes them by these names.

Each function adds the facts of one part of the report.
"""

import functools
import hashlib
import math
from itertools import pairwise

import numpy as np

from mlp.experiment import make_config

from .. import predictions, worked_example
from ..statistics import half_width, mean_and_std
from ..table import tabulate
from . import checks, search
from .numbers import Facts, described, percent, signed, spread, typed
from .published import COURSE, COURSE_RUNS, OTHERS
from .sweeps import SWEEPS

# Accuracies below these are outside figures' axes, so that the others can be told apart
FLOOR, SEARCH_FLOOR = 0.9, 0.976


def collect(place):
    """All Facts of the report."""
    facts = Facts()
    words = "A quick version, to test the build: its networks are small, its figures mean nothing."
    facts.add_text("version", words, rf"\textbf{{{words}}} " if place.quick else "")
    facts.add("floor", ".1f", search=100 * SEARCH_FLOOR)
    facts.add("floor", ".0f", all=100 * FLOOR)
    facts.add("course", n_runs=COURSE_RUNS)
    for name, figures in OTHERS.items():
        facts.add(f"published.{name}", **figures)
    add_computed(facts)
    add_mnist(facts)
    for add in (
        *(add_synth, add_speed, add_losses, add_rates, add_course, add_hidden, add_activation),
        *(add_batch, add_search, add_final, add_provenance),
    ):
        add(facts, place)
    return facts


def add_computed(facts):
    for name, value, _ in worked_example.compute():
        for index, entry in np.ndenumerate(np.atleast_1d(value)):
            where = "".join(str(i + 1) for i in index)
            facts.add_text(f"worked.{name}.{where}", float(entry), signed(float(entry)))

    *_, (_, _, _, two, direct, _, _) = checks.naive_rows()
    facts.add("naive", two=two, direct=direct)

    sizes, n, step = [20, 7, 5], 16, 1e-5
    batched, one_by_one, numeric = checks.gradients(sizes, n, step)
    facts.add("check", sizes="-".join(map(str, sizes)), batch=n, n_params=len(batched))
    facts.add_text("check.step", step, f"$10^{{{math.log10(step):.0f}}}$")
    apart = [
        np.abs(batched - other).max() / np.abs(batched).max() for other in (one_by_one, numeric)
    ]
    facts.add("check", scalar=apart[0], numeric=apart[1])

    n, top = 256, 3
    squares = np.square(checks.gradient_directions(n))
    facts.add("directions", top=top, all=len(squares), batch=n)
    facts.add("directions", ".0f", share=100 * squares[:top].sum() / squares.sum())


# Data


def synth_data(place):
    return make_config(dataset=place.results("scalar")[0]["config"]["dataset"]).dataset.load()


def add_synth(facts, place):
    dataset = synth_data(place)
    x, labels = dataset.train
    facts.add("synth", n_train=len(x), n_val=len(dataset.held_out[0]), min=x.min(), max=x.max())
    facts.add("synth", ".3f", mean=np.abs(x.mean(axis=0)).max(), std=x.std(axis=0).max())
    facts.add("synth", ".1f", outside=100 * labels.mean())
    (group,) = place.sweep("scalar").groups
    config, losses = group.runs[0].config, epoch_curves(group, "train_loss")
    hidden, std = int(config["model.hidden_sizes"].strip("[]")), config["model.init_std"]
    facts.add("scalar", lr=config["lr"], epochs=config["epochs"], hidden=hidden, init_std=std)
    facts.add_spread("scalar.loss.first", losses[:, 0], spread)
    facts.add_spread("scalar.loss.last", losses[:, -1], spread)
    accuracies = np.sort(group.finals("val_accuracy"))
    facts.add_spread("scalar.val", accuracies, percent)
    facts.add("scalar.val", ".1f", least=100 * accuracies[0], second=100 * accuracies[1])
    speed = np.median([result["examples_per_second"] for result in place.results("scalar")])
    facts.add("scalar", n_seeds=len(losses), falls=falls(losses), speed=float(f"{speed:.2g}"))


def epoch_curves(group, metric):
    """A metric of a group's runs at the end of each epoch, (n_runs, 1 + n_epochs)."""
    return np.array([run.curves(metric)[metric][1] for run in group.counted])


def falls(curves):
    """Whether the mean of curves (n_runs, n_epochs) falls from each epoch to the next."""
    return bool((np.diff(curves.mean(axis=0)) < 0).all())


def mnist(final=False):
    return make_config(dataset={"name": "mnist", "final": final}).dataset.load()


def add_mnist(facts):
    dataset, n_test = mnist(), len(mnist(final=True).held_out[0])
    (x, labels), (x_val, _) = dataset.train, dataset.held_out
    facts.add("mnist", n_train=len(x), n_val=len(x_val), n_all=len(x) + len(x_val), n_test=n_test)
    facts.add("mnist", n_classes=dataset.n_classes, max=x.max())
    facts.add("mnist", ".0f", zeros=100 * (x == 0).mean())
    facts.add("mnist", ".3f", guess=math.log(dataset.n_classes))
    counts = np.bincount(labels)
    facts.add("mnist", most=counts.max(), most_class=counts.argmax())
    facts.add("mnist", least=counts.min(), least_class=counts.argmin())


# Speed, losses, seeds


def speed_table(place):
    """Examples per second: two dicts by batch size, in order, of the plain way and the fast one."""
    plain, fast = {}, {}
    for result in sorted(place.results("speed"), key=lambda r: r["config"]["batch_size"]):
        way = fast if result["config"]["model"]["fast"] else plain
        way[result["config"]["batch_size"]] = result["examples_per_second"]
    return plain, fast


def add_speed(facts, place):
    plain, fast = speed_table(place)
    one, last = min(plain), max(plain)
    gains = [fast[size] / plain[size] for size in (one, last)]
    facts.add(
        "speed", one=one, last=last, fast_wins=all(fast[size] > plain[size] for size in plain)
    )
    facts.add("speed", ".1f", plain_gain=plain[last] / plain[one])
    facts.add("speed", ".1f", fast_gain=gains[0], last_gain=gains[1])
    facts.add("speed", rises=all(a < b for a, b in pairwise(plain.values())))


def window(place):
    """How many steps the report averages losses over."""
    return 10 if place.quick else 1000


def spread_group(place):
    """The group of runs whose spread over seeds the report shows: the greatest of the rates."""
    return place.sweep("lr").groups[-1]


def add_losses(facts, place):
    """Mini-batch losses, the gap between training and validation, and the spread over seeds."""
    group, n = spread_group(place), window(place)
    lr, batch, epochs = (group.runs[0].config[key] for key in ("lr", "batch_size", "epochs"))
    losses = epoch_curves(group, "loss")  # (n_runs, n_steps)
    facts.add("seeds", lr=lr, batch=batch, epochs=epochs, n=len(losses), window=n)
    one, n_steps = losses[0], losses.shape[1]
    first, tenth, end = (float(part[:n].mean()) for part in (one, one[n_steps // 10 :], one[-n:]))
    facts.add("batch", first=first, last=end)
    facts.add("batch", ".0f", early=100 * (first - tenth) / (first - end))
    last = losses[:, -(n_steps // epochs) :]
    facts.add("batch", largest_late=last[0].max())
    facts.add("batch", ".4f", median_late=np.median(last[0]))
    # Variances have a mean, standard deviations don't: most steps have tiny losses
    windows = last[:, : last.shape[1] // n * n].reshape(len(last), -1, n).mean(axis=-1)
    each, smooth = (math.sqrt(np.var(part, axis=0, ddof=1).mean()) for part in (last, windows))
    facts.add("seeds", std_step=each, std_window=smooth)
    facts.add("seeds", ".0f", std_ratio=each / smooth, std_root=math.sqrt(n))
    curves = {metric: epoch_curves(group, metric) for metric in ("train_loss", "val_loss")}
    for metric, values in curves.items():
        facts.add(f"gap.{metric}", first=values[:, 1].mean(), falls=falls(values))
    gaps = (curves["val_loss"] - curves["train_loss"]).mean(axis=0)[1:]
    facts.add("gap", first=gaps[0], last=gaps[-1], widens=bool((np.diff(gaps) > 0).all()))
    accuracies = epoch_curves(group, "val_accuracy")
    stds = 100 * accuracies.std(axis=0, ddof=1)
    facts.add("spread", ".2f", first=stds[1], last=stds[-1])
    facts.add_spread("seeds.val", accuracies[:, -1], percent)


# Hyperparameters


def rate_table(place, *names):
    """Final metrics of every learning rate, in order, compared with the best rate's accuracy.

    Returns them as a DataFrame by rate, and {rate: accuracies}.
    """
    sweep = place.sweep(*names, by="lr")
    best = tabulate(sweep, search.METRIC)["lr"].iloc[0]
    table = tabulate(sweep, search.METRIC, f"lr={best}")
    table.index = table["lr"].astype(float)
    accuracies = {g.values["lr"]: g.finals(search.METRIC) for g in sweep.groups}
    return table.sort_index(), accuracies


def add_rates(facts, place):
    table, accuracies = rate_table(place, "lr")
    first, last, nearest = min(accuracies), max(accuracies), table["difference"].idxmax()
    facts.add_text("lr.asked", list(accuracies), ", ".join(f"{lr:g}" for lr in accuracies))
    facts.add(
        "lr", first=first, last=last, rises=table["val_accuracy_mean"].is_monotonic_increasing
    )
    for key, lr in {"first": first, "last": last}.items():
        facts.add_spread(f"lr.{key}.val", accuracies[lr], percent)
    facts.add("lr", n_seeds=table["n"].min(), runner_up=nearest, pairs=table["pairs"][nearest])
    difference, low, high = (-100 * table[c][nearest] for c in ("difference", "high", "low"))
    facts.add("lr", ".2f", difference=difference, low=low, high=high)
    slow = table.iloc[0]
    facts.add("lr.slow", train=slow["train_loss_mean"], val=slow["val_loss_mean"])

    for key, names in {"one": ("lr", "beyond"), "many": ("batch32",)}.items():
        table, accuracies = rate_table(place, *names)
        best, largest = table["val_accuracy_mean"].idxmax(), max(accuracies)
        facts.add(key, best=best, largest=largest, smallest=min(accuracies))
        facts.add(key, loss=table["val_loss_mean"][largest], diverged=table["diverged"].sum())
        facts.add(key, batch=place.results(names[0])[0]["config"]["batch_size"])
        facts.add_spread(f"{key}.best.val", accuracies[best], percent)
        facts.add_spread(f"{key}.smallest.val", accuracies[min(accuracies)], percent)
    facts.add("many", ".0f", ratio=facts["many.best"] / facts["one.best"])
    behind = facts["one.smallest.val.mean"] - facts["many.smallest.val.mean"]
    facts.add("many", ".1f", behind=100 * behind)


def course_accuracies(place):
    """{lr: ours (n,), with wide initial weights (n,)}: accuracies."""
    ours, wide = rate_table(place, "lr")[1], rate_table(place, "wide")[1]
    return {lr: (ours[lr], wide[lr]) for lr in ours.keys() & COURSE.keys()}


def add_course(facts, place):
    """Against published figures: what wide weights cost, in percentage points, at each rate."""
    rows = dict(sorted(course_accuracies(place).items()))
    costs = [100 * (ours.mean() - wide.mean()) for ours, wide in rows.values()]
    leads = [100 * ours.mean() - COURSE[lr][0] for lr, (ours, _) in rows.items()]
    facts.add("course", ".2f", lead=min(leads))
    facts.add("wide", n_seeds=min(len(wide) for _, wide in rows.values()))
    facts.add("wide", ".1f", small=max(map(abs, costs[:2])), large=min(costs[-2:]))
    facts.add("wide", ".0f", share=100 * sum(costs) / sum(leads))


def add_hidden(facts, place):
    groups, seconds = place.sweep("hidden").groups, {}
    units = [int(group.values["model.hidden_sizes"].strip("[]")) for group in groups]
    accuracies = [100 * group.finals("val_accuracy") for group in groups]
    means = [values.mean() for values in accuracies]
    config = groups[0].runs[0].config
    facts.add("hidden", batch=config["batch_size"], lr=config["lr"])
    facts.add("hidden", least=units[0], usual=units[-2], most=units[-1])
    facts.add(
        "hidden", ".2f", least_val=means[0], usual_val=means[-2], std=accuracies[-2].std(ddof=1)
    )
    facts.add("hidden", ".2f", change=abs(means[-1] - means[-2]))
    facts.add("hidden", rises=all(a < b for a, b in pairwise(means[:-1])))
    for result in place.results("hidden"):
        (n,) = result["config"]["model"]["hidden_sizes"]
        seconds.setdefault(n, []).append(result["seconds"])
    facts.add("hidden", ".1f", cost=np.median(seconds[units[-1]]) / np.median(seconds[units[-2]]))


def add_activation(facts, place):
    groups, tops = place.sweep("activation", by=("model.activation", "lr")).groups, {}
    for group in groups:
        name, lr = group.values.values()
        top = *mean_and_std(100 * group.finals("val_accuracy")), lr
        tops[name] = max(tops.get(name, top), top)
    for name, (mean, std, lr) in tops.items():
        facts.add(f"activation.{name}", ".2f", val=mean, std=std)
        facts.add(f"activation.{name}", lr=lr)
    sigmoid = tops.pop("sigmoid")
    facts.add("activation", batch=groups[0].runs[0].config["batch_size"])
    facts.add("activation", lower=max(lr for *_, lr in tops.values()) < sigmoid[-1])
    facts.add("activation", ".2f", gain=max(tops.values())[0] - sigmoid[0])


def add_batch(facts, place):
    tops = {}  # {batch size: the best mean accuracy and its learning rate}
    for settings, accuracies in search.plain_groups(place):
        top, size = (100 * np.mean(accuracies), settings["lr"]), settings["batch_size"]
        tops[size] = max(tops.get(size, top), top)
    facts.add("batch", rates_rise=all(a[1] <= b[1] for a, b in pairwise(tops.values())))
    for key, size in {"small": min(tops), "large": max(tops)}.items():
        facts.add(f"batch.{key}", size=size, lr=tops[size][1])
        facts.add(f"batch.{key}", ".2f", val=tops[size][0])


# The search and the test set


def add_search(facts, place):
    sizes, candidates, first = search.size(place), search.candidates(place), search.scores(place, 0)
    n_more, n_fresh = (len(seeds) for seeds in sizes.seeds[1:3])
    facts.add("search", drawn=sizes.drawn, plain=len(candidates) - sizes.drawn, more=n_more)
    facts.add("search", second=sizes.second, third=sizes.third, n_fresh=n_fresh)
    facts.add("search", below=sum(score < SEARCH_FLOOR for (score,) in first.values()))
    best = dict.fromkeys(search.FAMILIES, 0.0)
    for name, (score,) in first.items():
        kind = search.family(candidates[name])
        best[kind] = max(best[kind], 100 * score)
    facts.add("search", ".2f", **best)
    muon = best.pop("Muon")
    lead, others = muon - max(best.values()), max(best.values()) - min(best.values())
    facts.add("search", ".2f", lead=lead, others=others)
    for name in search.SEARCHES:
        before, fresh = search.before_third(place, name), search.fresh(place, name)
        chosen = search.winner(place, name)
        facts.add_text(f"{name}.winner", chosen, typed(chosen))
        facts.add_text(f"{name}.settings", chosen, described(candidates[chosen]))
        facts.add_spread(f"{name}.before", before[chosen], percent)
        facts.add_spread(f"{name}.fresh", fresh[chosen], percent)
        changes = {f: 100 * (np.mean(fresh[f]) - np.mean(before[f])) for f in fresh}
        facts.add_text(f"{name}.change", changes[chosen], f"${changes[chosen]:+.2f}$")
        facts.add(name, ".2f", fall=-np.mean(list(changes.values())))
        facts.add(name, n_before=len(before[chosen]))


def final_results(place, name):
    """What result.json of each final run of a search holds, by seed."""
    chosen = search.winner(place, name)
    return [r for r in place.results("final") if search.candidate_of(r) == chosen]


@functools.cache
def final_predictions(place, name):
    """Probabilities on the test set of each final run, (n_runs, n, n_classes), and labels (n,)."""
    dataset = mnist(final=True)
    networks = [predictions.load_network(r["folder"]) for r in final_results(place, name)]
    return np.array([predictions.predict(n, dataset)[0] for n in networks]), dataset.held_out[1]


def confusion(p, labels):
    """Confusion counts, a sum over runs, (n_classes, n_classes). p (n_runs, n, n_classes)."""
    return sum(predictions.confusion(labels, own.argmax(axis=-1), p.shape[-1]) for own in p)


def add_final(facts, place):
    for name in search.SEARCHES:
        metrics = [result["metrics"] for result in final_results(place, name)]
        keys = "test_accuracy", "test_loss", "train_accuracy"
        accuracies, losses, train = (np.array([own[key] for own in metrics]) for key in keys)
        facts.add_spread(f"{name}.test", accuracies, percent)
        facts.add_spread(f"{name}.test-loss", losses, spread)
        facts.add_spread(f"{name}.train", train, percent)
        mean, std = mean_and_std(100 * accuracies)
        half = half_width("ci95", np.array([len(metrics)]), std)[0]
        facts.add(f"{name}.test", ".2f", low=mean - half, high=mean + half)
        facts.add(f"{name}.test", ".2f", min=100 * accuracies.min(), max=100 * accuracies.max())
    share, n_test = facts["free.test.mean"], facts["mnist.n-test"]
    facts.add("final", n_seeds=len(metrics))
    facts.add("final", ".2f", gain=100 * (share - facts["plain.test.mean"]))
    facts.add("final", ".2f", sampling=100 * math.sqrt(share * (1 - share) / n_test))
    p, labels = final_predictions(place, "free")
    wrong = p.argmax(axis=-1) != labels
    facts.add("final", always=wrong.all(axis=0).sum(), ever=wrong.any(axis=0).sum())
    facts.add("final", ".0f", mean_wrong=wrong.sum(axis=1).mean())
    facts.add("final", agrees=bool(np.isclose(1 - wrong.mean(), share, rtol=0, atol=1e-9)))
    off = confusion(p, labels) * (1 - np.eye(p.shape[-1], dtype=int))
    true, taken = np.unravel_index(off.argmax(), off.shape)
    facts.add("final.pair", true=true, taken=taken)
    facts.add("final.pair", ".1f", count=off.max() / len(p))
    touched = [result for result in every_result(place) if is_final(result)]
    same = {str(result["config"] | {"seed": None, "name": None}) for result in touched}
    facts.add("ledger", final=len(touched), configurations=len(same))


# How it was done


def every_result(place):
    """What result.json of every run below the report's folder holds, whatever made it."""
    folders = sorted({path.parents[1].name for path in place.runs.glob("*/*/result.json")})
    return [result for name in folders for result in place.results(name)]


def is_final(result):
    return bool(result["config"]["dataset"].get("final"))


def add_provenance(facts, place):
    results = every_result(place)
    made = results[0]["environment"]
    blas = made["blas"][0]["name"] if made["blas"] else "unknown"
    versions = {"python": made["python"], "numpy": made["numpy"], "hydra": made["hydra-core"]}
    facts.add("made", cpu=made["cpu"], blas=blas, runs=len(results), **versions)
    commits = sorted({str(result["environment"]["git_commit"])[:7] for result in results})
    facts.add_text("made.commits", commits, ", ".join(map(typed, commits)))
    facts.add("made", ".0f", minutes=sum(result["seconds"] for result in results) / 60)
    facts.add(
        "made", ".0f", steps=sum(result["metrics"].get("step", 0) for result in results) / 1e6
    )


def provenance(place):
    """{folder: (runs, seconds of all of them, digest of their logs, commands)}."""
    rows = {}
    for sweep in [*SWEEPS, *(make(place) for make in search.ROUNDS)]:
        if sweep.name not in rows:
            results = place.results(sweep.name)
            seconds = sum(result["seconds"] for result in results)
            rows[sweep.name] = len(results), seconds, digest([r["folder"] for r in results]), []
        rows[sweep.name][-1].append(sweep.command(place))
    return rows


def digest(folders):
    """SHA-256 over the names and the two logs of run folders, in order: the first 12 digits."""
    whole = hashlib.sha256()
    for folder in folders:
        whole.update(folder.name.encode())
        for log in "steps.csv", "epochs.csv":
            whole.update(hashlib.sha256((folder / log).read_bytes()).digest())
    return whole.hexdigest()[:12]
