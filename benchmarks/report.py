"""What the timings say: tables, whether the losses agree, whether the machine was at peace."""

import os
from importlib.metadata import PackageNotFoundError, version

import pandas as pd

from benchmarks.peers import PEERS, PRODUCTS, THIS
from mlp.run_folder import cpu_name


def report(timings, by, notes, out):
    """Print and write: a table for each value of the column `by`, and what else is to be known.

    notes: more lines. out: a path without suffix; out.md gets the text, and out.csv a row for each
    timing. Returns the latter as a DataFrame.
    """
    frame = tidy(timings)
    lines = [f"{machine()}. Microseconds a step, and in brackets how many times this program's"]
    lines += [f"that is; medians of {frame['round'].nunique()} rounds."]
    for value in frame[by].unique():
        lines += ["", f"{by}: {value}", "", table(frame[frame[by] == value])]
    lines += ["", agreement(frame), *doubts(frame), *notes]
    text = "\n".join(lines)
    print(text)

    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    frame.to_csv(out.with_suffix(".csv"), index=False)
    return frame


def machine():
    """Processor and packages, in one line."""
    parts = [cpu_name(), f"{os.cpu_count()} processors"]
    for package in ["numpy", "torch", "jax", "keras", "scikit-learn"]:
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"no {package}")
    return ", ".join(parts)


def tidy(timings):
    """A row for each timing."""
    frame = pd.DataFrame(timings)
    tasks = frame.pop("task")
    for i, column in enumerate(["path", "batch_size", "n_steps"]):
        frame.insert(i, column, [getattr(task, column) for task in tasks])
    return frame


def table(frame):
    """Markdown: a row for each peer, a column for each batch size.

    Medians over the rounds, of the times and of each round's ratios to this program's. Last, this
    program's over the dense products.
    """
    times = frame.pivot(index=["batch_size", "round"], columns="peer", values="microseconds")
    times = times[[peer for peer in PEERS if peer in times]]
    medians = times.groupby("batch_size").median()
    ratios = times.div(times[THIS], axis=0).groupby("batch_size").median()
    shares = times[THIS].div(times[PRODUCTS]).groupby("batch_size").median()
    rows = [["batch size", *medians.index], ["---", *["--:"] * len(medians)]]
    for peer in times:
        pairs = zip(medians[peer], ratios[peer], strict=True)
        rows.append([peer, *(f"{us:,.0f} ({ratio:.2f})" for us, ratio in pairs)])
    rows.append([f"{THIS} / {PRODUCTS}", *(f"{share:.2f}" for share in shares)])
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def agreement(frame):
    """Each peer's largest relative difference from this program's loss after the steps."""
    losses = frame.pivot(
        index=["path", "batch_size", "threads", "round"], columns="peer", values="loss"
    )
    differences = losses.div(losses[THIS], axis=0).sub(1).abs().max().drop([THIS, PRODUCTS])
    parts = [f"{peer} {differences[peer]:.1e}" for peer in PEERS if peer in differences]
    return f"Relative difference of the losses after the steps, at most: {', '.join(parts)}."


def doubts(frame):
    """Where one thread was not one, and whether the machine did other things: a line each."""
    single = frame[frame["threads"] == 1]
    cpus = single.groupby(["peer", "batch_size"])["cpus"].median()
    for (peer, batch_size), used in cpus[cpus > 1.15].items():
        yield f"Warning: {peer} kept {used:.2f} processors busy at batch size {batch_size}."
    if (shared := (single["cpus"] < 0.9).mean()) > 0.1:
        yield f"Warning: in {shared:.0%} of the timings other programs took over 10 % of the time."
