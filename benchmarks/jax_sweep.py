"""A sweep in JAX as its users write it: vmap over the runs, lax.scan over the steps, jit.

    python -m benchmarks.jax_sweep dataset=digits model.hidden_sizes=[32] --lr 0.1 1 --seeds 250
    python -m benchmarks.jax_sweep dataset=digits model.hidden_sizes=[32] --check outputs/digits

As run.py, whose settings it takes: the same initial weights and order of examples, plain SGD in
float32. A run writes the loss of every mini-batch into JAX/lr=0.1,seed=0/steps.csv, training and
validation figures into epochs.csv. In the end comes a table, and the seconds of compilation.

--processes 2 gives each of two processes half of the runs and one thread; with 1, XLA has as
many threads as it likes. --at-once bounds the runs under one vmap: a stack that fits into the
caches is faster than one of a thousand. --check trains nothing. It compares what is in JAX/ with
this program's runs in a folder, which must have had the same settings.
"""

import argparse
import csv
import functools
import itertools
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter

import jax
import numpy as np
import yaml
from jax import numpy as jnp

from mlp import make_config
from mlp.machine import cores
from mlp.network import LEAK, MLP

OUT = Path("JAX")
ONE_THREAD = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
METRICS = "train_loss", "train_accuracy", "val_loss", "val_accuracy"
ACTIVATIONS = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": functools.partial(jax.nn.leaky_relu, negative_slope=LEAK),
}


def logits(activation, params, x):
    *hidden, (weights, bias) = params
    for w, b in hidden:
        x = activation(x @ w + b)
    return x @ weights + bias


def mean_loss(o, labels):
    each = jnp.take_along_axis(jax.nn.log_softmax(o), labels[:, None], axis=1)
    return -each.mean()


def steps(activation, examples, params, lr, order):
    """order (n_steps, batch_size) -> the parameters after the steps, and the losses (n_steps,)."""

    def loss(params, x, labels):
        return mean_loss(logits(activation, params, x), labels)

    def step(params, rows):
        found, grads = jax.value_and_grad(loss)(params, *(array[rows] for array in examples))
        return jax.tree.map(lambda param, grad: param - lr * grad, params, grads), found

    return jax.lax.scan(step, params, order)


def figures(activation, parts, params):
    """The METRICS of one run, (4,)."""
    values = []
    for x, labels in parts:
        o = logits(activation, params, x)
        values += [mean_loss(o, labels), (o.argmax(axis=1) == labels).mean()]
    return jnp.stack(values)


def stacked(function, shared, at_once):
    """The compiled function of stacks of all its arguments but `shared`, at_once of them a vmap.

    Returns a function and, in a list, the seconds that its compilations take.
    """
    compiled, seconds = {}, []

    @jax.jit
    def whole(shared, stacks):
        return jax.lax.map(lambda each: function(shared, *each), stacks, batch_size=at_once)

    def call(*stacks):
        shapes = tuple(array.shape for array in jax.tree.leaves(stacks))
        if shapes not in compiled:
            began = perf_counter()
            compiled[shapes] = whole.lower(shared, stacks).compile()
            seconds.append(perf_counter() - began)
        return compiled[shapes](shared, stacks)

    return call, seconds


def train(settings, runs, at_once):
    """Train runs, pairs (lr, seed). Returns each one's METRICS, and the seconds of compilation."""
    config = make_config(**settings)
    dataset, activation = config.dataset.load(), ACTIVATIONS[config.model.activation]
    sizes = [dataset.n_features, *config.model.hidden_sizes, dataset.n_classes]
    n, n_held_out = len(dataset.train[0]), len(dataset.held_out[0])
    some = np.random.default_rng(0).permutation(n)[:n_held_out]
    parts = dataset.train, [array[some] for array in dataset.train], dataset.held_out
    examples, *evaluated = [
        jax.device_put((dataset.normalised(x, np.float32), y.astype(np.int32))) for x, y in parts
    ]
    descend, compiling = stacked(functools.partial(steps, activation), examples, at_once)
    evaluate, evaluating = stacked(functools.partial(figures, activation), evaluated, at_once)

    seeds = [seed for _, seed in runs]
    drawn = {seed: draw(config.model, sizes, seed) for seed in sorted(set(seeds))}
    params = jax.tree.map(lambda *arrays: np.stack(arrays), *(drawn[seed][0] for seed in seeds))
    params, lrs = jax.device_put((params, np.array([lr for lr, _ in runs], np.float32)))
    batch_size = min(config.batch_size, n)
    whole = n // batch_size * batch_size  # a last batch that is short is a step of its own

    files = [Files(lr, seed) for lr, seed in runs]
    first, metrics = 1, np.asarray(evaluate(params))
    for file, row in zip(files, metrics.tolist(), strict=True):
        file.write_epoch(0, 0, row)
    for epoch in range(1, config.epochs + 1):
        orders = {seed: rng.permutation(n) for seed, (_, rng) in drawn.items()}
        order, losses = np.stack([orders[seed] for seed in seeds]).astype(np.int32), []
        for part, size in (order[:, :whole], batch_size), (order[:, whole:], n - whole):
            if size:
                params, found = descend(params, lrs, part.reshape(len(runs), -1, size))
                losses.append(np.asarray(found))
        losses, metrics = np.concatenate(losses, axis=1), np.asarray(evaluate(params))
        last = first + losses.shape[1] - 1
        for file, row, values in zip(files, losses.tolist(), metrics.tolist(), strict=True):
            file.write_steps(epoch, first, row)
            file.write_epoch(epoch, last, values)
        first = last + 1
    return metrics, sum(compiling + evaluating)


