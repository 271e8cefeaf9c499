"""Microseconds a training step, for this program and its peers, side by side.

    python -m benchmarks.step
    python -m benchmarks.step --threads 1 --batch-sizes 1 16 128 --rounds 3

The network is 784-300-10 with sigmoid units and softmax, trained by plain SGD in float32 on MNIST.
What each peer does, and what is done for it beforehand, is in benchmarks/peers.py. Prints tables,
and writes step.csv (a row for each timing), step.md, step.png and step.pdf into --out.
"""

import argparse
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure

from benchmarks.peers import PEERS, PRODUCTS, THIS, Task
from benchmarks.report import report
from benchmarks.workers import measure

matplotlib.style.use("analysis.style")

# Colour, line style, marker. The colours are Okabe and Ito's, which the colour-blind tell apart.
STYLES = {
    THIS: ("#D55E00", "-", "o"),
    PRODUCTS: ("#000000", "--", ""),
    "NumPy textbook": ("#777777", "-", "s"),
    "JAX jit + scan": ("#0072B2", "-", "^"),
    "Keras on JAX": ("#56B4E9", "-", "v"),
    "torch.compile": ("#009E73", "-", "D"),
    "PyTorch": ("#CC79A7", "-", "P"),
    "scikit-learn": ("#E69F00", "-", "X"),
}


def main():
    arguments = parse()
    peers = [peer for peer in PEERS if peer in {THIS, PRODUCTS, *arguments.peers}]
    tasks = [Task(batch_size) for batch_size in arguments.batch_sizes]
    timings, absent = measure(peers, arguments.threads, tasks, arguments.rounds)
    frame = report(timings, "threads", absent, arguments.out / "step")
    figure = draw(frame)
    for suffix in ("png", "pdf"):
        figure.savefig(arguments.out / f"step.{suffix}")


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 16, 32, 64, 128, 512])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"))
    return parser.parse_args()


def draw(frame):
    """Time against batch size, a panel for each number of threads."""
    counts = sorted(frame["threads"].unique())
    sizes = sorted(frame["batch_size"].unique())
    figure = Figure(figsize=(1.2 + 2.7 * len(counts), 3.2))
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    medians = frame.groupby(["threads", "peer", "batch_size"])["microseconds"].median()
    for panel, threads in zip(panels, counts, strict=True):
        for peer, (colour, line, marker) in STYLES.items():
            if peer in medians[threads]:
                width, height = (2.4, 3) if peer == THIS else (1, 2)
                style = {"color": colour, "linestyle": line, "marker": marker}
                panel.plot(
                    medians[threads][peer], **style, linewidth=width, zorder=height, label=peer
                )
        panel.set(xscale="log", yscale="log", xlabel="batch size")
        panel.set_title("1 thread" if threads == 1 else f"{threads} threads")
        panel.set_xticks(sizes, sizes)
        panel.xaxis.minorticks_off()
        panel.yaxis.set_major_formatter("{x:,.0f}")
    panels[0].set_ylabel("microseconds a step")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    return figure


if __name__ == "__main__":
    main()
