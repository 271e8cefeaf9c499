"""A step of the hand-sized network, 2-3-2: plain Python, NumPy, and automatic differentiation.

    python -m benchmarks.scalar

All take the same steps from the same weights in float64, one example at a time. Prints the
microseconds of a step (medians over the rounds), their ratio to the scalar network's, and how far
the losses of all steps are from its losses.
"""

import argparse
import gc
import math
import random
import statistics
import time

import numpy as np

from mlp import make_config
from mlp.data import MOST_STEPS, load_synth
from mlp.network import MLP
from mlp.scalar import Network
from mlp.training import Learner, ScalarLearner

SIZES, LR = [2, 3, 2], 0.1
THIS = "scalar network"


class Value:
    """A number in a graph, as such engines usually have it.

    It knows what it was made of, and a rule that adds its own gradient's share to theirs. The rules
    are few; whatever else there is, is made of them.
    """

    def __init__(self, data, sources=()):
        self.data, self.grad = data, 0.0
        self.sources, self.rule = sources, None

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        out = Value(self.data + other.data, (self, other))

        def rule():
            self.grad += out.grad
            other.grad += out.grad

        out.rule = rule
        return out

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        out = Value(self.data * other.data, (self, other))

        def rule():
            self.grad += other.data * out.grad
            other.grad += self.data * out.grad

        out.rule = rule
        return out

    def __pow__(self, power):
        return self._function(self.data**power, power * self.data ** (power - 1))

    def exp(self):
        return self._function(y := math.exp(self.data), y)

    def log(self):
        return self._function(math.log(self.data), 1 / self.data)

    def _function(self, y, slope):
        out = Value(y, (self,))

        def rule():
            self.grad += slope * out.grad

        out.rule = rule
        return out

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + -other

    def sigmoid(self):
        return ((-self).exp() + 1) ** -1

    def backward(self):
        """Adds to the `grad` of all that this number was made of its derivative by them."""
        order, seen, stack = [], set(), [(self, False)]
        while stack:  # depth first, without recursion: a number comes after all it was made of
            value, is_done = stack.pop()
            if is_done:
                order.append(value)
            elif value not in seen:
                seen.add(value)
                stack.append((value, True))
                stack += [(source, False) for source in value.sources]
        self.grad = 1.0
        for value in reversed(order):
            if value.rule:
                value.rule()


class Engine:
    """The network written in Values, with the scalar network's weights."""

    def __init__(self, network):
        self.weights = [[[Value(w) for w in row] for row in rows] for rows in network.weights]
        self.biases = [[Value(b) for b in bias] for bias in network.biases]
        self.params = [w for rows in self.weights for row in rows for w in row]
        self.params += [b for bias in self.biases for b in bias]

    def sgd_step(self, x, label, lr):
        h = [Value(x_i) for x_i in x]
        for n, (rows, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if n:
                h = [k_j.sigmoid() for k_j in h]
            for h_i, row in zip(h, rows, strict=True):
                bias = [k_j + h_i * w for k_j, w in zip(bias, row, strict=True)]
            h = bias
        shift = max(o_i.data for o_i in h)
        shifted = [o_i - shift for o_i in h]
        total, *others = [s.exp() for s in shifted]
        for e in others:
            total = total + e
        loss = total.log() - shifted[label]
        loss.backward()
        for param in self.params:
            param.data -= lr * param.grad
            param.grad = 0.0
        return loss.data


def ways():
    """name -> function: (inputs (n, 2), labels (n,)) -> losses (n,) of n steps more."""
    network = Network(SIZES)
    network.initialise("glorot", random.Random(0))
    start = ScalarLearner(network).state()
    engine = Engine(network)

    def one_by_one(model):
        def losses(inputs, labels):
            examples = zip(inputs.tolist(), labels.tolist(), strict=True)
            return [model.sgd_step(x, label, LR) for x, label in examples]

        return losses

    def in_blocks(rows):
        learner = Learner(MLP(SIZES, "sigmoid", np.float64), make_config().optimizer)
        learner.load_state(start)
        lrs = np.full(rows, LR)

        def losses(inputs, labels):
            parts = []
            for first in range(0, len(labels), rows):
                part = slice(first, first + rows)
                parts.append(learner.steps(inputs[part], labels[part], lrs[: len(labels[part])]))
            return np.concatenate(parts)

        return losses

    return {
        THIS: one_by_one(network),
        f"NumPy, {MOST_STEPS} steps a call": in_blocks(MOST_STEPS),
        "NumPy, one step a call": in_blocks(1),
        "autograd on scalars": one_by_one(engine),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=1000, help="a round")
    arguments = parser.parse_args()

    rounds, n = arguments.rounds + 1, arguments.steps  # the first is not counted
    (inputs, labels), _, _ = load_synth(rounds * n, 1)
    functions = ways()
    times, losses = ({name: [] for name in functions} for _ in range(2))
    for start in range(0, rounds * n, n):
        for name, function in functions.items():
            gc.collect()  # what another way left behind is not this one's to clear away
            began = time.perf_counter()
            losses[name].extend(function(inputs[start : start + n], labels[start : start + n]))
            times[name].append(1e6 * (time.perf_counter() - began) / n)

    print(f"{'':24}{'us a step':>12}{'ratio':>8}{'loss apart':>12}")
    for name in functions:
        pairs = list(zip(times[name], times[THIS], strict=True))[1:]
        step, ratio = (
            statistics.median(figures)
            for figures in ([us for us, _ in pairs], [us / this for us, this in pairs])
        )
        apart = np.max(np.abs(np.subtract(losses[name], losses[THIS])))
        print(f"{name:24}{step:12.2f}{ratio:8.2f}{apart:12.1e}")


if __name__ == "__main__":
    main()
