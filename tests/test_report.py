"""The report: derivations, search, claims, and the small version from nothing to PDF."""

import importlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

import analysis.report
from analysis.report import checks, claims, figures, latex, readme, search, sweeps, tables
from analysis.report.numbers import Fact, Facts, number
from analysis.report.sweeps import ROOT, Place, Sweep
from mlp import make_config, scalar
from mlp.errors import UserError

SECTIONS = sorted((ROOT / "report/sections").glob("*.tex"))


@pytest.fixture(scope="module")
def numbers():
    """The facts of the report that stands in report/."""
    kept = json.loads((ROOT / "report/numbers.json").read_text())
    return Facts({name: Fact(*fact) for name, fact in kept.items()})


# The derivations, as the text states them


@pytest.fixture(scope="module")
def algebra():
    """sympy, three logits, and their softmax."""
    sympy = importlib.import_module("sympy")
    o = sympy.symbols("o1:4", real=True)
    total = sum(map(sympy.exp, o))
    return sympy, o, [sympy.exp(each) / total for each in o]


def test_the_softmax_has_the_derivatives_that_are_stated_for_i_equal_to_j_and_not(algebra):
    sympy, o, y = algebra
    for i in range(3):
        for j in range(3):
            stated = y[i] * (1 - y[i]) if i == j else -y[i] * y[j]
            assert sympy.simplify(sympy.diff(y[i], o[j]) - stated) == 0


def test_the_loss_has_the_derivatives_that_are_stated_by_probability_and_by_logit(algebra):
    sympy, o, y = algebra
    given = sympy.symbols("y1:4", positive=True)
    for c in range(3):
        loss = sum(-sympy.log(given[i]) if i == c else 0 for i in range(3))
        outer = [sympy.diff(loss, each) for each in given]
        assert outer == [-1 / given[i] if i == c else 0 for i in range(3)]
        for i in range(3):
            by_sum = outer[c].subs(given[c], y[c]) * sympy.diff(y[c], o[i])
            assert sympy.simplify(by_sum - (y[i] - int(i == c))) == 0
            assert sympy.simplify(sympy.diff(-sympy.log(y[c]), o[i]) - by_sum) == 0


def test_the_code_has_these_derivatives_by_finite_differences():
    o, c = np.array([0.3, -1.2, 2.0, 0.1]), 2
    y, _ = scalar.softmax_cross_entropy(o.tolist(), c)
    stated = scalar.softmax_cross_entropy_backward(y, c)
    loss = checks.numeric_gradient(lambda: scalar.softmax_cross_entropy(o.tolist(), c)[1], o, 1e-6)
    np.testing.assert_allclose(loss, stated, atol=1e-8)


def test_the_batched_derivation_holds_for_every_entry():
    """The section's equations, written out in NumPy, against finite differences."""
    rng = np.random.default_rng(1)
    batch, d, m, n = 5, 4, 3, 6
    x, labels = rng.standard_normal((batch, d)), rng.integers(n, size=batch)
    W, b, V, c = (rng.standard_normal(shape) for shape in ((d, m), (1, m), (m, n), (1, n)))

    def forward():
        H = 1 / (1 + np.exp(-(x @ W + b)))
        E = np.exp(H @ V + c)
        return H, E / E.sum(axis=1, keepdims=True)

    def loss():
        return -np.log(forward()[1][np.arange(batch), labels]).mean()

    H, Y = forward()
    d_o = (Y - np.eye(n)[labels]) / batch
    d_k = d_o @ V.T * H * (1 - H)
    stated = x.T @ d_k, d_k.sum(axis=0, keepdims=True), H.T @ d_o, d_o.sum(axis=0, keepdims=True)
    for param, grad in zip((W, b, V, c), stated, strict=True):
        np.testing.assert_allclose(checks.numeric_gradient(loss, param, 1e-6), grad, atol=1e-8)


def test_the_two_steps_fail_where_the_formula_does_not():
    *_, (_, y, outer, two, direct, plain, loss) = checks.naive_rows()
    assert (y, outer, plain) == (0, -math.inf, math.inf) and math.isnan(two)
    assert (direct, loss) == (-1, 800)


# The sweeps and the search


def test_a_sweep_is_a_command_of_run_py(tmp_path):
    sweep = Sweep("lr", ("a", "b"), {"lr": "1,2"}, {"epochs": "1"}, "experiments")
    assert sweep.command(Place(home=tmp_path)) == (
        "python run.py -m --config-dir outputs/report/experiments experiment=a,b "
        "name=report/lr lr=1,2"
    )
    quick = sweep.arguments(Place(True, tmp_path))
    assert quick[-3:] == ["name=report-quick/lr", "lr=1,2", "epochs=1"]


def test_a_fixed_sweep_is_an_experiment_with_its_name_that_keeps_off_the_test_set():
    for sweep in sweeps.SWEEPS:
        (experiment,) = sweep.experiments
        text = (ROOT / f"conf/experiment/{experiment}.yaml").read_text()
        assert yaml.safe_load(text)["name"] == f"report/{sweep.name}"
        assert "final" not in text and "dataset.final" not in sweep.overrides


