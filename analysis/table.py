"""Final metrics of every group: mean and sample standard deviation over seeds, best first.

We mark the best on validation only. Test accuracy can't judge what it has chosen.
"""

import pandas as pd

from . import command
from .runs import label, several
from .statistics import holm, mean_and_std, paired_difference, rounded, with_std
from .sweep import WrongArgument, is_value, split_condition


def main(argv=None):
    parser = command.Parser(
        "table",
        "Final metrics of every group of runs: mean ± sample std over n seeds, best first.",
        "outputs/lr-sweep --baseline lr=0.01 --format md",
    )
    parser.add_choice_of_runs()
    parser.add_final_metric()
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="compare METRIC with this group's: mean difference on shared seeds, 95%% t interval, "
        "and p of a paired t test, Holm-corrected; one group must meet every --baseline",
    )
    parser.add_argument("--format", choices=[*LAYOUTS, "csv"], default="text")
    args = parser.parse_args(argv)
    with parser.errors_in_one_line():
        sweep = command.read(args)
        metric = sweep.final_metric(args.metric)
        table = tabulate(sweep, metric, args.baseline)
        caption = f"mean ± sample std of n runs, sorted by {metric}"
        if args.baseline:
            baseline = find_baseline(sweep, args.baseline).name
            caption += f"; difference in {metric} from {baseline} on shared seeds (pairs)"
        if args.format == "csv":
            print(table.to_csv(index=False), end="")
        else:
            print(render(table, metric, caption, args.format))
        command.print_findings(sweep)


def tabulate(sweep, metric=None, baseline=()):
    """A DataFrame with a row per group, named by it, best first.

    Its columns: the sweep's keys, n, diverged, failed, mean and std of every metric, best. With a
    baseline, also those of `compare`. metric: what to sort by and compare; None for val_accuracy,
    or else test_accuracy. baseline: conditions such as "lr=0.01" that one group alone meets.
    Raises WrongArgument.
    """
    metric = sweep.final_metric(metric)
    table = summarise(sweep, metric)
    if baseline:
        table = table.join(compare(sweep, metric, find_baseline(sweep, baseline).name))
    order = table[f"{metric}_mean"].sort_values(
        ascending=metric.endswith("loss"), kind="stable", na_position="last"
    )
    return table.loc[order.index]


def summarise(sweep, metric):
    rows = {}
    for group in sweep.groups:
        status = [run.status for run in group.runs]
        row = {key: label(value) for key, value in group.values.items()}
        row["n"] = len(group.counted)
        row |= {end: status.count(end) for end in ("diverged", "failed")}
        for known in sweep.metrics:
            row[f"{known}_mean"], row[f"{known}_std"] = mean_and_std(group.finals(known))
        rows[group.name] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    means = table[f"{metric}_mean"]
    best = means.min() if metric.endswith("loss") else means.max()
    table["best"] = (means == best) & metric.startswith("val")
    return table


def find_baseline(sweep, conditions):
    """The one Group that meets all conditions KEY=VALUE. Raises WrongArgument."""
    groups, conditions = sweep.groups, several(conditions)
    for condition in conditions:
        key, text = split_condition("baseline", condition, sweep.keys)
        groups = [group for group in groups if is_value(text, group.values[key])]
    if len(groups) != 1:
        found = " and ".join(group.name for group in groups) or "no group"
        text = f" {' '.join(conditions)} must be one group; it is {found}"
        raise WrongArgument("baseline", text)
    return groups[0]


def compare(sweep, metric, baseline):
    """Paired differences in metric from the group named baseline, on shared seeds.

    A row per group, named by it: pairs, difference, low and high (95% t interval), p and p_holm.
    Raises WrongArgument where a group has two runs of one seed.
    """
    by_seed = {}
    for group in sweep.groups:
        seeds = pd.Index([run.config.get("seed") for run in group.counted])
        if seeds.has_duplicates:
            text = f": {group.name} has several runs of one seed; group by more keys"
            raise WrongArgument("baseline", text)
        by_seed[group.name] = pd.Series(group.finals(metric), seeds)
    rows = {}
    for group, own in by_seed.items():
        if group != baseline:
            pairs = pd.DataFrame({"own": own, "other": by_seed[baseline]}).dropna()
            rows[group] = paired_difference(*pairs.to_numpy().T)._asdict()
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["p_holm"] = holm(table["p"])
    table["n"] = table["n"].astype("Int64")  # stays whole beside the baseline's empty row
    return table.rename(columns={"n": "pairs", "mean": "difference"})


def render(table, metric, caption, layout):
    """The table as text in a layout of LAYOUTS, rows in the given order.

    The spread of a number decides its digits.
    """
    keys = table.columns[: table.columns.get_loc("failed") + 1]
    means = [column for column in table if column.endswith("_mean")]
    header = [*keys, *(mean.removesuffix("_mean") for mean in means)]
    if "pairs" in table:
        header += ["difference", "95% interval", "p (Holm)", "pairs"]
    rows = []
    write, escapes, best = LAYOUTS[layout]
    for _, row in table.iterrows():
        cells = [str(row[key]) for key in keys]
        cells += [with_std(row[mean], row[mean.replace("_mean", "_std")]) for mean in means]
        if "pairs" in table:
            cells += comparison(row)
        cells = [cell.translate(escapes) for cell in cells]
        if row["best"]:
            place = header.index(metric)
            cells[place] = best.format(cells[place])
        rows.append(cells)
    lines = [[cell.translate(escapes) for cell in header], *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines = [[cell.ljust(w) for cell, w in zip(line, widths, strict=True)] for line in lines]
    return write(lines, caption)


def comparison(row):
    """Cells for the difference, its interval, its p and the pairs; empty where there is none."""
    if pd.isna(row["p"]):
        return ["", "", "", "" if pd.isna(row["pairs"]) else str(row["pairs"])]
    width = row["high"] - row["low"] or 0.001
    mean, low, high = rounded([row[key] for key in ("difference", "low", "high")], width, "+")
    return [mean, f"{low} to {high}", f"{row['p_holm']:.2g}", str(row["pairs"])]


def as_text(lines, caption):
    return "\n".join([*("  ".join(line).rstrip() for line in lines), "", caption])


def as_markdown(lines, caption):
    rule = ["-" * len(cell) for cell in lines[0]]
    rows = [f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])]
    return "\n".join([*rows, "", caption])


def as_tex(lines, caption):
    head, *rows = (" & ".join(line) + r" \\" for line in lines)
    start = rf"\begin{{tabular}}{{{'l' * len(lines[0])}}}"
    rows = [start, r"\hline", head, r"\hline", *rows, r"\hline", r"\end{tabular}"]
    return "\n".join([f"% {caption}", *rows])


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
