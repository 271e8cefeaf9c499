"""The layers and the loss, each against a hand-worked case or a difference quotient."""

import math

import numpy as np
import pytest

from mlp.inputs import Inputs
from mlp.layers import ACTIVATIONS, Activation, InputLinear, Linear
from mlp.loss import SoftmaxCrossEntropy
from mlp.sparse import SparseRows

PARAMS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [0.5, -0.5]])  # weights, and bias last
INPUTS = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, 1.0]])
OUTPUTS = np.array([[-3.5, -4.5], [7.5, 9.5]])  # INPUTS times weights, plus bias
GRAD_OUTPUTS = np.array([[1.0, -1.0], [2.0, 0.5]])
GRADS = np.array([[5.0, 0.0], [0.0, 0.0], [1.0, 1.5], [3.0, -0.5]])  # INPUTS' GRAD_OUTPUTS; sums
GRAD_INPUTS = np.array([[-1.0, -1.0, -1.0], [3.0, 8.0, 13.0]])  # GRAD_OUTPUTS times weights'


def with_rare_features(n_rare):
    """INPUTS, the first features taken for rare."""
    frequent = np.column_stack([INPUTS[:, n_rare:], np.ones(2)])
    return Inputs(frequent, SparseRows.of(INPUTS[:, :n_rare]) if n_rare else None)


def connected(layer, inputs, grad_outputs):
    """The layer with these arrays, and rubbish where it is to write."""
    rubbish = np.full(grad_outputs.shape, 7, inputs.dtype), np.full_like(inputs, 7)
    layer.connect(inputs, rubbish[0], rubbish[1], grad_outputs)
    return layer


def test_linear_by_hand():
    grads = np.full_like(PARAMS, 7)
    layer = connected(Linear(PARAMS.copy(), grads), INPUTS, GRAD_OUTPUTS)
    layer.forward()
    layer.backward()
    np.testing.assert_array_equal(layer.outputs, OUTPUTS)
    np.testing.assert_array_equal(layer.grad_inputs, GRAD_INPUTS)
    np.testing.assert_array_equal(grads, GRADS)


@pytest.mark.parametrize("n_rare", [0, 2, 3])
def test_input_linear_by_hand(n_rare):
    params, grads, outputs = PARAMS.copy(), np.full_like(PARAMS, 7), np.full((2, 2), 7.0)
    layer = InputLinear(params, grads)
    layer.forward(with_rare_features(n_rare), outputs)
    np.testing.assert_array_equal(outputs, OUTPUTS)
    layer.backward(GRAD_OUTPUTS)
    np.testing.assert_array_equal(grads, GRADS)
    layer.add(-0.5 * GRAD_OUTPUTS)
    np.testing.assert_array_equal(params, PARAMS - 0.5 * GRADS)


def activated(name, inputs):
    """An activation after its forward and backward pass; dloss/doutputs is 2."""
    layer = connected(Activation(name), inputs, np.full_like(inputs, 2))
    layer.forward()
    layer.backward()
    return layer


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
    found = activated(name, np.array(inputs, float)).outputs
    np.testing.assert_allclose(found, outputs, rtol=1e-15, atol=1e-16)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_slopes_are_the_difference_quotients(name):
    x, h = np.linspace(-3, 3, 100), 1e-6  # no point at relu's kink
    quotients = (activated(name, x + h).outputs - activated(name, x - h).outputs) / (2 * h)
    slopes = activated(name, x).grad_inputs / 2
    np.testing.assert_allclose(slopes, quotients, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "limits"), [("sigmoid", (0, 1)), ("tanh", (-1, 1))])
def test_saturated_units_reach_their_limits(name, limits, dtype):
    with np.errstate(over="ignore"):
        layer = activated(name, np.array([-1e4, 1e4], dtype))
    np.testing.assert_array_equal(layer.outputs, limits)
    np.testing.assert_array_equal(layer.grad_inputs, 0)


def loss(logits, labels):
    """Each example's loss, and the gradient of their mean."""
    softmax, labels = SoftmaxCrossEntropy(logits.shape[1], logits.dtype), np.array(labels)
    gradient = np.full_like(logits, 7)
    softmax.gradient(logits, softmax.targets(labels), out=gradient)
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