def draw(model, sizes, seed):
    """[(W, b), (V, c), ...] and the generator of the orders, as mlp.experiment.start has them."""
    weights_seed, order_seed = np.random.SeedSequence(seed).spawn(2)
    network = MLP(sizes, model.activation)
    network.initialise(model.init, np.random.default_rng(weights_seed), model.init_std)
    params = list(network.named(network.params).values())
    pairs = list(zip(params[::2], params[1::2], strict=True))
    return pairs, np.random.default_rng(order_seed)


class Files:
    """The two logs of a run; each call opens and closes, for no process has 1,000 files open."""

    def __init__(self, lr, seed):
        self.lr, self.folder = lr, folder_of(lr, seed)
        self.folder.mkdir(parents=True)
        (self.folder / "steps.csv").write_text("step,epoch,loss\n")
        (self.folder / "epochs.csv").write_text(f"epoch,step,lr,{','.join(METRICS)}\n")

    def write_steps(self, epoch, first, losses):
        form = f"%d,{epoch},%.9g\n"
        with open(self.folder / "steps.csv", "a") as file:
            file.write("".join([form % row for row in enumerate(losses, first)]))

    def write_epoch(self, epoch, step, values):
        with open(self.folder / "epochs.csv", "a") as file:
            file.write(",".join([str(epoch), str(step), *(f"{v:.9g}" for v in (self.lr, *values))]))
            file.write("\n")


def folder_of(lr, seed):
    return OUT / f"lr={lr:g},seed={seed}"


def check(folder):
    """Relative differences from the losses of this program's runs: {lr: (first 100 steps, all)}.

    Of each run the largest. Rounding is all that differs. A large learning rate lets it grow. A
    loss below its log's mean counts as the mean, because one of nearly 0 is rounding alone.
    """
    apart = {}
    for path in Path(folder).rglob("result.json"):
        config = json.loads(path.read_text())["config"]
        mine = folder_of(config["lr"], config["seed"])
        if mine.is_dir():
            differences = []
            for name in "steps.csv", "epochs.csv":
                theirs, ours = columns(path.parent / name), columns(mine / name)
                np.testing.assert_array_equal(theirs["step"], ours["step"])
                for loss in theirs.keys() & {"loss", "train_loss", "val_loss"}:
                    scale = np.maximum(theirs[loss], theirs[loss].mean())
                    differences.append(np.abs(ours[loss] - theirs[loss]) / scale)
            all_steps = max(part.max() for part in differences)
            apart.setdefault(config["lr"], []).append((differences[0][:100].max(), all_steps))
    return apart


def columns(path):
    with open(path, newline="") as file:
        header, *rows = csv.reader(file)
    return dict(zip(header, np.array(rows, float).T, strict=True))


def tree_of(words):
    """The settings of key=value, group=choice and group.key=value, as make_config takes them."""
    tree = {}
    for word in words:
        key, _, value = word.partition("=")
        group, _, name = key.rpartition(".")
        if group or key in ("dataset", "model"):
            tree.setdefault(group or key, {})[name if group else "name"] = yaml.safe_load(value)
        else:
            tree[key] = yaml.safe_load(value)
    return tree


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--lr", type=float, nargs="+", default=[0.1])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--processes", type=int, default=cores())
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--check", metavar="FOLDER")
    args = parser.parse_args()
    if args.check:
        for lr, pairs in sorted(check(args.check).items()):
            early, late = np.max(pairs, axis=0)
            print(
                f"lr={lr:g}: losses of {len(pairs)} runs differ by {early:.1e} at most in the ",
                end="",
            )
            print(f"first 100 steps, by {late:.1e} in all")
        return

    began, settings = perf_counter(), tree_of(args.settings)
    runs = list(itertools.product(args.lr, range(args.seeds)))
    n_parts = min(args.processes, len(runs))
    if n_parts == 1:
        results = [train(settings, runs, args.at_once)]
    else:
        os.environ |= ONE_THREAD  # the workers read it as they start
        parts = [runs[i::n_parts] for i in range(n_parts)]
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(n_parts, spawn) as pool:
            jobs = [pool.submit(train, settings, part, args.at_once) for part in parts]
            results = [job.result() for job in jobs]
        runs = list(itertools.chain(*parts))
    metrics = np.concatenate([found for found, _ in results])
    by_lr = np.array([lr for lr, _ in runs])
    for lr in args.lr:
        found = metrics[by_lr == lr]
        spread = found.std(axis=0, ddof=1) if len(found) > 1 else np.full(4, np.nan)
        pairs = zip(METRICS, found.mean(axis=0), spread, strict=True)
        print(f"lr={lr:g}, n={len(found)}:", *(f"{k} {m:.4f} ± {s:.4f}" for k, m, s in pairs))
    print(f"trained in {perf_counter() - began:.2f} seconds")
    print(f"compiled in {max(seconds for _, seconds in results):.2f} seconds")


if __name__ == "__main__":
    main()