def test_a_run_that_another_process_has_is_waited_for(tmp_path):
    """A killed report's sweep may live on."""
    place = Place(True, tmp_path)
    (place.runs / "lr/seed=1/.hydra").mkdir(parents=True)
    with pytest.raises(UserError, match="report-quick/lr/seed=1 runs in another process"):
        place.check_ended()
    (place.runs / "lr/seed=1/result.json").touch()
    place.check_ended()


def test_candidates_are_the_same_every_time_and_legal():
    drawn = search.draw(48)
    assert drawn == search.draw(48)
    assert search.draw(4) == dict(list(drawn.items())[:4]), "fewer are the first of many"
    assert len({json.dumps(settings) for settings in drawn.values()}) == 48
    for settings in drawn.values():
        tree = search.experiment(settings)
        for entry in tree.pop("defaults"):
            ((group, choice),) = entry.items()
            group = group.removeprefix("override /")
            tree[group] = {"name": choice} | tree.get(group, {})
        config = make_config(**tree)
        assert config.epochs == 5 and config.model.hidden_sizes == [300]
        assert config.model.activation == "sigmoid" and not config.dataset.final
        for key, value in settings.items():
            group, _, name = key.partition(".")
            found = getattr(config, group)
            assert value == (getattr(found, name) if name else getattr(found, "name", found))


def test_the_best_are_those_of_the_greatest_mean():
    scored = {"a": [0.9, 0.92], "b": [0.95, 0.93], "c": [0.0], "d": [0.94, 0.94]}
    assert search.best(scored, 3) == ["b", "d", "a"], "equal means go by name"


def test_fresh_seeds_are_those_of_no_other_round():
    for size in (search.FULL, search.QUICK):
        seeds = [seed for of_round in size.seeds for seed in of_round]
        assert len(set(seeds)) == len(seeds)
        assert not set(seeds) & set(range(10)), "nor of the plain search's first rounds"


@pytest.fixture
def searched(tmp_path):
    """A place with the results of a small free search: seeds, and what each candidate has."""
    place = Place(True, tmp_path)
    accuracies = {100: (0.95, 0.97, 0.99, 0.96), 101: (0, 0.97, 0.90, 0), 110: (0, 0.96, 0.98, 0)}
    accuracies[111] = accuracies[110]
    for seed, row in accuracies.items():
        for name, accuracy in zip(search.draw(4), row, strict=True):
            folder = place.runs / f"search/experiment={name},seed={seed}"
            folder.mkdir(parents=True)
            result = {"status": "finished", "config": {"seed": seed}, "environment": {}}
            result |= {"overrides": [f"experiment={name}", "name=x"]}
            result |= {"metrics": {"val_accuracy": accuracy or None}}
            (folder / "result.json").write_text(json.dumps(result))
    return place


def test_fresh_seeds_alone_choose_the_winner(searched):
    assert search.second(searched).experiments == ("free_003", "free_002")
    assert search.finalists(searched, "free") == ["free_002", "free_003"]
    assert search.fresh(searched, "free") == {"free_002": [0.96] * 2, "free_003": [0.98] * 2}
    assert search.winner(searched, "free") == "free_003"
    assert search.scores(searched, 1, ["free_001"]) == {"free_001": [0.0]}, "it diverged"


# The text


def test_the_text_asks_for_nothing_that_is_not_made(numbers):
    assert {name for name in latex.asked("val") if "\\" not in name} <= numbers.keys()
    assert set(latex.asked("tab")) == tables.TABLES.keys()
    assert set(latex.asked("fig")) == figures.FIGURES.keys()


def test_every_claim_in_the_text_has_its_condition_and_holds_for_the_numbers_beside_it(numbers):
    made = re.findall(r"\\claim\{([^{}]*)\}", latex.text())
    assert sorted(made) == sorted(claims.CLAIMS)
    assert claims.failing(numbers) == []


def test_a_claim_that_does_not_hold_stops_the_report(numbers):
    numbers = Facts(numbers | {"lr.rises": Fact(False, "")})
    with pytest.raises(UserError, match=r"claims: lr-rises$"):
        claims.check(numbers)


def test_no_figure_is_typed_by_hand():
    """Sections hold no decimal fraction, no percentage and no number above 99 of their own."""
    for path in SECTIONS:
        if path.stem == "sources":
            continue
        text = re.sub(r"(?s)\\begin\{tikzpicture\}.*?\\end\{tikzpicture\}", "", path.read_text())
        for command in "val", "ref", "cite", "label", "code", "tab", "fig", "resizebox":
            text = re.sub(rf"\\{command}\{{[^{{}}]*\}}", "", text)
        text = re.sub(
            r"\\(begin|fontsize|setlength|renewcommand)(\{[^{}]*\})+(\[[^\]]*\])*", "", text
        )
        text = re.sub(r"(\{|=|\[)\d+(\.\d+)?(in|mm|em|ex|pt|\\textwidth)", "", text)
        text = text.replace(r"95\,\%", "")  # an interval's level
        typed = re.findall(r"(?<![\w\\])\d*\.\d+|\d+(?:\\,)?\\%|(?<!\w)\d{3,}", text)
        assert typed == [], path.name


