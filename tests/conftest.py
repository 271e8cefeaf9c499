"""What a test may need from outside: other packages, and the real MNIST files."""

import importlib
import os
import signal

import pytest

if "MLP_DATA_DIR" in os.environ:  # tests change the working directory
    os.environ["MLP_DATA_DIR"] = os.path.abspath(os.environ["MLP_DATA_DIR"])
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell ignores it for what runs behind
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else the tests' runs would too


@pytest.fixture(scope="session")
def imported():
    """name -> a package that a test needs; without it the test is skipped, except in CI."""
    return importlib.import_module if os.environ.get("CI") else pytest.importorskip


@pytest.fixture(scope="session")
def torch(imported):
    """PyTorch, on one thread."""
    torch = imported("torch")
    torch.set_num_threads(1)
    return torch


@pytest.fixture
def mnist():
    """For tests that read the real files: skipped when MLP_DATA_DIR does not say where they are."""
    if not os.environ.get("MLP_DATA_DIR"):
        pytest.skip("MLP_DATA_DIR is not set")
