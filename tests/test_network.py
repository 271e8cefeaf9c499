"""Layers and loss by hand or against difference quotients; the network's gradients and weights."""

import math

import numpy as np
import pytest

from mlp.network import ACTIVATIONS, MLP, Activation, Linear, SoftmaxCrossEntropy, stacked_product

# Layers

WEIGHTS, BIAS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([0.5, -0.5])
X = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, 1.0]])
Y = np.array([[-3.5, -4.5], [7.5, 9.5]])  # X W + b
GRAD_Y = np.array([[1.0, -1.0], [2.0, 0.5]])
GRAD_WEIGHTS = np.array([[5.0, 0.0], [0.0, 0.0], [1.0, 1.5]])  # X' grad_y
GRAD_BIAS = np.array([3.0, -0.5])
GRAD_X = np.array([[-1.0, -1.0, -1.0], [3.0, 8.0, 13.0]])  # grad_y W'


def check_linear(weights, bias, x, y, grad_y, grad_weights, grad_bias, grad_x):
    layer = Linear(weights, bias, np.full_like(weights, 7), np.full_like(bias, 7))
    np.testing.assert_array_equal(layer.forward(x), y)
    np.testing.assert_array_equal(layer.backward(grad_y), grad_x)
    np.testing.assert_array_equal(layer.grad_weights, grad_weights)
    np.testing.assert_array_equal(layer.grad_bias[..., 0, :], grad_bias)


def test_linear_by_hand():
    check_linear(WEIGHTS, BIAS, X, Y, GRAD_Y, GRAD_WEIGHTS, GRAD_BIAS, GRAD_X)


@pytest.mark.parametrize("shared", [True, False], ids=["shared inputs", "inputs of their own"])
def test_linear_by_hand_for_a_stack(shared):
    """W in the first network, 2 W in the second; or the first network's x in both, or x and -x."""
    twice, sign = np.array([1.0, 2.0])[:, None, None], 1.0 if shared else np.array([1.0, -1.0])
    signs = np.reshape(sign, (-1, 1, 1))
    check_linear(
        twice * WEIGHTS,
        np.stack([BIAS, BIAS]),
        X if shared else signs * X,
        (Y - BIAS) * twice * signs + BIAS,
        np.stack([GRAD_Y, GRAD_Y]),
        np.stack([GRAD_WEIGHTS, GRAD_WEIGHTS]) * signs,
        np.stack([GRAD_BIAS, GRAD_BIAS]),
        GRAD_X * twice,
    )


@pytest.mark.parametrize("shape", [(4, 1), (2, 4, 1), (4, 3), (2, 4, 3)], ids=str)
def test_a_product_of_stacks_is_that_of_each_pair(shape):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=shape), rng.normal(size=(*shape[:-2], shape[-1], 5))
    out = np.full((*shape[:-1], 5), 7.0)
    assert stacked_product(a, b, out=out) is out
    np.testing.assert_allclose(out, np.einsum("...ij,...jk->...ik", a, b), rtol=1e-13)
    np.testing.assert_array_equal(stacked_product(a, b), out)


def passed(name, x):
    """An activation's y and dloss/dx, where dloss/dy is 2."""
    layer = Activation(name)
    y = layer.forward(x).copy()
    return y, layer.backward(np.full_like(x, 2))


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("sigmoid", [-math.log(3), 0, math.log(3)], [0.25, 0.5, 0.75]),
        ("tanh", [-math.log(3), 0, math.log(3)], [-0.8, 0, 0.8]),
        ("relu", [-2, 0, 3], [0, 0, 3]),
        ("leaky_relu", [-2, 0, 3], [-0.02, 0, 3]),
    ],
)
def test_activation_values(name, x, y):
    np.testing.assert_allclose(passed(name, np.array(x, float))[0], y, rtol=1e-15, atol=1e-16)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_slopes_are_the_difference_quotients(name):
    x, h = np.linspace(-3, 3, 100), 1e-6  # no point at relu's kink
    quotients = (passed(name, x + h)[0] - passed(name, x - h)[0]) / (2 * h)
    np.testing.assert_allclose(passed(name, x)[1] / 2, quotients, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "limits"), [("sigmoid", (0, 1)), ("tanh", (-1, 1))])
def test_saturated_units_reach_their_limits(name, limits, dtype):
    with np.errstate(over="ignore"):
        y, grad_x = passed(name, np.array([-1e4, 1e4], dtype))
    np.testing.assert_array_equal(y, limits)
    np.testing.assert_array_equal(grad_x, 0)


# Loss


def loss(logits, labels):
    """Each example's loss, and the gradient of their mean."""
    softmax, labels = SoftmaxCrossEntropy(logits), np.array(labels)
    return softmax.losses(logits, labels), softmax.gradient(logits, softmax.targets(labels))


