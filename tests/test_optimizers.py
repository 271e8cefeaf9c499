"""Optimizers by hand and against PyTorch's; schedules at points where their values are known."""

import numpy as np
import pytest

from mlp.data import Block
from mlp.inputs import Inputs
from mlp.network import MLP
from mlp.optimizers import OPTIMIZERS, SGD, Adam
from mlp.schedules import SCHEDULES
from mlp.steps import PlainSteps


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (SGD(), 0.9),  # 1 - 0.05 - 0.05
        (SGD(momentum=0.9), 0.855),  # velocities 0.5, 0.95
        (SGD(momentum=0.9, nesterov=True), 0.7695),  # 0.5 + 0.9 * 0.5, then 0.5 + 0.9 * 0.95
        (SGD(weight_decay=0.1), 0.8806),  # gradients 0.6 and 0.594
        (Adam(), 0.8),  # lr a step, as the gradient stays the same
        (Adam(weight_decay=0.1), 0.7811),  # (1 * 0.99 - 0.1) * 0.99 - 0.1
    ],
    ids=["sgd", "momentum", "nesterov", "weight decay", "adam", "adam with weight decay"],
)
def test_two_steps_by_hand(optimizer, expected):
    params = np.array([1.0])
    for _ in range(2):
        optimizer.update(params, np.array([0.5]), lr=0.1)
    assert params[0] == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(
    ("name", "options", "torch_name", "torch_options"),
    [
        ("sgd", {}, "SGD", {}),
        ("sgd", {"momentum": 0.9}, "SGD", {"momentum": 0.9}),
        ("sgd", {"momentum": 0.9, "nesterov": True}, "SGD", {"momentum": 0.9, "nesterov": True}),
        ("sgd", {"weight_decay": 0.01}, "SGD", {"weight_decay": 0.01}),
        (
            "sgd",
            {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
            "SGD",
            {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
        ),
        ("adam", {}, "Adam", {}),
        (
            "adam",
            {"beta1": 0.8, "beta2": 0.99, "eps": 1e-4, "weight_decay": 0.1},
            "AdamW",
            {"betas": (0.8, 0.99), "eps": 1e-4, "weight_decay": 0.1},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value) or "default",
)
def test_200_steps_equal_those_of_pytorch(torch, name, options, torch_name, torch_options):
    rng, n_steps, batch_size = np.random.default_rng(0), 200, 8
    sizes, lr = [200, 100, 10], 0.1 if name == "sgd" else 0.01
    network = MLP(sizes, "sigmoid", np.float64, max_batch=n_steps * batch_size)
    network.initialise("glorot", rng)
    twin = torch.nn.Sequential(
        torch.nn.Linear(200, 100), torch.nn.Sigmoid(), torch.nn.Linear(100, 10)
    ).double()
    with torch.no_grad():
        for i, like in enumerate(twin[::2]):
            like.weight[...] = torch.from_numpy(network.state()[f"weights_{i}"].T)
            like.bias[...] = torch.from_numpy(network.state()[f"bias_{i}"])

    inputs = rng.normal(size=(n_steps * batch_size, 200))
    labels = rng.integers(0, 10, n_steps * batch_size)
    steps = PlainSteps(network, OPTIMIZERS[name](**options))
    losses = steps.steps(Block(Inputs.dense(inputs), labels), np.full(n_steps, lr))

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
    state = steps.state()
    for i, like in enumerate(twin[::2]):
        weights, bias = like.weight.detach().numpy().T, like.bias.detach().numpy()
        np.testing.assert_allclose(state[f"weights_{i}"], weights, rtol=0, atol=1e-10)
        np.testing.assert_allclose(state[f"bias_{i}"], bias, rtol=0, atol=1e-10)


def test_state_holds_copies_of_what_an_optimizer_remembers():
    params, grads = np.zeros(3), np.array([1.0, 2.0, 3.0])
    for optimizer, n_vectors in (SGD(), 0), (SGD(momentum=0.9), 1), (Adam(), 2):
        optimizer.update(params, grads.copy(), lr=0.1)
        state = optimizer.state()
        assert len(state) == n_vectors
        before = {name: array.copy() for name, array in state.items()}
        optimizer.update(params, grads.copy(), lr=0.1)
        for name, array in state.items():
            np.testing.assert_array_equal(array, before[name])
            assert (array != optimizer.state()[name]).all()


@pytest.mark.parametrize(
    ("name", "options", "points"),
    [
        ("constant", {}, {0: 1, 0.3: 1, 1: 1}),
        ("linear", {}, {0: 1, 0.25: 0.75, 1: 0}),
        ("cosine", {}, {0: 1, 1 / 3: 0.75, 0.5: 0.5, 1: 0}),
        ("one_cycle", {"warm_up": 0.2}, {0: 0, 0.05: 0.25, 0.2: 1, 0.6: 0.5, 1: 0}),
    ],
)
def test_schedules_at_known_points(name, options, points):
    factors = SCHEDULES[name](np.array(list(points), float), **options)
    np.testing.assert_allclose(factors, list(points.values()), rtol=0, atol=1e-15)


def test_every_schedule_is_known_here():
    assert list(SCHEDULES) == ["constant", "linear", "cosine", "one_cycle"]
