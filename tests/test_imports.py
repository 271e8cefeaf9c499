"""Imports run downwards only: who may know whom, held by reading every import there is."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = [  # a module of mlp imports from floors below its own alone
    {"errors", "files", "network", "scalar"},
    {"download", "machine", "settings"},
    {"mnist", "own_data"},
    {"data", "optimizers", "schedules"},
    {"config", "training"},
    {"fast", "run_folder", "stack"},
    {"experiment"},
    {"together"},
]
FLOOR = {f"mlp.{module}": n for n, modules in enumerate(FLOORS) for module in modules}
FOR_ANALYSIS = {
    *("mlp.config", "mlp.data", "mlp.errors", "mlp.experiment", "mlp.files"),
    *("mlp.network", "mlp.run_folder", "mlp.scalar"),
}


def files(*patterns):
    found = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    return pytest.mark.parametrize("path", found, ids=[str(p.relative_to(ROOT)) for p in found])


def imported(path):
    """Full names of the modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(path.relative_to(ROOT).parts[: -node.level]) if node.level else ""
            module = ".".join(filter(None, [package, node.module]))
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                is_module = (ROOT / inner.replace(".", "/")).with_suffix(".py").exists()
                names.add(inner if is_module else module)
    return names


def packages(path):
    return {name.split(".")[0] for name in imported(path)}


def from_mlp(path):
    return {name for name in imported(path) if name.startswith("mlp.")}


def test_the_scalar_network_needs_mathematics_alone():
    assert packages(ROOT / "mlp/scalar.py") <= {"math", "random"}


@files("mlp/*.py")
def test_mlp_knows_nothing_of_configuration_files_figures_or_tables(path):
    unwanted = {"hydra", "omegaconf", "matplotlib", "pandas", "torch", "analysis", "run"}
    if path.stem == "own_data":  # pandas reads a person's table, and is loaded for that alone
        unwanted.remove("pandas")
    assert not packages(path) & unwanted


@files("mlp/[!_]*.py")
def test_imports_within_mlp_run_downwards(path):
    module = f"mlp.{path.stem}"
    assert module in FLOOR, "every module has its floor"
    assert {name for name in from_mlp(path) if FLOOR[name] >= FLOOR[module]} == set()


@files("analysis/**/*.py")
def test_analysis_takes_from_mlp_what_draws_data_or_a_decision_boundary(path):
    assert from_mlp(path) <= FOR_ANALYSIS


@files("analysis/**/*.py")
def test_analysis_imports_itself_relatively(path):
    """It is mlp.analysis where it is installed."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module.split(".")[0] != "analysis"


@files("run.py", "mlp/*.py", "analysis/**/*.py")
def test_the_assembly_alone_takes_the_fast_ways(path):
    """The plain way needs nothing of them."""
    assert ("mlp.fast" in imported(path)) == (path.stem in {"experiment", "together"})


@files(
    "mlp/*.py", "analysis/**/*.py", "benchmarks/[!t]*.py"
)  # torch_sweep.py is a peer, under Hydra
def test_run_alone_knows_hydra(path):
    assert not packages(path) & {"hydra", "hydra_plugins"}


@files("run.py", "mlp/*.py", "analysis/**/*.py")
def test_the_program_does_not_import_tests_or_benchmarks(path):
    assert not packages(path) & {"tests", "benchmarks", "conftest", "pytest"}


def test_the_reading_of_imports_finds_every_kind(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "mlp").mkdir()
    (tmp_path / "mlp/data.py").touch()
    path = tmp_path / "mlp/some.py"
    path.write_text(
        "import os.path\nfrom mlp import data\nfrom mlp.data import x\n"
        "def f():\n    from . import data\n    from .loss import y\n    import hydra as h\n"
    )
    assert imported(path) == {"os.path", "mlp.data", "mlp.loss", "hydra"}
