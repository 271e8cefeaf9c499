"""How long the loss curves of a large sweep take: this program and seaborn, side by side.

Makes 12 runs (4 learning rates x 3 seeds) of 275,000 steps, as of batch size 1 for 5 epochs of
55,000 examples, and times whole processes, from the command line to the figure on disk:

    analysis  python -m analysis.curves: mean, sample std and every seed, and the CSV beside it
    seaborn   pandas.read_csv, lineplot(errorbar="sd"): mean and sample std

in turns, so that both meet the same load. Seconds are medians over the rounds; of seaborn also
those in lineplot alone, without imports and reading.

    python -m benchmarks.curves [--steps 275000] [--rounds 3]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

LRS, SEEDS, EPOCHS = (0.001, 0.003, 0.01, 0.03), (0, 1, 2), 5

SEABORN = """
import sys, time
from pathlib import Path
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

frames = []
for path in sorted(Path(sys.argv[1]).glob("*/steps.csv")):
    lr = path.parent.name.split(",")[0].removeprefix("lr=")
    frames.append(pd.read_csv(path).assign(lr=lr))
runs = pd.concat(frames, ignore_index=True)
start = time.perf_counter()
sns.lineplot(runs, x="step", y="loss", hue="lr", errorbar="sd")
print(time.perf_counter() - start)
plt.savefig(sys.argv[2], dpi=300)
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=275_000, help="of each run; a multiple of 5")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sweep, picture = Path(folder, "sweep"), str(Path(folder, "loss.png"))
        for lr in LRS:
            for seed in SEEDS:
                make_run(sweep / f"lr={lr},seed={seed}", lr, seed, args.steps)
        commands = {
            "analysis": ["-m", "analysis.curves", str(sweep), "--out", picture],
            "seaborn": ["-c", SEABORN, str(sweep), picture],
        }
        seconds = {name: [] for name in (*commands, "lineplot alone")}
        for number in range(1, args.rounds + 1):
            for name, command in commands.items():
                start = perf_counter()
                output = run(command)
                seconds[name].append(perf_counter() - start)
                print(f"round {number}: {name:9}{seconds[name][-1]:8.1f} s", flush=True)
            seconds["lineplot alone"].append(float(output))
    medians = {name: median(times) for name, times in seconds.items()}
    print(f"\n{len(LRS) * len(SEEDS)} runs of {args.steps:,} steps, median of {args.rounds}:")
    for name, value in medians.items():
        print(f"{name:15}{value:8.1f} s{value / medians['analysis']:8.1f} x")


def run(command):
    """Standard output of python with these arguments, from the repository's root."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def make_run(path, lr, seed, steps):
    """A finished run's folder, with a loss that falls in noise as that of single examples does."""
    path.mkdir(parents=True)
    random = np.random.default_rng([seed, int(lr * 1e6)])
    step = np.arange(1, steps + 1)
    loss = (0.2 + 2 * np.exp(-lr * step / 100)) * random.exponential(size=steps)
    epoch = (step - 1) * EPOCHS // steps + 1
    with open(path / "steps.csv", "w") as file:
        file.write("step,epoch,loss\n")
        file.writelines(map("%d,%d,%.9g\n".__mod__, zip(step, epoch, loss, strict=True)))
    metrics = "train_loss", "train_accuracy", "val_loss", "val_accuracy"
    rows = [
        [number, number * steps // EPOCHS, lr, *[value, np.exp(-value)] * 2]
        for number, value in enumerate([2.3, *loss.reshape(EPOCHS, -1).mean(axis=1).tolist()])
    ]
    columns = "epoch", "step", "lr", *metrics
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    (path / "epochs.csv").write_text("\n".join([*lines, ""]))
    result = {
        "status": "finished",
        "config": {"name": "curves", "seed": seed, "lr": lr, "batch_size": 1, "epochs": EPOCHS},
        "metrics": dict(zip(columns, rows[-1], strict=True)),
        "environment": {"git_commit": None, "git_dirty": None},
    }
    (path / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
