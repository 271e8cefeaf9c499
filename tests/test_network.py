"""The network's gradients against difference quotients; its initial weights and its state."""

import numpy as np
import pytest

from mlp.inputs import Inputs
from mlp.layers import ACTIVATIONS
from mlp.loss import SoftmaxCrossEntropy
from mlp.network import MLP
from mlp.sparse import SparseRows

HIDDEN_SIZES = [[], [5], [5, 4], [5, 4, 3]]
RARE = [1, 4]  # of six features


def example_network(activation, hidden_sizes, rare=()):
    """A float64 network with biases, and a batch of 5 for it; the same ones every time."""
    rng = np.random.default_rng(18)  # whose gradients are none of them too small to compare
    network = MLP([6, *hidden_sizes, 3], activation, np.float64, max_batch=5, rare=rare)
    network.params[:] = rng.normal(size=network.params.size)
    inputs = rng.normal(size=(5, 6))
    inputs[:4, RARE[0]] = inputs[1:, RARE[1]] = 0
    return network, inputs, np.array([0, 2, 1, 1, 0])


def inputs_of(x, rare=()):
    """x (n, n_features), with the features in rare kept apart."""
    if not len(rare):
        return Inputs.dense(x)
    frequent = Inputs.dense(np.delete(x, rare, axis=1)).frequent
    return Inputs(frequent, SparseRows.of(x[:, rare]))


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
@pytest.mark.parametrize("rare", [[], RARE], ids=["dense", "rare features apart"])
@pytest.mark.parametrize("hidden_sizes", HIDDEN_SIZES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_of_every_parameter(activation, hidden_sizes, rare, rows):
    network, inputs, labels = example_network(activation, hidden_sizes, rare)
    network.forward(inputs_of(inputs, rare))  # so that a short batch finds the arrays filled
    inputs, labels = inputs_of(inputs[:rows], rare), labels[:rows]
    softmax = SoftmaxCrossEntropy(3, np.float64)

    def loss():
        return softmax.losses(network.forward(inputs), labels).mean()

    logits = network.forward(inputs)
    softmax.gradient(logits, softmax.targets(labels), out=network.grad_logits)
    network.backward()
    expected = difference_quotients(loss, network.params)
    assert (np.abs(network.grads - expected) <= 1e-7 * np.abs(expected)).all()


def test_a_larger_batch_than_the_arrays_were_made_for():
    network, inputs, _ = example_network("tanh", [5])
    with pytest.raises(ValueError, match="up to 5 examples, got 10"):
        network.forward(Inputs.dense(np.vstack([inputs, inputs])))


def test_arrays_are_made_once_and_a_short_batch_uses_views_of_them():
    network, inputs, _ = example_network("tanh", [5])
    whole = network.forward(Inputs.dense(inputs))
    expected = whole.copy()
    short = network.forward(Inputs.dense(inputs[:3]))
    assert np.shares_memory(whole, short)
    np.testing.assert_allclose(short, expected[:3], rtol=1e-14)


def test_a_network_works_in_the_arrays_that_it_is_attached_to():
    network, inputs, _ = example_network("tanh", [5, 4])
    expected = network.forward(Inputs.dense(inputs)).copy()
    network.grad_logits[...] = 1
    network.backward()
    grads, first_grads = network.grads.copy(), network.first_grads.copy()

    outputs, logits, other_grads = np.empty((5, 5)), np.empty((5, 3)), np.empty((5, 5))
    network.attach(outputs, logits, other_grads)
    network.first.forward(Inputs.dense(inputs), outputs)
    network.forward_rest()
    network.backward_rest()
    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(other_grads, first_grads)
    network.grads[...] = 0
    network.backward()
    np.testing.assert_array_equal(network.grads, grads)


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
    state = network.state()
    for i, expected_std in enumerate(expected):
        weights = state[f"weights_{i}"]
        n = weights.size  # a sample's std is off by about std / sqrt(2 n), its mean by less
        assert weights.std() == pytest.approx(expected_std, rel=4 / (2 * n) ** 0.5)
        assert abs(weights.mean()) < 4 * expected_std / n**0.5
        assert not state[f"bias_{i}"].any()


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
    logits = network.forward(Inputs.dense(inputs)).copy()
    network.params += 1  # the state is a copy
    twin = MLP([6, 5, 4, 3], "tanh", np.float64)
    twin.load_state(state)
    np.testing.assert_array_equal(twin.forward(Inputs.dense(inputs)), logits)


@pytest.mark.parametrize("hidden_sizes", [[], [5]], ids=str)
def test_rare_features_change_nothing_that_is_seen_from_outside(hidden_sizes):
    """The same initial weights, the same logits, the same state, whichever features are rare."""
    plain, inputs, _ = example_network("tanh", hidden_sizes)
    apart, _, _ = example_network("tanh", hidden_sizes, RARE)
    for network in plain, apart:
        network.initialise("glorot", np.random.default_rng(0))
    for name, array in plain.state().items():
        np.testing.assert_array_equal(apart.state()[name], array)
    state = {name: array + 0.5 for name, array in plain.state().items()}
    for network in plain, apart:
        network.load_state(state)
    logits = plain.forward(inputs_of(inputs))
    np.testing.assert_allclose(apart.forward(inputs_of(inputs, RARE)), logits, rtol=1e-13)
    assert (apart.params != plain.params).any(), "inside, the rows lie in another order"
    for name, array in state.items():
        np.testing.assert_array_equal(apart.state()[name], array)
