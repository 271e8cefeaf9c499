"""What a page says of a sweep, but for its curves: plain values."""

import math
import os
from collections import Counter
from datetime import datetime
from itertools import product
from urllib.parse import quote

from mlp.run_folder import Damaged, read_result

from .. import figure
from ..curves import MARKS
from ..runs import code_version, flatten, label, printable
from ..sensitivity import as_number
from ..statistics import holm, mean_and_std, with_std
from ..sweep import WrongArgument, missing_seeds, rank
from ..table import by_dataset, by_name_and_seed, compare, comparison, tabulate

COMPARISONS = 10_000  # differences that a page has room for
STATUSES = ["finished", *MARKS, "unusable"]


def status(run):
    """How a run ended, in a word. A finished one that does not count is unusable."""
    return run.status if run.counts or run.status != "finished" else "unusable"


# The head


def counts(sweep):
    """How many runs there are, and how many are missing: 9 runs: 8 finished, 1 failed."""
    n = len(sweep.runs)
    parts = [f"{n} run{'s' * (n != 1)}: {ends(sweep.runs, STATUSES)}"]
    if sweep.n_coming:
        parts.append(f"{sweep.n_coming} still to come")
    if n_missing := sum(map(len, missing_seeds(sweep.groups).values())):
        parts.append(f"{n_missing} missing, of seeds that most groups have")
    return "; ".join(parts)


def ends(runs, words):
    """How many of the runs ended in which way: 2 diverged, 1 failed."""
    times = Counter(map(status, runs))
    return ", ".join(f"{times[word]} {word}" for word in words if times[word])


def has_ended(sweep):
    return not sweep.n_coming and all(run.status != "running" for run in sweep.runs)


def notes(sweep):
    """[(who, what)] of all findings. Runs with the same one share a line, and each is named."""
    who = {}
    for run, what in sweep.notes:
        who.setdefault(printable(what), []).append(printable(run))
    return [(", ".join(runs), what) for what, runs in who.items()]


def origin(results, dates):
    """[(what, text)]: when the runs ended, and the versions and machines that made them."""
    found = {"code": Counter(), "made with": Counter(), "on": Counter()}
    for environment in filter(None, (result.get("environment") for result in results)):
        found["code"][code_version(**environment)] += 1
        found["made with"][versions(environment)] += 1
        found["on"][str(environment.get("cpu") or "an unknown machine")] += 1
    texts = []
    if dates:
        ends = (datetime.fromtimestamp(date) for date in (min(dates), max(dates)))
        first, last = (f"{end:%Y-%m-%d %H:%M}" for end in ends)
        texts.append(("ended", first if first == last else f"{first} to {last}"))
    for what, times in found.items():
        shown = [f"{text} ({n} runs)" * (len(times) > 1) or text for text, n in times.most_common()]
        texts += [(what, "; ".join(shown))] if shown else []
    return texts


def versions(environment):
    names = {"python": "Python", "numpy": "NumPy", "hydra-core": "Hydra"}
    found = [f"{name} {environment[key]}" for key, name in names.items() if environment.get(key)]
    found += [library.get("name") for library in environment.get("blas") or ()]
    return ", ".join(map(str, found)) or "unknown versions"


# Groups


def table_of_groups(sweep, metric):
    """(names of columns, rows) as on a page, best first where there is a metric.

    A row: the place of its group among the sweep's, name, number of runs, cells as (text, what to
    sort by), and the place of the cell that is best.
    """
    has_left_out = not all(run.counts for run in sweep.runs)
    orders = {key: figure.values_in(sweep.groups, key) for key in sweep.keys}
    rows = []
    for place, group in enumerate(sweep.groups):
        values, n = group.values.items(), len(group.counted)
        cells = [(printable(label(value)), orders[key].index(value)) for key, value in values]
        cells += [(str(n), n)]
        cells += [(ends(group.runs, STATUSES[1:]), len(group.runs) - n)] * has_left_out
        means = [mean_and_std(group.finals(name)) for name in sweep.metrics]
        cells += [(with_std(*both), None if math.isnan(both[0]) else both[0]) for both in means]
        row = {"group": place, "name": printable(group.name), "n_runs": len(group.runs)}
        rows.append(row | {"cells": cells, "best": None})
    columns = [*map(printable, sweep.keys), "n", *["left out"] * has_left_out, *sweep.metrics]
    if not metric:
        return columns, rows
    table, by_name = tabulate(sweep, metric), dict(zip(names(sweep), rows, strict=True))
    for name in table.index[table["best"]]:
        by_name[name]["best"] = columns.index(metric)
    return columns, [by_name[name] for name in table.index]


