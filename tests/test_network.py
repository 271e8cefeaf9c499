"""The network's gradients against difference quotients; its initial weights and its state."""

import numpy as np
import pytest

from mlp.layers import ACTIVATIONS
from mlp.loss import positions, softmax_cross_entropy
from mlp.network import MLP

HIDDEN_SIZES = [[], [5], [5, 4], [5, 4, 3]]
COLUMNS = np.array([0, 2, 3, 5])  # of six inputs; the others are zero throughout the batch


def example_network(activation, hidden_sizes):
    """A float64 network with biases, and a batch of 5 for it; the same ones every time."""
    rng = np.random.default_rng(14)
    network = MLP([6, *hidden_sizes, 3], activation, np.float64, max_batch=5)
    network.params[:] = rng.normal(size=network.params.size)
    inputs = np.zeros((5, 6))
    inputs[:, COLUMNS] = rng.normal(size=(5, 4))
    return network, inputs, np.array([0, 2, 1, 1, 0])


def difference_quotients(f, params, h=5e-4):
    """df/dparams by central differences at h and 2h, combined so that the error is of order h^4."""
    quotients = np.empty_like(params)
    for i, value in enumerate(params.copy()):
        f_at = {}
        for n in -2, -1, 1, 2:
            params[i] = value + n * h
            f_at[n] = f()
        params[i] = value
        quotients[i] = (8 * (f_at[1] - f_at[-1]) - (f_at[2] - f_at[-2])) / (12 * h)
    return quotients


@pytest.mark.parametrize("rows", [5, 3], ids=["whole batch", "short batch"])
@pytest.mark.parametrize("columns", [None, COLUMNS], ids=["all inputs", "zero inputs left out"])
@pytest.mark.parametrize("hidden_sizes", HIDDEN_SIZES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_of_every_parameter(activation, hidden_sizes, columns, rows):
    network, inputs, labels = example_network(activation, hidden_sizes)
    inputs = inputs if columns is None else inputs[:, columns]
    network.forward(inputs, columns)  # so that a short batch finds the arrays filled
    inputs, labels = inputs[:rows], labels[:rows]

    grad_logits = np.empty((rows, 3))

    def loss():
        logits = network.forward(inputs, columns)
        true_class = positions(labels, logits.shape[-1], len(labels))
        return softmax_cross_entropy(logits, true_class, grad_logits).mean()

    loss()
    network.backward(grad_logits)
    expected = difference_quotients(loss, network.params)
    assert (np.abs(network.grads - expected) <= 1e-7 * np.abs(expected)).all()


@pytest.mark.parametrize(
    ("init", "std", "expected"),
    [
        ("normal", 0.3, (0.3, 0.3)),
        ("glorot", None, ((2 / 700) ** 0.5, (2 / 500) ** 0.5)),
        ("he", None, ((2 / 400) ** 0.5, (2 / 300) ** 0.5)),
    ],
)
def test_initial_weights_have_the_stated_spread_and_biases_are_zero(init, std, expected):
    network = MLP([400, 300, 200])
    network.params[:] = 7
    network.initialise(init, np.random.default_rng(0), std)
    for layer, expected_std in zip(network.linear_layers, expected, strict=True):
        n = layer.weights.size  # a sample's std is off by about std / sqrt(2 n), its mean by less
        assert layer.weights.std() == pytest.approx(expected_std, rel=4 / (2 * n) ** 0.5)
        assert abs(layer.weights.mean()) < 4 * expected_std / n**0.5
        assert not layer.bias.any()


def test_one_seed_gives_the_same_network_in_either_precision():
    def params(dtype, seed):
        network = MLP([30, 20, 10], dtype=dtype)
        network.initialise("glorot", np.random.default_rng(seed))
        return network.params

    assert params(np.float32, seed=1).dtype == np.float32
    np.testing.assert_array_equal(
        params(np.float32, seed=1), params(np.float64, seed=1).astype(np.float32)
    )
    assert (params(np.float64, seed=1) != params(np.float64, seed=2)).any()


def test_state_names_every_parameter_and_goes_back_into_a_network():
    network, inputs, _ = example_network("tanh", [5, 4])
    state = network.state()
    assert {name: array.shape for name, array in state.items()} == {
        "weights_0": (6, 5),
        "bias_0": (5,),
        "weights_1": (5, 4),
        "bias_1": (4,),
        "weights_2": (4, 3),
        "bias_2": (3,),
    }
    logits = network.forward(inputs).copy()
    network.params += 1  # the state is a copy
    twin = MLP([6, 5, 4, 3], "tanh", np.float64)
    twin.load_state(state)
    np.testing.assert_array_equal(twin.forward(inputs), logits)