def test_loss_values():
    losses, _ = loss(np.array([[0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0]]), [1, 0])
    np.testing.assert_allclose(losses, [math.log(3), math.log(2)], rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss_of_huge_logits_stays_finite(dtype):
    losses, gradient = loss(np.array([[1e4, -1e4], [1e4, -1e4]], dtype), [0, 1])
    np.testing.assert_array_equal(losses, [0, 2e4])
    np.testing.assert_array_equal(gradient, [[0, 0], [0.5, -0.5]])


def test_each_row_of_logits_is_shifted_by_its_own_maximum():
    """By that of all rows, the exponentials of the others would be 0/0."""
    logits, labels = np.array([[1e4, 1e4 - 1], [0.0, -1.0]]), [0, 1]
    losses, gradient = loss(logits, labels)
    p = 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(losses, [-math.log(p), -math.log(1 - p)], rtol=1e-12)
    np.testing.assert_allclose(gradient, [[(p - 1) / 2, (1 - p) / 2], [p / 2, -p / 2]], rtol=1e-12)


@pytest.mark.parametrize("labels", [[0, 2, 1, 1], [2], [[0, 1], [2, 2], [1, 0]]], ids=str)
def test_loss_gradient_is_that_of_the_mean_over_each_batch(labels):
    """Also for a stack of three batches. The logits stay as they are."""
    logits, h = np.random.default_rng(0).normal(size=(*np.shape(labels), 3)), 1e-5
    before = logits.copy()
    _, gradient = loss(logits, labels)
    for index in np.ndindex(logits.shape):
        shift = np.zeros_like(logits)
        shift[index] = h
        above, below = loss(logits + shift, labels)[0], loss(logits - shift, labels)[0]
        change = (above - below).mean(axis=-1).sum()  # one network's alone is not 0
        assert gradient[index] == pytest.approx(change / (2 * h), rel=1e-7)
    np.testing.assert_array_equal(logits, before)


def test_networks_of_a_stack_may_share_their_labels():
    logits, labels = np.random.default_rng(0).normal(size=(2, 4, 3)), [0, 2, 1, 1]
    losses, gradient = loss(logits, labels)
    for i in range(2):
        np.testing.assert_array_equal(losses[i], loss(logits[i], labels)[0])
        np.testing.assert_array_equal(gradient[i], loss(logits[i], labels)[1])


# The network

HIDDEN_SIZES = [[], [5], [5, 4], [5, 4, 3]]


def example(activation, hidden_sizes):
    """A float64 network with biases, and a batch of 5 for it; the same ones every time."""
    rng = np.random.default_rng(78)  # whose gradients are none of them too small to compare
    network = MLP([6, *hidden_sizes, 3], activation, np.float64)
    network.params[:] = rng.normal(size=network.params.size)
    return network, rng.normal(size=(5, 6)), np.array([0, 2, 1, 1, 0])


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
@pytest.mark.parametrize("hidden_sizes", HIDDEN_SIZES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_of_every_parameter(activation, hidden_sizes, rows):
    network, x, labels = example(activation, hidden_sizes)
    network.forward(x)  # a short batch finds the layers' arrays filled
    x, labels = x[:rows], labels[:rows]

    def mean_loss():
        return loss(network.forward(x), labels)[0].mean()

    network.grads[:] = 7
    network.backward(loss(network.forward(x), labels)[1])
    expected = difference_quotients(mean_loss, network.params)
    assert (np.abs(network.grads - expected) <= 1e-7 * np.abs(expected)).all()


def test_layers_make_their_arrays_once():
    network, x, _ = example("tanh", [5])
    first = network.forward(x)
    assert network.forward(x) is first


def test_a_batch_may_have_any_size_after_any_other():
    network, x, _ = example("tanh", [5, 4])
    expected = network.forward(x).copy()
    for batch in x[:1], np.vstack([x, x]), x[:3]:
        n = min(len(batch), 5)
        np.testing.assert_allclose(network.forward(batch)[:n], expected[:n], rtol=1e-13)


def test_a_network_shows_ten_names_at_most():
    names = [name for name in dir(MLP([2, 3, 2])) if not name.startswith("_")]
    assert len(names) <= 10, names


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
    named = network.named(network.params)
    for i, expected_std in enumerate(expected):
        weights = named[f"weights_{i}"]
        n = weights.size  # a sample's std is off by about std / sqrt(2 n), its mean by less
        assert weights.std() == pytest.approx(expected_std, rel=4 / (2 * n) ** 0.5)
        assert abs(weights.mean()) < 4 * expected_std / n**0.5
        assert not named[f"bias_{i}"].any()


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


@pytest.mark.parametrize("stack", [(), (2,), (2, 3)], ids=str)
def test_every_parameter_has_a_name_and_a_place(stack):
    network = MLP([6, 5, 4, 3], stack=stack)
    named = network.named(network.params)
    assert {name: array.shape for name, array in named.items()} == {
        "weights_0": (*stack, 6, 5),
        "bias_0": (*stack, 5),
        "weights_1": (*stack, 5, 4),
        "bias_1": (*stack, 4),
        "weights_2": (*stack, 4, 3),
        "bias_2": (*stack, 3),
    }
    for array in named.values():
        array += 1
    np.testing.assert_array_equal(network.params, 1)  # views, each number in one of them
