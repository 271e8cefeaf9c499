"""The fast ways against the plain one, and their parts against the same matrix written out."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from examples import (
    OPTIMIZERS,
    PLAIN_SGD,
    SCHEDULES,
    example_dataset,
    example_learner,
    figures_in,
    losses_in,
    records_of,
)
from scipy.sparse import csr_array

from mlp import fast
from mlp.data import Batches, Dataset, normalise
from mlp.fast import (
    EXAMPLES,
    FEW,
    GATHERED,
    RARE,
    LookaheadLearner,
    SparseRows,
    SplitBatches,
    SplitInputs,
    SplitLearner,
    SplitLinear,
    fastest,
    is_plain_descent,
    rare_features,
)
from mlp.network import MLP
from mlp.optimizers import SGD
from mlp.training import Learner

ROOT = Path(__file__).resolve().parents[1]
N, N_RARE, N_FREQUENT, N_OUT = 12, 9, 5, 4


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture(params=["SciPy's kernels", "SciPy's operator"])
def either_scipy(request, monkeypatch):
    """SciPy with its private kernels, and without."""
    if request.param == "SciPy's operator":
        monkeypatch.setattr(fast, "kernels", dict)
    else:
        assert {"csr_matvecs", "csc_matvecs"} <= fast.kernels().keys()


def matrix(n, n_columns, share, rng, dtype=float):
    """Random numbers, of which this share is not zero; the first, second and last row have none."""
    dense = rng.normal(size=(n, n_columns)) * (rng.random((n, n_columns)) < share)
    dense[[0, 1, -1]] = 0
    return dense.astype(dtype)


def close(found, expected):
    assert found.dtype == expected.dtype
    tolerance = 1e-5 if found.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


# Which features are rare


def features(n, *shares):
    """Data of FEW features for each share of examples in which they are not zero."""
    rows = np.arange(n)[:, None]
    return np.hstack([np.repeat(rows < share * n, FEW, axis=1) for share in shares]).astype(int)


def rare_in(inputs, **norms):
    return rare_features(Dataset((inputs, None), (inputs, None), 2, **norms)).tolist()


def test_rare_features_are_not_zero_in_few_examples():
    inputs = features(800, 1.0, RARE, RARE - 0.01, 0.0)
    np.random.default_rng(0).shuffle(inputs)
    assert rare_in(inputs) == list(range(2 * FEW, 4 * FEW))


def test_a_handful_of_rare_features_is_left_where_it_is():
    assert rare_in(features(800, 1.0, 0.0)[:, 1:]) == list(range(FEW - 1, 2 * FEW - 1))
    assert rare_in(features(800, 1.0, 0.0)[:, :-1]) == []


def test_rare_features_are_told_by_rows_from_all_over_the_data():
    inputs = features(4 * EXAMPLES, 0.9)  # only the last rows would make them rare
    assert rare_in(inputs) == []
    assert len(rare_in((inputs[::-1] == 0).astype(int))) == FEW


@pytest.mark.parametrize(
    ("offset", "scale", "n_rare"),
    [
        (0, 0.5, FEW),
        (0.5, 1, 0),
        (np.eye(FEW)[0], 1, 0),
        (np.zeros(FEW), 1, 0),
        (0, np.ones(FEW), 0),
    ],
)
def test_rare_features_are_those_of_data_without_offset_and_of_one_scale(offset, scale, n_rare):
    assert len(rare_in(np.zeros((200, FEW)), offset=offset, scale=scale)) == n_rare


# Which learner is the fastest


class Clips(SGD):
    most = 1.0

    def update(self, network, lr, memory):
        network.grads.clip(-self.most, self.most, out=network.grads)
        super().update(network, lr, memory)


class ClipsLarge(Clips):
    most = 1e20


class DropsSmall(SGD):
    def update(self, network, lr, memory):
        network.grads[np.abs(network.grads) < 1e-20] = 0
        super().update(network, lr, memory)


class Decays(SGD):
    def update(self, network, lr, memory):
        network.params[...] *= 1 - 0.01 * lr
        super().update(network, lr, memory)


class Remembers(SGD):
    """It counts. Its first update is a plain one."""

    def start(self, network):
        return {"updates": np.zeros((), int)}

    def update(self, network, lr, memory):
        memory["updates"] += 1
        super().update(network, lr / memory["updates"] ** 0.5, memory)


class Centres(SGD):
    def update(self, network, lr, memory):
        network.grads[...] -= network.grads.mean(axis=-1, keepdims=True)
        super().update(network, lr, memory)


class Signs(SGD):
    def update(self, network, lr, memory):
        np.sign(network.grads, out=network.grads)
        super().update(network, lr, memory)


class SlowsDown(SGD):
    def update(self, network, lr, memory):
        super().update(network, lr * lr, memory)


class SameAsSGD(SGD):
    def update(self, network, lr, memory):
        network.params[...] += -lr * network.grads


CHANGED = [Clips, ClipsLarge, DropsSmall, Decays, Remembers, Centres, Signs, SlowsDown]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_plain_sgd_alone_is_plain_descent(name):
    assert is_plain_descent(OPTIMIZERS[name]) == (name == "sgd")
    assert not is_plain_descent(SGD(momentum=0.0, nesterov=False, weight_decay=1e-12))


@pytest.mark.parametrize("cls", CHANGED)
def test_a_change_to_an_optimizer_is_not_ignored(cls):
    """The fast way gives what the plain one gives, with the change."""
    changed, dataset, found = cls(0.0, False, 0.0), example_dataset(n_rare=80), []
    assert not is_plain_descent(changed)
    assert is_plain_descent(SameAsSGD(0.0, False, 0.0)), "whatever its name"
    plain = example_learner(dataset, changed)
    for learner in plain, fastest(example_learner(dataset, changed), dataset):
        assert not isinstance(learner, LookaheadLearner)
        records = records_of(learner, dataset, batch_size=16, lr=0.5)
        found.append(losses_in(records))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)


@pytest.mark.parametrize(
    ("n_frequent", "n_rare", "optimizer", "expected"),
    [
        (784, 0, "sgd", LookaheadLearner),
        (65, 0, "sgd", LookaheadLearner),
        (64, 0, "sgd", Learner),
        (2, 0, "sgd", Learner),
        (784, 0, "momentum", Learner),
        (784, 0, "weight decay", Learner),
        (784, 0, "adam", Learner),
        (2, FEW, "sgd", LookaheadLearner),
        (2, FEW, "momentum", SplitLearner),
        (2, FEW, "adam", SplitLearner),
        (2, FEW - 1, "adam", Learner),
    ],
)
@pytest.mark.parametrize("hidden_sizes", [[], [20]], ids=str)
def test_a_fast_way_is_chosen_where_it_is_exact_and_pays(
    n_frequent, n_rare, optimizer, expected, hidden_sizes
):
    dataset = example_dataset(n_rare, n_frequent)
    plain = example_learner(dataset, OPTIMIZERS[optimizer], hidden_sizes=hidden_sizes)
    found = fastest(plain, dataset)
    assert type(found) is expected
    assert (found is plain) == (expected is Learner)


@pytest.mark.parametrize(
    ("lr", "largest", "dtype", "expected"),
    [
        (1.0, 1e17, "float32", LookaheadLearner),
        (1.0, 1e20, "float32", Learner),  # its inner products have no float32
        (1e30, 1.0, "float32", LookaheadLearner),
        (1e36, 1.0, "float32", Learner),
        (1e30, 1e5, "float32", Learner),
        (1e-30, 1e20, "float32", Learner),
        (1e30, 1e20, "float64", LookaheadLearner),
        (1.0, 1e160, "float64", Learner),
        (1.0, 1e308, "float64", Learner),
    ],
)
def test_looking_ahead_keeps_to_the_range_of_its_type(lr, largest, dtype, expected):
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 100)) * largest, rng.integers(0, 2, 40)
    for train, held_out in (x, x / 1e9), (x / 1e9, x):
        dataset = Dataset((train, y), (held_out, y), 2)
        assert type(fastest(example_learner(dataset, dtype=dtype), dataset, lr)) is expected


# The fast ways and the plain one


def both_ways(dataset, optimizer=PLAIN_SGD, hidden_sizes=(20,), dtype="float64", **options):
    """(records, learner) of the plain way, then of the fastest."""
    for way in (lambda learner, dataset: learner), fastest:
        plain = example_learner(dataset, optimizer, hidden_sizes=hidden_sizes, dtype=dtype)
        learner = way(plain, dataset)
        yield records_of(learner, dataset, **options), learner


def check_both_ways(expected, tolerance, dataset, **options):
    """Losses, figures, parameters and memory are equal within a tolerance."""
    (plain_records, plain), (records, learner) = both_ways(dataset, **options)
    assert type(plain) is Learner
    assert type(learner) is expected
    n_steps = math.ceil(len(dataset.train[0]) / options["batch_size"])
    assert len(losses_in(records)) == 2 * n_steps
    np.testing.assert_allclose(losses_in(records), losses_in(plain_records), rtol=tolerance)
    np.testing.assert_allclose(figures_in(records), figures_in(plain_records), rtol=tolerance)
    state, plain_state = learner.state(), plain.state()
    assert state.keys() == plain_state.keys()
    for name, array in state.items():
        assert array.dtype == plain_state[name].dtype
        np.testing.assert_allclose(array, plain_state[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)], ids=["float64", "float32"]
)
@pytest.mark.parametrize("hidden_sizes", [[], [20], [20, 10]], ids=str)
@pytest.mark.parametrize("batch_size", [1, 16, 40, 100, 128, 300])
@pytest.mark.parametrize(("n_frequent", "n_rare"), [(70, 0), (40, 80)], ids=["dense", "sparse"])
def test_looking_ahead_changes_rounding_alone(
    n_frequent, n_rare, batch_size, hidden_sizes, dtype, tolerance
):
    dataset = example_dataset(n_rare, n_frequent)
    assert len(rare_features(dataset)) == n_rare
    options = {"hidden_sizes": hidden_sizes, "dtype": dtype, "schedule": SCHEDULES["linear"]}
    check_both_ways(LookaheadLearner, tolerance, dataset, batch_size=batch_size, **options)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("batch_size", [1, 16, 100])
def test_rare_features_apart_change_rounding_alone(batch_size, schedule, optimizer):
    expected = LookaheadLearner if optimizer == "sgd" else SplitLearner
    options = {"optimizer": OPTIMIZERS[optimizer], "schedule": SCHEDULES[schedule], "lr": 0.01}
    dataset = example_dataset(n_rare=80)
    check_both_ways(expected, 1e-9, dataset, batch_size=batch_size, **options)


@pytest.mark.parametrize("how", ["unit", "standard"])
def test_looking_ahead_sees_normalised_inputs(how):
    dataset = example_dataset(n_frequent=80)
    dataset.train[0][:] |= 1  # so that 0..1 needs an offset
    dataset.offset, dataset.scale = normalise(dataset.train[0], how)
    assert np.all(dataset.offset)
    check_both_ways(LookaheadLearner, 1e-9, dataset, batch_size=16)


@pytest.mark.parametrize("size", [1e-300, 1e-50, 1e50, 1e300])
def test_rare_features_are_scaled_before_they_are_rounded(size):
    """Neither the stored numbers nor their scale have a float32."""
    dataset = example_dataset(n_rare=80)
    dataset.train, dataset.held_out = ((x * size, y) for x, y in (dataset.train, dataset.held_out))
    _, dataset.scale = normalise(dataset.train[0], "unit")
    check_both_ways(LookaheadLearner, 2e-5, dataset, batch_size=16, dtype="float32")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_without_the_kernels_changes_rounding_alone(optimizer, monkeypatch):
    dataset, found = example_dataset(n_rare=80), []
    for replaced in fast.kernels, dict:
        monkeypatch.setattr(fast, "kernels", replaced)
        learner = fastest(example_learner(dataset, OPTIMIZERS[optimizer]), dataset)
        found.append(losses_in(records_of(learner, dataset, batch_size=16)))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)


# Sparse rows


def test_sparse_rows_hold_the_numbers_that_are_not_zero():
    stored = np.array([[0, 3, 0], [0, 0, 0], [5, 0, 255]], np.uint8)
    rows = SparseRows.of(stored)
    assert rows.n_columns == 3
    assert rows.starts.tolist() == [0, 1, 1, 3]
    assert rows.columns.tolist() == [1, 0, 2]
    assert rows.values.tolist() == [3, 5, 255]
    assert rows.values.dtype == np.uint8


def test_rows_are_taken_in_any_order_and_seen_in_part(rng, dtype):
    dense, order = matrix(N, N_RARE, 0.3, rng, dtype), np.array([4, 0, 11, 2, 2, 7])
    taken = SparseRows.of(dense).take(order)
    np.testing.assert_array_equal(taken.transposed(), dense[order].T)
    for rows in slice(0, 3), slice(2, 6), slice(1, 1), slice(3, None), slice(None, -2):
        part = taken.part(rows)
        np.testing.assert_array_equal(part.transposed(), dense[order][rows].T)
        np.testing.assert_array_equal(part.public().toarray(), dense[order][rows])
        np.testing.assert_array_equal(
            part.part(slice(1, 2)).transposed(), part.transposed()[:, 1:2]
        )
        assert np.shares_memory(part.values, taken.values)


def test_products_are_those_of_scipys_operator(either_scipy, rng, dtype):
    """No documentation of SciPy promises what its kernels do; this test holds it."""
    dense = matrix(N, N_RARE, 0.3, rng, dtype)
    rows, public = SparseRows.of(dense), csr_array(dense)
    right, left = (rng.normal(size=(n, N_OUT)).astype(dtype) for n in (N_RARE, N))
    product, transposed = (np.ones((n, N_OUT), dtype) for n in (N, N_RARE))
    rows.add_dot(right, product)
    rows.add_transposed_dot(left, transposed)
    close(product, 1 + public @ right)
    close(transposed, 1 + public.T @ left)


@pytest.fixture
def unknown_kernels():
    """The kernels are looked for anew, in this test and in the next."""
    fast.kernels.cache_clear()
    yield fast.kernels
    fast.kernels.cache_clear()


def test_a_scipy_without_the_file_of_kernels_has_none(unknown_kernels, monkeypatch):
    monkeypatch.setattr("scipy.__file__", "/elsewhere/scipy/__init__.py")
    assert unknown_kernels() == {}


def test_the_kernels_are_loaded_once(unknown_kernels):
    assert unknown_kernels() is unknown_kernels()


@pytest.mark.parametrize(
    ("share", "modules"), [(1.0, set()), (0.01, {"scipy"})], ids=["dense", "rare features"]
)
def test_of_scipy_a_run_loads_what_its_data_need(tmp_path, share, modules):
    """The rest takes longer to load than a small run takes to train."""
    x = (np.random.default_rng(0).random((100, 100)) < share).astype(np.uint8)
    np.savez(tmp_path / "my.npz", x_train=x, y_train=np.arange(100) % 2)
    code = """
