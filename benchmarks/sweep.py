"""How long a sweep takes from the command line to its last result, beside its peers.

    python -m benchmarks.sweep
    python -m benchmarks.sweep --rounds 1 --only local serial

Twelve runs of 784-300-10 on MNIST (4 learning rates x 3 seeds, 5 epochs, batch size 16), whole
processes timed:

    local         python run.py -m ..., a process for each core, one BLAS thread each
    serial        the same with launcher=serial, one run after the other
    PyTorch       benchmarks/torch_sweep.py under Hydra's joblib launcher
    scikit-learn  benchmarks/sklearn_sweep.py, MLPClassifier under joblib

in turns, so that all meet the same load. Then the time that 12 and 48 runs of one epoch take, which
should grow by no more than the runs: four times.
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

from tqdm import tqdm

from mlp.machine import cores

ROOT = Path(__file__).resolve().parents[1]
LRS = ("0.03", "0.1", "0.3", "1")
SEEDS, EPOCHS = 3, 5
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}


def this_program(launcher, epochs=EPOCHS, seeds=SEEDS):
    values = ["dataset=mnist", "model.activation=sigmoid", "batch_size=16", "name=sweep"]
    lrs = ",".join(LRS)
    asked = [f"lr={lrs}", f"seed=range({seeds})", f"epochs={epochs}", f"launcher={launcher}"]
    return [ROOT / "run.py", "-m", *values, *asked]


def pytorch(epochs=EPOCHS):
    asked = [f"lr={','.join(LRS)}", f"seed=range({SEEDS})", f"epochs={epochs}"]
    return ["-m", "benchmarks.torch_sweep", "-m", *asked, f"hydra.launcher.n_jobs={cores()}"]


def scikit_learn(epochs=EPOCHS):
    asked = ["--lr", *LRS, "--seeds", str(SEEDS), "--epochs", str(epochs)]
    return ["-m", "benchmarks.sklearn_sweep", *asked]


COMMANDS = {
    "local": lambda epochs: this_program("local", epochs),
    "serial": lambda epochs: this_program("serial", epochs),
    "PyTorch": pytorch,
    "scikit-learn": scikit_learn,
}


def measure(command, n_runs):
    """(seconds, processor seconds, best mean validation accuracy of a learning rate)."""
    busy = processor_seconds()
    with tempfile.TemporaryDirectory() as folder:
        began = perf_counter()
        subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = perf_counter() - began
        results = [json.loads(path.read_text()) for path in Path(folder).rglob("result.json")]
    assert len(results) == n_runs, f"{len(results)} results, not {n_runs}"
    by_lr = {}
    for result in results:
        by_lr.setdefault(result["config"]["lr"], []).append(result["metrics"]["val_accuracy"])
    best = max(sum(found) / len(found) for found in by_lr.values())
    return seconds, processor_seconds() - busy, best


def processor_seconds():
    """Of the whole machine: those who wait for a sweep do not wait for all of its processes."""
    user, nice, system, *_ = Path("/proc/stat").read_text().split()[1:]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--only", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    args = parser.parse_args()

    n_runs = len(LRS) * SEEDS
    tasks = {name: (COMMANDS[name](args.epochs), n_runs) for name in args.only}
    growth = {f"{n} short runs": (this_program("local", 1, n // len(LRS)), n) for n in (12, 48)}
    seconds, busy = ({name: [] for name in (tasks | growth)} for _ in range(2))
    accuracy = {}
    with tqdm(total=args.rounds * len(seconds), disable=None) as bar:
        for _ in range(args.rounds):
            for name, task in (tasks | growth).items():
                taken, used, accuracy[name] = measure(*task)
                seconds[name].append(taken)
                busy[name].append(used)
                bar.write(f"{name}: {taken:.1f} s", file=sys.stderr)
                bar.update()

    print(
        f"{n_runs} runs, {args.epochs} epochs, {cores()} cores, median of {args.rounds} rounds:\n"
    )
    print("| | seconds | times local | processor seconds | best val_accuracy |")
    print("| --- | --: | --: | --: | --: |")
    for name in tasks:
        shown = f"{ratio(seconds[name], seconds['local']):.2f}" if "local" in tasks else ""
        times = f"{median(seconds[name]):.1f} | {shown} | {median(busy[name]):.1f}"
        print(f"| {name} | {times} | {accuracy[name]:.4f} |")
    print()
    if {"local", "serial"} <= tasks.keys():
        scaling = ratio(seconds["serial"], seconds["local"]) / cores()
        print(f"local reaches {scaling:.2f} of perfect scaling on {cores()} cores")
    short, long = (seconds[name] for name in growth)
    print(f"{' and '.join(growth)}: {median(short):.1f} and {median(long):.1f} s, ", end="")
    print(f"{ratio(long, short):.2f} times as long")


def ratio(ones, others):
    """The median of the rounds' ratios."""
    return median(one / other for one, other in zip(ones, others, strict=True))


if __name__ == "__main__":
    main()