def names(sweep):
    return [group.name for group in sweep.groups]


def comparisons(sweep, first):
    """({metric: {place of a baseline: for each group [difference, interval, p, test]}}, a text).

    The text says what is not there, and why. Where groups are many, the first ones alone are
    baselines. first: places of groups, in order.
    """
    places = {name: place for place, name in enumerate(names(sweep))}
    first = set(first[: max(1, COMPARISONS // max(1, len(places) * len(sweep.metrics)))])
    found = {metric: {} for metric in sweep.metrics}
    parts = [part for part in by_dataset(sweep) if len(part) > 1]
    for metric, part in product(sweep.metrics, parts):
        try:
            finals = by_name_and_seed(part, metric)
        except WrongArgument as reason:
            return {}, f"Groups are not compared{printable(reason.text)}."
        for baseline in finals:
            if (place := places[baseline]) in first:
                table = compare(finals, baseline)
                table["p_holm"] = holm(table["p"])
                found[metric][place] = of = [[""] * 4 for _ in places]
                for name, row in table.iterrows():
                    of[places[name]] = comparison(row)
    has_all = len(first) == len(places)
    return found, "" if has_all else f"The best {len(first)} groups can be compared with."


def hyperparameters(sweep):
    """For each key its axis: the place and name of each value, and which one every group has.

    Numbers stand where they belong, on a logarithmic axis if they span a factor of ten. There, 0
    stands one decade below the least. Words stand side by side.
    """
    axes = []
    for key in sweep.keys:
        values = figure.values_in(sweep.groups, key)
        numbers = [as_number(value) for value in values]
        above = [number for number in numbers if number]
        if not (is_numeric := None not in numbers and all(map(math.isfinite, numbers))):
            numbers = range(len(values))
        elif min(numbers) >= 0 and above and max(above) >= 10 * min(above):
            numbers = [math.log10(number or min(above) / 10) for number in numbers]
        axes.append(
            {
                "name": printable(key),
                "is_numeric": is_numeric,
                "ticks": [
                    [float(number), printable(label(value))]
                    for number, value in zip(numbers, values, strict=True)
                ],
                "of_groups": [values.index(group.values[key]) for group in sweep.groups],
            }
        )
    return axes


# Runs


def in_order(sweep):
    """The runs, group after group, by seed."""

    def seed(run):
        return rank(run.config.get("seed"))

    return [run for group in sweep.groups for run in sorted(group.runs, key=seed)]


def describe_runs(several, metrics, base):
    """(runs, configuration that all share, environments, origin), for a page in the folder base."""
    runs, results, environments, dates = [], [], [], []
    for run in several:
        results.append(result := result_of(run))
        environment = flatten(result.get("environment") or {})
        if environment not in environments:
            environments.append(environment)
        if result:
            dates.append(os.stat(run.folder / "result.json").st_mtime)
        runs.append(
            {
                "name": printable(run.name),
                "link": quote(os.fsencode(os.path.relpath(run.folder, base))),
                "seed": label(run.config.get("seed")),
                "status": status(run),
                "counts": run.counts,
                "problem": run.problem and printable(run.problem),
                "finals": [run.final(metric) for metric in metrics],
                "seconds": run.seconds,
                "overrides": [printable(str(text)) for text in result.get("overrides") or ()],
                "environment": environments.index(environment),
                "error": printable(str(result.get("error") or "")),
            }
        )
    configs = [{key: label(value) for key, value in run.config.items()} for run in several]
    first = configs[0].items()
    shared = {key: value for key, value in first if all(c.get(key) == value for c in configs)}
    for run, config in zip(runs, configs, strict=True):
        run["config"] = {key: value for key, value in config.items() if key not in shared}
    return runs, shared, environments, origin(results, dates)


def result_of(run):
    """What its result.json says; nothing where there is none, or none that can be read."""
    try:
        return read_result(run.folder)
    except (FileNotFoundError, Damaged):
        return {}
