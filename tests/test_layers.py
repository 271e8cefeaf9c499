"""The layers and the loss, each against a hand-worked case or a difference quotient."""

import math

import numpy as np
import pytest

from mlp.inputs import Inputs, SparseRows
from mlp.layers import ACTIVATIONS, Activation, InputLinear, Linear
from mlp.loss import SoftmaxCrossEntropy

PARAMS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [0.5, -0.5]])  # weights, and bias last
INPUTS = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, 1.0]])
OUTPUTS = np.array([[-3.5, -4.5], [7.5, 9.5]])  # INPUTS times weights, plus bias
GRAD_OUTPUTS = np.array([[1.0, -1.0], [2.0, 0.5]])
GRADS = np.array([[5.0, 0.0], [0.0, 0.0], [1.0, 1.5], [3.0, -0.5]])  # INPUTS' GRAD_OUTPUTS; sums
GRAD_INPUTS = np.array([[-1.0, -1.0, -1.0], [3.0, 8.0, 13.0]])  # GRAD_OUTPUTS times weights'


def with_rare_features(n_rare):
    """INPUTS, the first features taken for rare."""
    frequent = np.column_stack([INPUTS[:, n_rare:], np.ones(2)])
    return Inputs(frequent, SparseRows.of(INPUTS[:, :n_rare], np.ones(n_rare)) if n_rare else None)


def test_linear_by_hand():
    grads = np.full_like(PARAMS, 7)
    layer = Linear(PARAMS.copy(), grads, max_batch=3)
    np.testing.assert_array_equal(layer.forward(INPUTS, np.full((2, 2), 7.0)), OUTPUTS)
    np.testing.assert_array_equal(layer.backward(GRAD_OUTPUTS, np.full((2, 3), 7.0)), GRAD_INPUTS)
    np.testing.assert_array_equal(grads, GRADS)


@pytest.mark.parametrize("n_rare", [0, 2, 3])
def test_input_linear_by_hand(n_rare):
    params, grads = PARAMS.copy(), np.full_like(PARAMS, 7)
    layer = InputLinear(params, grads)
    outputs = layer.forward(with_rare_features(n_rare), np.full((2, 2), 7.0))
    np.testing.assert_array_equal(outputs, OUTPUTS)
    assert layer.backward(GRAD_OUTPUTS) is None, "nobody needs the gradient of the data"
    np.testing.assert_array_equal(grads, GRADS)
    layer.add(-0.5 * GRAD_OUTPUTS)
    np.testing.assert_array_equal(params, PARAMS - 0.5 * GRADS)


@pytest.mark.parametrize("kind", [Linear, Activation, InputLinear])
def test_layers_write_where_they_are_told(kind):
    square = np.eye(3, 2)
    if kind is Activation:
        layer, inputs = Activation("tanh"), np.eye(2)
    else:
        layer = Linear(square, square.copy(), 2) if kind is Linear else InputLinear(square, square)
        inputs = np.eye(2) if kind is Linear else Inputs.dense(np.eye(2))
    out = np.empty((2, 2))
    assert layer.forward(inputs, out) is out
    if kind is not InputLinear:
        assert layer.backward(np.eye(2), out) is out


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("sigmoid", [-math.log(3), 0, math.log(3)], [0.25, 0.5, 0.75]),
        ("tanh", [-math.log(3), 0, math.log(3)], [-0.8, 0, 0.8]),
        ("relu", [-2, 0, 3], [0, 0, 3]),
        ("leaky_relu", [-2, 0, 3], [-0.02, 0, 3]),
    ],
)
def test_activation_values(name, inputs, outputs):
    found = Activation(name).forward(np.array(inputs, float), np.empty(3))
    np.testing.assert_allclose(found, outputs, rtol=1e-15, atol=1e-16)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_slopes_are_the_difference_quotients(name):
    x, h = np.linspace(-3, 3, 100), 1e-6  # no point at relu's kink
    layer = Activation(name)
    above, below = (layer.forward(shifted, np.empty_like(x)) for shifted in (x + h, x - h))
    quotients = (above - below) / (2 * h)
    layer.forward(x, np.empty_like(x))
    slopes = layer.backward(np.full_like(x, 2.0), np.empty_like(x))
    np.testing.assert_allclose(slopes, 2 * quotients, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "limits"), [("sigmoid", (0, 1)), ("tanh", (-1, 1))])
def test_saturated_units_reach_their_limits(name, limits, dtype):
    layer = Activation(name)
    with np.errstate(over="ignore"):
        outputs = layer.forward(np.array([-1e4, 1e4], dtype), np.empty(2, dtype))
    np.testing.assert_array_equal(outputs, limits)
    np.testing.assert_array_equal(layer.backward(np.ones(2, dtype), np.empty(2, dtype)), 0)


def loss(logits, labels):
    """Each example's loss, and the gradient of their mean."""
    softmax, labels = SoftmaxCrossEntropy(logits.shape[1], logits.dtype), np.array(labels)
    targets, out = softmax.targets(labels), np.full_like(logits, 7)
    gradient = softmax.gradient(logits, targets, 1 / len(logits), out)
    assert gradient is out
    return softmax.losses(logits, labels), gradient


def test_loss_values():
    losses, _ = loss(np.array([[0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0]]), [1, 0])
    np.testing.assert_allclose(losses, [math.log(3), math.log(2)], rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss_of_huge_logits_stays_finite(dtype):
    losses, gradient = loss(np.array([[1e4, -1e4], [1e4, -1e4]], dtype), [0, 1])
    np.testing.assert_array_equal(losses, [0, 2e4])
    np.testing.assert_array_equal(gradient, [[0, 0], [0.5, -0.5]])


def test_loss_gradient_is_that_of_the_mean():
    logits, labels, h = np.random.default_rng(0).normal(size=(4, 3)), [0, 2, 1, 1], 1e-5
    _, gradient = loss(logits, labels)
    for index in np.ndindex(logits.shape):
        shift = np.zeros_like(logits)
        shift[index] = h
        above, below = loss(logits + shift, labels)[0], loss(logits - shift, labels)[0]
        assert gradient[index] == pytest.approx((above - below).mean() / (2 * h), rel=1e-7)
