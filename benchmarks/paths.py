"""The step with other data, depths and optimizers: this program beside PyTorch, on one thread.

    python -m benchmarks.paths
    python -m benchmarks.paths --batch-sizes 16 128 --rounds 3 --only Adam

Each is held against the dense products of its own shapes. Prints tables, and writes paths.csv (a
row for each timing) and paths.md into --out.
"""

import argparse
from pathlib import Path

from benchmarks.peers import PRODUCTS, THIS, Task
from benchmarks.report import report
from benchmarks.workers import measure

PATHS = {
    "dense data": {
        "offset": 127.5,
        "scale": 1 / 127.5,
        "lr": 0.01,
    },  # pixels from -1 to 1, none of them 0
    "784-500-300-10": {"sizes": (784, 500, 300, 10)},
    "momentum 0.9": {"momentum": 0.9, "lr": 0.01},
    "Adam": {"optimizer": "adam", "lr": 0.001},
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(PATHS), default=list(PATHS))
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 16, 32, 64, 128, 512])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"))
    arguments = parser.parse_args()

    tasks = [
        Task(batch_size, path, **PATHS[path])
        for path in arguments.only
        for batch_size in arguments.batch_sizes
    ]
    timings, absent = measure([THIS, PRODUCTS, "PyTorch"], [1], tasks, arguments.rounds)
    report(timings, "path", absent, arguments.out / "paths")


if __name__ == "__main__":
    main()