import sys, run  # with Hydra, as the command line has it
dataset = {"name": "npz", "path": sys.argv[1], "normalize": "none"}
from mlp import make_config
from mlp.experiment import start
config = make_config(dataset=dataset, epochs=1)
training = start(config, config.dataset.load())
list(training.records())
print(type(training.learner).__name__, *sorted({"scipy", "scipy.sparse"} & sys.modules.keys()))
import scipy.sparse
assert scipy.sparse._sparsetools.csr_matvecs  # whole, if it is wanted later
"""
    command = [sys.executable, "-c", code, tmp_path / "my.npz"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    learner, *loaded = done.stdout.split()
    assert learner == "LookaheadLearner"
    assert set(loaded) == modules


# The whole matrix of inputs


@pytest.fixture(params=["rare and frequent", "rare alone", "frequent alone"])
def widths(request):
    """(n_rare, n_frequent)"""
    n_rare = 0 if request.param == "frequent alone" else N_RARE
    return n_rare, 0 if request.param == "rare alone" else N_FREQUENT


STACKS = pytest.mark.parametrize(
    ("stack", "shared"),
    [((), True), ((3,), True), ((3,), False), ((2, 2), False)],
    ids=["one", "shared inputs", "inputs of their own", "a stack of stacks"],
)


def split_inputs(widths, stack, rng, dtype):
    """SplitInputs, and the same written out: (*stack, N, n_rare + n_frequent + 1)."""
    n_rare, n_frequent = widths
    frequent = rng.normal(size=(*stack, N, n_frequent + 1)).astype(dtype)
    frequent[..., -1] = 1
    each = [matrix(N, n_rare, 0.3, rng, dtype) for _ in range(math.prod(stack))]
    sparse = [SparseRows.of(dense) for dense in each] if n_rare else []
    written_out = np.concatenate([np.reshape(each, (*stack, N, n_rare)), frequent], axis=-1)
    return SplitInputs(frequent, sparse), written_out


@STACKS
@pytest.mark.parametrize("rows", [slice(0, N), slice(3, 7), slice(8, None)], ids=str)
def test_products_are_those_of_the_matrix_written_out(
    either_scipy, stack, shared, widths, rows, rng, dtype
):
    inputs, dense = split_inputs(widths, () if shared else stack, rng, dtype)
    inputs, dense = inputs[..., rows, :], dense[..., rows, :]
    n, n_columns = dense.shape[-2:]
    weights = rng.normal(size=(*stack, n_columns, N_OUT)).astype(dtype)
    grads = rng.normal(size=(*stack, n, N_OUT)).astype(dtype)

    out = np.full_like(grads, 7)
    inputs.dot(weights, out)
    close(out, dense @ weights)
    out = np.full_like(weights, 7)
    inputs.transposed_dot(grads, out)
    close(out, dense.mT @ grads)
    inputs.add_transposed_dot(grads, out, np.empty_like(out))
    close(out, 2 * (dense.mT @ grads))
    later, earlier = np.s_[..., 2:, :], np.s_[..., :-2, :]
    close(inputs[later].inner_products(inputs[earlier]), dense[later] @ dense[earlier].mT)


@STACKS
def test_split_linear_is_the_first_layer_of_its_network(stack, shared, widths, rng, dtype):
    n_features, n_out = sum(widths), 5
    network = MLP([n_features, n_out, 3], dtype=dtype, stack=stack)
    network.params[...] = rng.normal(size=network.params.shape)
    layer, plain = SplitLinear(network), network.layers[0]
    x, dense = split_inputs(widths, () if shared else stack, rng, dtype)
    grad_y = rng.normal(size=(*stack, N, n_out)).astype(dtype)
    y = plain.forward(dense[..., :-1])
    close(layer.forward(x), y)
    close(layer.forward(x[..., 2:7, :]), y[..., 2:7, :])  # a short batch
    plain.backward_params(grad_y)
    grads, before = network.grads.copy(), network.params.copy()
    network.grads[...] = 7
    layer.forward(x)
    layer.backward_params(grad_y)
    end = (n_features + 1) * n_out
    close(network.grads[..., :end], grads[..., :end])
    np.testing.assert_array_equal(network.grads[..., end:], 7)
    layer.add(dtype.type(-0.5) * grad_y)
    close(network.params[..., :end], (before - dtype.type(0.5) * grads)[..., :end])
    np.testing.assert_array_equal(network.params[..., end:], before[..., end:])


def test_what_does_not_fit_is_an_error(widths, rng, dtype):
    inputs, dense = split_inputs(widths, (), rng, dtype)
    weights = np.zeros((dense.shape[1] + 1, N_OUT), dtype)
    with pytest.raises(ValueError, match="not aligned"):
        inputs.dot(weights, np.zeros((N, N_OUT), dtype))
    with pytest.raises(ValueError, match="output array"):
        inputs.dot(weights[1:], np.zeros((N + 1, N_OUT), dtype))
    with pytest.raises(ValueError, match="output array"):
        inputs.dot(weights[1:], np.zeros((N_OUT, N), dtype).T)


# Blocks

SPARSE = np.array(
    [[0, 1, 0, 0, 9], [0, 0, 0, 2, 0], [0, 3, 0, 4, 0], [5, 6, 7, 8, 9], [0, 0, 0, 0, 0]], np.uint8
)


def check_blocks(dataset, rare, order, batch_size, n_batches, dtype=float):
    """SplitBatches hand out what Batches do, in [rare features | frequent features | 1]."""
    rare, order = np.array(rare, int), np.array(order)
    arguments = dataset, dataset.train, dtype
    plain, split = Batches(*arguments), SplitBatches(*arguments, rare)
    assert len(split) == len(plain)
    columns = np.r_[rare, np.delete(np.arange(dataset.n_features), rare)]
    both = (batches.blocks(order, batch_size, n_batches) for batches in (plain, split))
    n_blocks = 0
    for (x, labels), (inputs, split_labels) in zip(*both, strict=True):
        np.testing.assert_array_equal(split_labels, labels)
        n_networks = math.prod(order.shape[:-1])
        assert len(inputs.rare) == (n_networks if len(rare) else 0)
        parts = [sparse.transposed().T for sparse in inputs.rare]
        found = inputs.frequent
        if parts:
            found = np.concatenate([np.reshape(parts, (*x.shape[:-1], -1)), found], axis=-1)
        assert found.dtype == dtype
        ones = np.ones((*x.shape[:-1], 1))
        np.testing.assert_array_equal(found, np.concatenate([x[..., columns], ones], axis=-1))
        n_blocks += 1
    assert n_blocks


@pytest.mark.parametrize("order", [[3, 0, 4, 2, 2], [[3, 0, 4, 2, 2], [0, 1, 2, 3, 4]]], ids=str)
@pytest.mark.parametrize("rare", [[], [0, 2], [3, 4], [0, 1, 2, 3, 4]], ids=str)
def test_a_block_holds_the_examples_asked_for(rare, order, dtype):
    dataset = Dataset((SPARSE, np.arange(5)), (SPARSE, None), 2, scale=0.5)
    check_blocks(dataset, rare, order, batch_size=2, n_batches=1, dtype=dtype)


@pytest.mark.parametrize("rare", [[], [0, 2]], ids=str)
@pytest.mark.parametrize(("batch_size", "n_batches"), [(7, 3), (1, 64), (GATHERED + 1, 1)])
def test_blocks_are_the_same_beyond_what_is_gathered_at_once(rare, batch_size, n_batches):
    n = 2 * GATHERED + 1
    dataset = Dataset((np.resize(SPARSE, (n, 5)), np.arange(n)), (SPARSE, None), 2)
    order = np.random.default_rng(0).permutation(n)
    check_blocks(dataset, rare, order, batch_size, n_batches)


@pytest.mark.parametrize("offset", [1.0, np.array([0, 0, 1.0, 0, 0])], ids=["one", "each"])
@pytest.mark.parametrize("scale", [0.5, np.array([1, 2, 3, 4, 5.0])], ids=["one", "each"])
def test_ones_stay_ones_whatever_the_offset_and_scale(offset, scale):
    dataset = Dataset((SPARSE, np.arange(5)), (SPARSE, None), 2, offset, scale)
    check_blocks(dataset, [], range(5), batch_size=2, n_batches=2)
