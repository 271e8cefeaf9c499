"""The layers and the loss, each against a hand-worked case or a difference quotient."""

import math

import numpy as np
import pytest

from mlp.layers import ACTIVATIONS, Activation, InputLinear, Linear
from mlp.loss import positions, softmax_cross_entropy

WEIGHTS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
BIAS = np.array([[0.5, -0.5]])
INPUTS = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, 1.0]])
OUTPUTS = np.array([[-3.5, -4.5], [7.5, 9.5]])  # INPUTS WEIGHTS + BIAS
GRAD_OUTPUTS = np.array([[1.0, -1.0], [2.0, 0.5]])
GRAD_WEIGHTS = np.array([[5.0, 0.0], [0.0, 0.0], [1.0, 1.5]])  # INPUTS' GRAD_OUTPUTS
GRAD_BIAS = np.array([[3.0, -0.5]])
GRAD_INPUTS = np.array([[-1.0, -1.0, -1.0], [3.0, 8.0, 13.0]])  # GRAD_OUTPUTS WEIGHTS'


def build(kind, max_batch=4):
    """A layer with the weights above, and gradients that still hold rubbish."""
    rubbish = np.full_like(WEIGHTS, 7), np.full_like(BIAS, 7)
    return kind(WEIGHTS.copy(), BIAS.copy(), *rubbish, max_batch)


def test_linear_by_hand():
    layer = build(Linear)
    np.testing.assert_array_equal(layer.forward(INPUTS), OUTPUTS)
    np.testing.assert_array_equal(layer.backward(GRAD_OUTPUTS), GRAD_INPUTS)
    np.testing.assert_array_equal(layer.grad_weights, GRAD_WEIGHTS)
    np.testing.assert_array_equal(layer.grad_bias, GRAD_BIAS)


@pytest.mark.parametrize("columns", [None, np.array([0, 2])])
def test_input_linear_by_hand_and_without_the_column_of_zeros(columns):
    layer = build(InputLinear)
    inputs = INPUTS if columns is None else INPUTS[:, columns]
    np.testing.assert_array_equal(layer.forward(inputs, columns), OUTPUTS)
    assert layer.backward(GRAD_OUTPUTS) is None, "nobody needs the gradient of the data"
    np.testing.assert_array_equal(layer.grad_weights, GRAD_WEIGHTS)
    np.testing.assert_array_equal(layer.grad_bias, GRAD_BIAS)


@pytest.mark.parametrize("columns", [None, np.array([0, 2])])
def test_descend_takes_the_scaled_gradient_off_the_parameters(columns):
    layer = build(InputLinear)
    layer.forward(INPUTS if columns is None else INPUTS[:, columns], columns)
    layer.descend(0.5 * GRAD_OUTPUTS)
    np.testing.assert_array_equal(layer.weights, WEIGHTS - 0.5 * GRAD_WEIGHTS)
    np.testing.assert_array_equal(layer.bias, BIAS - 0.5 * GRAD_BIAS)


@pytest.mark.parametrize("kind", [Linear, InputLinear])
def test_buffers_are_made_once_and_a_short_batch_uses_views_of_them(kind):
    layer = build(kind)
    whole = layer.forward(np.ones((4, 3)))
    short = layer.forward(INPUTS)
    assert np.shares_memory(whole, short)
    np.testing.assert_array_equal(short, OUTPUTS)
    with pytest.raises(ValueError, match="up to 4 examples, got 5"):
        layer.forward(np.ones((5, 3)))


def activation(name, dtype=np.float64):
    return Activation(name, 1, dtype, 100)


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
    found = activation(name).forward(np.array(inputs, float)[:, None])
    np.testing.assert_allclose(found[:, 0], outputs, rtol=1e-15, atol=1e-16)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_slopes_are_the_difference_quotients(name):
    x, h = np.linspace(-3, 3, 100)[:, None], 1e-6  # no point at relu's kink
    layer = activation(name)
    quotients = (layer.forward(x + h).copy() - layer.forward(x - h)) / (2 * h)
    layer.forward(x)
    slopes = layer.backward(np.full_like(x, 2.0))
    np.testing.assert_allclose(slopes, 2 * quotients, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "limits"), [("sigmoid", (0, 1)), ("tanh", (-1, 1))])
def test_saturated_units_reach_their_limits(name, limits, dtype):
    layer = activation(name, dtype)
    with np.errstate(over="ignore"):
        outputs = layer.forward(np.array([[-1e4], [1e4]], dtype))
    np.testing.assert_array_equal(outputs[:, 0], limits)
    np.testing.assert_array_equal(layer.backward(np.ones((2, 1), dtype)), 0)


def loss(logits, labels):
    """Each example's loss, and the gradient of their mean."""
    gradient = np.empty_like(logits)
    true_class = positions(np.array(labels), logits.shape[-1], len(logits))
    return softmax_cross_entropy(logits, true_class, gradient), gradient


def test_positions_start_anew_with_every_batch():
    np.testing.assert_array_equal(positions(np.array([2, 0, 1, 1, 2]), 3, 2), [2, 3, 1, 4, 2])


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
