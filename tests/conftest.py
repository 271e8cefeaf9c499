"""What a test may need from outside: other packages, and the real MNIST files."""

import importlib
import os
import signal

import pytest

if "MLP_DATA_DIR" in os.environ:  # tests change the working directory
    os.environ["MLP_DATA_DIR"] = os.path.abspath(os.environ["MLP_DATA_DIR"])
# A shell ignores SIGINT for what runs behind, nohup SIGHUP. The tests' runs would do so too
for number, handler in (signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)


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
