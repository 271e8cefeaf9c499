"""What a run on MNIST costs beside its steps, each figure beside the bound that it should keep to.

    python -m benchmarks.overheads

Evaluation, against the training of an epoch at batch size 16; writing steps.csv, against the steps
at batch size 1; loading MNIST in a new process, its rare features kept apart, its files being
in the system's cache; and the most memory that `python run.py experiment=mnist epochs=1` holds,
mapped files included. One thread, 784-300-10, plain SGD; medians over the rounds.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from mlp import make_config
from mlp.experiment import start
from mlp.run_folder import RunFolder
from mlp.training import Epoch

ROOT = Path(__file__).resolve().parents[1]
WRITTEN_STEPS = 10_000


def epoch(batch_size):
    """An epoch's records, each with the seconds in which it was made."""
    model, numbers = {"activation": "sigmoid"}, {"lr": 0.1, "batch_size": batch_size, "epochs": 1}
    config = make_config(dataset="mnist", model=model, **numbers)
    records = start(config, config.dataset.load()).records()
    next(records)  # the untrained network
    began = time.perf_counter()
    for record in records:
        yield record, time.perf_counter() - began
        began = time.perf_counter()


def evaluation():
    *_, (last, seconds) = epoch(batch_size=16)
    assert isinstance(last, Epoch)
    return 100 * seconds / last.seconds


def writing():
    stepping = written = 0.0
    with tempfile.TemporaryDirectory() as path, RunFolder(path, config={}) as folder:
        folder.open_logs("val", "float32")
        for record, seconds in epoch(batch_size=1):
            began = time.perf_counter()
            folder.write(record)
            written += time.perf_counter() - began
            stepping += seconds
            if record.first > WRITTEN_STEPS:
                return 100 * written / stepping


LOAD = """
import time
from mlp import make_config
from mlp.experiment import start
config = make_config(dataset="mnist")
began = time.perf_counter()
dataset = config.dataset.load()
assert dataset.ranges
start(config, dataset)
print(time.perf_counter() - began)
"""


def loading():
    return float(python("-c", LOAD))


# A process counts the memory of the one that it was forked from: hence a small one in between
WATCH = """
import resource, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)
unit = 1 if sys.platform == "darwin" else 1024
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e6)
"""


def memory():
    with tempfile.TemporaryDirectory() as path:
        run = ["run.py", "experiment=mnist", "epochs=1", "progress=false", f"hydra.run.dir={path}"]
        return float(python("-c", WATCH, *run))


def python(*arguments):
    """What Python prints."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


FIGURES = [  # what, unit, at most, and the function that measures it
    ("evaluation, of an epoch's training", "%", 10, evaluation),
    ("writing steps.csv, of the steps", "%", 3, writing),
    ("loading MNIST", "s", 0.3, loading),
    ("memory of a run", "MB", 250, memory),
]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    with threadpool_limits(1):
        rounds = [
            [measure() for *_, measure in FIGURES] for _ in tqdm(range(arguments.rounds), "rounds")
        ]
    print(f"{'':36}{'median':>10}{'least':>10}{'most':>10}{'bound':>10}")
    for (what, unit, bound, _), values in zip(FIGURES, zip(*rounds, strict=True), strict=True):
        row = [statistics.median(values), min(values), max(values), bound]
        print(f"{what + ' (' + unit + ')':36}" + "".join(f"{value:10.3g}" for value in row))


if __name__ == "__main__":
    main()
