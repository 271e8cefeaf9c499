"""How long a thousand runs take: as stacks, one by one, and in JAX.

    python -m benchmarks.stack
    python -m benchmarks.stack --rounds 1 --runs 100 --case digits --only stacked JAX
    python -m benchmarks.stack --table

Sweeps over learning rates and seeds in whole commands, from the command line to the end of
`python -m analysis.table`, in turns, so that all meet the same load:

    stacked     python run.py -m ..., runs that differ in numbers alone trained as one stack
    one by one  the same with stack=false: each run alone, a process a core
    serial      the same with launcher=serial, one run after the other. A thousand runs take it
                minutes; it has a tenth of the seeds, and we count ten times its seconds
    JAX         benchmarks/jax_sweep.py in one process, of as many threads as XLA likes. It stacks
                runs by vmap, and prints a table of its own
    JAX, split  the same in a process for each core, of one thread each

--table is about the step alone: microseconds a step and run for stacks of several sizes, in
process, reading the examples included, on one thread. It writes stack.md and stack.png into --out.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, count
from pathlib import Path
from statistics import median
from time import perf_counter

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks.report import machine
from benchmarks.sweep import ONE_THREAD, ROOT, processor_seconds, ratio
from mlp import make_config
from mlp.data import steps_per_block
from mlp.fast import GATHERED, fastest
from mlp.machine import cores
from mlp.network import MLP
from mlp.training import Learner

matplotlib.style.use("analysis.style")


@dataclass(frozen=True)
class Case:
    """A sweep over lrs and range(seeds). at_once: the runs of a vmap with which JAX is fastest."""

    settings: str
    lrs: tuple
    seeds: int
    at_once: int

    @property
    def n_runs(self):
        return len(self.lrs) * self.seeds

    def of(self, n_runs):
        """This sweep with fewer seeds, to have about n_runs runs at most."""
        seeds = max(1, min(self.seeds, n_runs // len(self.lrs)))
        return Case(self.settings, self.lrs, seeds, self.at_once)


SYNTH = "dataset=synth dataset.num_train=6000 dataset.num_val=1000"
MNIST = "dataset=mnist model.hidden_sizes=[300] model.activation=sigmoid epochs=1"
HIGH, LOW = (0.03, 0.1, 0.3, 1), (0.003, 0.01, 0.03, 0.1)
CASES = {
    "digits": Case("dataset=digits model.hidden_sizes=[32] batch_size=16 epochs=5", HIGH, 250, 50),
    "synth": Case(f"{SYNTH} model.hidden_sizes=[3] batch_size=16 epochs=5", HIGH, 250, 50),
    "mnist-1": Case(f"{MNIST} batch_size=1", LOW, 3, 2),
    "mnist-16": Case(f"{MNIST} batch_size=16", LOW, 3, 2),
}
COLUMNS = "seconds", "runs a second", "times stacked", "processor seconds", "seconds compiling"
MANY = 100  # runs; where there are more, serial has a tenth of the seeds


def this_program(case, *options):
    lrs, seeds = ",".join(f"{lr:g}" for lr in case.lrs), f"seed=range({case.seeds})"
    sweep = [str(ROOT / "run.py"), "-m", *case.settings.split(), f"lr={lrs}", seeds, *options]
    return [[*sweep, "name=stack", "progress=false"], ["-m", "analysis.table", "outputs/stack"]]


def jax_sweep(case, processes):
    lrs = [f"{lr:g}" for lr in case.lrs]
    asked = {"--seeds": case.seeds, "--at-once": case.at_once, "--processes": processes}
    asked = [str(word) for pair in asked.items() for word in pair]
    return [["-m", "benchmarks.jax_sweep", *case.settings.split(), "--lr", *lrs, *asked]]


WAYS = {
    "stacked": lambda case: this_program(case, "launcher=local"),
    "one by one": lambda case: this_program(case, "launcher=local", "stack=false"),
    "serial": lambda case: this_program(case, "launcher=serial"),
    "JAX": lambda case: jax_sweep(case, 1),
    "JAX, split": lambda case: jax_sweep(case, cores()),
}


def measure(case, way, place):
    """(seconds, processor seconds, seconds of compilation) of the case's commands.

    place: for their folders. They stay to the end: ext4 makes files slowly where some just went.
    """
    part = case.of(case.n_runs // 10) if way == "serial" and case.n_runs > MANY else case
    said, busy = "", processor_seconds()
    folder, began = tempfile.mkdtemp(dir=place), perf_counter()
    for command in WAYS[way](part):
        said += subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    seconds, busy = perf_counter() - began, processor_seconds() - busy
    results = [json.loads(path.read_text()) for path in Path(folder).rglob("result.json")]
    n_logs = len(list(Path(folder).rglob("steps.csv")))
    assert n_logs == part.n_runs, f"{n_logs} runs, not {part.n_runs}"
    assert {result["status"] for result in results} <= {"finished", "diverged"}
    scale = case.n_runs / part.n_runs
    compiling = re.search(r"^compiled in (\S+) seconds$", said, re.MULTILINE)
    return scale * seconds, scale * busy, float(compiling[1]) if compiling else 0.0


def compare(names, ways, rounds, n_runs):
    cases = {name: CASES[name].of(n_runs) for name in names}
    taken = {(name, way): [] for name in names for way in ways}
    bar = tqdm(total=rounds * len(taken), disable=None)
    with bar, tempfile.TemporaryDirectory() as place:
        for _ in range(rounds):
            for (name, way), found in taken.items():
                found.append(measure(cases[name], way, place))
                bar.write(f"{name}, {way}: {found[-1][0]:.1f} s", file=sys.stderr)
                bar.update()
    print(f"{machine()}.\n{cores()} cores, medians of {rounds} rounds.")
    for name, case in cases.items():
        print(f"\n{name}, {case.n_runs} runs: {case.settings}\n")
        print(line("", *COLUMNS), line("---", *["--:"] * len(COLUMNS)), sep="\n")
        base = [seconds for seconds, *_ in taken.get((name, "stacked"), [])]
        for way in ways:
            seconds, busy, compiling = zip(*taken[name, way], strict=True)
            is_part = way == "serial" and case.n_runs > MANY
            times = f"{ratio(seconds, base):.2f}" if base else ""
            figures = f"{median(seconds):.1f}", f"{case.n_runs / median(seconds):.1f}", times
            figures += f"{median(busy):.1f}", f"{median(compiling):.1f}" if any(compiling) else ""
            print(line("serial, ten times a tenth" if is_part else way, *figures))


def line(*cells):
    return "| " + " | ".join(cells) + " |"


NETWORKS = {  # on which data; the colours are Okabe and Ito's, which the colour-blind tell apart
    (2, 3, 2): ("synth", "#D55E00", "o"),
    (64, 32, 10): ("digits", "#0072B2", "^"),
    (64, 300, 10): ("digits", "#009E73", "s"),
    (784, 32, 10): ("mnist", "#CC79A7", "D"),
    (784, 300, 10): ("mnist", "#000000", "v"),
}
STACKS = {"alone": (), **{str(n): (n, 1) for n in (1, 4, 16, 64, 256)}}
TWELVES = {"12 seeds": (12, 1), "3 seeds, 4 lrs": (3, 4)}
LR = 0.01
SECONDS = 0.3  # of a timing


@cache
def dataset(name):
    return make_config(dataset=name).dataset.load()


def microseconds(sizes, batch_size, stack):
    """A step and run: the reading of its examples, and the median of the steps themselves.

    We time the reading apart, because some learners read GATHERED examples at once.
    """
    data = dataset(NETWORKS[sizes][0])
    alone, network = (MLP(sizes, "sigmoid", np.float32, shape) for shape in ((), stack))
    alone.initialise("glorot", np.random.default_rng(0))
    network.params[...] = alone.params
    learner = fastest(Learner(network, make_config().optimizer), data, LR)
    examples, n_steps = learner.read(data, data.train), steps_per_block(batch_size)
    shape = (stack[0], 1, GATHERED) if stack else (GATHERED,)
    order = np.random.default_rng(0).integers(len(examples), size=shape)
    read = partial(examples.blocks, order, batch_size, n_steps)
    lrs, times = np.full((n_steps, *stack), LR), []

    next(read())  # makes its arrays
    began = perf_counter()
    n_blocks = sum(1 for _ in read())
    reading = (perf_counter() - began) / n_blocks
    for x, labels in chain.from_iterable(read() for _ in count()):
        began = perf_counter()
        losses = learner.steps(x, labels, lrs)
        times.append(perf_counter() - began)
        assert losses.shape == lrs.shape
        if len(times) > 3 and sum(times) > SECONDS:
            return 1e6 * (reading + median(times[1:])) / lrs.size  # the first makes its arrays


def tabulate(rounds, out):
    found = {}
    stacks = STACKS | TWELVES
    keys = [(b, sizes, name) for b in (1, 16) for sizes in NETWORKS for name in stacks]
    with threadpool_limits(1), tqdm(total=rounds * len(keys), disable=None) as bar:
        for _ in range(rounds):
            for batch_size, sizes, name in keys:
                us = microseconds(sizes, batch_size, stacks[name])
                found.setdefault((batch_size, sizes, name), []).append(us)
                bar.update()
    found = {key: median(times) for key, times in found.items()}
    lines = [f"{machine()}. Microseconds a step and run, by the runs"]
    lines += [f"of a stack; one thread, medians of {rounds} rounds."]
    for batch_size in (1, 16):
        lines += ["", f"batch size {batch_size}", "", line("", *stacks)]
        lines += [line("---", *["--:"] * len(stacks))]
        for sizes in NETWORKS:
            times = [found[batch_size, sizes, name] for name in stacks]
            lines.append(line("-".join(map(str, sizes)), *(f"{us:,.3g}" for us in times)))
    print("\n".join(lines))
    out.mkdir(parents=True, exist_ok=True)
    (out / "stack.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw(found).savefig(out / "stack.png")


def draw(found):
    """Time against stack size, a panel for each batch size; a stack of 1 is a run alone."""
    figure = Figure(figsize=(6.6, 2.8))
    panels = figure.subplots(1, 2, sharey=True)
    counts = {name: math.prod(shape) for name, shape in STACKS.items() if shape != (1, 1)}
    for panel, batch_size in zip(panels, (1, 16), strict=True):
        for sizes, (_, colour, marker) in reversed(NETWORKS.items()):
            times = [found[batch_size, sizes, name] for name in counts]
            label = "-".join(map(str, sizes))
            panel.plot(counts.values(), times, color=colour, marker=marker, label=label)
        panel.set(yscale="log", xlabel="runs in a stack")
        panel.set_xscale("log", base=2)
        panel.set_title(f"batch size {batch_size}")
        panel.set_xticks([*counts.values()], [*counts.values()])
        panel.xaxis.minorticks_off()
        panel.yaxis.set_major_formatter("{x:,g}")
    panels[0].set_ylabel("microseconds a step and run")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    return figure


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=1000, help="of a sweep, at most")
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--only", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--table", action="store_true", help="microseconds a step, by stack size")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"))
    args = parser.parse_args()
    if args.table:
        tabulate(args.rounds, args.out)
    else:
        compare(args.case, args.only, args.rounds, args.runs)


if __name__ == "__main__":
    main()
