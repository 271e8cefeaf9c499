"""Final metrics of every group: mean and sample standard deviation over seeds, best first.

We mark the best of each dataset, on validation only. Test accuracy can't judge what it has chosen.
"""

import math
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from . import command
from .runs import EPOCH_METRICS, label, several
from .statistics import (
    holm,
    mean_and_std,
    paired_difference,
    rounded,
    welch_difference,
    with_std,
)
from .sweep import WrongArgument, check_word, conditions, meets, rank

COMPARISON = ["test", "pairs", "difference", "low", "high", "p", "p_holm"]


def main(argv=None):
    parser = command.Parser(
        "table",
        "Final metrics of every group of runs: mean ± sample std over n seeds, best first.",
        "outputs/lr-sweep --baseline lr=0.01,batch_size=16 --out table.tex",
    )
    parser.add_choice_of_runs()
    parser.add_final_metric()
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="KEY=VALUE,KEY=VALUE",
        help="compare METRIC with this group's: difference of means, 95%% t interval and p, "
        "Holm-corrected; paired on shared seeds, or by Welch's test where no two are shared",
    )
    parser.add_argument(
        "--columns",
        type=command.words,
        metavar="NAME,NAME",
        help="only these, in this order: hyperparameters, n, metrics, difference",
    )
    parser.add_argument(
        "--per-run", action="store_true", help="a row for each run, whether it counts or not"
    )
    layout = parser.add_mutually_exclusive_group()
    layout.add_argument("--format", choices=[*LAYOUTS, "csv"], default="text")
    layout.add_argument(
        "--out", metavar="FILE", help="write it there instead: .txt, .md, .tex (booktabs) or .csv"
    )
    args = parser.parse_args(argv)
    with parser.errors_in_one_line():
        layout = out_layout(args.out) if args.out else args.format
        if args.per_run and args.baseline:
            raise WrongArgument("baseline", " compares groups; --per-run shows runs")
        sweep = command.read(args)
        metric = sweep.final_metric(args.metric)
        if args.per_run:
            table, caption = tabulate_runs(sweep), "last epoch of every run"
        else:
            table = tabulate(sweep, metric, args.baseline)
            caption = describe(sweep, metric, args.baseline, table)
        names = columns(table, args.columns, hide=layout != "csv")
        if layout == "csv":
            kept = [column for name in names for column in table if shown_as(column) == name]
            text = table[kept].to_csv(index=False)
        else:
            text = render(table, names, metric, caption, layout) + "\n"
        if args.out:
            Path(args.out).write_text(text, encoding="utf-8")
        print(f"wrote {args.out}\n" if args.out else text, end="")
        command.print_findings(sweep)


def out_layout(out):
    """The layout that a file's ending asks for. Raises WrongArgument."""
    layouts = {".txt": "text", ".md": "md", ".tex": "tex", ".csv": "csv"}
    if Path(out).suffix not in layouts:
        raise WrongArgument("out", f" {out}: its ending must be one of {', '.join(layouts)}")
    return layouts[Path(out).suffix]


def describe(sweep, metric, baseline, table):
    """What a table shows, in a line."""
    text = f"mean ± sample std of n runs, sorted by {metric}"
    if not baseline:
        return text
    names = " and ".join(group.name for group in find_baselines(sweep, baseline) if group)
    text += f"; difference in {metric} from {names}, with a 95% t interval"
    tests = {"paired": "paired on shared seeds", "Welch": "by Welch's test where no two are shared"}
    return ", ".join(
        [text, *(words for test, words in tests.items() if (table["test"] == test).any())]
    )


def tabulate(sweep, metric=None, baseline=()):
    """A DataFrame with a row per group, named by it: best first, one dataset after the other.

    Its columns: the sweep's keys, n, diverged, failed, mean and std of every metric, best. With a
    baseline, also those of `compare`. metric: what to sort by and compare; None for val_accuracy,
    or else test_accuracy. baseline: conditions such as "lr=0.01,batch_size=16", which one group
    meets, or one of each dataset. Raises WrongArgument.
    """
    metric = sweep.final_metric(metric)
    parts = by_dataset(sweep)
    baselines = find_baselines(sweep, baseline) if baseline else [None] * len(parts)
    tables = []
    for groups, base in zip(parts, baselines, strict=True):
        table = summarise(groups, sweep.metrics, metric)
        if base:
            table = table.join(compare(by_name_and_seed(groups, metric), base.name))
        order = table[f"{metric}_mean"].sort_values(
            ascending=metric.endswith("loss"), kind="stable", na_position="last"
        )
        tables.append(table.loc[order.index])
    table = pd.concat(tables)
    if baseline:
        table["p_holm"] = holm(table["p"])
    return table


