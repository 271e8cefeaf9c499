"""Optimizers by hand and against PyTorch's; schedules at points where their values are known."""

from types import SimpleNamespace

import numpy as np
import pytest
from examples import OPTIMIZERS, SCHEDULES

import mlp.optimizers
import mlp.schedules
from mlp.network import MLP
from mlp.optimizers import SGD, Adam, Muon, orthogonal
from mlp.schedules import OneCycle
from mlp.training import Learner

USUAL = {
    SGD: {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
    Adam: {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0},
}


def made(cls, **settings):
    return cls(**USUAL[cls] | settings)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (made(SGD), 0.9),  # 1 - 0.05 - 0.05
        (made(SGD, momentum=0.9), 0.855),  # velocities 0.5, 0.95
        (made(SGD, momentum=0.9, nesterov=True), 0.7695),  # 0.5 + 0.9 * 0.5, 0.5 + 0.9 * 0.95
        (made(SGD, weight_decay=0.1), 0.8806),  # gradients 0.6 and 0.594
        (made(Adam), 0.8),  # lr a step, as the gradient stays the same
        (made(Adam, weight_decay=0.1), 0.7811),  # (1 * 0.99 - 0.1) * 0.99 - 0.1
    ],
    ids=["sgd", "momentum", "nesterov", "weight decay", "adam", "adam with weight decay"],
)
def test_two_steps_by_hand(optimizer, expected):
    network = SimpleNamespace(params=np.array([1.0]), grads=np.zeros(1))
    memory = optimizer.start(network)
    for _ in range(2):
        network.grads[0] = 0.5
        optimizer.update(network, 0.1, memory)
    assert network.params[0] == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(
    ("cls", "options", "torch_name", "torch_options"),
    [
        (SGD, {}, "SGD", {}),
        (SGD, {"momentum": 0.9}, "SGD", {"momentum": 0.9}),
        (SGD, {"momentum": 0.9, "nesterov": True}, "SGD", {"momentum": 0.9, "nesterov": True}),
        (SGD, {"weight_decay": 0.01}, "SGD", {"weight_decay": 0.01}),
        (
            SGD,
            {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
            "SGD",
            {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
        ),
        (Adam, {}, "Adam", {}),
        (
            Adam,
            {"beta1": 0.8, "beta2": 0.99, "eps": 1e-4, "weight_decay": 0.1},
            "AdamW",
            {"betas": (0.8, 0.99), "eps": 1e-4, "weight_decay": 0.1},
        ),
    ],
    ids=lambda value: ",".join(value) or "default" if isinstance(value, dict) else None,
)
def test_200_steps_equal_those_of_pytorch(torch, cls, options, torch_name, torch_options):
    rng, n_steps, batch_size = np.random.default_rng(0), 200, 8
    sizes, lr = [200, 100, 10], 0.1 if cls is SGD else 0.01
    network = MLP(sizes, "sigmoid", np.float64)
    network.initialise("glorot", rng)
    named = network.named(network.params)
    twin = torch.nn.Sequential(
        torch.nn.Linear(200, 100), torch.nn.Sigmoid(), torch.nn.Linear(100, 10)
    ).double()
    with torch.no_grad():
        for i, like in enumerate(twin[::2]):
            like.weight[...] = torch.from_numpy(named[f"weights_{i}"].T)
            like.bias[...] = torch.from_numpy(named[f"bias_{i}"])

    inputs = rng.normal(size=(n_steps * batch_size, 200))
    labels = rng.integers(0, 10, n_steps * batch_size)
    losses = Learner(network, made(cls, **options)).steps(inputs, labels, np.full(n_steps, lr))

    optimizer = getattr(torch.optim, torch_name)(twin.parameters(), lr=lr, **torch_options)
    batches = torch.from_numpy(inputs).split(batch_size), torch.from_numpy(labels).split(batch_size)
    torch_losses = []
    for x, y in zip(*batches, strict=True):
        loss = torch.nn.functional.cross_entropy(twin(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        torch_losses.append(loss.item())

    np.testing.assert_allclose(losses, torch_losses, rtol=0, atol=1e-10)
    for i, like in enumerate(twin[::2]):
        weights, bias = like.weight.detach().numpy().T, like.bias.detach().numpy()
        np.testing.assert_allclose(named[f"weights_{i}"], weights, rtol=0, atol=1e-10)
        np.testing.assert_allclose(named[f"bias_{i}"], bias, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), (1, 6), (2, 3, 8, 5)])
def test_a_step_of_muon_keeps_the_singular_vectors_and_makes_the_values_about_1(shape):
    matrix = np.random.default_rng(0).standard_normal(shape)
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    inner = u.mT @ orthogonal(matrix) @ v.mT
    values = np.diagonal(inner, axis1=-2, axis2=-1)
    assert ((values > 0.6) & (values < 1.3)).all()
    np.testing.assert_allclose(inner - values[..., None] * np.eye(values.shape[-1]), 0, atol=1e-8)


def test_muon_takes_no_step_without_a_gradient():
    assert not orthogonal(np.zeros((3, 4), np.float32)).any()


def test_two_steps_of_muon_by_hand():
    network, optimizer = MLP([1, 1], dtype=np.float64), Muon(momentum=0.5, weight_decay=0.1)
    network.params[:] = 2.0, -3.0
    memory, one = optimizer.start(network), orthogonal(np.ones((1, 1)))[0, 0]
    for _ in range(2):  # any gradient of one entry has the same step, up to its sign
        network.grads[:] = 4.0, -1e-3
        optimizer.update(network, 0.1, memory)
    np.testing.assert_allclose(memory["velocity"], [6.0, -1.5e-3])
    expected = [(w * 0.99 - s * 0.1 * one) * 0.99 - s * 0.1 * one for w, s in ((2, 1), (-3, -1))]
    np.testing.assert_allclose(network.params, expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_remembers_nothing_itself(name):
    """Memory and parameters change in place, for each network by itself; lr may be an array."""
    optimizer, rng = OPTIMIZERS[name], np.random.default_rng(0)
    stack, alone = MLP([3, 2, 4], stack=(3,)), [MLP([3, 2, 4]) for _ in range(3)]
    params, grads = rng.normal(size=(2, *stack.params.shape)).astype(np.float32)
    lrs = np.array([[0.1], [0.2], [0.4]], np.float32)
    for network, own in zip((stack, *alone), (params, *params), strict=True):
        network.params[...] = own
    memory, memories = optimizer.start(stack), [optimizer.start(network) for network in alone]
    arrays = list(memory.values())
    for _ in range(3):
        stack.grads[...] = grads
        optimizer.update(stack, lrs, memory)
        for i, (network, own) in enumerate(zip(alone, memories, strict=True)):
            network.grads[...] = grads[i]
            optimizer.update(network, lrs[i, 0], own)
    assert all(array is same for array, same in zip(memory.values(), arrays, strict=True))
    for i, (network, own) in enumerate(zip(alone, memories, strict=True)):
        np.testing.assert_array_equal(stack.params[i], network.params)
        for key, array in own.items():
            assert array.dtype == memory[key].dtype
            np.testing.assert_array_equal(memory[key][i] if array.ndim else memory[key], array)


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        (SCHEDULES["constant"], {0: 1, 0.3: 1, 1: 1}),
        (SCHEDULES["linear"], {0: 1, 0.25: 0.75, 1: 0}),
        (SCHEDULES["cosine"], {0: 1, 1 / 3: 0.75, 0.5: 0.5, 1: 0}),
        (OneCycle(warm_up=0.2), {0: 0, 0.05: 0.25, 0.2: 1, 0.6: 0.5, 1: 0}),
    ],
    ids=["constant", "linear", "cosine", "one_cycle"],
)
def test_schedules_at_known_points(schedule, points):
    factors = schedule(np.array(list(points), float))
    np.testing.assert_allclose(factors, list(points.values()), rtol=0, atol=1e-15)


def test_the_tests_know_every_optimizer_and_every_schedule():
    assert {type(one) for one in OPTIMIZERS.values()} == set(mlp.optimizers.OPTIMIZERS)
    assert {type(one) for one in SCHEDULES.values()} == set(mlp.schedules.SCHEDULES)
    assert all(schedule.name == name for name, schedule in SCHEDULES.items())
