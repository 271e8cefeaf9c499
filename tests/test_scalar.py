"""The network in plain Python: the example worked by hand, and the NumPy network beside it."""

import math
import random
import statistics

import numpy as np
import pytest
from examples import PLAIN_SGD

from mlp.network import MLP
from mlp.scalar import Network
from mlp.training import Learner, ScalarLearner


def test_the_worked_example():
    network = Network([2, 3, 2])
    network.weights = [[[1, 1, 1], [-1, -1, -1]], [[1, 1], [-1, -1], [-1, -1]]]
    logits = network.forward([1, -1])
    (grad_w, grad_v), (grad_b, grad_c) = network.backward(label=0)

    h = 1 / (1 + math.exp(-2))
    assert network.inputs[1] == [h, h, h]
    assert logits == [-h, -h]
    assert grad_w == [[0, 0, 0], [0, 0, 0]]
    assert grad_b == [0, 0, 0]
    assert grad_v == [[-h / 2, h / 2]] * 3
    assert [round(g, 4) for g in grad_v[0]] == [-0.4404, 0.4404]
    assert grad_c == [-0.5, 0.5]
    assert network.sgd_step([1, -1], 0, lr=0.1) == math.log(2)  # 0.6931
    assert network.biases == [[0, 0, 0], [0.05, -0.05]]


@pytest.mark.parametrize("sizes", [[2, 3, 2], [4, 3], [3, 5, 4, 3]], ids=str)
def test_scalar_and_numpy_network_agree_over_200_steps(sizes):
    rng = np.random.default_rng(0)
    network = MLP(sizes, "sigmoid", np.float64)
    network.params[:] = rng.normal(size=network.params.size)
    plain, scalar = Learner(network, PLAIN_SGD), ScalarLearner(Network(sizes))
    scalar.load_state(plain.state())

    x, labels = rng.normal(size=(200, sizes[0])), rng.integers(0, sizes[-1], 200)
    lrs = np.linspace(0.5, 0.1, 200)
    losses = plain.steps(x, labels, lrs)
    np.testing.assert_allclose(scalar.steps(x, labels, lrs), losses, rtol=0, atol=1e-10)
    np.testing.assert_allclose(scalar.logits(x), plain.logits(x), rtol=0, atol=1e-10)
    state = scalar.state()
    for name, expected in plain.state().items():
        np.testing.assert_allclose(state[name], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("init", "std", "expected"),
    [("normal", 0.3, 0.3), ("glorot", None, (2 / 250) ** 0.5), ("he", None, (2 / 150) ** 0.5)],
)
def test_initial_weights_have_the_stated_spread(init, std, expected):
    network = Network([150, 100])
    network.initialise(init, random.Random(0), std)
    drawn = [weight for row in network.weights[0] for weight in row]
    assert statistics.stdev(drawn) == pytest.approx(expected, rel=4 / (2 * 15_000) ** 0.5)
    assert network.biases == [[0.0] * 100]


def test_huge_inputs_and_logits_do_not_overflow():
    network = Network([1, 1, 2])
    for large in 700, 709, 710, 750, 1e4:
        network.weights = [[[large]], [[1e4, -1e4]]]
        assert network.sgd_step([-1], 0, lr=0) == math.log(2)  # the hidden unit is 0
    assert network.sgd_step([1], 1, lr=0) == 2e4


@pytest.mark.parametrize("x", [[1], [1, 2, 3]])
def test_an_example_of_another_size_is_refused(x):
    with pytest.raises(ValueError, match=f"expects 2 inputs, got {len(x)}"):
        Network([2, 3, 2]).sgd_step(x, 0, lr=0.1)