def tabulate_runs(sweep):
    """A DataFrame with a row per run: name, status, hyperparameters that differ, last metrics."""
    keys = dict.fromkeys([*sweep.keys, "seed"])
    runs = [
        sorted(group.runs, key=lambda run: rank(run.config.get("seed"))) for group in sweep.groups
    ]
    names = [run.name for several in runs for run in several]
    table = sweep.frame().reindex(names, columns=["status", *keys, "epoch", "step", *sweep.metrics])
    table.insert(0, "run", names)
    return table


def by_dataset(sweep):
    """The groups in lists, one for each dataset: the metrics of two can't be compared."""
    parts = {}
    for group in sweep.groups:
        data = tuple(group.values.get(key) for key in ("dataset", "dataset.path"))
        parts.setdefault(data, []).append(group)
    return list(parts.values())


def summarise(groups, metrics, metric):
    """The rows of groups of one dataset."""
    rows = {}
    for group in groups:
        status = [run.status for run in group.runs]
        row = {key: label(value) for key, value in group.values.items()}
        row["n"] = len(group.counted)
        row |= {end: status.count(end) for end in ("diverged", "failed")}
        for known in metrics:
            row[f"{known}_mean"], row[f"{known}_std"] = mean_and_std(group.finals(known))
        rows[group.name] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    means = table[f"{metric}_mean"]
    best = means.min() if metric.endswith("loss") else means.max()
    table["best"] = (means == best) & metric.startswith("val")
    return table


def find_baselines(sweep, texts):
    """For each dataset the one Group that meets all conditions, or None. Raises WrongArgument."""
    wanted = conditions("baseline", texts, sweep.keys)
    found = [
        [group for group in groups if all(meets(group.values[key], *how) for key, *how in wanted)]
        for groups in by_dataset(sweep)
    ]
    if not any(found) or max(map(len, found)) > 1:
        names = " and ".join(group.name for groups in found for group in groups) or "no group"
        text = f" {' '.join(several(texts))} must be one group; it is {names}"
        raise WrongArgument("baseline", text)
    return [groups[0] if groups else None for groups in found]


def by_name_and_seed(groups, metric):
    """{name: {seed: final metric}} of groups. Raises WrongArgument where one has a seed twice."""
    return {group.name: group.by_seed(metric).dropna().to_dict() for group in groups}


def compare(finals, baseline):
    """Differences from a group, by paired t tests on shared seeds, or else by Welch's.

    finals: as by_name_and_seed gives them. baseline: the group's name. A row per other group, named
    by it: test, pairs, difference, low and high (95% t interval), p.
    """
    rows, base = {}, finals[baseline]
    for name, own in finals.items():
        if name == baseline:
            continue
        pairs = np.array([[own[seed], base[seed]] for seed in own if seed in base]).reshape(-1, 2)
        is_paired = len(pairs) > 1 or min(len(own), len(base)) < 2
        if is_paired:
            found = paired_difference(*pairs.T)
        else:
            found = welch_difference(list(own.values()), list(base.values()))
        rows[name] = {"test": "paired" if is_paired else "Welch", **found._asdict()}
    columns = {"n": "pairs", "mean": "difference"}
    table = pd.DataFrame.from_dict(rows, orient="index").rename(columns=columns)
    return table.astype({"pairs": "Int64"})  # stays whole beside empty rows


# Columns and layouts


def shown_as(column):
    """The name under which a person asks for a column: val_loss for val_loss_mean and _std."""
    if column in COMPARISON:
        return "difference"
    return column.removesuffix("_mean").removesuffix("_std")


