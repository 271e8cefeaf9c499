"""A stack of networks gives each the bytes that it would get alone."""

import numpy as np
import pytest
from examples import OPTIMIZERS, example_dataset, example_network

from mlp.fast import LookaheadLearner, SplitLearner, fastest, rare_features
from mlp.network import MLP
from mlp.training import Learner

STACKS = [(1,), (2,), (7,), (2, 3)]
N_BATCHES = 3  # a block


def stacked(networks, stack):
    """These networks as one stack of them."""
    first, activation = networks[0], "tanh"
    together = MLP(first.sizes, activation, first.params.dtype, stack)
    together.params[...] = np.reshape([one.params for one in networks], together.params.shape)
    return together


def outcome(network, optimizer, fast, dataset, orders, lrs, batch_size):
    """The learner's type; losses, held-out logits and their losses, parameters and memory.

    orders (..., n); lrs (n_steps, ...).
    """
    learner = Learner(network, optimizer)
    learner = fastest(learner, dataset) if fast else learner
    losses, done = [], 0
    for x, labels in learner.read(dataset, dataset.train).blocks(orders, batch_size, N_BATCHES):
        n_steps = -(-labels.shape[-1] // batch_size)
        losses += [*learner.steps(x, labels, lrs[done : done + n_steps])]
        done += n_steps
    assert done == len(lrs) > N_BATCHES
    held_out = learner.read(dataset, dataset.held_out)
    for x, labels in held_out.blocks(np.arange(len(held_out)), len(held_out)):
        logits = learner.logits(x)
        measured = {"logits": logits.copy(), "losses": learner.loss.losses(logits, labels)}
    return type(learner), {"mini-batches": np.array(losses), **measured, **learner.state()}


def check_stacks(expected, optimizer, dataset, shared, batch_size, hidden_sizes, dtype, stacks):
    most = max(int(np.prod(stack)) for stack in stacks)
    rng, n = np.random.default_rng(0), len(dataset.train[0])
    orders = np.array([rng.permutation(n) for _ in range(most)])
    orders[1:] = orders[0] if shared else orders[1:]
    n_steps = -(-n // batch_size)
    lrs = np.linspace(0.02, 0.3, n_steps)[:, None] * np.linspace(0.2, 1, most)

    def network(seed):
        return example_network(dataset, hidden_sizes, dtype, seed=seed)

    def found(network, order, lrs):
        kind, result = outcome(
            network, optimizer, expected is not Learner, dataset, order, lrs, batch_size
        )
        assert kind is expected
        return result

    alone = [found(network(i), orders[i], lrs[:, i]) for i in range(most)]
    for stack in stacks:
        size = int(np.prod(stack))
        order = orders[0] if shared else orders[:size].reshape(*stack, n)
        rates = lrs[:, :size].reshape(n_steps, *stack)
        together = found(stacked([network(i) for i in range(size)], stack), order, rates)
        assert together.keys() == alone[0].keys()
        for name, array in together.items():
            if name == "updates":  # one count for all
                assert array == alone[0][name]
                continue
            if name == "mini-batches":
                array = np.moveaxis(array, 0, -1)
            parts = array.reshape(size, *array.shape[len(stack) :])
            for i, part in enumerate(parts):
                assert part.dtype == alone[i][name].dtype
                assert part.tobytes() == alone[i][name].tobytes(), (stack, i, name)


WAYS = [
    (Learner, "sgd", 0),
    (Learner, "sgd", 100),
    (Learner, "nesterov", 0),
    (Learner, "adam with weight decay", 100),
    (LookaheadLearner, "sgd", 0),
    (LookaheadLearner, "sgd", 100),
    (SplitLearner, "momentum", 100),
    (SplitLearner, "nesterov", 100),
    (SplitLearner, "weight decay", 100),
    (SplitLearner, "adam", 100),
    (SplitLearner, "adam with weight decay", 100),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden_sizes", [[], [20], [20, 10]], ids=str)
@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("shared", [True, False], ids=["shared inputs", "inputs of their own"])
@pytest.mark.parametrize(("way", "optimizer", "n_rare"), WAYS)
def test_a_stack_gives_each_network_its_bytes(
    way, optimizer, n_rare, shared, batch_size, hidden_sizes, dtype
):
    dataset = example_dataset(n_rare, n_frequent=80, n_train=22)  # a short batch at the end
    assert (len(rare_features(dataset)) > 0) == (n_rare > 0)
    optimizer = OPTIMIZERS[optimizer]
    check_stacks(way, optimizer, dataset, shared, batch_size, hidden_sizes, dtype, STACKS)


@pytest.mark.parametrize("way", [Learner, LookaheadLearner])
@pytest.mark.parametrize("batch_size", [1, 16, 100])
def test_networks_of_the_usual_size_have_their_bytes_too(way, batch_size):
    """The BLAS has other routines for them."""
    dataset = example_dataset(n_rare=300, n_frequent=484, n_train=3 * batch_size + 10)
    check_stacks(way, OPTIMIZERS["sgd"], dataset, False, batch_size, [300], "float32", [(2,)])


@pytest.mark.parametrize("batch_size", [2, 3, 8])
@pytest.mark.parametrize("hidden_sizes", [[1], [1, 1]], ids=str)
@pytest.mark.parametrize("way", [Learner, LookaheadLearner])
def test_networks_with_one_hidden_unit_have_their_bytes_too(way, hidden_sizes, batch_size):
    """A matrix times a column takes another routine of the BLAS than a matrix times a matrix."""
    dataset = example_dataset(n_frequent=80, n_train=256)
    optimizer = OPTIMIZERS["sgd"]
    check_stacks(way, optimizer, dataset, False, batch_size, hidden_sizes, "float32", [(2,), (7,)])


def test_the_networks_of_a_stack_differ():
    """Else a stack of copies of one network would pass above."""
    dataset = example_dataset(n_frequent=80, n_train=22)
    networks = [example_network(dataset, seed=seed) for seed in range(2)]
    lrs = np.full((22, 2), 0.1)
    _, found = outcome(
        stacked(networks, (2,)), OPTIMIZERS["sgd"], True, dataset, np.arange(22), lrs, 1
    )
    assert (found["mini-batches"][:, 0] != found["mini-batches"][:, 1]).all()
