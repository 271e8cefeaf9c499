"""Final metrics of every group: mean and sample standard deviation over seeds, best first.

The best is marked on validation only: what is chosen by its test accuracy can't be judged by it.
"""

import pandas as pd

from analysis import command
from analysis.runs import EPOCH_METRICS, check_word, is_value, label, split_condition
from analysis.statistics import decimals, holm, mean_and_std, paired_difference, with_std
from mlp.errors import UserError


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
        metavar="KEY=VALUE",
        help="compare METRIC with this group's: mean difference on shared seeds, 95%% t interval, "
        "and p of a paired t test, Holm-corrected; of more than one --baseline all must hold",
    )
    parser.add_argument("--format", choices=[*LAYOUTS, "csv"], default="text")
    args = parser.parse_args(argv)
    with parser.errors_in_one_line():
        sweep = command.read(args)
        metric = command.final_metric(sweep, args.metric)
        table = summarise(sweep, metric)
        caption = f"mean ± sample std of n runs, sorted by {metric}"
        if args.baseline:
            baseline = find_baseline(sweep, args.baseline)
            table = table.join(compare(sweep, metric, baseline))
            caption += f"; difference in {metric} from {baseline} on shared seeds (pairs)"
        order = table[f"{metric}_mean"].sort_values(
            ascending=metric.endswith("loss"), kind="stable", na_position="last"
        )
        table = table.loc[order.index]
        if args.format == "csv":
            print(table.to_csv(index=False), end="")
        else:
            print(render(table, metric, caption, args.format))
        command.print_findings(sweep)


def summarise(sweep, metric):
    """A row per group, named by it: keys, n, diverged, failed, mean and std by metric, best."""
    shown = [known for known in EPOCH_METRICS if known in sweep.metrics]
    rows = {}
    for values, names in sweep.groups():
        counted = sweep.counted(names)
        status = [sweep.runs.at[name, "status"] for name in names]
        mean, std = mean_and_std(sweep.metrics.loc[counted, shown].to_numpy(float))
        row = dict(zip(sweep.keys, map(label, values), strict=True))
        row |= {"n": len(counted)} | {end: status.count(end) for end in ("diverged", "failed")}
        for column, known in enumerate(shown):
            row |= {f"{known}_mean": mean[column], f"{known}_std": std[column]}
        rows[sweep.describe(values)] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    means = table[f"{metric}_mean"]
    best = means.min() if metric.endswith("loss") else means.max()
    table["best"] = (means == best) & metric.startswith("val")
    return table


def find_baseline(sweep, conditions):
    """The one group, as described, that meets all conditions KEY=VALUE. Raises UserError."""
    groups = [values for values, _ in sweep.groups()]
    for condition in conditions:
        key, text = split_condition("--baseline", condition)
        check_word("--baseline", key, sweep.keys)
        place = sweep.keys.index(key)
        groups = [values for values in groups if is_value(text, values[place])]
    if len(groups) != 1:
        found = " and ".join(sweep.describe(values) for values in groups) or "no group"
        raise UserError(f"--baseline {' '.join(conditions)} must be one group; it is {found}")
    return sweep.describe(groups[0])


def compare(sweep, metric, baseline):
    """Paired differences in metric from the baseline, on shared seeds: a row per group, named by
    it, with pairs, difference, low, high (95% t interval), p and p_holm. Raises UserError.
    """
    by_seed = {}
    for values, names in sweep.groups():
        counted = sweep.counted(names)
        group = sweep.describe(values)
        seeds = sweep.config.loc[counted, "seed"]
        if seeds.duplicated().any():
            raise UserError(f"--baseline: {group} has several runs of one seed; add keys to --by")
        by_seed[group] = pd.Series(sweep.metrics.loc[counted, metric].to_numpy(float), seeds)
    rows = {
        group: paired_difference((own - by_seed[baseline]).dropna().to_numpy())._asdict()
        for group, own in by_seed.items()
        if group != baseline
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["p_holm"] = holm(table["p"])
    table["n"] = table["n"].astype("Int64")  # stays whole beside the baseline's empty row
    return table.rename(columns={"n": "pairs", "mean": "difference"})


def render(table, metric, caption, layout):
    """The table's rows, as they come, in a layout of LAYOUTS; numbers rounded by their spread."""
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
    places = decimals(row["high"] - row["low"]) if row["high"] > row["low"] else 4
    mean, low, high = (f"{row[key]:+.{places}f}" for key in ("difference", "low", "high"))
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