def test_listings_are_cut_from_the_source_by_name():
    text = latex.source_of(ROOT / "mlp/scalar.py", "Network.backward")
    assert text.startswith("def backward(self, label):\n    ") and text.endswith("grads\n")
    with pytest.raises(UserError, match=r"Network\.sideways of scalar\.py"):
        latex.source_of(ROOT / "mlp/scalar.py", "Network.sideways")
    for file, name in latex.asked("code", 2):
        assert 2 <= latex.source_of(ROOT / file, name).count("\n") <= 25, "short and chosen"


def test_what_a_reader_would_see_is_found_in_a_log():
    log = """
Overfull \\hbox (21.9pt too wide) in paragraph at lines 1--65
Underfull \\hbox (badness 1234) in paragraph at lines 3--4
LaTeX Warning: Reference `fig:x' on page 3 undefined on input line 7.
LaTeX Warning: `h' float specifier changed to `ht'.
Missing character: There is no x in font y!
"""
    found = latex.warnings(log)
    assert [line.split()[0] for line in found] == ["Overfull", "LaTeX", "Missing"]


def test_numbers_are_written_as_a_person_writes_them():
    assert number(55_000) == "55{,}000" and number(0.03) == "0.03"
    assert number(2.4e-16) == r"$2.4 \times 10^{-16}$" and number(-1.5) == "$-1.5$"
    assert number(math.inf) == r"$\infty$" and number(math.nan) == "NaN"


def test_the_rooms_know_those_above_them_alone():
    order = re.findall(r"(?m)^    (\w+)\.py", analysis.report.__doc__)
    for i, name in enumerate(order):
        source = (ROOT / f"analysis/report/{name}.py").read_text()
        known = re.findall(r"from \. import ([\w, ]+)|from \.(\w+) import", source)
        assert set(re.findall(r"\w+", str(known))) <= set(order[:i]), name


# README and errors


def test_the_readme_holds_the_block_of_these_numbers(numbers):
    text = (ROOT / "README.md").read_text()
    assert readme.with_block(text, numbers) == text
    for path in re.findall(r"\(([\w/.-]+)\)", readme.block(numbers)):
        assert (ROOT / path).is_file()
    with pytest.raises(UserError, match="lacks the marks"):
        readme.with_block("# Title", numbers)


def command(*arguments):
    return [sys.executable, "-m", "analysis.report", "--quick", *arguments]


def environment(**other):
    return os.environ | {"PYTHONPATH": str(ROOT)} | other


@pytest.mark.parametrize(
    ("arguments", "lacking", "words"),
    [
        ([], {"PATH": "."}, ["no latexmk, pdflatex", "apt install latexmk", "--no-build"]),
        (["--no-build"], {"MLP_DATA_DIR": "."}, ["MLP_DATA_DIR"]),
    ],
)
def test_one_line_says_what_is_missing(tmp_path, arguments, lacking, words):
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9") | {"no_proxy": ""}
    done = subprocess.run(
        command(*arguments),
        cwd=tmp_path,
        env=environment(**nowhere, **lacking),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


# The small version, from nothing


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    if not os.environ.get("MLP_DATA_DIR"):
        pytest.skip("MLP_DATA_DIR is not set")
    return tmp_path_factory.mktemp("home")


def finished_runs(home):
    return {
        path: path.stat().st_mtime_ns
        for path in Path(home, "outputs/report-quick").glob("*/*/result.json")
        if json.loads(path.read_text())["status"] == "finished"
    }


@pytest.mark.slow
def test_the_small_version_from_nothing_to_a_pdf_without_a_warning_that_a_reader_would_see(home):
    """Killed in between, the same command goes on; nothing is done twice."""
    if not shutil.which("latexmk") and not os.environ.get("CI"):
        pytest.skip("latexmk is not installed")
    options = {"cwd": home, "env": environment(), "text": True}
    first = subprocess.Popen(
        command(), **options, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while len(finished_runs(home)) < 5 and first.poll() is None:
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=120)
    assert first.returncode == 130 and "the same command goes on" in said
    done = finished_runs(home)

    whole = subprocess.run(command(), **options, capture_output=True, check=True)
    after = finished_runs(home)
    assert len(after) > len(done) and done.items() <= after.items()
    assert "note:" not in whole.stdout, whole.stdout
    folder = Path(home, "outputs/report-quick")
    assert (folder / "report.pdf").stat().st_size < 5e6
    assert latex.warnings((folder / "latex/report.log").read_text(errors="replace")) == []
    finals = {
        path.parts[-3]
        for path in after
        if json.loads(path.read_text())["config"]["dataset"].get("final")
    }
    assert finals == {"final"}

    began = time.perf_counter()
    again = subprocess.run(command(), **options, capture_output=True, check=True)
    assert "nothing to do" in again.stdout and time.perf_counter() - began < 30