def columns(table, wanted, hide):
    """The names of the columns to show. Raises WrongArgument.

    wanted: None for all; but where `hide`, without those that say nothing.
    """
    known = list(dict.fromkeys(map(shown_as, table)))
    for name in wanted or ():
        check_word("columns", name, known)
    empty = [
        end for end in ("diverged", "failed") if hide and end in table and not table[end].any()
    ]
    return wanted or [name for name in known if name not in (*empty, *["best"] * hide)]


def render(table, names, metric, caption, layout):
    """These columns of a table as text in a layout of LAYOUTS. The best of metric is marked.

    The spread of a number decides its digits.
    """
    write, escapes, best = LAYOUTS[layout]
    shown = {}
    for name in names:
        if name == "difference":
            rows = [comparison(row) for _, row in table.iterrows()]
            heads = ["difference", "95% interval", "p (Holm)", "test"]
            shown |= dict(zip(heads, zip(*rows, strict=True), strict=True))
        elif f"{name}_mean" in table:
            shown[name] = map(with_std, table[f"{name}_mean"], table[f"{name}_std"])
        else:
            shown[name] = [plain(name, value) for value in table[name].tolist()]
    shown = {head: [cell.translate(escapes) for cell in cells] for head, cells in shown.items()}
    if metric in shown and "best" in table:
        marks = zip(shown[metric], table["best"], strict=True)
        shown[metric] = [best.format(cell) if is_best else cell for cell, is_best in marks]
    lines = [[head.translate(escapes) for head in shown], *zip(*shown.values(), strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines = [[cell.ljust(w) for cell, w in zip(line, widths, strict=True)] for line in lines]
    return write(lines, caption)


def plain(name, value):
    """A cell that is no mean."""
    if pd.isna(value):
        return ""
    return f"{value:.4g}" if name in EPOCH_METRICS else label(value)


def comparison(row):
    """Cells for the difference, its interval, its p and the test; empty where there is none."""
    if pd.isna(row["test"]):
        return [""] * 4
    test = row["test"] if pd.isna(row["pairs"]) else f"paired, {row['pairs']}"
    if pd.isna(row["p"]):
        return ["", "", "", test]
    width = row["high"] - row["low"] or 0.001
    mean, low, high = rounded([row[key] for key in ("difference", "low", "high")], width, "+")
    return [mean, f"{low} to {high}", f"{row['p_holm']:.2g}", test]


def as_text(lines, caption):
    """In parts below each other where a terminal is too narrow.

    Each begins with the keys, or with the first column of those that were chosen.
    """
    is_terminal = sys.stdout.isatty()
    width = (is_terminal and os.get_terminal_size(sys.stdout.fileno()).columns) or math.inf
    heads = [cell.rstrip() for cell in lines[0]]
    n_keys = heads.index("n") if "n" in heads else 1
    keys, parts = range(n_keys), [[]]
    for i in range(n_keys, len(lines[0])):
        if parts[-1] and sum(len(lines[0][j]) + 2 for j in [*keys, *parts[-1], i]) - 2 > width:
            parts.append([])
        parts[-1].append(i)
    rows = [["  ".join(line[i] for i in [*keys, *part]) for line in lines] for part in parts]
    return "\n\n".join([*("\n".join(map(str.rstrip, part)) for part in rows), caption])


def as_markdown(lines, caption):
    rule = ["-" * len(cell) for cell in lines[0]]
    rows = [f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])]
    return "\n".join([*rows, "", caption])


def as_tex(lines, caption):
    head, *rows = (" & ".join(line) + r" \\" for line in lines)
    start = rf"\begin{{tabular}}{{{'l' * len(lines[0])}}}"
    rows = [start, r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
    return "\n".join([f"% {caption}", r"% \usepackage{booktabs}", *rows])


TEX_ESCAPES = str.maketrans(
    {character: f"\\{character}" for character in "_%&#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$"}
)
LAYOUTS = {  # how lines are written, what is escaped in a cell, and how the best is marked
    "text": (as_text, {}, "{} *"),
    "md": (as_markdown, str.maketrans({"|": r"\|"}), "**{}**"),
    "tex": (as_tex, TEX_ESCAPES, r"\textbf{{{}}}"),
}


if __name__ == "__main__":
    main()
