"""The report's tables: LaTeX of the booktabs kind. Each function takes a Place and the Facts."""

import re

import numpy as np

from .. import worked_example
from ..statistics import mean_and_std
from . import checks, facts, search
from .numbers import described, number, percent, signed, spread, typed
from .published import COURSE


def tabular(columns, header, rows, rules=()):
    """columns: LaTeX's; rows: lists of cells; rules: indices of rows with a rule above them."""
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(header) + r" \\"]
    for i, row in enumerate(rows):
        lines += [r"\midrule"] * (i == 0 or i in rules)
        lines.append(" & ".join(row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def naive(*_):
    header = ["$o_c$", "$y_c$", r"$\tdd{l}{y_c}$", "two steps", "formula"]
    header += [r"$-\log y_c$", "log-sum-exp"]
    rows = [[rf"$-{gap}$", *map(number, values)] for gap, *values in checks.naive_rows()]
    return tabular("rrrrrrr", header, rows)


def worked(*_):
    """Every value and derivative, a row each; a matrix in rows, divided by semicolons."""
    rows, rules = [], []
    for name, value, formula in worked_example.compute():
        if name in worked_example.HEADINGS:
            rules.append(len(rows))
        formula = formula.removesuffix(", in nats").partition(" = ")[2]
        rows.append([in_latex(name), entries(value), in_latex(formula) if formula else "given"])
    return tabular("lll", ["", "value", "by"], rows, rules)


def in_latex(formula):
    """A formula of the worked example: dl/do_j = y_j - [j = 0]."""
    formula = re.sub(r"_(\w+)", r"_{\1}", formula).replace("dl/d", r"\partial l/\partial ")
    return f"${re.sub('(sum|exp|log)', lambda match: chr(92) + match[1], formula)}$"


def entries(value):
    if not isinstance(value, list):
        return signed(value)
    if not isinstance(value[0], list):
        return f"({', '.join(map(signed, value))})"
    if len(value) > 2 and all(row == value[0] for row in value):
        return f"{len(value)} rows of {entries(value[0])}"
    return "; ".join(map(entries, value))


def synth_rows(place, _):
    x, labels = facts.synth_data(place).train
    rows = [[f"${a:.3f}$", f"${b:.3f}$", str(c)] for (a, b), c in zip(x[:5], labels, strict=False)]
    return tabular("rrr", ["$x_1$", "$x_2$", "class"], rows)


def speed(place, _):
    plain, fast = facts.speed_table(place)
    first = next(iter(plain.values()))
    rows = [
        [
            str(size),
            number(round(plain[size])),
            f"{plain[size] / first:.1f}",
            number(round(fast[size])),
        ]
        for size in plain
    ]
    return tabular("rrrr", ["batch size", "plain", "gain", "with shortcuts"], rows)


def rates(place, _):
    """Final figures of every learning rate at both batch sizes, and paired differences."""
    rows, rules = [], []
    for names in ("lr", "beyond"), ("batch32",):
        rules.append(len(rows))
        table, _ = facts.rate_table(place, *names)
        batch_size = str(place.results(names[0])[0]["config"]["batch_size"])
        for lr, row in table.iterrows():
            losses = [
                spread(row[f"{on}_loss_mean"], row[f"{on}_loss_std"]) for on in ("train", "val")
            ]
            accuracy = percent(row["val_accuracy_mean"], row["val_accuracy_std"])
            compared = ["best", ""]
            if not row["best"]:
                mean, low, high = (100 * row[key] for key in ("difference", "low", "high"))
                compared = [f"${mean:+.2f}$ (${low:+.2f}$ to ${high:+.2f}$)", small(row["p_holm"])]
            cells = [batch_size, f"{lr:g}", str(row["n"]), *losses, accuracy]
            rows.append([*cells, *compared])
    header = ["batch", "lr", "$n$", "train loss", "val loss", r"val accuracy, \%"]
    header += ["difference from the best", "$p$"]
    return tabular("rrrrrrrr", header, rows, rules)


def small(p):
    return "--" if np.isnan(p) else f"{p:.2g}" if p >= 1e-3 else r"$<10^{-3}$"


def course(place, _):
    rows = []
    for lr, (ours, wide) in facts.course_accuracies(place).items():
        published = [value / 100 for value in COURSE[lr]]
        means = [percent(*pair) for pair in (published, mean_and_std(wide), mean_and_std(ours))]
        rows.append([f"{lr:g}", *means])
    return tabular("rrrr", ["lr", "published", "ours, wide weights", "ours"], sorted(rows))


def finalists(place, _):
    """The candidates of the third round: validation accuracy before it and on fresh seeds."""
    rows, rules, settings = [], [], search.candidates(place)
    for name in search.SEARCHES:
        rules.append(len(rows))
        before, fresh = search.before_third(place, name), search.fresh(place, name)
        chosen = search.winner(place, name)
        for candidate, own in fresh.items():
            means = [percent(*mean_and_std(scores)) for scores in (before[candidate], own)]
            change = 100 * (np.mean(own) - np.mean(before[candidate]))
            mark = r"$\star$" * (candidate == chosen)
            words = rf"\raggedright {described(settings[candidate])}"
            rows.append([mark, typed(candidate), words, *means, f"${change:+.2f}$"])
    header = ["", "", "settings", "rounds before", "fresh seeds", "change"]
    return tabular(r"llp{0.38\textwidth}rrr", header, rows, rules)


def final(_, numbers):
    rows, text = [], numbers.text
    for name, words in {"plain": "plain SGD", "free": "anything goes"}.items():
        ranges = [
            f"{text(f'{name}.test.{low}')} to {text(f'{name}.test.{high}')}"
            for low, high in (("low", "high"), ("min", "max"))
        ]
        means = [text(f"{name}.{key}") for key in ("test", "test-loss", "train")]
        rows.append([words, text("final.n-seeds"), means[0], *ranges, *means[1:]])
    header = ["", "$n$", r"test accuracy, \%", r"95\,\% interval", "least to greatest"]
    return tabular("lrrrrrr", [*header, "test loss", r"training accuracy, \%"], rows)


def ledger(place, _):
    """Runs below every folder: how many saw validation data, how many the test set."""
    counts = {}
    for result in facts.every_result(place):
        own = counts.setdefault(result["folder"].parent.name, [0, 0])
        own[facts.is_final(result)] += 1
    rows = [[typed(name), sum(own), *own] for name, own in counts.items()]
    rows.append(["all", *(sum(row[i] for row in rows) for i in (1, 2, 3))])
    rows = [[name, *map(number, own)] for name, *own in rows]
    header = ["folder", "runs", "on validation data", "on the test set"]
    return tabular("lrrr", header, rows, [len(rows) - 1])


def provenance(place, _):
    rows = [
        [typed(name), number(n), f"{seconds / 60:.1f}", typed(digest)]
        for name, (n, seconds, digest, _) in facts.provenance(place).items()
    ]
    header = ["folder", "runs", "minutes of one core", "SHA-256 of the logs"]
    return tabular("lrrl", header, rows)


TABLES = {
    "naive": naive,
    "worked": worked,
    "synth-rows": synth_rows,
    "speed": speed,
    "rates": rates,
    "course": course,
    "finalists": finalists,
    "final": final,
    "ledger": ledger,
    "provenance": provenance,
}


def commands(place):
    """The commands that repeat the sweeps, a line each; long lists show their ends alone."""
    lines = []
    for *_, own in facts.provenance(place).values():
        for command in own:
            words = []
            for word in command.split():
                key, _, value = word.partition("=")
                names = value.split(",")
                if key == "experiment" and len(names) > 4:
                    word = f"experiment={names[0]},{names[1]},...,{names[-1]}"
                words.append(word)
            lines.append(" ".join(words))
    return "\n".join(lines) + "\n"
